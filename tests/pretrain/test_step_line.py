"""What a run says of itself where nobody watches: in the log of a batch job."""

from __future__ import annotations

import pytest

from luxvox.pretrain import step_line
from luxvox.pretrain.step_line import StepLine


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds that the line believes to have passed; the test sets them."""
    now = [0.0]
    monkeypatch.setattr(step_line.time, "monotonic", lambda: now[0])
    return now


def test_a_log_gets_a_line_now_and_then_and_one_at_the_end(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    with StepLine(done=10, steps=110) as line:
        for step in range(11, 111):
            clock[0] += 2.0
            line.update(step, "loss 0.5")
    said = capsys.readouterr().out.splitlines()
    assert len(said) == 7  # every 30 of 200 seconds, and the last
    assert said[0] == "step 25/110  loss 0.5  2.00 s/step  3 min left"
    assert said[-1].startswith("step 110/110")


def test_other_ranks_are_silent(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    with StepLine(done=0, steps=1, shown=False) as line:
        clock[0] = 100.0
        line.update(1, "loss 0.5")
    assert capsys.readouterr().out == ""

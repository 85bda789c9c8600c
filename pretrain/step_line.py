"""How far a run is, in one line: redrawn on a terminal, a new one every half minute in a log."""

from __future__ import annotations

import time
from contextlib import ExitStack
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

_LOGGED_EVERY_S = 30.0


class StepLine:
    """A context: `update` it after every step.

    Args:
        done: steps that were done before, by a run that is resumed.
        steps: of the whole run.
        shown: False on all ranks but the first: nothing is said.
    """

    def __init__(self, done: int, steps: int, shown: bool = True) -> None:
        self.done, self.steps, self.shown = done, steps, shown
        self.began = self.said = time.monotonic()
        self._close = ExitStack()
        self._bar: Progress | None = None

    def __enter__(self) -> StepLine:
        """Start the clock; draw the bar where there is a terminal."""
        self.began = self.said = time.monotonic()
        if self.shown and Console().is_terminal:
            columns = (BarColumn(bar_width=24), MofNCompleteColumn(), TimeRemainingColumn())
            bar = Progress(TextColumn("pretrain"), *columns, TextColumn("{task.description}"))
            self._bar = self._close.enter_context(bar)
            self._bar.add_task("", total=self.steps, completed=self.done)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave the bar as it stands."""
        self._close.close()

    def update(self, step: int, numbers: str) -> None:
        """Say that `step` steps are done; `numbers` are losses and rates, in words."""
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=step, description=numbers)
            return
        now = time.monotonic()
        if not self.shown or (now - self.said < _LOGGED_EVERY_S and step < self.steps):
            return
        self.said = now
        a_step = (now - self.began) / max(1, step - self.done)
        left = (self.steps - step) * a_step / 60
        print(
            f"step {step}/{self.steps}  {numbers}  {a_step:.2f} s/step  {left:.0f} min left",
            flush=True,
        )

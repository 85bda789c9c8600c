"""The report of a fine-tuning run, and the pictures it shares with evaluation."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from luxvox.__main__ import run_command
from luxvox.configs.errors import InputError
from luxvox.report.cases import Case, draw_cases, load_cases, save_cases
from luxvox.report.finetune import is_finetuned, write_finetune_report
from luxvox.report.planes import EXTRA, HIT, IGNORED, MISSED, coloured, fullest_planes

SHAPE = (6, 12, 16)


def words(path: Path) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", path.read_text(encoding="utf-8")))


@pytest.fixture
def run(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    folder = tmp_path / "my-run"
    folder.mkdir()
    (folder / "recipe.yaml").write_text("task: segment\ndata: mine.csv\n")
    metrics = {
        "task": "segment", "support": ["v1", "v<2>"], "support_groups": ["g1"], "adapt": "decoder",
        "weights": "luxvox-tiny", "trained_share": 0.25, "steps": 3, "seconds": 90.0,
        "support/dice": 0.876,
    }  # fmt: skip
    (folder / "metrics.json").write_text(json.dumps(metrics))
    lines = [{"step": s, "lr": 1e-3, "loss": 3 / s, "dice": 1 / s} for s in (1, 2, 3)]
    (folder / "history.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n")
    image = rng.normal(size=SHAPE).astype(np.float16)
    truth = (image > 1).astype(np.uint8)
    np.savez(
        folder / "support.npz", ids=np.array(["v1", "v<2>"]), image_0=image, truth_0=truth,
        found_0=truth, image_1=image, truth_1=truth, found_1=1 - truth,
        voxel_size_um=np.array([[2.0, 1, 1], [np.nan] * 3]),
    )  # fmt: skip
    return folder


def test_the_page_says_what_was_learnt_from_what(run) -> None:
    path = write_finetune_report(run)
    assert path == run / "report.html"
    html, text = path.read_text(encoding="utf-8"), words(path)
    assert html.count('<img src="data:image/png') == 2  # support and curves
    assert not re.search(r"https?://|<2>", html)
    for part in (
        "task segment", "mine.csv", "started from luxvox-tiny", "decoder: 25.0% learnt",
        "3 steps in 1.5 minutes", "2 rows of 1 group (g1): v1, v&lt;2&gt;", "0.876",
        "Not evaluated yet",
    ):  # fmt: skip
        assert part in text, part


def test_evaluations_in_the_folder_are_shown(run) -> None:
    result = {
        "mean": {"dice": 0.4321, "dice/1": 0.1}, "mean_other_groups": {"dice": 0.3999},
        "samples": [], "notes": ["nsd: in voxels"],
    }  # fmt: skip
    (run / "test.json").write_text(json.dumps(result))
    text = words(write_finetune_report(run))
    assert "Evaluation: test" in text
    assert "0.432" in text
    assert "other groups than those learnt from 0.400" in text
    assert "nsd: in voxels" in text
    assert "Not evaluated yet" not in text


def test_report_chooses_by_what_the_run_is(run, tmp_path, capsys) -> None:
    assert is_finetuned(run)
    assert run_command(["report", str(run)]) == 0
    assert "Fine-tuning report" in (run / "report.html").read_text()
    other = tmp_path / "pretraining"
    other.mkdir()
    (other / "recipe.yaml").write_text("steps: 3\n")
    (other / "metrics.json").write_text("{}")
    assert run_command(["report", str(other)]) == 0
    assert "Pretraining report" in (other / "report.html").read_text()
    with pytest.raises(InputError, match="no fine-tuning run"):
        write_finetune_report(other)


def test_an_unfinished_run_and_a_damaged_one(run) -> None:
    (run / "metrics.json").unlink()
    assert "not finished yet" in words(write_finetune_report(run))
    (run / "support.npz").write_bytes(b"PK broken")
    with pytest.raises(InputError, match=r"support\.npz: damaged"):
        write_finetune_report(run)


def test_restoration_shows_what_was_wanted(run) -> None:
    image = np.random.default_rng(1).normal(size=SHAPE).astype(np.float16)
    np.savez(
        run / "support.npz", ids=np.array(["v1"]), image_0=image, truth_0=image, found_0=image,
        voxel_size_um=np.array([[2.0, 1, 1]]),
    )  # fmt: skip
    assert write_finetune_report(run).read_text().count('<img src="data:image/png') == 2


def test_colours_say_right_and_wrong() -> None:
    grey = np.zeros((1, 1, 5, 3))
    found, truth = np.array([[[1, 1, 0, 0, 1]]]), np.array([[[1, 0, 1, 0, 1]]])
    counts = np.array([[[True, True, True, True, False]]])
    shown = coloured(grey, found, truth, counts)[0, 0]
    for place, colour in ((0, HIT), (1, EXTRA), (2, MISSED), (3, (0, 0, 0)), (4, IGNORED)):
        seen, wanted = shown[place], np.array(colour)
        # Ignored covers what lies below it, so only its share of the mixture is certain.
        assert np.allclose(seen, 0.6 * wanted, atol=0.26 if place == 4 else 1e-9)


def test_planes_are_cut_where_there_is_most() -> None:
    mask = np.zeros(SHAPE, dtype=bool)
    mask[4, 3, :] = mask[4, :, 9] = mask[:, 3, 9] = True
    assert fullest_planes(mask) == (4, 3, 9)
    assert fullest_planes(np.zeros(SHAPE, dtype=bool)) == (3, 6, 8)


def test_cases_come_back_from_the_file_and_can_be_drawn(tmp_path) -> None:
    image = np.random.default_rng(2).normal(size=SHAPE).astype(np.float32)
    labels = (image > 1).astype(np.int64)
    cases = [
        Case("a", image, (2.0, 1.0, 1.0), labels=labels, found=labels, counts=image < 2, note="x"),
        Case("b", image, None, target=image, restored=image + 1),
    ]
    save_cases(tmp_path / "c.npz", cases)
    back = load_cases(tmp_path / "c.npz")
    assert [(c.name, c.voxel_size_um, c.note) for c in back] == [
        ("a", (2.0, 1.0, 1.0), "x"), ("b", None, "")
    ]  # fmt: skip
    assert back[0].labels is not None
    assert (back[0].labels == labels).all()
    assert back[1].restored is not None
    assert np.allclose(back[1].restored, image + 1, atol=0.01)
    assert back[1].found is None
    picture = draw_cases(back)
    assert picture.startswith(b"\x89PNG")
    assert picture != draw_cases(back[:1])
    (tmp_path / "c.npz").write_bytes(b"PK")
    with pytest.raises(InputError, match="damaged"):
        load_cases(tmp_path / "c.npz")
    assert load_cases(tmp_path / "none.npz") == []

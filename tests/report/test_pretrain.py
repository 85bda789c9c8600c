"""The report must say what the numbers say, also when they are bad, missing or cut short."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from luxvox.configs.errors import InputError
from luxvox.report.pretrain import crop_errors, write_pretrain_report
from luxvox.report.run_folder import read_run
from luxvox.report.slices import Rebuilt

GOOD = {
    "val/masked_error": 0.412,
    "val/visible_mean_error": 1.093,
    "val/interpolation_error": 0.655,
    "val/retrieval_r1_macro": 0.48,
    "val/retrieval_r1_macro_no_spacing": 0.39,
    "val/retrieval_chance": 1 / 9,
    "val/knn_accuracy": 0.71,
    "val/knn_chance": 0.2,
    "val/feature_spread": 0.61,
    "val/feature_rank": 23.2,
    "val/volumes": 14.0,
    "crops_per_second": 21.3,
}


def make_run(folder: Path, metrics: dict[str, float | None]) -> Path:
    """A small finished run: every file that a run writes."""
    rng = np.random.default_rng(0)
    folder.mkdir()
    (folder / "metrics.json").write_text(json.dumps(metrics))
    lines = [
        {"step": s, "time_s": 60.0 * s, "loss": 3 / s, "text": 1 / s, "crops_per_second": 9.0}
        for s in range(1, 6)
    ]
    (folder / "history.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n")
    crop = rng.normal(size=(2, 8, 16, 16)).astype(np.float32)
    np.savez(
        folder / "reconstructions.npz",
        original=crop,
        rebuilt=crop * 0,
        mask=rng.random(crop.shape) < 0.75,
        names=np.array(["first <one>", "second"]),
        voxel_size_um=np.array([[2.0, 1, 1], [np.nan] * 3]),
    )
    np.savez(
        folder / "embeddings.npz",
        image=rng.normal(size=(6, 8)),
        image_caption=np.array([0, 0, 0, 1, 1, -1]),
        text=rng.normal(size=(2, 8)),
        captions=np.array(["vessels & <i>glia</i>", "nuclei"]),
    )
    (folder / "recipe.yaml").write_text("steps: 5  # <hm>\n")
    (folder / "skipped.json").write_text(json.dumps([{"id": "bad", "reason": "cut short <EOF>"}]))
    return folder


def words(path: Path) -> str:
    """The page as a reader sees it, without tags and pictures."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", path.read_text(encoding="utf-8")))


def test_a_whole_run_gives_one_self_contained_page(tmp_path):
    path = write_pretrain_report(make_run(tmp_path / "run", GOOD))
    assert path == tmp_path / "run" / "report.html"
    html = path.read_text(encoding="utf-8")
    assert html.count('<img src="data:image/png;base64,') == 3  # slices, curves, map
    assert not re.search(r"https?://|<i>|<EOF>|<hm>", html)
    text = words(path)
    assert "5 steps" in text
    assert "5.0 minutes" in text
    assert "cut short &lt;EOF&gt;" in text
    assert "vessels &amp; &lt;i&gt;glia&lt;/i&gt;" in text


def test_headline_gives_the_model_beside_both_trivial_predictors(tmp_path):
    text = words(write_pretrain_report(make_run(tmp_path / "run", GOOD)))
    assert "14 volumes" in text
    assert "error of 0.41" in text
    assert "visible mean 1.09, interpolation 0.66" in text  # 0.655 rounds to even in binary
    assert "37% below the better of the two" in text
    assert "Among 9 captions" in text
    assert "chance 11%" in text
    assert "they have not collapsed" in text


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"val/masked_error": 0.9}, "37% above the better of the two: it has not learnt enough"),
        ({"val/feature_spread": 0.02}, "the features have collapsed"),
    ],
)
def test_bad_numbers_are_called_bad(tmp_path, change, expected):
    text = words(write_pretrain_report(make_run(tmp_path / "run", GOOD | change)))
    assert expected in text


def test_verdict_colours_follow_the_direction_of_each_number(tmp_path):
    bad = {"val/masked_error": 2.0, "val/retrieval_r1_macro": 0.05, "val/knn_accuracy": 0.2}
    page = write_pretrain_report(make_run(tmp_path / "run", GOOD | bad))
    html = page.read_text(encoding="utf-8")
    assert re.findall(r'class="number (good|bad)">([^<]*)<', html) == [
        ("bad", "2.00"), ("bad", "5%"), ("good", "39%"), ("bad", "20%"),
    ]  # fmt: skip


def test_a_measurement_that_is_missing_or_not_a_number_is_left_out(tmp_path):
    few = {"val/masked_error": float("nan"), "val/feature_spread": 0.5, "val/knn_accuracy": None}
    text = words(write_pretrain_report(make_run(tmp_path / "run", few)))
    assert "hidden patches with an error" not in text
    assert "nan" not in text.lower().split()
    assert "spread by 0.50" in text


def test_a_run_that_still_goes_is_reported_from_its_history(tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    (run / "history.jsonl").write_text('{"step": 1, "loss": 2.0}\n{"step": 2, "loss": 1.5}\n{"st')
    text = words(write_pretrain_report(run))
    assert "2 steps" in text
    assert "not finished yet" in text
    assert "Not measured yet" in text


def test_a_run_on_its_way_is_judged_by_its_last_evaluation(tmp_path):
    run = make_run(tmp_path / "run", {"crops_per_second": 9.0})
    measured = {key: value for key, value in GOOD.items() if key.startswith("val/")}
    with (run / "history.jsonl").open("a") as file:
        file.write(json.dumps({"step": 6, **measured, "val/masked_error": 0.6}) + "\n")
        file.write(json.dumps({"step": 7, **measured}) + "\n")
        file.write(json.dumps({"step": 8, "loss": 0.3}) + "\n")
    text = words(write_pretrain_report(run))
    assert "Measured at step 7" in text
    assert "with an error of 0.41" in text
    assert "Not measured yet" not in text


def test_a_step_that_was_run_again_counts_in_its_last_form(tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    entries = [{"step": 1, "loss": 9.0}, {"step": 2, "loss": 8.0}, {"step": 2, "loss": 1.0}]
    (run / "history.jsonl").write_text("\n".join(map(json.dumps, entries)))
    assert [entry["loss"] for entry in read_run(run).history] == [9.0, 1.0]


def test_errors_of_crops_are_relative_to_their_variance_and_leave_padding_out():
    original = np.random.default_rng(0).normal(size=(1, 8, 8, 8)).astype(np.float32) * 7
    original[:, 4:] = np.nan
    rebuilt = np.full_like(original, np.nanmean(original))
    hidden = np.ones(original.shape, bool)
    crops = Rebuilt(original, rebuilt, hidden, ("a",), np.ones((1, 3)))
    assert crop_errors(crops) == [pytest.approx(1.0, abs=1e-3)]


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("metrics.json", '{"a": ', "metrics.json: not readable as JSON"),
        ("metrics.json", "[1]", "metrics.json: holds a list, expected a dict"),
        ("history.jsonl", '{"step": 1}\n{oops\n{"step": 2}\n', "line 2 is no JSON"),
        ("reconstructions.npz", "not a zip", "reconstructions.npz: damaged"),
        ("embeddings.npz", "", "embeddings.npz: damaged"),
    ],
)
def test_damaged_files_are_named(tmp_path, name, content, expected):
    run = make_run(tmp_path / "run", GOOD)
    (run / name).write_text(content)
    with pytest.raises(InputError, match=expected):
        write_pretrain_report(run)
    assert not (run / "report.html").exists()


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(InputError, match="no run"):
        write_pretrain_report(tmp_path)


@pytest.mark.filterwarnings("error")
def test_a_crop_that_hides_nothing_has_no_error():
    crop = np.random.default_rng(0).normal(size=(1, 8, 8, 8)).astype(np.float32)
    hidden = np.zeros(crop.shape, bool)
    assert crop_errors(Rebuilt(crop, crop, hidden, ("a",), np.ones((1, 3)))) == [0.0]

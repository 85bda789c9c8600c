"""Lists of every kind: one volume, several structures, pairs, classes; the page, and mistakes."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from luxvox.configs.errors import InputError
from luxvox.finetune.benchmark.command import benchmark_command
from luxvox.finetune.benchmark.lists import noisy, read_lists
from luxvox.finetune.benchmark.run import benchmark
from luxvox.finetune.benchmark.trials import trials_of
from luxvox.finetune.examples import load_example

from .conftest import QUICK, results


def test_one_volume_is_cut_and_said_to_be(labelled_row, write_list, plan_for, capsys) -> None:
    path = write_list([labelled_row(1)])
    plan = plan_for(path, methods=("pretrained", "top_hat"), shots=(1, 3), gap=4, draws=3)
    folder = benchmark(plan)
    lines = results(folder)
    assert {line["within_volume"] for line in lines} == {"true"}
    assert {line["shots"] for line in lines} == {"1"}
    assert {line["draw"] for line in lines} == {"0", "1"}  # one end or the other: no third
    told = capsys.readouterr().out
    assert "K = 3 left out" in told
    assert "K = 1 has 2 different draws, not 3" in told
    assert "one group, cut within the volume" in (folder / "summary.md").read_text()
    (given,) = read_lists(plan, print)
    trial = trials_of(given, 1, 1, 0, 4, print)[0]
    learnt, (judged,) = trial.support[0].image, trial.load_test()
    assert len(learnt) + len(judged.image) + 4 == 20
    assert not np.shares_memory(learnt, judged.image)
    # Which end is learnt from is part of what a cell is: another seed swaps them.
    ends = {trials_of(given, 1, 1, seed, 4, print)[0].digests for seed in range(8)}
    assert len(ends) == 2


def test_structures_of_a_list_are_compared_apart(labelled_row, write_list, plan_for) -> None:
    rows = [labelled_row(n, structure="vessels" if n < 3 else "plaques") for n in range(6)]
    rows[0] = replace(rows[0], labels=None)
    said: list[str] = []
    lists = read_lists(plan_for(write_list(rows)), said.append)
    sizes = {given.name.rpartition("-")[2]: len(given.rows) for given in lists}
    assert sizes == {"vessels": 2, "plaques": 3}
    assert "1 of 6 rows cannot serve segment" in said[0]


def test_restoration_with_noise(labelled_row, write_list, write, balls, plan_for, capsys) -> None:
    rows = []
    for n in range(3):
        _, labels = balls(n)
        clean = (200 + 120 * (labels > 0)).astype(np.uint16)
        rows.append(labelled_row(n, labels=None, target=write(f"clean{n}", clean)))
    path = write_list(rows)
    example = load_example(rows[0], "restore")
    added = noisy(example, 0.5)
    assert np.array_equal(added.image, noisy(example, 0.5).image)
    assert not np.allclose(added.image, example.image)
    words = [str(path), "noise=0.5", "keep_weights=true", *QUICK]
    plan = plan_for(path)
    names = "identity,wiener,unet,pretrained"
    benchmark_command(words, plan.out, tasks="deblur", shots="1", draws=1, methods=names,
                      weights=plan.weights)  # fmt: skip
    folder = Path(plan.out)
    lines = results(folder)
    of = {line["method"]: [] for line in lines}
    for line in lines:
        of[line["method"]].append(float(line["psnr"]))
        assert float(line["identity_psnr"]) < 12
    assert np.mean(of["identity"]) < np.mean(of["wiener"])
    assert len(list((folder / "runs").glob("*/weights"))) == 2
    html = (folder / "benchmark.html").read_text()
    assert "PSNR" in html
    assert html.count("<img") == 2


def test_classification(labelled_row, write_list, write, balls, plan_for) -> None:
    pytest.importorskip("sklearn", reason="scikit-learn is not installed (make dev)")
    rows = []
    for n in range(6):
        image, _ = balls(n, count=14 if n % 2 else 1)
        name = "many" if n % 2 else "few"
        rows.append(labelled_row(n, image=write(f"i{n}", image), labels=None, class_name=name))
    plan = plan_for(
        write_list(rows), tasks=("classify",), methods=("linear", "texture"), draws=2,
        overrides=(*QUICK, "classify.views=4"),
    )  # fmt: skip
    folder = benchmark(plan)
    with (folder / "summary.csv").open() as file:
        means = {line["method"]: float(line["mean"]) for line in csv.DictReader(file)}
    assert set(means) == {"linear", "texture"}
    assert means["linear"] > 0.6
    assert "Balanced accuracy" in (folder / "summary.md").read_text()


def test_the_page_shows_every_method(balls_list, plan_for) -> None:
    plan = plan_for(balls_list)
    words = [*plan.datasets, *QUICK]
    benchmark_command(words, plan.out, shots="1,2", draws=1, methods="pretrained,top_hat",
                      weights=plan.weights)  # fmt: skip
    html = (Path(plan.out) / "benchmark.html").read_text()
    assert html.count("<img") == 2  # the plot, and the pictures
    assert "http" not in html.replace("http://www.w3.org", "")
    assert "pretrained - top_hat" in html
    assert "K = 2" in html


@pytest.mark.parametrize(
    ("words", "changes", "expected"),
    [
        ([], {"methods": "pretraned"}, "did you mean 'pretrained'"),
        ([], {"methods": "stage_a"}, "give --weights-a RUN"),
        ([], {"methods": "scratch", "shots": "one"}, "expected whole numbers such as 1,3,5"),
        (["stepz=3"], {"methods": "scratch"}, "did you mean 'steps'"),
        (["labels=classes"], {"methods": "scratch"}, "binary segmentations"),
        ([], {"methods": "identity", "tasks": "restore"}, "no row has what restore needs"),
        ([], {"methods": "top_hat", "shots": "9"}, "no cell is left to run"),
    ],
)  # fmt: skip
def test_mistakes_are_told_before_the_work(words, changes, expected, balls_list, tmp_path) -> None:
    with pytest.raises(InputError, match=expected) as caught:
        benchmark_command([str(balls_list), *words], tmp_path / "t", **changes)
    assert "\n" not in str(caught.value)

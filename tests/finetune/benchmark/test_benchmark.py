"""Benchmarks: the same draws for all, no animal on both sides, resumed, and repeated alone."""

from __future__ import annotations

import csv
import json
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest

from luxvox.configs.errors import InputError
from luxvox.finetune.benchmark import methods as methods_module
from luxvox.finetune.benchmark import run as run_module
from luxvox.finetune.benchmark.run import benchmark
from luxvox.finetune.benchmark.scoring import Answer

from .conftest import QUICK, results, save_dense


def cells(folder: Path) -> dict[str, dict]:
    return {p.stem: json.loads(p.read_text()) for p in sorted((folder / "cells").glob("*.json"))}


def test_a_whole_table(balls_list, plan_for) -> None:
    names = ("untouched", "pretrained", "top_hat")
    folder = benchmark(plan_for(balls_list, methods=names, seeds=2, draws=2))
    made = cells(folder)
    # Methods without chance have one seed.
    assert len(made) == 2 * (2 + 2)
    draws = defaultdict(set)
    for cell in made.values():
        support = cell["settings"]["support"]
        if cell["method"] != "untouched":
            draws[cell["draw"]].add(tuple(support))
        learnt_groups = {f"g{min(int(name[1:]), 3)}" for name in support}
        assert learnt_groups.isdisjoint({sample["group"] for sample in cell["samples"]})
        assert cell["samples"]
    assert all(len(supports) == 1 for supports in draws.values())  # the same for every method
    assert draws[0] != draws[1]
    lines = results(folder)
    assert {line["method"] for line in lines} == set(names)
    assert len(lines) == sum(len(cell["samples"]) for cell in made.values())
    assert all(0 <= float(line["dice"]) <= 1 for line in lines)
    best = np.mean([float(line["dice"]) for line in lines if line["method"] == "top_hat"])
    assert best > 0.6
    assert {"cldice", "nsd", "object_f1", "panoptic_quality", "seconds"} < set(lines[0])
    with (folder / "paired.csv").open() as file:
        paired = list(csv.DictReader(file))
    assert {line["minus"] for line in paired} == set(names) - {"pretrained"}
    by_hand = defaultdict(list)
    mine = {
        (line["draw"], line["seed"], line["sample"]): float(line["dice"])
        for line in lines
        if line["method"] == "pretrained"
    }
    for line in lines:
        if line["method"] == "top_hat":
            for seed in ("0", "1"):
                key = (line["draw"], seed, line["sample"])
                by_hand[line["sample"]].append(mine[key] - float(line["dice"]))
    wanted = np.mean([np.mean(values) for values in by_hand.values()])
    (found,) = (line for line in paired if line["minus"] == "top_hat")
    assert float(found["difference"]) == pytest.approx(wanted, abs=1e-4)
    assert not list((folder / "runs").glob("*/weights"))  # disk
    assert "top_hat" in (folder / "summary.md").read_text()


def test_a_stopped_benchmark_goes_on_and_a_cell_repeats(balls_list, plan_for, monkeypatch) -> None:
    plan = plan_for(balls_list, methods=("pretrained", "top_hat", "scratch"), draws=2)
    learn, done = run_module.learn, []

    def stops(plan, cell, *rest):
        if len(done) == 3:
            raise KeyboardInterrupt
        done.append(cell.name)
        return learn(plan, cell, *rest)

    monkeypatch.setattr(run_module, "learn", stops)
    with pytest.raises(KeyboardInterrupt):
        benchmark(plan)
    folder = Path(plan.out)
    before = {p: p.stat().st_mtime_ns for p in (folder / "cells").iterdir()}
    assert len(before) == 3
    monkeypatch.setattr(run_module, "learn", learn)
    benchmark(plan)
    assert all(path.stat().st_mtime_ns == at for path, at in before.items())
    made = cells(folder)
    assert len(made) == 6
    # One alone, to the same numbers.
    name = next(name for name in made if "__pretrained__" in name)
    table = (folder / "results.csv").read_text()
    (folder / "cells" / f"{name}.json").unlink()
    benchmark(plan, only=name)
    again = cells(folder)[name]
    assert again["samples"] == made[name]["samples"]
    assert [line for line in table.splitlines() if "scratch" in line] == [
        line for line in (folder / "results.csv").read_text().splitlines() if "scratch" in line
    ]
    with pytest.raises(InputError, match="no such cell among 6"):
        benchmark(plan, only=name.replace("pretrained", "pretraned"))
    # Other settings are not taken for the same cell.
    other = plan.model_copy(update={"overrides": (*QUICK, "steps=3", "one_shot_steps=3")})
    with pytest.raises(InputError, match=r"made with other settings.*--overwrite"):
        benchmark(other)
    seen: list[str] = []
    monkeypatch.setattr(
        run_module, "learn", lambda p, c, *r: seen.append(c.method) or learn(p, c, *r)
    )
    benchmark(other, overwrite=True)
    assert set(seen) == {"pretrained", "scratch"}  # classical tools have no steps


def test_cells_of_changed_labels_are_stale(
    balls_list, plan_for, labelled_row, balls, write
) -> None:
    plan = plan_for(balls_list, methods=("top_hat",), draws=1)
    benchmark(plan)
    benchmark(plan)  # nothing has changed
    labels = balls(2)[1]
    labels[10:, 20:30, 20:30] = 1
    write("labels2", labels)
    with pytest.raises(InputError, match="made with other settings"):
        benchmark(plan)


def test_names_and_folders_of_any_kind(balls_list, plan_for, tmp_path) -> None:
    """YAML would take the name for a number, and the quote for its own."""
    folder = tmp_path / "2024"
    folder.mkdir()
    listing = folder / "dataset.csv"
    listing.write_text(balls_list.read_text())
    weights = save_dense(tmp_path / 'in "quotes"', groups=["elsewhere"])
    out = str(tmp_path / 'a "table"')
    plan = plan_for(listing, methods=("pretrained",), draws=1, weights=str(weights), out=out)
    assert {line["dataset"] for line in results(benchmark(plan))} == {"2024"}


def test_a_constant_in_place_of_a_method_shows(balls_list, plan_for, tmp_path, monkeypatch) -> None:
    plan = plan_for(balls_list, methods=("pretrained", "top_hat"), draws=1)
    first = results(benchmark(plan))
    monkeypatch.setattr(
        methods_module, "_classical", lambda *_: lambda e: Answer(np.zeros(e.image.shape, bool))
    )
    second = results(benchmark(plan.model_copy(update={"out": str(tmp_path / "constant")})))
    for one, two in zip(first, second, strict=True):
        assert one["sample"] == two["sample"]
        assert (one["dice"] == two["dice"]) == (one["method"] == "pretrained")


def test_transductive_samples_are_left_out_of_the_headline(balls_list, plan_for, tmp_path) -> None:
    weights = save_dense(tmp_path / "seen", groups=["g3"])
    names = ("untouched", "top_hat")
    folder = benchmark(plan_for(balls_list, methods=names, weights=str(weights), draws=3))
    lines = results(folder)
    assert all((line["transductive"] == "yes") == (line["group"] == "g3") for line in lines)
    with (folder / "summary.csv").open() as file:
        summary = [line for line in csv.DictReader(file) if line["metric"] == "dice"]
    counts = {(line["method"], line["rows"]): int(line["samples"]) for line in summary}
    for name in names:  # also for what saw nothing: the same samples for all
        assert counts[name, "headline"] == len(
            {line["sample"] for line in lines if line["group"] != "g3"}
        )
        assert counts[name, "all"] > counts[name, "headline"]
    unsaid = save_dense(tmp_path / "unsaid")
    plan = plan_for(balls_list, methods=names, weights=str(unsaid), out=str(tmp_path / "b"))
    assert {line["transductive"] for line in results(benchmark(plan))} == {"unknown"}
    assert "do not say what they were pretrained on" in (tmp_path / "b/summary.md").read_text()
    everything = save_dense(tmp_path / "all", groups=["g0", "g1", "g2", "g3"])
    plan = plan_for(balls_list, methods=names, weights=str(everything), out=str(tmp_path / "c"))
    benchmark(plan)
    assert "no headline" in (tmp_path / "c/summary.md").read_text()

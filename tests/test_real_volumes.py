"""On real volumes, where they are at hand: the lists are sound, and a few steps already learn."""

from __future__ import annotations

from pathlib import Path

import pytest

from luxvox.configs.load import load_recipe
from luxvox.data.audit import audit
from luxvox.pretrain.recipe import PretrainRecipe
from luxvox.pretrain.run import pretrain

LISTS = (
    "pretrain/dataset.csv",
    "segment/delivr_cfos/dataset.csv",
    "segment/delivr_microglia/dataset.csv",
    "segment/trailmap_axons/dataset.csv",
    "segment/lsmfm_fewshot/dataset.csv",
    "segment/classify.csv",
)


@pytest.mark.slow
@pytest.mark.parametrize("listing", LISTS)
def test_the_audit_finds_no_error_in_real_lists(shared_data: Path, listing: str) -> None:
    report = audit(shared_data / listing)
    errors = [finding for finding in report.findings if finding.severity == "error"]
    assert errors == []


@pytest.mark.slow
def test_a_few_steps_on_real_volumes_beat_the_visible_mean(
    shared_data: Path, tmp_path: Path
) -> None:
    words = [
        f"data={shared_data / 'pretrain' / 'dataset.csv'}", f"out={tmp_path / 'run'}",
        "steps=30", "evaluate.every_steps=null", "evaluate.crops_per_volume=2", "tracker=none",
        "batch_size=12",
    ]  # fmt: skip
    metrics = pretrain(load_recipe("cpu_real", PretrainRecipe, words))
    assert metrics["val/volumes"] == 12
    assert metrics["val/masked_error"] < 0.95 * metrics["val/visible_mean_error"]
    assert metrics["val/retrieval_chance"] == pytest.approx(1 / 9)

"""From a list to training and held-back crops: shared numbering, honest gaps, refusals."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from luxvox.configs.errors import InputError
from luxvox.configs.load import load_recipe
from luxvox.data.bank_pack import write_bank
from luxvox.data.crops import CropSource
from luxvox.data.manifest import read_dataset
from luxvox.pretrain.build import build_learner, make_accelerator
from luxvox.pretrain.corpus import fixed_batches, open_corpus
from luxvox.pretrain.recipe import PretrainRecipe

SMALL = ["out=none", "data.crop.shape=[16,16,16]", "tracker=none", "threads=1"]


def _plan(source: Path, *more: str) -> PretrainRecipe:
    return load_recipe("pretrain/demo.yaml", PretrainRecipe, [f"data={source}", *SMALL, *more])


def _rewrite(listing: Path, name: str, **cells: str) -> Path:
    """A copy of a list beside it, with cells of the first row changed."""
    with listing.open(newline="") as file:
        rows = list(csv.DictReader(file))
    rows[0] |= cells
    path = listing.with_name(name)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def test_both_sides_number_captions_alike_and_share_no_group(simulated: Path) -> None:
    corpus = open_corpus(_plan(simulated), shown=False)
    assert corpus.val is not None
    assert corpus.train.captions == corpus.val.captions == corpus.captions
    groups = [{row.group for row in side.rows} for side in (corpus.train, corpus.val)]
    assert groups[0]
    assert groups[1]
    assert not groups[0] & groups[1]
    for side in (corpus.train, corpus.val):
        for batch in fixed_batches(side, 1, 4, 100):
            for volume, caption in zip(batch["volume_id"], batch["caption_id"], strict=True):
                assert side.rows[int(volume)].caption == corpus.captions[int(caption)]
    for caption, wordings in zip(corpus.captions, corpus.wordings, strict=True):
        assert wordings[0] == caption


def test_fixed_crops_are_the_same_every_time_and_spread_over_the_volumes(simulated: Path) -> None:
    corpus = open_corpus(_plan(simulated), shown=False)
    once, again = (fixed_batches(corpus.train, 2, 64, 5)[0] for _ in range(2))
    assert (once["crop"] == again["crop"]).all()
    volumes = once["volume_id"].unique().tolist()
    assert len(volumes) == 5
    assert volumes[0] == 0
    assert volumes[-1] == len(corpus.train.rows) - 1
    assert not (once["crop"][0] == once["crop"][1]).all()  # two crops of one volume differ


def test_a_bank_gives_the_same_volumes_words_and_split(simulated: Path, tmp_path: Path) -> None:
    bank = tmp_path / "crops.safetensors"
    plan = _plan(simulated)
    listed = open_corpus(plan, shown=False)
    everything = CropSource(read_dataset(simulated).rows, plan.data.crop)
    write_bank(everything, bank, crops_per_volume=2)
    packed = open_corpus(_plan(bank), shown=False)
    assert packed.val is not None
    assert listed.val is not None
    assert [row.id for row in packed.train.rows] == [row.id for row in listed.train.rows]
    assert [row.id for row in packed.val.rows] == [row.id for row in listed.val.rows]
    assert packed.captions == listed.captions
    assert np.allclose(packed.voxel_sizes_um, listed.voxel_sizes_um)  # a bank keeps float32


def test_a_missing_caption_stops_the_run_unless_it_is_ignored_or_not_needed(
    simulated: Path,
) -> None:
    listing = _rewrite(simulated, "uncaptioned.csv", caption="")
    with pytest.raises(InputError, match=r"sim_00000.*missing_captions=ignore"):
        open_corpus(_plan(listing), shown=False)
    assert len(open_corpus(_plan(listing, "objective.text=0"), shown=False).train.rows) == 16
    ignoring = _plan(listing, "data.missing_captions=ignore")
    assert -1 in fixed_batches(open_corpus(ignoring, shown=False).train, 1, 64, 99)[0]["caption_id"]


def test_an_unreadable_volume_stops_the_run_unless_it_is_skipped(simulated: Path) -> None:
    broken = simulated.with_name("broken.tif")
    broken.write_bytes(b"II*\0 no tiff")
    listing = _rewrite(simulated, "one_broken.csv", image="broken.tif")
    with pytest.raises(InputError, match=r"broken\.tif"):
        open_corpus(_plan(listing), shown=False)
    corpus = open_corpus(_plan(listing, "data.skip_unreadable=true"), shown=False)
    assert [entry["id"] for entry in corpus.skipped] == ["sim_00000"]
    assert len(corpus.train.rows) == 15


def test_an_absent_volume_is_skipped_where_unreadable_ones_are(simulated: Path) -> None:
    listing = _rewrite(simulated, "absent.csv", image="nowhere.tif")
    with pytest.raises(InputError, match=r"absent\.csv.*nowhere\.tif"):
        open_corpus(_plan(listing), shown=False)
    corpus = open_corpus(_plan(listing, "data.skip_unreadable=true"), shown=False)
    assert [item["id"] for item in corpus.skipped] == ["sim_00000"]
    assert "nowhere.tif" in corpus.skipped[0]["reason"]


def test_too_few_captions_to_learn_from_are_refused(simulated: Path) -> None:
    plan = _plan(simulated, "batch_size=2")
    with pytest.raises(InputError, match="2 images a step"):
        build_learner(plan, open_corpus(plan, shown=False), make_accelerator(plan))


def test_wavelengths_reach_from_the_finest_token_to_the_largest_crop(simulated: Path) -> None:
    plan = _plan(simulated, "objective.text=0")
    corpus = open_corpus(plan, shown=False)
    learner = build_learner(plan, corpus, make_accelerator(plan))
    sizes = [size for size in corpus.voxel_sizes_um if size]
    low, high = learner.model.encoder.config.wavelengths_um
    assert low == pytest.approx(2 * 8 * min(min(size) for size in sizes))
    assert high == pytest.approx(4 * 16 * max(max(size) for size in sizes))

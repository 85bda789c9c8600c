"""Embedding crops and finding them by a sentence: order, places, resuming, the page, refusals."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

import luxvox
from luxvox.__main__ import run_command
from luxvox.configs.errors import InputError
from luxvox.predict.embed_command import embed_command
from luxvox.predict.embedding_index import Place, make_index, open_index
from luxvox.predict.model import Model
from luxvox.predict.search import search, search_command
from luxvox.report.search import Found, from_above, picture_grid

from .small_model import SHARED, save_small

SENTENCE = "branching blood vessels"
SIZE = (2.0, 1.5, 1.5)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_small(tmp_path_factory.mktemp("weights") / "small")


@pytest.fixture(scope="module")
def volumes(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Three of 32 voxels a side; noise, brighter and coarser from crop to crop."""
    folder = tmp_path_factory.mktemp("volumes")
    rng = np.random.default_rng(0)
    paths = []
    for number in range(3):
        image = rng.normal(100, 10, (32, 32, 32)) * rng.uniform(1, 4, (2, 2, 2)).repeat(
            16, 0
        ).repeat(16, 1).repeat(16, 2)
        paths.append(folder / f"{number}.ome.zarr")
        luxvox.save_volume(image.astype(np.float32), paths[-1], voxel_size_um=SIZE)
    return [str(path) for path in paths]


@pytest.fixture(scope="module")
def index(run: Path, volumes: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return embed_command(volumes, tmp_path_factory.mktemp("index") / "x.zarr", str(run), "cpu")


def test_the_index_holds_what_embed_gives_with_the_places_of_crops(
    run: Path, volumes: list[str], index: Path
) -> None:
    model = luxvox.load(run)
    held = list(open_index(index).read())
    assert [place.image for place, _, _ in held] == volumes
    for place, vectors, origins in held:
        volume = luxvox.open_volume(place.image)
        assert np.allclose(vectors, model.embed(volume), atol=1e-5)
        assert [tuple(row) for row in origins.tolist()] == model.crop_origins(volume)
        assert place.box == (16, 16, 16)
        assert place.level_um == volume.voxel_size_um


def test_hits_are_ranked_by_the_cosine_with_the_sentence(run: Path, index: Path) -> None:
    hits, total = search(index, SENTENCE, count=5)
    assert total == 24
    text = luxvox.load(run).embed_text(SENTENCE)[0]
    every = np.concatenate([vectors @ text for _, vectors, _ in open_index(index).read()])
    assert np.allclose([hit.score for hit in hits], np.sort(every)[::-1][:5], atol=1e-6)
    assert np.isclose(hits[0].spread, (every.max() - every.mean()) / every.std(), atol=1e-3)
    best = hits[0]
    model = luxvox.load(run)
    place = model.crop_origins(luxvox.open_volume(best.place.image)).index(best.origin)
    assert np.isclose(model.embed(best.place.image)[place] @ text, best.score, atol=1e-5)
    size = best.place.level_um
    assert size is not None
    assert best.origin_um == tuple(a * b for a, b in zip(best.origin, size, strict=True))


def test_a_crop_that_is_the_sentence_is_found_first(
    run: Path, index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the weights have learnt: the vector of the sentence itself must win."""
    made = make_index(tmp_path / "y.zarr", str(run), open_index(index).digest, SHARED)
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(50, SHARED)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors[37] = luxvox.load(run).embed_text(SENTENCE)[0]
    origins = np.arange(150, dtype=np.int32).reshape(50, 3)
    place = Place("/gone.tif", 0, "0", None, None, 0, 0, (16, 16, 16), None)
    made.add(place, vectors, origins)
    (first, second), _ = search(made, SENTENCE, count=2)
    assert first.origin == (111, 112, 113)
    assert first.score > 0.999
    assert first.spread > 4 > second.spread
    search_command(SENTENCE, made.path, 2, tmp_path / "page.html")
    assert "cannot be read any more" in (tmp_path / "page.html").read_text()


def test_a_stopped_run_goes_on_with_the_next_volume(
    run: Path, volumes: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    real = Model.embed

    def stopping(self: Model, volume: luxvox.Volume, *rest: int) -> np.ndarray:
        seen.append(volume.path)
        if len(seen) == 3:
            raise KeyboardInterrupt
        return real(self, volume, *rest)

    monkeypatch.setattr(Model, "embed", stopping)
    out = tmp_path / "x.zarr"
    with pytest.raises(KeyboardInterrupt):
        embed_command(volumes, out, str(run), "cpu")
    assert len(list(open_index(out).read())) == 2
    embed_command(volumes, out, str(run), "cpu")
    assert seen == [*volumes, volumes[2]]
    os.utime(volumes[0], ns=(1, Path(volumes[0]).stat().st_mtime_ns + 10**9))
    embed_command(volumes[:1], out, str(run), "cpu")
    assert seen[-1] == volumes[0]
    assert len(list(open_index(out).read())) == 3


def test_every_channel_is_embedded_by_itself(run: Path, tmp_path: Path) -> None:
    image = np.random.default_rng(0).normal(100, 10, (2, 16, 16, 32)).astype(np.float32)
    path = tmp_path / "two.ome.zarr"
    luxvox.save_volume(image, path, voxel_size_um=(2, 1, 1), axes="czyx", channel_names=["a", "b"])
    out = embed_command([str(path)], tmp_path / "x.zarr", str(run), "cpu")
    (one, first, _), (two, second, _) = open_index(out).read()
    assert (one.channel_name, two.channel_name) == ("a", "b")
    assert not np.allclose(first, second)


def test_the_command_prints_hits_and_writes_a_page_with_pictures(
    index: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "sub" / "page.html"
    words = ["search", "<b>vessels</b>", str(index), "--count", "3", "--out", str(out)]
    assert run_command(words) == 0
    shown = capsys.readouterr().out
    assert "3 of 24 crops" in shown
    page = out.read_text()
    assert page.count("data:image/png;base64,") == 2
    assert "&lt;b&gt;vessels" in page
    assert "<b>" not in page
    assert "http" not in page
    assert run_command(["search", SENTENCE, str(index), "--count", "2", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [hit["rank"] for hit in told] == [1, 2]


def test_a_picture_shows_the_crop() -> None:
    crop = np.zeros((9, 8, 8))
    crop[4, 2, 3] = 5.0
    seen = from_above(crop + np.random.default_rng(0).random(crop.shape) * 0.1)
    assert np.unravel_index(seen.argmax(), seen.shape) == (2, 3)
    empty = picture_grid([Found("1", "x", np.zeros((4, 4, 4)), None)])
    bright = picture_grid([Found("1", "x", crop, (1.0, 1.0, 1.0))])
    assert empty != bright


def test_other_weights_and_what_is_no_index_are_refused(
    run: Path, index: Path, volumes: list[str], tmp_path: Path
) -> None:

    other = save_small(tmp_path / "other", seed=1)
    with pytest.raises(InputError, match="other weights than"):
        embed_command(volumes, index, str(other), "cpu")
    with pytest.raises(InputError, match="was embedded with"):
        search(index, SENTENCE, weights=str(other))
    with pytest.raises(InputError, match="expected a name in"):
        embed_command(volumes, tmp_path / "x.h5", str(run), "cpu")
    with pytest.raises(InputError, match="no embeddings there"):
        embed_command(volumes, Path(volumes[0]), str(run), "cpu")
    with pytest.raises(InputError, match="empty sentence"):
        search(index, " ")
    made = make_index(tmp_path / "e.zarr", "gone", "0", 4)
    with pytest.raises(InputError, match="no crops in it"):
        search(made, SENTENCE)

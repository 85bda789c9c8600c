"""Names for volumes that nobody labelled: the nearest one, in lines and in JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import luxvox
from luxvox.configs.errors import InputError
from luxvox.predict import zero_shot
from luxvox.predict.zero_shot import classify_command, name_scores


class Captioned:
    """Stands for a model with captions: bright crops lie near the second name."""

    def embed_text(self, names: list[str]) -> np.ndarray:
        assert names == ["blood vessels", "nuclei"]
        return np.eye(2, dtype=np.float32)

    def embed(self, volume: luxvox.Volume, channel: int) -> np.ndarray:
        bright = volume.read()[channel].mean() > 1000
        vectors = [[0.9, 0.0], [0.0, 1.0]] if bright else [[1.0, 0.2], [0.9, 0.1]]
        return np.array(vectors, np.float32)


@pytest.fixture
def volumes(tmp_path: Path) -> list[str]:
    noise = np.random.default_rng(0).normal(100, 10, (16, 16, 16)).astype(np.float32)
    paths = [tmp_path / "dim.ome.zarr", tmp_path / "bright.ome.zarr"]
    for path, more in zip(paths, (0, 2000), strict=True):
        luxvox.save_volume(noise + more, path, voxel_size_um=(2, 1, 1))
    return [str(path) for path in paths]


def test_scores_are_cosines_with_the_mean_of_the_crops(volumes: list[str]) -> None:
    model: Any = Captioned()
    names = ["blood_vessels", "nuclei"]
    dim = name_scores(model, luxvox.open_volume(volumes[0]), names)
    assert np.allclose(dim, np.array([0.95, 0.15]) / np.hypot(0.95, 0.15), atol=1e-6)
    bright = name_scores(model, luxvox.open_volume(volumes[1]), names)
    assert np.allclose(bright, np.array([0.45, 0.5]) / np.hypot(0.45, 0.5), atol=1e-6)


@pytest.mark.parametrize("names", [["nuclei"], ["nuclei", "nuclei"], ["nuclei", " "]])
def test_fewer_than_two_names_are_no_choice(volumes: list[str], names: list[str]) -> None:
    model: Any = Captioned()
    with pytest.raises(InputError, match="expected two or more, each once"):
        name_scores(model, luxvox.open_volume(volumes[0]), names)


def test_every_channel_of_every_volume_is_named(
    volumes: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(zero_shot, "load", lambda name, device: Captioned())
    found = classify_command(volumes, "blood vessels, nuclei", "any", "cpu", json_out=True)
    assert [row["name"] for row in found] == ["blood vessels", "nuclei"]
    assert json.loads(capsys.readouterr().out) == found
    classify_command(volumes, "blood vessels,nuclei", "any", "cpu")
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert "dim.ome.zarr" in lines[0]
    assert ": blood vessels  (blood vessels 0.99, nuclei 0.16)" in lines[0]

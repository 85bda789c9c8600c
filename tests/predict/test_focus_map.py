"""A focus map lies over its volume, and is sharp where the volume is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from luxvox.__main__ import run_command
from luxvox.configs.errors import InputError
from luxvox.data.open import open_volume
from luxvox.data.save import save_volume
from luxvox.predict.focus import score_stack
from luxvox.predict.focus_map import write_focus_map
from luxvox.predict.focus_stack import open_stacks


@pytest.fixture(scope="module")
def volume(tmp_path_factory) -> Path:
    """Points everywhere but in the last tile along x; the second half of y is out of focus."""
    rng = np.random.default_rng(0)
    sharp = np.zeros((6, 150, 200))
    sharp[:, :, :115] = rng.random((6, 150, 115)) > 0.97
    light = 3000 * ndimage.gaussian_filter(sharp, (0, 1, 1))
    light[:, 75:] = ndimage.gaussian_filter(light, (0, 4, 4))[:, 75:]
    counts = rng.poisson(light + 5) + rng.normal(100, 2, light.shape)
    path = tmp_path_factory.mktemp("focus") / "in.ome.zarr"
    return save_volume(counts.round().astype(np.uint16), path, voxel_size_um=(3.0, 0.5, 0.5))


def test_a_voxel_for_every_tile(volume, tmp_path, capsys):
    out = tmp_path / "map.ome.zarr"
    words = ["focus", str(volume), "--mode", "volume", "--csv", str(tmp_path / "f.csv")]
    assert run_command([*words, "--map", str(out)]) == 0
    found = open_volume(out)
    assert found.shape == (6, 2, 3)
    assert found.voxel_size_um == (3.0, 37.5, 33.0)  # tiles of 75 x 66 pixels
    assert found.levels[0].translation_um == (0, 18.5, 16.75)
    values = found.read()[0]
    assert (values[:, 0, :2] > values[:, 1, :2]).all()
    assert np.isnan(values[:, :, 2]).all()  # nothing is there
    assert run_command([*words, "--map", str(out)]) == 2
    assert "exists already" in capsys.readouterr().err
    words[3] = "sweep"
    assert run_command([*words, "--map", str(tmp_path / "other.ome.zarr")]) == 2
    assert "expected one volume" in capsys.readouterr().err


def test_missing_slices_stay_empty(volume, tmp_path):
    stack = open_stacks(volume)[0]
    result = score_stack(stack, "volume")
    object.__setattr__(stack, "z_index", (0, 2, 4, 6, 8, 12))
    found = open_volume(write_focus_map(tmp_path / "map.ome.tif", result))
    assert found.shape == (7, 2, 3)
    assert np.isnan(found.read()[0, 5]).all()
    with pytest.raises(InputError, match="a map of a sweep"):
        write_focus_map(tmp_path / "no.ome.tif", score_stack(stack, "sweep"))


def test_a_map_that_was_stopped_is_gone_on_with(volume, tmp_path, capsys, monkeypatch):
    from luxvox.predict import focus

    judge, judged = focus.judge_slices, []

    def until_the_end(pixels, z, *others):
        judged.append(z.tolist())
        return judge(pixels, z, *others)

    def words(out, *more):
        table = str(tmp_path / f"{out}.csv")
        path = str(tmp_path / f"{out}.ome.zarr")
        return ["focus", str(volume), "--mode", "volume", "--csv", table, "--map", path, *more]

    monkeypatch.setattr(focus, "judge_slices", until_the_end)
    assert run_command(words("whole")) == 0
    assert judged == [[0, 1, 2, 3], [4, 5]]

    def until_the_second(pixels, z, *others):
        if 4 in z:
            raise KeyboardInterrupt
        return judge(pixels, z, *others)

    monkeypatch.setattr(focus, "judge_slices", until_the_second)
    assert run_command(words("stopped")) == 130
    assert not (tmp_path / "stopped.ome.zarr").exists()
    assert sorted(mark.name for mark in (tmp_path / "stopped.ome.zarr.run/done").iterdir()) == [
        "000000"
    ]
    judged.clear()
    monkeypatch.setattr(focus, "judge_slices", until_the_end)
    assert run_command(words("stopped", "--resume", "--stain", "others")) == 2
    assert "made for other weights, options or input" in capsys.readouterr().err
    assert run_command(words("stopped", "--resume")) == 0
    assert "1 of 2 blocks of slices skipped" in capsys.readouterr().out
    assert judged == [[4, 5]]
    maps = [open_volume(tmp_path / f"{out}.ome.zarr").read() for out in ("whole", "stopped")]
    assert maps[0].tobytes() == maps[1].tobytes()
    tables = [(tmp_path / f"{out}.csv").read_bytes() for out in ("whole", "stopped")]
    assert tables[0] == tables[1]
    assert run_command(words("stopped", "--resume")) == 0  # nothing is left to be judged
    assert judged == [[4, 5]]
    assert run_command(words("whole")) == 2
    assert "exists already" in capsys.readouterr().err
    assert run_command([*words("whole")[:-2], "--resume"]) == 2
    assert "give the same --map" in capsys.readouterr().err

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile

from luxvox.configs.errors import InputError
from luxvox.data import info
from luxvox.data.info import describe, info_command, sample_intensity
from luxvox.data.open import open_volume
from luxvox.data.save import save_volume


@pytest.fixture
def zyx() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 2**16, (40, 110, 120)).astype(np.uint16)


def test_the_table_says_what_there_is(tmp_path: Path, zyx: np.ndarray, capsys) -> None:
    path = save_volume(zyx, tmp_path / "a.ome.zarr", voxel_size_um=(2.0, 0.5, 0.5))
    rows = dict(describe(open_volume(path)))
    assert rows["format"].startswith("ome-zarr 0.5, uint16")
    assert rows["size z y x"] == "40 x 110 x 120"
    assert rows["voxel size z y x"] == "2 x 0.5 x 0.5 um"
    assert rows["extent z y x"] == "80 x 55 x 60 um"
    assert "chunks 40 x 64 x 64" in rows["level 0"]
    assert rows["level 1"].startswith("40 x 55 x 60, 2 x 1 x 1 um")
    assert f"min {zyx.min()}, median {np.median(zyx):g}" in rows["intensity"]
    assert f"p99.9 {np.percentile(zyx, 99.9):g}, max {zyx.max()}" in rows["intensity"]
    assert "(all of the volume seen)" in rows["intensity"]
    assert "missing" not in rows
    info_command([str(path)])
    assert "2 x 0.5 x 0.5 um" in capsys.readouterr().out


def test_what_is_missing_is_said(tmp_path: Path, zyx: np.ndarray) -> None:
    path = save_volume(zyx, tmp_path / "a.ome.zarr", voxel_size_um=None, shards=(40, 64, 64))
    (path / "0/c/0/1/1").unlink()
    lines = [value for what, value in describe_without_reading(path) if what == "missing"]
    assert any("--voxel-size" in line for line in lines)
    assert any(line.startswith("1 of 4 chunk files of level 0") for line in lines)


def describe_without_reading(path: Path) -> list[tuple[str, str]]:
    """The store is dense, so reading it would fail: take the sample from elsewhere."""
    volume = open_volume(path)
    nothing = info.Intensity(0, 1, 2, 3, 0, 1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(info, "sample_intensity", lambda *_: nothing)
        return describe(volume)


def test_a_large_volume_is_sampled_all_over(tmp_path: Path, monkeypatch) -> None:
    array = np.zeros((60, 70, 80), np.float32)
    array[30:] = 1000
    array[-1, -1, -1] = 5000
    array[0, 0, 0] = np.nan
    tifffile.imwrite(tmp_path / "a.tif", array)
    monkeypatch.setattr(info, "_SAMPLE_VOXELS", 27 * 10**3)
    seen = sample_intensity(open_volume(tmp_path / "a.tif"))
    assert seen.sampled == pytest.approx(27 * 10**3 / array.size, rel=0.3)
    assert (seen.minimum, seen.maximum, seen.not_finite) == (0, 5000, 1)
    assert 0 <= seen.median <= 1000


def test_constant_and_not_finite_volumes_are_pointed_out(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.full((5, 6, 7), 3, np.uint8))
    assert ("beware", "all voxels of the sample are equal") in describe(
        open_volume(tmp_path / "a.tif")
    )
    tifffile.imwrite(tmp_path / "b.tif", np.full((5, 6, 7), np.nan, np.float32))
    rows = describe(open_volume(tmp_path / "b.tif"))
    assert any("210 voxels of the sample are NaN" in value for _, value in rows)


def test_one_unreadable_volume_does_not_hide_the_others(tmp_path: Path, zyx, capsys) -> None:
    tifffile.imwrite(tmp_path / "good.tif", zyx)
    (tmp_path / "bad.tif").write_bytes(b"")
    paths = [str(tmp_path / name) for name in ("bad.tif", "good.tif", "none.tif")]
    with pytest.raises(InputError, match=r"2 of 3 volumes cannot be read: .*bad\.tif.*none\.tif"):
        info_command(paths)
    assert "40 x 110 x 120" in capsys.readouterr().out
    with pytest.raises(InputError, match=r"^[^;]*bad\.tif: "):
        info_command(paths[:1])


def test_a_mask_of_booleans_is_described(tmp_path: Path, zyx: np.ndarray) -> None:
    tifffile.imwrite(tmp_path / "mask.tif", zyx > 2**15)
    assert "max 1" in dict(describe(open_volume(tmp_path / "mask.tif")))["intensity"]

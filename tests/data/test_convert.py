from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile

from luxvox.configs.errors import InputError
from luxvox.data.convert import convert_command
from luxvox.data.open import open_volume


@pytest.fixture
def tczyx() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 5, (2, 2, 30, 100, 120)).astype(np.uint16)


@pytest.fixture
def source(tmp_path: Path, tczyx: np.ndarray) -> str:
    path = tmp_path / "in.ome.tif"
    metadata = {"axes": "TCZYX", "Channel": {"Name": ["DAPI", "GFP"]}}
    tifffile.imwrite(path, tczyx, metadata=metadata, compression="zlib")
    return str(path)


def test_channel_time_and_size_are_carried_over(tmp_path, source, tczyx, capsys) -> None:
    out = tmp_path / "out.ome.zarr"
    convert_command(source, str(out), voxel_size="6 1.62 1.62", channel="GFP", time=1)
    volume = open_volume(out)
    assert volume.format == "ome-zarr 0.5"
    assert volume.voxel_size_um == pytest.approx((6, 1.62, 1.62))
    assert volume.num_channels == 1
    np.testing.assert_array_equal(volume.read()[0], tczyx[1, 1])
    assert "time point 1 of 2" in capsys.readouterr().out


def test_all_channels_older_ngff_and_unknown_size(tmp_path, source, tczyx, capsys) -> None:
    out = tmp_path / "out.zarr"
    convert_command(source, str(out), ngff="0.4")
    volume = open_volume(out)
    assert volume.format == "ome-zarr 0.4"
    assert volume.channel_names == ("DAPI", "GFP")
    assert volume.voxel_size_um is None
    np.testing.assert_array_equal(volume.read(), tczyx[0])
    assert "voxel size unknown" in capsys.readouterr().out
    with pytest.raises(InputError, match="exists already"):
        convert_command(source, str(out))
    assert "writing" not in capsys.readouterr().out
    convert_command(source, str(out), overwrite=True, channel="0")
    assert open_volume(out).num_channels == 1


def test_labels_keep_their_values(tmp_path, tczyx) -> None:
    labels = tczyx[0, 0] * 1000
    tifffile.imwrite(tmp_path / "labels.tif", labels)
    convert_command(str(tmp_path / "labels.tif"), str(tmp_path / "out.zarr"), labels=True)
    volume = open_volume(tmp_path / "out.zarr")
    assert len(volume.levels) > 1
    assert set(np.unique(volume.read(level=1))) <= set(np.unique(labels))


def test_wrong_options_are_one_clear_line(tmp_path, source) -> None:
    out = str(tmp_path / "out.zarr")
    with pytest.raises(InputError, match=r"--voxel-size: found '1 2'"):
        convert_command(source, out, voxel_size="1 2")
    with pytest.raises(InputError, match="no channel 'RFP'"):
        convert_command(source, out, channel="RFP")
    with pytest.raises(InputError, match="no time point 5"):
        convert_command(source, out, time=5)
    assert not Path(out).exists()

"""Intensity normalisation: what must not move the scale, and what must survive the map."""

import numpy as np
import pytest
import torch

from luxvox.configs.errors import InputError
from luxvox.data.intensity_cache import cache_home
from luxvox.data.normalize import (
    IntensityStats,
    denormalize,
    describe,
    measure_intensity,
    normalize,
)
from luxvox.data.open import open_volume
from luxvox.data.save import save_volume
from luxvox.data.tissue import to_blocks

SHAPE = (96, 96, 96)


def tissue(seed: int = 0, shape: tuple[int, int, int] = SHAPE) -> np.ndarray:
    """[Z, Y, X] float64: uneven tissue around 800 with noise of 30."""
    rng = np.random.default_rng(seed)
    z, y, x = np.meshgrid(*(np.linspace(0, 6, side) for side in shape), indexing="ij")
    return 800 + 120 * np.sin(z + y) * np.cos(x) + rng.normal(0, 30, shape)


def with_blobs(volume: np.ndarray, share: float, seed: int = 1) -> np.ndarray:
    """Add 5-voxel bright cubes until they fill `share` of the volume."""
    rng = np.random.default_rng(seed)
    bright = np.zeros(volume.shape, dtype=bool)
    while bright.mean() < share:
        z, y, x = (rng.integers(side - 5) for side in volume.shape)
        bright[z : z + 5, y : y + 5, x : x + 5] = True
    return np.where(bright, volume + 6000, volume)


def stats_of(volume: np.ndarray) -> IntensityStats:
    return describe(to_blocks(volume))


def test_gain_and_offset_do_not_change_the_result():
    volume = with_blobs(tissue(), 0.03)
    changed = volume * 3.7 + 250
    first, second = stats_of(volume), stats_of(changed)
    np.testing.assert_allclose(normalize(volume, first), normalize(changed, second), atol=1e-4)
    assert second.noise == pytest.approx(first.noise, rel=1e-3)
    assert second.variance == pytest.approx(first.variance, rel=1e-3)
    assert first.spread > 50  # a constant would pass the lines above


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.float32, np.float64])
def test_denormalize_is_the_exact_inverse(dtype):
    stats = IntensityStats(523.0, 61.0, 0.1, 1.0, 0.0, 65535.0)
    top = min(65535, np.iinfo(dtype).max if np.dtype(dtype).kind in "iu" else 65535)
    values = np.linspace(0, top, 4096).astype(dtype)
    back = denormalize(normalize(values, stats).astype(np.float64), stats)
    np.testing.assert_allclose(back, values, rtol=3e-6, atol=0.02)
    if np.dtype(dtype).kind in "iu":
        np.testing.assert_array_equal(np.rint(back).astype(dtype), values)
    tensor = torch.from_numpy(values.astype(np.float64))
    torch.testing.assert_close(denormalize(normalize(tensor, stats), stats), tensor)


def test_every_uint16_value_stays_apart():
    """Nothing is clipped: the map is strictly monotone up to the last value of the camera."""
    stats = IntensityStats(300.0, 5.0, 0.1, 1.0, 0.0, 65535.0)
    values = normalize(np.arange(65536, dtype=np.uint16), stats)
    assert (np.diff(values) > 0).all()


def test_numpy_table_and_torch_agree():
    stats = IntensityStats(523.0, 61.0, 0.1, 1.0, 0.0, 65535.0)
    values = np.arange(0, 65536, 7, dtype=np.uint16)
    expected = np.arcsinh((values.astype(np.float64) - 523) / 61)
    for given in (values, values.astype(np.float32), values.astype(np.int64)):
        np.testing.assert_allclose(normalize(given, stats), expected, atol=2e-6)
    torch_values = normalize(torch.from_numpy(values.astype(np.float32)), stats)
    np.testing.assert_allclose(torch_values.numpy(), expected, atol=2e-6)


def test_scale_does_not_depend_on_the_share_of_foreground():
    few, many = (stats_of(with_blobs(tissue(), share)) for share in (0.005, 0.10))
    assert many.spread == pytest.approx(few.spread, rel=0.10)
    assert abs(many.level - few.level) < 0.15 * few.spread


@pytest.mark.parametrize("medium", [0.0, 100.0], ids=["constant padding", "empty medium"])
def test_surroundings_do_not_change_the_constants(medium):
    inside = with_blobs(tissue(), 0.02).round()
    rng = np.random.default_rng(5)
    around = np.full((160, 160, 160), medium)
    if medium:
        around = np.clip(rng.normal(medium, 4, around.shape), 1, None).round()
    around[32:128, 32:128, 32:128] = inside
    alone, embedded = stats_of(inside), stats_of(around)
    assert embedded.level == pytest.approx(alone.level, rel=0.01)
    assert embedded.spread == pytest.approx(alone.spread, rel=0.05)
    assert embedded.noise == pytest.approx(alone.noise, rel=0.15)


@pytest.mark.parametrize("sigma", [10.0, 30.0, 60.0])
def test_noise_is_the_standard_deviation_of_the_noise(sigma):
    clean = tissue() - np.random.default_rng(0).normal(0, 30, SHAPE)
    noisy = clean + np.random.default_rng(9).normal(0, sigma, SHAPE)
    stats = stats_of(noisy)
    added = normalize(noisy, stats) - normalize(clean, stats)
    assert stats.noise == pytest.approx(float(added.std()), rel=0.12)


def test_variance_is_that_of_the_normalised_voxels():
    volume = tissue()
    stats = stats_of(volume)
    assert stats.variance == pytest.approx(float(normalize(volume, stats).var()), rel=0.02)


def test_dark_background_of_a_few_counts_does_not_blow_up():
    """A background of 4 and 5 counts has a MAD of 0; the quantisation step keeps the scale sane."""
    rng = np.random.default_rng(0)
    volume = with_blobs((rng.random(SHAPE) < 0.7).astype(float) + 4, 0.01) // 40
    volume = np.where(volume > 1, volume, (rng.random(SHAPE) < 0.2) + 4).astype(np.uint16)
    stats = stats_of(volume)
    assert 0.3 < stats.spread < 1.5
    values = normalize(volume, stats)
    assert -2 < values.min()
    assert values.max() < 8


def test_some_nan_are_left_out_and_counted():
    volume = tissue().astype(np.float32)
    expected = stats_of(volume)
    holes = np.random.default_rng(3).random(SHAPE) < 0.01
    volume[holes] = np.nan
    volume[0, 0, 0] = np.inf
    stats = stats_of(volume)
    assert stats.nonfinite == pytest.approx(0.01, rel=0.1)
    assert stats.level == pytest.approx(expected.level, rel=0.01)
    assert np.isfinite(stats.maximum)
    values = normalize(volume, stats)
    assert np.isfinite(values).all()
    assert (values[holes] == 0).all()


@pytest.mark.parametrize(
    ("value", "found"), [(7.0, "constant"), (np.nan, "0 finite values")], ids=["constant", "nan"]
)
def test_empty_volumes_are_named(tmp_path, value, found):
    array = np.full((16, 16, 16), value, dtype=np.float32)
    path = save_volume(array, tmp_path / "empty.ome.zarr", voxel_size_um=None)
    with pytest.raises(InputError, match=found) as error:
        measure_intensity(open_volume(path))
    assert "empty.ome.zarr" in str(error.value)
    assert "\n" not in str(error.value)


def test_measured_once_and_anew_when_the_file_changes(tmp_path, monkeypatch):
    monkeypatch.setenv("LUXVOX_HOME", str(tmp_path / "home"))
    path = tmp_path / "a.ome.tif"
    save_volume(tissue(0, (32, 32, 32)).astype(np.uint16), path, voxel_size_um=None)
    first = measure_intensity(open_volume(path))
    (entry,) = (cache_home() / "intensity").iterdir()
    entry.write_text(entry.read_text().replace(str(first.level), "12.5"))
    assert measure_intensity(open_volume(path)).level == 12.5, "not read from the cache"
    assert measure_intensity(open_volume(path), use_cache=False) == first
    entry.write_text("{")  # cut short
    assert measure_intensity(open_volume(path)) == first
    changed = (tissue(0, (32, 32, 32)) * 2).astype(np.uint16)
    save_volume(changed, path, voxel_size_um=None, overwrite=True)
    assert measure_intensity(open_volume(path)).level == pytest.approx(2 * first.level, rel=0.01)


def test_a_cache_that_cannot_be_written_is_passed_over(tmp_path, monkeypatch):
    blocked = tmp_path / "home"
    blocked.write_text("a file where the folder should be")
    monkeypatch.setenv("LUXVOX_HOME", str(blocked))
    path = save_volume(
        tissue(0, (32, 32, 32)).astype(np.uint16), tmp_path / "a.ome.tif", voxel_size_um=None
    )
    assert measure_intensity(open_volume(path)).spread > 0


def test_channels_are_measured_apart_and_large_volumes_by_a_sample(tmp_path):
    volume = tissue(0, (160, 160, 96))
    both = np.stack([volume, 3 * volume]).astype(np.uint16)
    path = save_volume(both, tmp_path / "two.ome.zarr", voxel_size_um=(1, 1, 1), axes="czyx")
    opened = open_volume(path)
    first, second = (measure_intensity(opened, channel) for channel in (0, 1))
    whole = stats_of(volume.astype(np.uint16))
    assert first.level == pytest.approx(whole.level, rel=0.02)
    assert first.spread == pytest.approx(whole.spread, rel=0.1)
    assert second.spread == pytest.approx(3 * first.spread, rel=0.02)


def test_coarser_levels_share_the_constants_but_not_the_noise(tmp_path):
    volume = np.random.default_rng(0).normal(1000, 100, (128, 128, 128)).astype(np.uint16)
    path = save_volume(volume, tmp_path / "a.ome.zarr", voxel_size_um=(1, 1, 1))
    opened = open_volume(path)
    assert len(opened.levels) > 1
    fine, coarse = measure_intensity(opened, 0, 0), measure_intensity(opened, 0, 1)
    assert (coarse.level, coarse.spread) == (fine.level, fine.spread)
    # 2x2x2 averaging divides white noise by sqrt(8); the asinh bends the finer one a little more.
    assert coarse.noise == pytest.approx(fine.noise / np.sqrt(8), rel=0.3)


def test_real_volumes_have_sane_contrast(shared_data):
    from luxvox.data.manifest import open_row, read_dataset

    rows = read_dataset(shared_data / "pretrain" / "dataset.csv").rows[::6]
    for row in rows:
        volume = open_row(row)
        stats = measure_intensity(volume)
        values = normalize(volume.read()[0], stats)
        low, high = np.quantile(values, [0.001, 0.999])
        assert -4 < low < -0.5, row.id
        assert 1 < high < 7, row.id
        assert 0.2 < stats.variance < 4, row.id


@pytest.mark.filterwarnings("error")
def test_numbers_beyond_float32_are_refused_by_name():
    blocks = np.random.default_rng(0).normal(1e300, 1e299, (2, 16, 16, 16))
    with pytest.raises(InputError, match=r"stack: intensities from .* rescale it"):
        describe(blocks, "stack")

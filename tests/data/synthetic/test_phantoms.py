"""Phantoms: repeatable, physically sensible, and shaped as their captions say."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import label as connected
from skimage.measure import regionprops

from luxvox.configs.errors import InputError
from luxvox.data.captions import caption_ids
from luxvox.data.manifest import open_labels, open_row, read_dataset, split_rows
from luxvox.data.synthetic.blobs import draw_blobs
from luxvox.data.synthetic.fibres import draw_fibres
from luxvox.data.synthetic.phantoms import KINDS, make_phantom, specimen_of, write_phantoms
from luxvox.data.synthetic.scene import (
    Grid,
    Optics,
    Structure,
    deposit,
    fill,
    record,
    signed_distance,
)
from luxvox.data.synthetic.tubes import draw_tubes

OPTICS = Optics(
    sigma_um=(1.0, 3.0),
    photons=100.0,
    background=0.1,
    texture=0.0,
    texture_um=20.0,
    attenuation_um=1e9,
    read_noise=2.0,
    counts_per_photon=2.0,
)


def _rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def _bytes_of(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_same_seed_same_bytes_and_samples_do_not_know_the_count(tmp_path: Path) -> None:
    one, two, other = (tmp_path / name for name in ("one", "two", "other"))
    write_phantoms(one, 3, 5, (16, 24, 32))
    write_phantoms(two, 5, 5, (16, 24, 32))
    write_phantoms(other, 3, 6, (16, 24, 32))
    first, more = _bytes_of(one), _bytes_of(two)
    table = "dataset.csv"
    assert {k: v for k, v in more.items() if k in first and k != table} == {
        k: v for k, v in first.items() if k != table
    }
    assert (two / table).read_text().startswith((one / table).read_text())
    changed = _bytes_of(other)
    chunks = [k for k in first if "/c/" in k and "label" not in k]
    assert chunks
    assert all(first[k] != changed.get(k) for k in chunks)


def test_the_list_is_ready_to_train_on(tmp_path: Path) -> None:
    dataset = read_dataset(write_phantoms(tmp_path, 12, 3, (32, 32, 32)))
    train, val = split_rows(dataset, val_fraction=0.2, seed=0)
    assert (len(train), len(val)) == (6, 6)
    assert {row.structure for row in train} == {row.structure for row in val}
    ids, captions = caption_ids(dataset.rows)
    assert min(ids) == 0
    assert len(captions) >= 3
    for row in dataset.rows:
        volume, labels = open_row(row), open_labels(row)
        assert volume.shape == labels.shape == (32, 32, 32)
        assert volume.dtype == np.uint16
        assert volume.voxel_size_um == labels.voxel_size_um == row.voxel_size_um
        image, mask = volume.read()[0].astype(float), labels.read()[0]
        assert set(np.unique(mask)) == {0, 1}
        assert image[mask == 1].mean() > image[mask == 0].mean() + 10


def test_24_phantoms_hold_everything_and_leak_nothing() -> None:
    specimens = [specimen_of(sample, 0) for sample in range(24)]
    both = [[s for s in specimens if s.split == split] for split in ("train", "val")]
    assert [len(part) for part in both] == [18, 6]
    for part in both:
        assert {s.kind for s in part} == set(KINDS)
        assert {s.pattern for s in part} == {0, 1}
        assert len({s.voxel_size_um for s in part}) == 2
    assert {s.group for s in both[0]}.isdisjoint(s.group for s in both[1])
    # Neither voxel size nor pattern gives the kind away.
    for kind in KINDS:
        train = [s for s in both[0] if s.kind == kind]
        assert len({(s.voxel_size_um, s.pattern) for s in train}) == 3


def test_two_samples_of_a_specimen_share_optics_not_content() -> None:
    one, _, first = make_phantom(0, 1, (16, 16, 16))
    two, _, second = make_phantom(1, 1, (16, 16, 16))
    assert first == second
    assert not np.array_equal(one, two)


def _elongation(mask: np.ndarray) -> float:
    """Longest over shortest half axis, median over the larger connected parts."""
    parts, _ = connected(mask)
    ratios = []
    for region in regionprops(parts):
        if region.num_pixels < 60:
            continue
        axes = np.linalg.eigvalsh(np.cov(region.coords.T) + np.eye(3) / 12)
        ratios.append(float(np.sqrt(axes[-1] / axes[0])))
    return float(np.median(ratios))


def test_blobs_are_round_fibres_are_long_tubes_branch() -> None:
    grid = Grid.of_volume((64, 64, 64), (1.5, 1.5, 1.5))
    blobs = draw_blobs(grid, 30e3, 5.0, _rng(1)).label
    fibres = draw_fibres(grid, 5, 0.8, 0.5, _rng(1)).label
    tubes = draw_tubes(grid, 2, 6.5, _rng(0)).label
    assert _elongation(blobs) < 2
    assert _elongation(fibres) > 5
    assert 0.005 < tubes.mean() < 0.3
    assert connected(tubes)[1] <= 3  # a few trees, whole
    # A tube is thicker than a fibre: more of it survives when its skin is taken off.
    inner = [(m & np.roll(m, 1, 0) & np.roll(m, 1, 1) & np.roll(m, 1, 2)).sum() / m.sum()
             for m in (tubes, fibres)]  # fmt: skip
    assert inner[0] > 0.4 > inner[1]


def test_a_bundle_points_one_way() -> None:
    grid = Grid.of_volume((64, 64, 64), (1.5, 1.5, 1.5))

    def alignment(spread: float) -> float:
        parts = [draw_fibres(grid, 1, 0.8, spread, _rng(seed)).label for seed in range(3)]
        together = draw_fibres(grid, 12, 0.8, spread, _rng(3)).label
        assert all(part.any() for part in parts)
        axes = np.linalg.eigvalsh(np.cov(np.argwhere(together).T))
        return float(axes[-1] / axes[0])

    assert alignment(0.1) > 3 * alignment(1.0)


def test_a_ball_has_its_volume_at_any_pitch() -> None:
    for pitch_um in (1.0, 2.0):
        grid = Grid((40, 40, 40), pitch_um, 1)
        centre = np.array([[20.3, 19.6, 20.1]]) * pitch_um
        radius_um = 9 * pitch_um
        distance = signed_distance(grid, centre, np.array([radius_um]))
        volume = fill(distance, pitch_um).sum() * pitch_um**3
        assert volume == pytest.approx(4 / 3 * np.pi * radius_um**3, rel=0.01)


def test_thin_dye_is_conserved() -> None:
    grid = Grid((20, 20, 20), 1.5, 1)
    points = _rng().uniform(5, 25, (100, 3))
    field = deposit(grid, points, np.full(100, 0.3))
    assert field.sum() * 1.5**3 == pytest.approx(30.0, rel=1e-5)


def test_camera_and_noise() -> None:
    grid = Grid((24, 48, 48), 1.0, 1)
    dark = Structure(grid.empty(), np.zeros(grid.shape, bool))
    image, _ = record(dark, grid, OPTICS, _rng())
    # 10 photons of tissue x 2 counts + offset 100; Poisson variance 10 x 2^2, read noise 2^2.
    assert image.dtype == np.uint16
    assert image.mean() == pytest.approx(120, abs=0.2)
    assert image.var() == pytest.approx(44, rel=0.05)


def test_blur_is_wider_along_z_and_light_fades_with_depth() -> None:
    bright = Optics(**{**OPTICS.__dict__, "photons": 1e5, "background": 0.0})
    grid = Grid((41, 41, 41), 1.0, 1)
    dye = grid.empty()
    dye[20, 20, 20] = 1.0
    image, _ = record(Structure(dye, dye > 0), grid, bright, _rng())
    light = np.clip(image.astype(float) - bright.offset - 10, 0, None)
    spread = [
        np.sqrt(np.average((np.arange(41) - 20.0) ** 2, weights=light.sum(tuple({0, 1, 2} - {a}))))
        for a in range(3)
    ]
    assert spread[0] == pytest.approx(3.0, rel=0.15)
    assert spread[1] == pytest.approx(1.0, rel=0.15)
    assert spread[2] == pytest.approx(1.0, rel=0.15)
    fading = Optics(**{**OPTICS.__dict__, "attenuation_um": 20.0})
    full = Structure(grid.empty(1.0), np.ones(grid.shape, bool))
    signal = record(full, grid, fading, _rng())[0].mean(axis=(1, 2)) - fading.offset
    assert signal[20] / signal[0] == pytest.approx(np.exp(-1), rel=0.02)


def test_planes_of_an_anisotropic_volume_are_samples() -> None:
    grid = Grid.of_volume((8, 10, 12), (4.5, 1.5, 1.5))
    assert grid.shape == (24, 10, 12)
    field = np.arange(24.0)[:, None, None] * np.ones((1, 10, 12))
    assert grid.pick_planes(field)[:, 0, 0].tolist() == [1, 4, 7, 10, 13, 16, 19, 22]


def test_refusals(tmp_path: Path) -> None:
    for count, seed, size in ((0, 0, (8, 8, 8)), (1, -1, (8, 8, 8)), (1, 0, (0, 8, 8))):
        with pytest.raises(InputError, match="phantoms"):
            write_phantoms(tmp_path, count, seed, size)
    table = write_phantoms(tmp_path, 1, 0, (8, 8, 8))
    with pytest.raises(InputError, match="stands there already"):
        write_phantoms(tmp_path, 1, 0, (8, 8, 8))
    assert write_phantoms(tmp_path, 1, 0, (8, 8, 8), overwrite=True) == table
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        write_phantoms(tmp_path / "file" / "below", 1, 0)

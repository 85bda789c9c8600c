"""Painted labels: sizes in um, places with foreground, pieces, centrelines, real masks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import label

from luxvox.data.synthetic.grid import Grid
from luxvox.data.synthetic.painted import PaintedRanges, draw_painted

GRID = Grid.of_volume((40, 48, 56), (1.5, 1.5, 1.5))
FLAT = Grid.of_volume((15, 48, 56), (4.0, 1.5, 1.5))
EXACT = PaintedRanges(scale=(1.0, 1.0), unevenness=(0.0, 0.0))


def _rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def _tubes(voxel_size_um: tuple[float, float, float], radius_um: float = 6.0) -> np.ndarray:
    """Two straight tubes along x, 30 um apart, in 60 x 72 x 84 um."""
    shape = [round(s / v) for s, v in zip((60, 72, 84), voxel_size_um, strict=True)]
    z, y = ((np.arange(n) + 0.5) * v for n, v in zip(shape[:2], voxel_size_um[:2], strict=True))
    tubes = [(z[:, None] - 30) ** 2 + (y - at) ** 2 < radius_um**2 for at in (20, 50)]
    mask = (tubes[0] | tubes[1])[:, :, None]
    return np.broadcast_to(mask, shape).astype(np.uint8) * 100


def test_same_seed_same_bytes() -> None:
    labels = _tubes((2.0, 2.0, 2.0))
    one, two, other = (
        draw_painted(GRID, _rng(s), labels, (2.0, 2.0, 2.0), PaintedRanges()) for s in (1, 1, 2)
    )
    assert one.density.tobytes() == two.density.tobytes()
    assert one.instances.tobytes() == two.instances.tobytes()
    assert one.density.tobytes() != other.density.tobytes()


@pytest.mark.parametrize("grid", [GRID, FLAT])
@pytest.mark.parametrize("voxel_size_um", [(2.0, 2.0, 2.0), (3.0, 2.0, 2.0), (1.5, 1.0, 1.0)])
def test_tubes_keep_their_size_number_and_middle(
    grid: Grid, voxel_size_um: tuple[float, float, float]
) -> None:
    drawing = draw_painted(grid, _rng(), _tubes(voxel_size_um), voxel_size_um, EXACT)
    wanted = 2 * np.pi * 6.0**2 * grid.size_um[2]
    voxel = float(np.prod(grid.pitch_um))
    assert drawing.density.sum() * voxel == pytest.approx(wanted, rel=0.15)
    assert drawing.instances.max() == 2
    assert label(drawing.instances > 0)[1] == 2
    assert drawing.centreline is not None
    length = drawing.centreline.sum() * grid.pitch_um[2]
    assert length == pytest.approx(2 * grid.size_um[2], rel=0.15)
    z, y, _ = np.nonzero(drawing.centreline)
    at = np.stack([(z + 0.5) * grid.pitch_um[0], (y + 0.5) * grid.pitch_um[1]], axis=1)
    # The place of the crop is drawn: the tubes are 30 um apart wherever it lies.
    assert np.ptp(at[:, 1]) == pytest.approx(30.0, abs=3.5)
    assert drawing.words == {
        "amount": "of medium density", "calibre": "wide", "pattern": "in separate pieces"
    }  # fmt: skip


def test_scale_stretches_the_structure() -> None:
    labels = _tubes((1.5, 1.5, 1.5))[:, :27]  # one tube
    small = Grid.of_volume((20, 12, 20), (1.5, 1.5, 1.5))
    for scale in (0.8, 1.2):
        ranges = EXACT.model_copy(
            update={"scale": (scale, scale), "tries": 200, "least_share": 1.0}
        )
        drawing = draw_painted(small, _rng(), labels, (1.5, 1.5, 1.5), ranges)
        thickness = (drawing.instances > 0).sum(axis=0).max() * 1.5
        assert thickness == pytest.approx(12.0 * scale, abs=2.0)


def test_a_place_with_foreground_is_found() -> None:
    labels = np.zeros((200, 60, 60), np.uint8)
    labels[:40] = np.tile(_tubes((2.0, 2.0, 2.0))[:30, :30, :30] > 0, (2, 2, 2))[:40]
    found = [
        draw_painted(GRID, _rng(s), labels, (2.0, 2.0, 2.0), PaintedRanges()).instances.any()
        for s in range(10)
    ]
    assert np.mean(found) > 0.8


def test_dye_lies_in_the_label_and_varies() -> None:
    labels = _tubes((2.0, 2.0, 2.0))
    drawing = draw_painted(
        GRID, _rng(3), labels, (2.0, 2.0, 2.0), PaintedRanges(unevenness=(0.3, 0.3))
    )
    inside = drawing.instances > 0
    assert drawing.density[inside].mean() > 0.6
    assert drawing.density[~inside].mean() < 0.03
    even = draw_painted(GRID, _rng(3), labels, (2.0, 2.0, 2.0), EXACT)
    assert drawing.density[inside].std() > even.density[even.instances > 0].std() + 0.05


def test_labels_smaller_than_the_grid_and_empty_ones() -> None:
    small = _tubes((2.0, 2.0, 2.0))[10:20, 5:15, :10]
    assert draw_painted(GRID, _rng(), small, (2.0, 2.0, 2.0), EXACT).instances.any()
    nothing = draw_painted(GRID, _rng(), np.zeros_like(small), (2.0, 2.0, 2.0), EXACT)
    assert not nothing.instances.any()
    assert nothing.density.max() == 0.0
    everything = draw_painted(GRID, _rng(), np.ones_like(small), (2.0, 2.0, 2.0), EXACT)
    assert everything.density.min() > 0.9


def test_real_vessel_masks_keep_their_share(shared_data: Path) -> None:
    nibabel = pytest.importorskip("nibabel")
    path = shared_data / "segment" / "label_only_vessels" / "spimquant_vessels_mask.nii.gz"
    if not path.is_file():
        pytest.skip(f"{path.name} is not on this machine")
    labels = np.asarray(nibabel.load(path).dataobj).T
    shares = []
    for seed in range(3):
        drawing = draw_painted(GRID, _rng(seed), labels, (2.75, 1.625, 1.625), EXACT)
        shares.append((drawing.instances > 0).mean())
        assert drawing.centreline is not None
        assert drawing.centreline.any()
    assert np.mean(shares) == pytest.approx((labels > 0).mean(), rel=0.7)

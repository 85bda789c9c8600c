"""Objects of a volume that is numbered block by block: those that there are in one piece."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.ndimage import distance_transform_edt

from luxvox.configs.errors import InputError
from luxvox.data.open import open_volume
from luxvox.data.save import save_volume
from luxvox.predict.block_output import BlockOutput
from luxvox.predict.blockwise_request import request_task
from luxvox.predict.instances import split_objects
from luxvox.predict.volume import predict_volume

from .small_model import toy_weights

LABELS = BlockOutput(what="labels")


def nuclei(shape: tuple[int, int, int]) -> np.ndarray:
    """Touching balls over every face, as an image in which a threshold finds them."""
    rng = np.random.default_rng(3)
    axes = np.ogrid[tuple(map(slice, shape))]
    image = np.full(shape, 100, np.float32)
    for centre in rng.uniform(4, np.array(shape) - 4, (24, 3)):
        partner = centre + rng.normal(size=3) * 5
        for at in (centre, partner):
            image[sum((axis - c) ** 2 for axis, c in zip(axes, at, strict=True)) < 5.5**2] = 1000
    return (image + rng.normal(0, 5, shape)).astype(np.uint16)


class Bright(torch.nn.Module):
    """Foreground where the normalised image is bright."""

    def forward(self, tiles: torch.Tensor) -> torch.Tensor:
        return (tiles - 4).sigmoid()


def test_objects_are_one_across_faces_whatever_the_blocks(blocks, tmp_path: Path):
    image = nuclei((24, 100, 130))
    path = save_volume(image, tmp_path / "in.ome.zarr", voxel_size_um=(1, 1, 1))
    whole = split_objects(image > 500, (1.0, 1.0, 1.0))
    numbered = []
    for side in (64, 96, 128):
        request = blocks.request_of(
            path, tmp_path / f"{side}.ome.zarr", network=Bright(), output=LABELS,
            instances=True, block=(side, side, side),
        )  # fmt: skip
        metrics = blocks.predict_blocks(request)
        found = blocks.voxels(request.out)[0]
        assert metrics["objects"] == found.max() == len(np.unique(found)) - 1 == whole.max()
        assert found.dtype == np.uint32
        assert np.array_equal(found > 0, image > 500)
        with pytest.raises(InputError, match="made for other weights"):
            blocks.predict_blocks(replace(request, instances=False), resume=True)
        # The same objects; in a clump beyond the margin a few voxels move.
        pairs, voxels = np.unique(
            np.stack([found[found > 0], whole[found > 0]]), axis=1, return_counts=True
        )
        assert np.sort(voxels)[-int(whole.max()) :].sum() > 0.99 * voxels.sum()
        assert len(np.unique(pairs[0])) == len(np.unique(pairs[1])) == whole.max()
        numbered.append(found)
    # Numbers go by the first voxel, so that they are the same whatever the blocks.
    first = [np.unique(found, return_index=True)[1][1:] for found in numbered]
    assert all((np.diff(places) > 0).all() for places in first)
    for found in numbered[1:]:
        assert (found == numbered[0])[found > 0].mean() > 0.99


def deep_nuclei(shape: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of balls that lie far inside each other, and the depth inside each, 0 to 1."""
    rng = np.random.default_rng(5)
    axes = np.ogrid[tuple(map(slice, shape))]
    centres = []
    for centre in rng.uniform(6, np.array(shape) - 6, (12, 3)):
        step = rng.normal(size=3)
        centres += [centre, centre + 6 * step / np.linalg.norm(step)]
    far = np.stack([sum((a - c) ** 2 for a, c in zip(axes, at, strict=True)) for at in centres])
    numbers = np.where(far.min(0) < 6**2, far.argmin(0) + 1, 0)
    depth = np.zeros(shape, np.float32)
    for number in range(1, len(centres) + 1):
        own = numbers == number
        inside = np.asarray(distance_transform_edt(np.pad(own, 1)))[1:-1, 1:-1, 1:-1]
        depth[own] = (inside / inside.max())[own]
    return numbers, depth


class Deep(torch.nn.Module):
    """Foreground, and a depth, from how bright the normalised image is."""

    def __init__(self, background: float, deepest: float) -> None:
        super().__init__()
        self.background, self.deepest = background, deepest

    def forward(self, tiles: torch.Tensor) -> torch.Tensor:
        above = (tiles.sinh() - self.background) / (self.deepest - self.background)
        return torch.cat([(above > 0.1).float(), 1.25 * above - 0.25], 1)


def test_a_learnt_depth_splits_by_blocks_as_in_one_piece(blocks, tmp_path):
    from luxvox.data.normalize import measure_intensity

    numbers, depth = deep_nuclei((24, 72, 130))
    mask, background = numbers > 0, np.arange(130) % 3  # what noise there is
    image = np.where(mask, 1000 + 4000 * depth, background).astype(np.uint16)
    path = save_volume(image, tmp_path / "in.ome.zarr", voxel_size_um=(1, 1, 1))
    stats = measure_intensity(open_volume(path))
    network = Deep(-stats.level / stats.spread, (5000 - stats.level) / stats.spread)
    whole = split_objects(mask, (1.0, 1.0, 1.0), depth)
    by_shape = split_objects(mask, (1.0, 1.0, 1.0))
    assert by_shape.max() < 0.8 * whole.max()
    for side in (64, 96, 128):
        request = blocks.request_of(
            path, tmp_path / f"{side}.ome.zarr", network=network, instances=True,
            output=BlockOutput(what="labels", depth=True), block=(side, side, side),
        )  # fmt: skip
        assert blocks.predict_blocks(request)["objects"] == whole.max()
        found = blocks.voxels(request.out)[0]
        assert np.array_equal(found > 0, mask)
        pairs, voxels = np.unique(np.stack([found[mask], whole[mask]]), axis=1, return_counts=True)
        assert np.sort(voxels)[-int(whole.max()) :].sum() > 0.99 * voxels.sum()
        assert len(np.unique(pairs[0])) == len(np.unique(pairs[1])) == whole.max()


def test_weights_with_a_distance_channel_split_by_it(blocks, tmp_path):
    weights = toy_weights()
    volume = open_volume(blocks.smooth_volume(tmp_path / "in.ome.zarr", (16, 24, 160)))
    request = request_task(weights, volume, tmp_path / "out.ome.zarr", instances=True)
    metrics = blocks.predict_blocks(replace(request, skip_empty=False))
    inside = predict_volume(weights, volume, instances=True)
    found = blocks.voxels(request.out)[0]
    assert ((found > 0) == (inside > 0)).mean() > 0.999  # rounding at the threshold
    assert metrics["objects"] == found.max()
    # Noise, of all shapes and sizes: nearly the same objects, and others than those by shape.
    assert abs(int(found.max()) - int(inside.max())) < 0.01 * inside.max()
    by_shape = split_objects(found > 0, volume.voxel_size_um)
    assert abs(int(by_shape.max()) - int(inside.max())) > 0.1 * inside.max()
    assert not request_task(weights, volume, tmp_path / "mask.ome.zarr").output.depth

"""Objects that touch are cut; what is one object stays one."""

import numpy as np
import pytest

from luxvox.predict.instances import split_objects

GRID = np.mgrid[:24, :40, :40]


def ball(centre, radius, stretch=(1.0, 1.0, 1.0)):
    far = sum(((a - c) * s) ** 2 for a, c, s in zip(GRID, centre, stretch, strict=True))
    return far <= radius**2


def test_two_balls_that_touch_are_two():
    left, right = ball((12, 20, 14), 7), ball((12, 20, 25), 7)
    objects = split_objects(left | right)
    assert objects.dtype == np.uint32
    assert set(np.unique(objects)) == {0, 1, 2}
    assert ((objects > 0) == (left | right)).all()
    assert len(np.unique(objects[left & ~right])) == 1
    assert np.unique(objects[left & ~right]) != np.unique(objects[right & ~left])


def test_one_object_stays_one():
    assert split_objects(ball((12, 20, 20), 7)).max() == 1
    tube = np.zeros((24, 40, 40), dtype=bool)
    tube[10:14, 18:22] = True
    tube[9:15, 17:23, 10:14] = True  # of uneven width
    assert split_objects(tube).max() == 1
    assert split_objects(np.ones((8, 8, 8), dtype=bool)).max() == 1


def test_single_voxels_and_nothing():
    mask = np.zeros((9, 9, 9), dtype=bool)
    assert split_objects(mask).max() == 0
    mask[1, 1, 1] = mask[5, 5, 5] = mask[5, 5, 6] = True
    objects = split_objects(mask)
    assert objects.max() == 2
    assert objects[5, 5, 5] == objects[5, 5, 6] != objects[1, 1, 1]


def test_distances_are_measured_in_um():
    # Round in um, flat in voxels: voxels of 3 um along z.
    flat = ball((12, 20, 14), 7, (3.0, 1.0, 1.0)) | ball((12, 20, 25), 7, (3.0, 1.0, 1.0))
    assert split_objects(flat, (3.0, 1.0, 1.0)).max() == 2


@pytest.mark.parametrize("cut", [10, 30])
def test_a_learnt_distance_decides(cut):
    tube = np.zeros((24, 40, 40), dtype=bool)
    tube[10:14, 18:22] = True
    distance = np.minimum(np.abs(GRID[2] - cut), 8).astype(np.float32)
    objects = split_objects(tube, None, distance)
    assert objects.max() == 2
    assert len(np.unique(objects[12, 20, : cut - 1])) == 1
    assert objects[12, 20, 0] != objects[12, 20, -1]

"""Overlap, surfaces and objects: by hand, MONAI as judge, ignored voxels change nothing."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from luxvox.configs.errors import InputError
from luxvox.models.metrics.objects import components, matched_iou, object_metrics, object_overlaps
from luxvox.models.metrics.overlap import cldice, dice
from luxvox.models.metrics.segmentation import segmentation_metrics
from luxvox.models.metrics.skeleton import skeleton
from luxvox.models.metrics.surface import normalised_surface_distance

VOXEL_UM = (4.0, 1.5, 1.0)


def box(*sides, shape=(12, 20, 24)):
    mask = np.zeros(shape, dtype=bool)
    mask[tuple(slice(*side) for side in sides)] = True
    return mask


def random_masks(seed, shape=(12, 20, 24)):
    generator = np.random.default_rng(seed)
    return [gaussian_filter(generator.normal(size=shape), 1.5) > 0.05 for _ in range(2)]


def monai(mask):
    return torch.from_numpy(mask)[None, None].float()


EMPTY = box((0, 0), (0, 0), (0, 0))
CUBE = box((2, 6), (2, 6), (2, 6))


def test_dice_by_hand_and_monai():
    assert dice(box((2, 6), (2, 6), (4, 8)), CUBE) == 0.5
    assert (dice(EMPTY, EMPTY), dice(CUBE, EMPTY), dice(EMPTY, CUBE)) == (1, 0, 0)
    from monai.metrics import compute_dice

    found, truth = random_masks(0)
    assert dice(found, truth) == pytest.approx(compute_dice(monai(found), monai(truth)).item())


def test_cldice_looks_at_centrelines():
    tube = box((3, 6), (8, 11), (2, 22))
    thick = box((2, 7), (7, 12), (2, 22))
    half = box((3, 6), (8, 11), (2, 12))
    assert cldice(tube, tube) == 1
    assert dice(thick, tube) < 0.55
    assert cldice(thick, tube) > 0.9  # the centreline of the thick one lies in the tube
    sensitivity = half[skeleton(tube)].mean()  # precision is 1
    assert cldice(half, tube) == pytest.approx(2 * sensitivity / (1 + sensitivity))
    assert 0.4 < sensitivity < 0.6
    assert cldice(tube, box((8, 11), (14, 17), (2, 22))) == 0
    assert (cldice(EMPTY, EMPTY), cldice(tube, EMPTY), cldice(EMPTY, tube)) == (1, 0, 0)


@pytest.mark.parametrize("thickness", [1, 2, 3, 4, 5])
def test_skeleton_of_a_rod_of_any_thickness_runs_along_it(thickness):
    rod = box((3, 3 + thickness), (8, 8 + thickness), (2, 22))
    cube = box((3, 3 + thickness), (14, 14 + thickness), (2, 2 + thickness))
    thin = skeleton(rod | cube)
    assert not (thin & ~(rod | cube)).any()
    assert (thin & cube).any()
    along = np.unique(np.nonzero(thin & rod)[2])
    assert len(along) >= 20 - thickness
    assert len(along) == (thin & rod).sum()


def test_skeleton_keeps_every_component():
    mask = np.random.default_rng(0).random((16, 16, 16)) < 0.12
    labels = components(mask)
    assert set(labels[skeleton(mask)]) == set(range(1, labels.max() + 1))
    assert not skeleton(EMPTY).any()
    assert skeleton(np.ones((1, 10, 10), dtype=bool)).any()


def test_surface_distance_by_hand():
    # One slice thick: each voxel is surface, and the other one is 2 slices of 4 um away.
    upper, lower = box((4, 5), (5, 15), (5, 15)), box((6, 7), (5, 15), (5, 15))
    assert normalised_surface_distance(upper, lower, VOXEL_UM, 7.9) == 0
    assert normalised_surface_distance(upper, lower, VOXEL_UM, 8) == 1
    # The same shift along x is 2 um: only the two columns on each far side are off by more than 1.
    shifted = box((4, 5), (5, 15), (7, 17))
    assert normalised_surface_distance(upper, shifted, VOXEL_UM, 0.9) == pytest.approx(0.8)
    assert normalised_surface_distance(upper, shifted, VOXEL_UM, 1) == pytest.approx(0.9)
    assert normalised_surface_distance(EMPTY, EMPTY, VOXEL_UM, 1.0) == 1
    assert normalised_surface_distance(CUBE, EMPTY, VOXEL_UM, 1.0) == 0
    assert normalised_surface_distance(EMPTY, CUBE, VOXEL_UM, 1.0) == 0


@pytest.mark.parametrize("seed", range(3))
def test_surfaces_agree_with_monai(seed):
    from monai.metrics import compute_surface_dice

    found, truth = random_masks(seed)
    for tolerance in (0.0, 1.5, 4.0):
        expected = compute_surface_dice(
            monai(found), monai(truth), [tolerance], include_background=True, spacing=VOXEL_UM
        )
        ours = normalised_surface_distance(found, truth, VOXEL_UM, tolerance)
        assert ours == pytest.approx(expected.item(), abs=1e-6)


def test_objects_by_hand():
    truth = np.zeros((1, 4, 12), dtype=int)
    truth[0, :, 0:3], truth[0, :, 4:7], truth[0, :, 8:12] = 5, 9, 2
    found = np.zeros_like(truth)
    found[0, :3, 0:3] = 1  # IoU 9/12
    found[0, :2, 4:7] = 2  # IoU 6/12: not ABOVE 0.5
    found[0, 0, 11] = 7  # IoU 1/16
    scores = object_metrics(found, truth, thresholds=(0.5, 0.3, 0.0))
    assert scores["object_f1"] == pytest.approx(1 / 3)
    assert scores["panoptic_quality"] == pytest.approx(0.75 / 3)
    assert scores["object_f1_at_0.3"] == pytest.approx(2 / 3)
    assert scores["panoptic_quality_at_0.3"] == pytest.approx((0.75 + 0.5) / 3)
    assert scores["object_f1_at_0"] == 1
    nothing = np.zeros_like(truth)
    assert object_metrics(nothing, nothing) == {"object_f1": 1, "panoptic_quality": 1}
    assert object_metrics(found, nothing) == {"object_f1": 0, "panoptic_quality": 0}
    assert object_metrics(nothing, truth) == {"object_f1": 0, "panoptic_quality": 0}


def test_low_thresholds_are_matched_optimally():
    # 4 overlaps true 1 best, but only 4 overlaps true 2: greedy matching finds one pair.
    truth = np.array([[[1] * 6 + [2] * 5 + [0] * 3]])
    found = np.array([[[3] * 2 + [4] * 7 + [0] * 5]])
    assert matched_iou(object_overlaps(found, truth), 0.2) == pytest.approx([3 / 9, 2 / 6])
    assert object_overlaps(found, truth).iou.max() == pytest.approx(4 / 9)
    assert object_metrics(found, truth, thresholds=(0.2,))["object_f1"] == 1


@pytest.mark.parametrize("seed", range(3))
def test_low_thresholds_agree_with_one_assignment_over_all_objects(seed):
    from scipy.optimize import linear_sum_assignment

    generator = np.random.default_rng(seed)
    found, truth = (np.repeat(generator.integers(0, 30, 200), 5)[None, None] for _ in range(2))
    truth = np.roll(np.where(generator.random(truth.shape) < 0.7, found, truth), 3, axis=2)
    overlaps = object_overlaps(found, truth)
    table = np.zeros((31, 31))
    table[tuple(overlaps.pairs.T)] = np.where(overlaps.iou > 0.1, overlaps.iou, 0)
    best = table[linear_sum_assignment(np.where(table > 0, 100 + table, 0), maximize=True)]
    matched = matched_iou(overlaps, 0.1)
    assert len(matched) == (best > 0).sum() > 5
    assert matched.sum() == pytest.approx(best.sum())


@pytest.mark.parametrize("threshold", [0.5, 0.3])
def test_panoptic_quality_agrees_with_monai(threshold):
    from monai.metrics.panoptic_quality import compute_panoptic_quality

    generator = np.random.default_rng(4)
    truth, found = np.zeros((2, 8, 40, 40), dtype=np.int64)
    for label in range(1, 13):
        z, y, x = generator.integers(0, (4, 34, 34))
        truth[z : z + 4, y : y + 5, x : x + 5] = label
        y, x = max(y - label % 2, 0), x + 1 + label % 3 // 2
        found[z : z + 4, y : y + 5, x : x + 5] = label
    expected = compute_panoptic_quality(
        torch.from_numpy(found), torch.from_numpy(truth), match_iou_threshold=threshold
    )
    scores = object_metrics(found, truth, thresholds=(threshold,))
    assert 0.2 < scores["panoptic_quality"] < 0.95
    assert scores["panoptic_quality"] == pytest.approx(float(expected), abs=1e-5)


def test_family_has_the_names_of_result_files():
    scores = segmentation_metrics(*random_masks(1), VOXEL_UM)
    names = {"dice", "cldice", "nsd", "object_f1", "panoptic_quality"}
    assert set(scores) == names | {"object_f1_at_0.1", "panoptic_quality_at_0.1"}
    assert all(0 < scores[name] < 1 for name in ("dice", "cldice", "nsd"))
    assert "nsd" not in segmentation_metrics(*random_masks(1), None)
    perfect = segmentation_metrics(CUBE, CUBE, VOXEL_UM)
    assert set(perfect.values()) == {1.0}
    assert set(segmentation_metrics(EMPTY, EMPTY, VOXEL_UM).values()) == {1.0}
    assert set(segmentation_metrics(EMPTY, CUBE, VOXEL_UM).values()) == {0.0}


def test_several_classes_give_each_and_the_mean():
    truth = np.where(CUBE, 1, np.where(box((8, 10), (2, 6), (2, 6)), 2, 0))
    found = np.where(box((2, 6), (2, 6), (4, 8)), 1, 0)
    scores = segmentation_metrics(found, truth, VOXEL_UM, classes=3)
    assert [scores[f"dice/{label}"] for label in (1, 2, 3)] == [0.5, 0, 1]
    assert scores["dice"] == 0.5
    assert scores["nsd/2"] == 0


@pytest.mark.parametrize("seed", range(2))
def test_what_does_not_count_changes_nothing(seed):
    generator = np.random.default_rng(seed)
    found, truth = (mask.astype(np.int64) for mask in random_masks(seed))
    counts = gaussian_filter(generator.normal(size=truth.shape), 2) > -0.05
    before = segmentation_metrics(found, truth, VOXEL_UM, counts)
    assert before != segmentation_metrics(found, truth, VOXEL_UM)
    for array in (found, truth):
        array[~counts] = generator.choice([-1, 0, 1, 255], size=int((~counts).sum()))
    assert segmentation_metrics(found, truth, VOXEL_UM, counts) == before


def test_mistakes_are_one_line():
    with pytest.raises(InputError, match="shape"):
        dice(CUBE[:-1], CUBE)
    with pytest.raises(InputError, match=r"0\.\.255.*0\.\.1"):
        segmentation_metrics(CUBE, CUBE * 255, VOXEL_UM)
    with pytest.raises(InputError, match="threshold it"):
        segmentation_metrics(CUBE * 0.3, CUBE, VOXEL_UM)
    with pytest.raises(InputError, match="voxel size"):
        segmentation_metrics(CUBE, CUBE, (0.0, 1.0, 1.0))
    with pytest.raises(InputError, match="counts"):
        dice(CUBE, CUBE, CUBE.astype(int))
    with pytest.raises(InputError, match="IoU threshold"):
        object_metrics(CUBE, CUBE, thresholds=(1.0,))

"""Scores, their inverse, depth of field, and when there are micrometres."""

from __future__ import annotations

import numpy as np
import pytest

from luxvox.configs.errors import InputError
from luxvox.data.focus_labels import (
    FocusUnits,
    distance_of_score,
    focus_score,
    full_depth_of_field_um,
)

KNOWN = FocusUnits(0.5, 520.0, 1.33, (2.0, 0.5, 0.5))


def test_scores_are_those_of_the_older_workflow():
    assert focus_score([0, -1, 8, -10]) == pytest.approx([1, 0.8, 0.0588235, 0.0384615], abs=1e-6)
    assert focus_score(3.0, sigma=3.0) == pytest.approx(0.5)


def test_the_inverse_gives_the_distance_back():
    distance = np.linspace(0, 50, 101)
    assert distance_of_score(focus_score(distance, 1.7), 1.7) == pytest.approx(distance)


@pytest.mark.parametrize("score", [0.0, -0.1, 1.77, np.nan])
def test_no_distance_belongs_to_other_scores(score):
    with pytest.raises(InputError, match="above 0 and at most 1"):
        distance_of_score([0.5, score])


@pytest.mark.parametrize("sigma", [0.0, -1.0, np.inf, np.nan])
def test_sigma_is_above_zero(sigma):
    with pytest.raises(InputError, match="sigma"):
        focus_score(1.0, sigma)


def test_depth_of_field_by_hand():
    # 0.52 * 1.33 / 0.25 = 2.7664; 1.33 * 0.5 / 0.5 = 1.33
    assert full_depth_of_field_um(0.5, 0.52, 1.33, 0.5) == pytest.approx(4.0964)
    assert KNOWN.depth_of_field_um == pytest.approx(4.0964)
    assert KNOWN.distances_um([-3, 2]) == pytest.approx([-6, 4])


@pytest.mark.parametrize(("na", "pixel"), [(1.4, 0.5), (0.0, 0.5), (0.5, 0.0)])
def test_impossible_lenses_are_refused(na, pixel):
    with pytest.raises(InputError):
        full_depth_of_field_um(na, 0.5, 1.33, pixel)


@pytest.mark.parametrize("name", ["na", "wavelength_nm", "refractive_index", "voxel_size_um"])
def test_there_are_no_micrometres_while_anything_is_missing(name):
    units = FocusUnits(**{**vars(KNOWN), name: None})
    assert units.missing == (name,)
    assert units.z_step_um is None
    assert units.depth_of_field_um is None
    assert units.distances_um([1.0]) is None

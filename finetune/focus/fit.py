"""`luxvox focus-fit`: features and scores in, a fit out that knows how good it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...configs.errors import InputError
from ...data.focus_labels import SIGMA
from ...data.focus_lists import join_scores, read_focus_list, write_scores
from ...data.focus_row import FocusRow, labelled_scores, score_unit
from ...predict.focus_calibration import Calibration, Residuals
from ...predict.focus_fit import FocusFit, calibration_name, load_fit, save_fit
from .calibrate import Measured, fit_calibration, recalibrate
from .ridge import ALPHAS, LeftOut, fit_ridge, leave_out, random_folds
from .table import FeatureTable, moved_parts, read_table


def focus_fit_command(
    features: str,
    scores: str,
    out: str | Path,
    sigma: float = SIGMA,
    base: str | None = None,
    stacks: int = 5,
) -> FocusFit:
    """Fit, judge and save; prints the numbers, and what follows from them.

    Args:
        features: a table of `luxvox focus-features`.
        scores: a list of slices with scores, `best_z` or levels; or the folder of the stacks.
        out: folder of the fit. Its `focus_scores.csv` holds the scores of slices left out.
        sigma: distance at which the score is a half, where scores are made from z.
        base: a fit to calibrate anew in um; its regression stays.
        stacks: how many to do that with.

    Returns:
        The fit.

    Raises:
        InputError: anything that the user can mend.
    """
    table, rows, given = joined(read_table(features), scores)
    truth = labelled_scores(rows, sigma)
    if base is None:
        fit, left = fit_table(table, rows, given, truth, sigma)
        print(_told(fit))
    else:
        fit, left = _again(load_fit(base), rows, given, stacks), None
    recipe = None if fit.recipe is None else moved_parts(fit.recipe, Path(out))
    save_fit(out, replace(fit, recipe=recipe))
    if left is not None:
        found = np.clip(left.scores, 0, 1).tolist()
        scored = [replace(row, score=score) for row, score in zip(rows, found, strict=True)]
        write_scores(Path(out) / "focus_scores.csv", scored)
    print(f"{out}: score new slices with luxvox focus VOLUME --weights {out}")
    return fit


def joined(
    table: FeatureTable, scores: str
) -> tuple[FeatureTable, tuple[FocusRow, ...], NDArray[np.float64]]:
    """The valid rows of a table that a list of scores knows, and their features [N, D].

    Raises:
        InputError: no row in common, or the scores cannot be read.
    """
    place = {row.key: number for number, row in enumerate(table.rows)}
    valid = [row for row, good in zip(table.rows, table.valid, strict=True) if good]
    rows = join_scores(valid, read_focus_list(scores), scores)
    return table, rows, table.features[[place[row.key] for row in rows]]


def fit_table(
    table: FeatureTable,
    rows: Sequence[FocusRow],
    features: NDArray[np.float64],
    truth: NDArray[np.float64],
    sigma: float,
    alphas: Sequence[float] = ALPHAS,
) -> tuple[FocusFit, LeftOut]:
    """Fit on all rows; residuals, margins and calibrations come from groups that were left out.

    Args:
        table: says how the features were made.
        rows: N labelled slices.
        features: [N, D]
        truth: [N], scores.
        sigma: of the scores.
        alphas: penalties to choose from.

    Raises:
        InputError: fewer than three groups.
    """
    stacks = [f"{row.stack_id}/{row.channel}" for row in rows]
    groups = [row.group for row in rows]
    left = leave_out(features, truth, stacks, groups, alphas)
    final = fit_ridge(features, truth, groups, alphas)
    # Exchangeable is what no fold cuts: the group, of which a stack may be one of several.
    numbers = np.unique(groups, return_inverse=True)[1]
    bounded = np.clip(left.scores, 0.0, 1.0)
    fit = FocusFit(
        mean=final.mean,
        scale=final.scale,
        weights=final.weights,
        residuals=Residuals(truth - bounded, numbers),
        sigma=sigma,
        unit=score_unit(rows),
        lowest=float(truth.min()),
        margin=float(np.maximum(np.maximum(left.scores - 1, -left.scores), 0).max()),
        farthest=float(left.distance.max()),
        recipe=table.recipe,
        fingerprint=table.fingerprint,
        learnt={
            "alpha": final.alpha,
            "alphas_of_folds": list(left.alphas),
            "left_out": left.summary(),
            "random_folds": random_folds(features, truth, stacks, alphas).summary(),
            "per_stack": [
                {"stack": name, "srcc": _number(srcc), "plcc": _number(plcc)}
                for name, srcc, plcc in left.stacks
            ],
            "groups": len(set(groups)),
            "slices": len(rows),
        },
    )
    return replace(fit, calibrations=_calibrations(fit, rows, left.scores)), left


def _calibrations(
    fit: FocusFit, rows: Sequence[FocusRow], scores: NDArray[np.float64]
) -> dict[str, Calibration]:
    return {
        name: fit_calibration(measured) for name, measured in _measured(fit, rows, scores).items()
    }


def _measured(
    fit: FocusFit, rows: Sequence[FocusRow], scores: NDArray[np.float64]
) -> dict[str, Measured]:
    """Slices with known um, by objective and channel; scores [N] are not bounded."""
    places: dict[str, list[int]] = {}
    for place, row in enumerate(rows):
        if row.distance_um is not None and row.units.depth_of_field_um is not None:
            name = calibration_name(row.objective, row.channel)
            places.setdefault(name, []).append(place)
    distance = fit.distances(np.clip(scores, 0.0, 1.0))
    return {
        name: Measured(
            distance[inside],
            np.abs([rows[place].distance_um or 0.0 for place in inside]),
            tuple(rows[place].group for place in inside),
            float(np.mean([rows[place].units.depth_of_field_um or 0.0 for place in inside])),
        )
        for name, inside in places.items()
    }


def _again(
    fit: FocusFit, rows: Sequence[FocusRow], features: NDArray[np.float64], stacks: int
) -> FocusFit:
    """Calibrate anew where it helps; says what it came to."""
    measured = _measured(fit, rows, fit.judge_features(features).raw)
    if not measured:
        raise InputError(
            "no slice of the list has um: they need best_z, na, wavelength_nm, refractive_index "
            "and voxel_size_um; fill these columns"
        )
    for name, known in measured.items():
        done = recalibrate(fit, name, known, stacks)
        print(
            f"{name}: error on {len(known.names) - stacks} groups held out {done.before_um:.3g} um "
            f"before, {done.after_um:.3g} um after {stacks}: "
            + ("taken" if done.accepted else "refused, the calibration stays as it was")
        )
        fit = done.fit
    return fit


def _told(fit: FocusFit) -> str:
    left, leaky = fit.learnt["left_out"], fit.learnt["random_folds"]

    def shown(value: float | None) -> str:
        return "undefined" if value is None else f"{value:.3f}"

    lines = [
        f"stacks left out: SRCC {shown(left['srcc'])}, PLCC {shown(left['plcc'])}, mean of "
        f"{left['stacks'] - left['undefined_stacks']} stacks, {left['undefined_stacks']} undefined "
        f"(slices drawn at random, which is no test: SRCC {shown(leaky['srcc'])})",
        f"alpha {fit.learnt['alpha']:g}, sigma {fit.sigma:g} {fit.unit}",
    ]
    for name, found in fit.calibrations.items():
        radius = found.residuals.radius()
        lines.append(
            f"um, {name}: |z| = {found.slope:.3f} x distance + {found.intercept:.3f} um, 90 % "
            f"within {radius:.3g} um"
        )
    if not fit.calibrations:
        lines.append(
            "no um: they need NA, wavelength, index and spacing; the scores need none of these"
        )
    return "\n".join(lines)


def _number(value: float) -> Any:
    return None if np.isnan(value) else value

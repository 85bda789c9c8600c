"""`luxvox focus-features`: a list of slices in, a table of features out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...configs.errors import InputError
from ...data.focus_images import read_slices
from ...data.focus_lists import read_focus_list
from ...data.focus_row import FocusRow, by_stack
from ...data.focus_tiles import frame_stack
from ...predict.focus_features import FeatureRecipe, SliceFeatures, StackStandard
from .table import FeatureTable, write_table


def focus_features_command(
    source: str, out: str | Path, recipe: FeatureRecipe, device: str = "cpu"
) -> Path:
    """Describe every slice of a list and write the table; prints what it does.

    Args:
        source: as `read_focus_list` takes it.
        out: the CSV to write.
        recipe: how slices are described.
        device: where encoders run.

    Returns:
        The CSV.

    Raises:
        InputError: a list, image or part of the recipe that is wrong.
    """
    table = describe_rows(read_focus_list(source), recipe, device)
    if not table.valid.any():
        raise InputError(f"{source}: all {len(table.rows)} slices are empty; check the images")
    path = write_table(out, table)
    stacks = len({(row.stack_id, row.channel) for row in table.rows})
    print(
        f"{path}: {len(table.rows)} slices of {stacks} stacks, {table.features.shape[1]} features "
        f"each, {int((~table.valid).sum())} empty"
    )
    return path


def describe_rows(
    rows: Sequence[FocusRow], recipe: FeatureRecipe, device: str = "cpu"
) -> FeatureTable:
    """Describe slices; tiles, level and scale are chosen once for each stack and channel.

    Stacks are read slice by slice, twice. Order of the rows: stack by stack, z ascending.

    Args:
        rows: of any number of stacks.
        recipe: how slices are described.
        device: where encoders run.

    Raises:
        InputError: an image that cannot be read, slices of several sizes in one stack, or a part
            of the recipe that is wrong.
    """
    extractor = SliceFeatures(recipe, device=device)
    ordered: list[FocusRow] = []
    found: list[NDArray[np.float64]] = []
    for stack in by_stack(rows).values():
        frame = frame_stack(read_slices(stack, recipe.colour), recipe.rule)
        ordered += stack
        features = extractor.describe_all(read_slices(stack, recipe.colour), frame)
        found.append(StackStandard.of(features)(features) if recipe.relative else features)
    width = max(part.shape[1] for part in found)
    filled = [
        part if part.shape[1] == width else np.full((len(part), width), np.nan) for part in found
    ]
    features = np.concatenate(filled)
    reasons = tuple("empty" if np.isnan(row).all() else "" for row in features)
    return FeatureTable(tuple(ordered), features, reasons, recipe, extractor.fingerprint())

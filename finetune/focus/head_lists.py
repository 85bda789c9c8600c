"""Labelled stacks of a list, as the focus head learns from them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch

from ...configs.errors import InputError
from ...data.focus_images import read_slices
from ...data.focus_lists import read_focus_list
from ...data.focus_row import FocusRow, by_stack
from ...data.sharpness import tile_sides
from ...predict.focus import Mode
from .head_stack import LabelledStack, Lens


def read_labelled(source: str, mode: Mode) -> list[LabelledStack]:
    """Stacks of a list, all of them sweeps or all of them volumes.

    Args:
        source: as `read_focus_list` takes it, with the distance from focus of every slice: `z_um`
            or `best_z`, with na, wavelength_nm, refractive_index and voxel_size_um; or `level`,
            which then counts as depths of field.
        mode: what moved.

    Raises:
        InputError: nothing to learn from, a slice that does not know its distance in depths of
            field, or an image that cannot be read.
    """
    rows = read_focus_list(source)
    if not rows:
        raise InputError(f"{source}: no slices; give a list of labelled stacks, or: simulated")
    return [_stack(stack, mode) for stack in by_stack(rows).values()]


def _stack(rows: Sequence[FocusRow], mode: Mode) -> LabelledStack:
    images = torch.from_numpy(np.stack(list(read_slices(rows))))
    tiles = tile_sides((images.shape[1], images.shape[2]))[:2]
    distance = torch.tensor([_distance_dof(row) for row in rows], dtype=torch.float32)
    first = rows[0]
    return LabelledStack(
        images=images,
        defocus_dof=distance[:, None, None].expand(-1, *tiles),
        mode=mode,
        specimen=first.group or first.stack_id,
        lens=_lens(first),
        stain=first.stain,
    )


def _distance_dof(row: FocusRow) -> float:
    """From focus, without sign."""
    unit = row.units.depth_of_field_um
    if row.distance_um is not None and unit is not None:
        return abs(row.distance_um) / unit
    if row.level is not None:
        return abs(row.level)
    missing = ", ".join(row.units.missing) or "best_z or z_um"
    raise InputError(
        f"{row.where or row.image_path}: distance from focus in depths of field is not known "
        f"(missing: {missing}); give these columns, or level"
    )


def _lens(row: FocusRow) -> Lens | None:
    units = row.units
    if units.na is None or units.wavelength_nm is None or units.refractive_index is None:
        return None
    if units.voxel_size_um is None:
        return None
    pixel = math.sqrt(units.voxel_size_um[1] * units.voxel_size_um[2])
    return Lens(units.na, units.wavelength_nm / 1000, units.refractive_index, pixel)

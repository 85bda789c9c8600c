"""What `luxvox focus` writes: a row for every slice (and tile), a summary of every stack."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from ..configs.errors import InputError
from ..configs.whole_file import whole_file
from .focus import FocusResult
from .focus_teacher import Taught, teach

COLUMNS: tuple[str, ...] = (
    "image_path", "stack_id", "channel", "stain", "t", "z_index", "z_um", "tile_y", "tile_x",
    "mode", "valid", "reason", "focus_score", "level", "level_probs", "defocus_um", "lo", "hi",
    "p_in_dof", "fg_frac", "snr", "sat_frac", "dcts", "tenengrad", "brenner", "normvar",
    "is_best", "model_id", "calib_id",
)  # fmt: skip
_MEASURED = {
    "dcts": "dcts",
    "tenengrad": "tenengrad_filtered",
    "brenner": "brenner_filtered",
    "normvar": "normvar_filtered",
}


def write_table(path: Path, results: Iterable[FocusResult], with_tiles: bool = False) -> Path:
    """Write the CSV; a reader never sees half a table.

    Args:
        path: of the table.
        results: of `score_stack`.
        with_tiles: a row for every tile behind that of its slice, `tile_y` and `tile_x` from 0.

    Raises:
        InputError: the file cannot be written.
    """
    try:
        with whole_file(path) as draft, draft.open("w", newline="", encoding="utf-8") as file:
            table = csv.DictWriter(file, COLUMNS, lineterminator="\n")
            table.writeheader()
            for result in results:
                table.writerows(table_rows(result, with_tiles))
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror}); name another") from error
    return path


def table_rows(result: FocusResult, with_tiles: bool = False) -> Iterator[dict[str, str]]:
    """Rows of a stack; what is not known is an empty cell, never a number."""
    stack = result.stack
    best = None if result.peak is None else result.peak.place
    boundary = result.peak is not None and result.peak.boundary
    step = None if stack.voxel_size_um is None else stack.voxel_size_um[0]
    for place, found in enumerate(result.slices):
        reason = result.reasons[place]
        z = stack.z_index[place]
        common = {
            "image_path": stack.image_paths[place],
            "stack_id": stack.stack_id,
            "channel": stack.channel,
            "stain": result.stain or "",
            "t": str(stack.t),
            "z_index": str(z),
            "z_um": _cell(None if step is None else z * step),
            "mode": result.mode,
            "model_id": result.model_id,
            "calib_id": result.calib_id,
        }
        is_best = place == best
        yield {
            **dict.fromkeys(COLUMNS, ""),
            **common,
            "valid": _word(not reason),
            # The best slice at an end is valid, but better ones may lie outside.
            "reason": reason or ("boundary" if is_best and boundary else ""),
            "focus_score": _cell(found.score),
            "level": _cell(found.level),
            "level_probs": " ".join(f"{p:.4f}" for p in found.level_probs or ()),
            "defocus_um": _cell(found.defocus_um),
            "lo": _cell(found.lo),
            "hi": _cell(found.hi),
            "p_in_dof": _cell(found.p_in_dof),
            "fg_frac": _cell(result.fg_frac[place]),
            "snr": _cell(result.snr[place]),
            "sat_frac": _cell(result.sat_frac[place]),
            **{name: _cell(result.measures[of][place]) for name, of in _MEASURED.items()},
            "is_best": _word(is_best) if result.mode == "sweep" else "",
        }
        if with_tiles:
            yield from _tile_rows(result, place, common)


def _tile_rows(result: FocusResult, place: int, common: dict[str, str]) -> Iterator[dict[str, str]]:
    for y, row in enumerate(result.tile_reasons[place]):
        for x, reason in enumerate(row):
            yield {
                **dict.fromkeys(COLUMNS, ""),
                **common,
                "tile_y": str(y),
                "tile_x": str(x),
                "valid": _word(not reason),
                "reason": reason,
                "focus_score": _cell(result.tile_scores[place, y, x]),
            }


def summary(result: FocusResult) -> dict[str, Any]:
    """What there is to say of a whole stack, as JSON takes it."""
    stack, peak = result.stack, result.peak
    step = None if stack.voxel_size_um is None else stack.voxel_size_um[0]
    counts = {reason: result.reasons.count(reason) for reason in sorted(set(result.reasons))}
    told: dict[str, Any] = {
        "stack_id": stack.stack_id,
        "channel": stack.channel,
        "t": stack.t,
        "mode": result.mode,
        "stain": result.stain,
        "slices": len(stack),
        "valid_slices": counts.pop("", 0),
        "invalid_slices": counts,
        "tiles_judged": int(result.kept.sum()),
        "tiles": int(result.kept.size),
        "z_step_um": step,
        "model_id": result.model_id,
        "calib_id": result.calib_id,
        "notes": list(result.notes),
    }
    inside = [found.p_in_dof for found in result.slices if found.p_in_dof is not None]
    told["fraction_in_depth_of_field"] = sum(inside) / len(inside) if inside else None
    if peak is None:
        return told
    best = None if peak.place is None else result.slices[peak.place]
    taught = teach_result(result)
    return told | {
        "best_z": peak.best_z,
        "best_z_um": None if step is None or peak.best_z is None else peak.best_z * step,
        "best_slice": None if peak.place is None else stack.z_index[peak.place],
        "best_image": None if peak.place is None else stack.image_paths[peak.place],
        "best_score": None if best is None else best.score,
        "no_best_slice": peak.reason,
        "fwhm_slices": peak.fwhm,
        "fwhm_um": None if step is None or peak.fwhm is None else peak.fwhm * step,
        "peaks": list(peak.peaks),
        "number_of_peaks": len(peak.peaks),
        "boundary": peak.boundary,
        "tilt_slices_per_tile_yx": None if result.tilt is None else list(result.tilt),
        "teacher_best_z": taught.best_z,
        "teacher_spread": taught.spread,
        "teacher_refusal": taught.refusal,
    }


def teach_result(result: FocusResult) -> Taught:
    """Ask the teacher about a sweep."""
    valid = [not reason for reason in result.reasons]
    return teach(result.stack.z_index, result.measures, valid)


def write_summary(path: Path, results: Sequence[FocusResult]) -> Path:
    """Write the summaries as a JSON list.

    Raises:
        InputError: the file cannot be written.
    """
    text = json.dumps([summary(result) for result in results], indent=1, allow_nan=False) + "\n"
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror}); name another") from error
    return path


def _cell(value: float | None) -> str:
    return "" if value is None or not math.isfinite(value) else f"{float(value):.6g}"


def _word(value: bool) -> str:
    return "true" if value else "false"

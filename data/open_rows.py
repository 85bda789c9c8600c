"""Opening and measuring all volumes of a list, and naming all unreadable ones at once."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from ..configs.errors import InputError
from .crop_plan import CropConfig, CropPlan, plan_crops
from .manifest import open_row
from .normalize import IntensityStats, measure_intensity
from .row import Row
from .volume import Volume

Progress = Callable[[int, int], None]
"""Called with (done, total)."""

_SHOWN = 5  # unreadable volumes named in a message
_THREADS = 8  # more only wait for one disk


@dataclass(frozen=True)
class OpenedRow:
    """A readable row: its volume, how crops are cut from it, and the statistics of each channel."""

    row: Row
    volume: Volume
    plan: CropPlan
    stats: tuple[IntensityStats, ...]


@dataclass(frozen=True)
class Skipped:
    """A row that cannot be read, and why, in one line."""

    row: Row
    reason: str


def open_rows(
    rows: Sequence[Row],
    config: CropConfig,
    *,
    skip_unreadable: bool = False,
    progress: Progress | None = None,
) -> tuple[tuple[OpenedRow, ...], tuple[Skipped, ...]]:
    """Open and measure volumes, several at a time.

    Raises:
        InputError: some cannot be read and are not to be skipped, or none is left.
    """
    opened: list[OpenedRow] = []
    skipped: list[Skipped] = []
    with ThreadPoolExecutor(min(_THREADS, os.cpu_count() or 1)) as pool:
        for done, result in enumerate(pool.map(lambda row: _open(row, config), rows), start=1):
            (opened if isinstance(result, OpenedRow) else skipped).append(result)  # type: ignore[arg-type]
            if progress is not None:
                progress(done, len(rows))
    if not opened or (skipped and not skip_unreadable):
        raise InputError(_complaint(skipped, len(rows)))
    return tuple(opened), tuple(skipped)


def _open(row: Row, config: CropConfig) -> OpenedRow | Skipped:
    try:
        volume = open_row(row)
        plan = plan_crops(volume, config)
        stats = tuple(
            measure_intensity(volume, channel, plan.level) for channel in range(volume.num_channels)
        )
    except InputError as error:
        return Skipped(row, str(error))
    except OSError as error:  # the disk or the network, below any format
        return Skipped(row, f"{row.image}: {error.strerror or error}")
    return OpenedRow(row, volume, plan, stats)


def _complaint(skipped: Sequence[Skipped], total: int) -> str:
    if not total:
        return "the list holds no volumes; add rows, or look at the split column"
    shown = "; ".join(f"{item.row.where}: {item.reason}" for item in skipped[:_SHOWN])
    more = f"; and {len(skipped) - _SHOWN} more" if len(skipped) > _SHOWN else ""
    advice = (
        "repair them, take them out of the list, or set data.skip_unreadable=true"
        if len(skipped) < total
        else "repair them; no other volume is there"
    )
    return f"{len(skipped)} of {total} volumes cannot be read: {shown}{more}; {advice}"

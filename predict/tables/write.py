"""Tables to files: CSV for people, Parquet for programs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...configs.whole_file import whole_file

Table = dict[str, NDArray]
"""Columns of equal length, in order."""


def write_table(folder: Path, name: str, table: Table) -> None:
    """Write FOLDER/NAME.csv and FOLDER/NAME.parquet, each in one step.

    NaN is an empty cell in both.

    Args:
        folder: is made.
        name: of the table.
        table: columns.
    """
    import pyarrow
    from pyarrow import csv, parquet

    folder.mkdir(parents=True, exist_ok=True)
    columns = {
        title: pyarrow.array(
            column.tolist() if column.dtype.kind == "U" else column,
            mask=np.isnan(column) if column.dtype.kind == "f" else None,
        )
        for title, column in table.items()
    }
    whole = pyarrow.table(columns)
    for suffix, write in (("csv", csv.write_csv), ("parquet", parquet.write_table)):
        with whole_file(folder / f"{name}.{suffix}") as draft:
            write(whole, str(draft))

"""The verb `export` of the command line; loads typer and nothing heavy."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..configs.options import Overwrite, StructureOption


def export(
    weights: Annotated[str, typer.Argument(metavar="WEIGHTS", help="A RUN, a folder, a name.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="A name in .pt2 or .onnx.")],
    part: Annotated[
        str | None,
        typer.Option(metavar="PART", help="encoder; or of pretrained weights: segment, restore."),
    ] = None,
    structure: StructureOption = None,
    size: Annotated[
        tuple[int, int, int] | None,
        typer.Option(metavar="Z Y X", help="Voxels of a crop; without it that of the weights."),
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Write weights as one file that runs without luxvox; its answer is compared with the model's.

    OUT.json says what goes in, and how it is normalised.

    Example: `luxvox export luxvox-tiny vessels.onnx --part segment --structure "blood vessels"`
    """
    from .export import export as write

    difference = write(weights, out, part=part, structure=structure, size=size, overwrite=overwrite)
    print(f"{out}: the answer of the file differs from the model's by {difference:.1e}")

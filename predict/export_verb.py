"""The verb `export` of the command line; loads typer and nothing heavy."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from ..configs.errors import InputError
from ..configs.options import Overwrite, StructureOption

_ENDINGS = {"torch": ".pt2", "onnx": ".onnx", "bioimageio": ".zip"}


def export(
    weights: Annotated[str, typer.Argument(metavar="WEIGHTS", help="A RUN, a folder, a name.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="A name in .pt2, .onnx or .zip.")],
    format: Annotated[
        Literal["torch", "onnx", "bioimageio"] | None,
        typer.Option(help="Without it by the ending of OUT; .zip is a package of bioimage.io."),
    ] = None,
    part: Annotated[
        str | None,
        typer.Option(metavar="PART", help="encoder; or of pretrained weights: segment, restore."),
    ] = None,
    structure: StructureOption = None,
    size: Annotated[
        tuple[int, int, int] | None,
        typer.Option(metavar="Z Y X", help="Voxels of a crop; without it that of the weights."),
    ] = None,
    author: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Of a package; repeatable.")
    ] = None,
    licence: Annotated[
        str | None, typer.Option(metavar="SPDX", help="Of a package, as in: CC-BY-4.0")
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Write weights as one file that runs without luxvox; its answer is compared with the model's.

    OUT.json says what goes in, and how it is normalised. A package of bioimage.io (.zip) holds a
    segmenter with all that other programs want to know, and is tested by bioimageio.core.

    Example: `luxvox export luxvox-tiny vessels.onnx --part segment --structure "blood vessels"`
    """
    ending = _ENDINGS.get(format or "", out.suffix)
    if out.suffix != ending:
        raise InputError(f"{out}: expected a name in {ending} with --format {format}")
    if ending == ".zip":
        from .bioimageio import Credits, export_bioimageio

        difference = export_bioimageio(
            weights, out, part=part, structure=structure, size=size,
            credits=Credits(tuple(author or ()), licence), overwrite=overwrite,
        )  # fmt: skip
    else:
        from .export import export as write

        if author or licence:
            raise InputError("--author and --licence belong to packages of bioimage.io (.zip)")
        difference = write(
            weights, out, part=part, structure=structure, size=size, overwrite=overwrite
        )
    print(f"{out}: the answer of the file differs from the model's by {difference:.1e}")

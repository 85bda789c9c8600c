"""The verb `tables` of the command line; loads typer and nothing heavy."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ...configs.options import Overwrite


def tables(
    labels: Annotated[
        str, typer.Argument(metavar="LABELS", help="Labels of any format, of any size.")
    ],
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="Takes the tables, as CSV and Parquet.")
    ] = ...,  # pyright: ignore[reportArgumentType]
    image: Annotated[
        str | None, typer.Option(metavar="VOLUME", help="To measure intensity in.")
    ] = None,
    channel: Annotated[
        str | None, typer.Option(help="Of the image, by index (from 0) or name.")
    ] = None,
    atlas: Annotated[
        str | None,
        typer.Option(metavar="VOLUME", help="Areas to count in, as labels in the same frame."),
    ] = None,
    regions: Annotated[
        str | None,
        typer.Option(metavar="Z,Y,X", help="Count in blocks of so many voxels as well."),
    ] = None,
    lengths: Annotated[
        bool, typer.Option("--lengths", help="Measure centrelines: vessels, axons. Takes longer.")
    ] = False,
    instances: Annotated[
        bool | None,
        typer.Option(
            "--instances/--classes",
            help="Each value is one object, or a class of which each connected piece is one. "
            "Without it: 8 bits are classes, more are instances.",
        ),
    ] = None,
    background: Annotated[int, typer.Option(min=-1, help="The label of nothing.")] = 0,
    voxel_size: Annotated[
        str | None,
        typer.Option(metavar="'Z Y X'", help="In micrometres, in place of what LABELS says."),
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Measure labels: objects, structures, regions; counts, densities, intensity, lengths.

    Example: `luxvox tables nuclei.ome.zarr --image brain.ome.zarr --atlas atlas.tif --out tables`
    """
    from .command import tables_command

    tables_command(
        labels, out, image=image, channel=channel, atlas=atlas, regions=regions, lengths=lengths,
        instances=instances, background=background, voxel_size=voxel_size, overwrite=overwrite,
    )  # fmt: skip

"""The verb `focus` of the command line; loads typer and nothing heavy."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer


def focus(
    volumes: Annotated[
        list[str] | None,
        typer.Argument(metavar="VOLUME", help="Volumes, or folders of slices S001_z-10.tif."),
    ] = None,
    mode: Annotated[
        Literal["sweep", "volume"],
        typer.Option(help="What moved: the objective (sweep) or the sample (volume)."),
    ] = ...,  # pyright: ignore[reportArgumentType]
    csv: Annotated[
        Path, typer.Option(metavar="OUT", help="The table, a row for each slice.")
    ] = ...,  # pyright: ignore[reportArgumentType]
    stain: Annotated[str | None, typer.Option(metavar="TEXT", help="What colours it.")] = None,
    weights: Annotated[
        str | None,
        typer.Option(
            metavar="W",
            help="A RUN of finetune focus, a folder of focus-fit; none = the gated DCT measure.",
        ),
    ] = None,
    watch: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Score slices as they are written there.")
    ] = None,
    idle: Annotated[
        float | None,
        typer.Option(min=0, metavar="SECONDS", help="--watch: end when nothing came for so long."),
    ] = None,
    report: Annotated[
        Path | None, typer.Option(metavar="HTML", help="A page: curves, tile maps, slices.")
    ] = None,
    map_out: Annotated[
        Path | None,
        typer.Option(
            "--map", metavar="OUT.ome.zarr", help="Of one volume: a voxel for every tile."
        ),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="--map: judge only what no earlier run has judged.")
    ] = False,
    sidecar: Annotated[
        Literal["ome", "zarr"] | None,
        typer.Option(help="Beside OUT: an OME map annotation, or attributes for OME-Zarr."),
    ] = None,
    tiles: Annotated[
        bool | None,
        typer.Option("--tiles/--no-tiles", help="Rows of tiles; without it in volume mode only."),
    ] = None,
    channel: Annotated[
        str | None,
        typer.Option(help="By index or name (of colours: red, green, blue); without it all."),
    ] = None,
    voxel_size: Annotated[
        str | None,
        typer.Option(metavar="'Z Y X'", help="In micrometres, in place of what the files say."),
    ] = None,
    na: Annotated[
        float | None, typer.Option(min=0.01, max=1.7, help="Of the objective, with --wavelength.")
    ] = None,
    wavelength: Annotated[
        float | None, typer.Option(min=200, max=2000, metavar="NM", help="Of the emitted light.")
    ] = None,
    index: Annotated[
        float | None,
        typer.Option(min=1, max=2, metavar="N", help="Of the medium; for micrometres of a RUN."),
    ] = None,
    objective: Annotated[
        str, typer.Option(metavar="NAME", help="Whose calibration of W gives micrometres.")
    ] = "",
) -> None:
    """Say of every slice how sharp it is, and of a sweep which slice is the best.

    Empty, saturated and all but dark slices get no score, and a reason.

    Example: `luxvox focus S001 S002 --mode sweep --csv focus.csv --report focus.html`
    """
    from .focus_command import focus_command

    focus_command(
        volumes or [], mode, csv, stain=stain, weights=weights, watch=watch, idle_s=idle,
        report=report, map_out=map_out, resume=resume, sidecar=sidecar, tiles=tiles,
        channel=channel, voxel_size=voxel_size, na=na, wavelength_nm=wavelength, index=index,
        objective=objective,
    )  # fmt: skip

"""Verbs embed, search and classify. Loads typer and nothing heavy, as `luxvox --help` wants it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from ..configs.options import Json


def embed(
    volumes: Annotated[
        list[str],
        typer.Argument(metavar="VOLUME", help="Volumes, lists (CSV), folders, globs."),
    ],
    out: Annotated[
        Path, typer.Option("--out", metavar="X.zarr", help="Goes on there, if volumes are done.")
    ] = ...,  # pyright: ignore[reportArgumentType]
    weights: Annotated[
        str, typer.Option(metavar="W", help="A RUN, a folder, a name; with captions for search.")
    ] = "luxvox-tiny",
    device: Annotated[
        Literal["auto", "cpu", "cuda"], typer.Option(help="Where the model runs.")
    ] = "auto",
    batch_size: Annotated[int, typer.Option(min=1, help="Crops encoded together.")] = 8,
) -> None:
    """Turn volumes into vectors, one a crop, with the place of each; every channel by itself.

    Example: `luxvox embed brain.ome.zarr more/*.tif --out crops.zarr --weights runs/first`
    """
    from .embed_command import embed_command

    embed_command(volumes, out, weights, device, batch_size)


def search(
    sentence: Annotated[str, typer.Argument(metavar="SENTENCE", help="As a caption would say it.")],
    index: Annotated[Path, typer.Argument(metavar="INDEX", help="What luxvox embed wrote.")],
    count: Annotated[int, typer.Option(min=1, help="Of crops, at most.")] = 12,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="PAGE", help="An HTML page with pictures.")
    ] = None,
    weights: Annotated[
        str | None, typer.Option(metavar="W", help="Where the weights of INDEX lie now.")
    ] = None,
    json: Json = False,
) -> None:
    """Find the crops that fit a sentence best, with weights that know sentences.

    Example: `luxvox search "branching blood vessels" crops.zarr --out vessels.html`
    """
    from .search import search_command

    search_command(sentence, index, count, out, weights, json)


def classify(
    volumes: Annotated[
        list[str],
        typer.Argument(metavar="VOLUME", help="Volumes, lists (CSV), folders, globs."),
    ],
    names: Annotated[
        str, typer.Option(metavar="A,B,C", help="To choose from, as a caption would say them.")
    ] = ...,  # pyright: ignore[reportArgumentType]
    weights: Annotated[
        str, typer.Option(metavar="W", help="A RUN, a folder, a name, that knows sentences.")
    ] = "luxvox-tiny",
    device: Annotated[
        Literal["auto", "cpu", "cuda"], typer.Option(help="Where the model runs.")
    ] = "auto",
    json: Json = False,
) -> None:
    """Say which of several names fits a volume best; no labels are needed, nothing is learnt.

    Example: `luxvox classify brain.ome.zarr --names "blood vessels,nuclei,axons"`
    """
    from .zero_shot import classify_command

    classify_command(volumes, names, weights, device, json)

"""Verbs of `luxvox weights`. Loads typer and nothing heavy, as `luxvox --help` wants it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..configs.options import Json

weights = typer.Typer(
    name="weights",
    rich_markup_mode="markdown",
    help="Get weights, check them, share them: list, download, verify, where, import, push.\n\n"
    "Example: `luxvox weights download hf:owner/name@v1`",
)

_SOURCE = "A name, hf:owner/name@revision, https://..., doi:10.5281/zenodo.NUMBER."


@weights.command(name="list")
def list_(
    pattern: Annotated[str, typer.Argument(metavar="[PATTERN]", help="As in: luxvox-*")] = "*",
    json: Json = False,
) -> None:
    """Say which weights ship, which lie in the cache, and what others published.

    Example: `luxvox weights list`
    """
    from .weights_command import list_command

    list_command(pattern, json)


@weights.command()
def download(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help=_SOURCE)],
    sha256: Annotated[
        str | None, typer.Option(metavar="H", help="Of the file at an https:// address.")
    ] = None,
    to: Annotated[
        Path | None,
        typer.Option("--to", metavar="DIR", help="A copy there, for machines without a network."),
    ] = None,
    file: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Of a record: only these, as in: '*.ckpt'; repeatable."),
    ] = None,
    unpack: Annotated[
        bool, typer.Option("--unpack", help="Unpack archives in DIR, safely.")
    ] = False,
    again: Annotated[
        bool, typer.Option("--again", help="Even if it is there: a branch may have moved on.")
    ] = False,
) -> None:
    """Fetch weights into the cache, checked; an interrupted download goes on where it was.

    Example: `luxvox weights download hf:owner/name@v1 --to usb-stick`
    """
    from .weights_command import download_command

    download_command(source, sha256, to, file or (), unpack, again)


@weights.command()
def verify(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]", help="Folders or names; without it all.")
    ] = None,
) -> None:
    """Compare weights with their checksums, and load them. Exit code 1 where something is wrong.

    Example: `luxvox weights verify`
    """
    from .weights_command import verify_command

    if not verify_command(names or ()):
        raise typer.Exit(1)


@weights.command()
def where(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help=_SOURCE)] = None,
) -> None:
    """Print the folder of weights on this machine; without a name that of the cache.

    Example: `luxvox weights where`
    """
    from .weights_command import where_command

    where_command(name)


@weights.command(name="import")
def import_(
    path: Annotated[
        Path, typer.Argument(metavar="PATH", help="A folder, or an archive (.zip, .tar.gz).")
    ],
    name: Annotated[
        str | None, typer.Option(metavar="NAME", help="To load it by; without it as it came.")
    ] = None,
) -> None:
    """Put weights from a disk into the cache: no network is needed.

    Example: `luxvox weights import usb-stick`
    """
    from .weights_command import import_command

    import_command(path, name)


@weights.command()
def push(
    name: Annotated[str, typer.Argument(metavar="WEIGHTS", help="A RUN, a folder, a name.")],
    repo: Annotated[str, typer.Argument(metavar="OWNER/NAME", help="On the Hugging Face hub.")],
    private: Annotated[
        bool, typer.Option("--private", help="Where the repository is new: for you alone.")
    ] = False,
) -> None:
    """Upload weights to the Hugging Face hub; needs a token (hf auth login).

    Example: `luxvox weights push runs/first owner/name`
    """
    from .weights_command import push_command

    push_command(name, repo, private)

"""Arguments and options that several verbs of the command line share, in one wording."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
Dataset = Annotated[
    str,
    typer.Argument(metavar="DATASET", help="A list (CSV), a folder, a glob, or one volume."),
]

Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what stands at OUT.")]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="KEY=VALUE", help="Recipe keys, dotted: encoder=small steps=500"),
]
TaskOption = Annotated[
    Literal["segment", "restore", "classify"] | None,
    typer.Option(metavar="TASK", help="Of pretrained weights; a fine-tuned RUN knows its own."),
]
StructureOption = Annotated[
    str | None,
    typer.Option(metavar="TEXT", help="What pretrained weights are to find: 'blood vessels'."),
]

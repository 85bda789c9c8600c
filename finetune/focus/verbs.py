"""Verbs of the command line for focus from labelled stacks: focus-features, focus-fit,
focus-quality.

Loads typer and nothing heavy, as `luxvox --help` wants it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from ...configs.options import Overrides


def focus_features(
    source: Annotated[
        str,
        typer.Argument(metavar="LIST", help="A CSV of slices, a folder of stacks, or a dataset."),
    ],
    out: Annotated[
        Path, typer.Option("--out", metavar="CSV", help="The table; a .json goes beside it.")
    ] = ...,  # pyright: ignore[reportArgumentType]
    features: Annotated[
        str,
        typer.Option(metavar="A,B", help="classical, encoder:WEIGHTS, timm:NAME, quality:FOLDER."),
    ] = "classical",
    tile: Annotated[int, typer.Option(min=16, help="Pixels a side.")] = 256,
    tiles: Annotated[int, typer.Option(min=1, help="In the foreground, at most.")] = 32,
    share: Annotated[float, typer.Option(help="Of the tiles that is kept.")] = 0.2,
    pool: Annotated[
        Literal["foreground", "laplacian"],
        typer.Option(help="What the kept tiles are best in; laplacian likes noise."),
    ] = "foreground",
    relative: Annotated[
        bool,
        typer.Option("--relative", help="Against the other slices of the stack; for sweeps only."),
    ] = False,
    colour: Annotated[
        Literal["red", "green", "blue"] | None,
        typer.Option(help="Of RGB images; without it luminance."),
    ] = None,
    device: Annotated[Literal["cpu", "cuda"], typer.Option(help="Where encoders run.")] = "cpu",
) -> None:
    """Describe every slice of labelled stacks, for luxvox focus-fit.

    Tiles, level and scale are chosen once for each stack and channel.

    Example: `luxvox focus-features stacks --out features.csv`
    """
    from ...configs.load import validate
    from ...predict.focus_features import FeatureRecipe
    from .features import focus_features_command

    parts = tuple(part.strip() for part in features.split(",") if part.strip())
    values = {
        "parts": parts, "tile": tile, "tiles": tiles, "share": share, "pool": pool,
        "colour": colour, "relative": relative,
    }  # fmt: skip
    focus_features_command(source, out, validate(values, FeatureRecipe, "focus-features"), device)


def focus_fit(
    features: Annotated[
        str, typer.Argument(metavar="FEATURES", help="The table of luxvox focus-features.")
    ],
    scores: Annotated[
        str,
        typer.Argument(
            metavar="SCORES", help="A CSV with focus_score, best_z or level; or the folder."
        ),
    ],
    out: Annotated[Path, typer.Option("--out", metavar="FIT", help="A folder for the fit.")] = ...,  # pyright: ignore[reportArgumentType]
    sigma: Annotated[
        float, typer.Option(help="Distance at which the score is a half: um, or else slices.")
    ] = 2.0,
    base: Annotated[
        str | None,
        typer.Option("--base", metavar="FIT", help="Calibrate this fit anew in um, if that helps."),
    ] = None,
    stacks: Annotated[
        int, typer.Option(help="--base: groups to calibrate with: 1, 3, 5 or 10.")
    ] = 5,
) -> None:
    """Learn scores from features; correlations are of stacks that were left out.

    FIT/focus_scores.csv holds the scores that these stacks got.

    Example: `luxvox focus-fit features.csv stacks --out my-focus`
    """
    from .fit import focus_fit_command

    focus_fit_command(features, scores, out, sigma=sigma, base=base, stacks=stacks)


def focus_quality(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="A folder for the weights.")],
    overrides: Overrides = None,
    recipe: Annotated[
        str, typer.Option(metavar="RECIPE", help="A YAML file, or a shipped one.")
    ] = "focus/quality",
) -> None:
    """Train the quality branch on simulated planes: three minutes, no data, no labels.

    Use it with `luxvox focus-features LIST --features classical,quality:OUT --out CSV`

    Example: `luxvox focus-quality runs/quality steps=150`
    """
    from ...configs.load import load_recipe
    from .quality import QualityRecipe, quality_command

    quality_command(load_recipe(recipe, QualityRecipe, overrides or []), out)

"""Verbs of the command line for work with few labels: finetune, evaluate, benchmark,
suggest, predict.

Apart from the other verbs because one file of all of them would be too long. Loads typer and
nothing heavy, as `luxvox --help` wants it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from ..configs.options import Dataset, Overrides, Overwrite, StructureOption, TaskOption


def finetune(
    task: Annotated[
        Literal["segment", "classify", "restore", "deblur", "focus"],
        typer.Argument(
            metavar="TASK",
            help="segment, classify, restore (or: deblur), focus (DATASET: labelled stacks, or "
            "the word simulated).",
        ),
    ],
    dataset: Dataset,
    overrides: Overrides = None,
    out: Annotated[
        Path, typer.Option("--out", metavar="RUN", help="A new folder for weights and report.")
    ] = ...,  # pyright: ignore[reportArgumentType]
    weights: Annotated[
        str | None,
        typer.Option(metavar="W", help="A RUN, a weights folder, a shipped name; none = scratch."),
    ] = None,
    shots: Annotated[
        int | None,
        typer.Option(min=1, help="Rows to learn from (of each class); without it all."),
    ] = None,
    recipe: Annotated[
        str | None, typer.Option(metavar="RECIPE", help="A YAML file, or a shipped one.")
    ] = None,
) -> None:
    """Learn a task from a few labelled volumes; RUN then knows it.

    On several GPUs: `accelerate launch -m luxvox.finetune TASK DATASET --out RUN ...`

    Example: `luxvox finetune segment mydata/dataset.csv --out my-vessels --shots 3`
    """
    from .__main__ import finetune_command

    finetune_command(
        task, dataset, out=str(out), weights=weights, shots=shots, recipe=recipe,
        overrides=overrides or [],
    )  # fmt: skip


def evaluate(
    run: Annotated[
        str, typer.Argument(metavar="RUN", help="A fine-tuned RUN, or weights with --task.")
    ],
    dataset: Dataset,
    json: Annotated[
        Path | None,
        typer.Option("--json", metavar="OUT", help="Write numbers there, a page beside it."),
    ] = None,
    task: TaskOption = None,
    structure: StructureOption = None,
) -> None:
    """Measure weights on every row of a list: the metrics of the task, per sample and as a mean.

    Rows that were learnt from are marked; the mean without them is given too.

    Example: `luxvox evaluate my-vessels mydata/test.csv --json my-vessels/test.json`
    """
    from .evaluate import evaluate_command

    evaluate_command(run, dataset, json, task, structure)


def benchmark(
    datasets: Annotated[
        list[str],
        typer.Argument(
            metavar="DATASET",
            help="Lists; and KEY=VALUE: noise=0.01, keep_weights=true, or of the recipe: steps=60",
        ),
    ],
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="Goes on there, if cells are done.")
    ] = ...,  # pyright: ignore[reportArgumentType]
    tasks: Annotated[
        str, typer.Option(metavar="A,B", help="segment, restore, classify; or focus alone.")
    ] = "segment",
    shots: Annotated[
        str, typer.Option(metavar="K,K", help="Rows to learn from; too many are left out.")
    ] = "1,3,5",
    draws: Annotated[int, typer.Option(min=1, help="Of the rows, for each K.")] = 3,
    seeds: Annotated[int, typer.Option(min=1, help="Of each method that has chance in it.")] = 1,
    methods: Annotated[
        str | None,
        typer.Option(metavar="A,B", help="pretrained,scratch,unet,top_hat ...; without it most."),
    ] = None,
    weights: Annotated[
        str | None, typer.Option(metavar="W", help="Pretrained: a RUN, a folder, a shipped name.")
    ] = None,
    weights_a: Annotated[
        str | None, typer.Option(metavar="RUN", help="After stage A only (method stage_a).")
    ] = None,
    weights_unet: Annotated[
        str | None, typer.Option(metavar="RUN", help="U-Net after stage B (unet_stage_b).")
    ] = None,
    recipe: Annotated[
        str | None, typer.Option(metavar="RECIPE", help="Of fine-tuning; without it the task's.")
    ] = None,
    only: Annotated[
        str | None, typer.Option(metavar="CELL", help="Run one cell again, by its name.")
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Run again what has other settings.")
    ] = False,
) -> None:
    """Compare methods on few labels: the same draws for all, tables with intervals over animals.

    A stopped benchmark goes on where it was. DIR/benchmark.html shows tables, plots and pictures.

    Example: `luxvox benchmark mydata/dataset.csv --shots 1,3 --draws 5 --out tables`
    """
    from .benchmark.command import benchmark_command

    benchmark_command(
        datasets, out, tasks=tasks, shots=shots, draws=draws, seeds=seeds, methods=methods,
        weights=weights, weights_a=weights_a, weights_unet=weights_unet, recipe=recipe, only=only,
        overwrite=overwrite,
    )  # fmt: skip


def suggest(
    run: Annotated[str, typer.Argument(metavar="RUN", help="Fine-tuned for segmentation.")],
    volume: Annotated[str, typer.Argument(metavar="VOLUME", help="A file or folder.")],
    count: Annotated[int, typer.Option(min=1, help="Of crops to label.")] = 3,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Without it RUN/suggest/NAME.")
    ] = None,
    structure: Annotated[
        str | None,
        typer.Option(metavar="TEXT", help="Which of several that RUN has learnt."),
    ] = None,
    channel: Annotated[
        str | None, typer.Option(help="Which channel, by index (from 0) or name.")
    ] = None,
) -> None:
    """What to label next: the crops whose labels would teach most, and where RUN is likely wrong.

    Example: `luxvox suggest my-vessels brain.ome.zarr --count 3`
    """
    from .suggest import suggest_command

    suggest_command(run, volume, count, out, structure, channel)


def predict(
    weights: Annotated[
        str,
        typer.Argument(metavar="WEIGHTS", help="A fine-tuned RUN, or pretrained weights."),
    ],
    volume: Annotated[
        str, typer.Argument(metavar="VOLUME", help="A file or folder of any format.")
    ],
    out: Annotated[
        str,
        typer.Argument(
            metavar="OUT",
            help="A name in .ome.zarr, .ome.tif or .nii.gz, or STORE.ome.zarr/labels/NAME.",
        ),
    ],
    task: Annotated[
        Literal["segment", "restore", "classify", "embed"] | None,
        typer.Option(
            metavar="TASK",
            help="segment, restore or classify of pretrained weights; embed of any: a map of "
            "vectors, one for each patch.",
        ),
    ] = None,
    structure: StructureOption = None,
    threshold: Annotated[
        float | None, typer.Option(help="Foreground is above it; without it that of RUN.")
    ] = None,
    probabilities: Annotated[
        bool, typer.Option("--probabilities", help="Write them in place of labels or classes.")
    ] = False,
    instances: Annotated[
        bool, typer.Option("--instances", help="Number the objects, touching ones apart.")
    ] = False,
    tables: Annotated[
        bool, typer.Option("--tables", help="Measure what was found, into OUT.tables.")
    ] = False,
    flips: Annotated[
        bool, typer.Option("--flips", help="The mean over 4 mirror images; takes 4 times as long.")
    ] = False,
    channel: Annotated[
        str | None, typer.Option(help="Which channel, by index (from 0) or name.")
    ] = None,
    voxel_size: Annotated[
        str | None,
        typer.Option(metavar="'Z Y X'", help="In micrometres, in place of what the file says."),
    ] = None,
    device: Annotated[
        Literal["auto", "cpu", "cuda"], typer.Option(help="Where the model runs.")
    ] = "auto",
    ngff: Annotated[
        Literal["0.4", "0.5"], typer.Option(help="OME-Zarr version; 0.4 for older viewers.")
    ] = "0.5",
    overwrite: Overwrite = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with what stands at OUT; done blocks stay.")
    ] = False,
    parts: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Processes that share the blocks.")
    ] = None,
    part: Annotated[
        int | None, typer.Option(min=0, metavar="I", help="Which of them this is, from 0.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="dask workers on this machine.")
    ] = None,
    scheduler: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Of a dask cluster that is running.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say blocks, memory, disk and time.")
    ] = False,
    sbatch: Annotated[
        bool, typer.Option("--sbatch", help="Only write OUT.sbatch, a SLURM array of --parts.")
    ] = False,
) -> None:
    """Segment or restore one volume, or map its classes or embeddings; grid and voxel size stay.

    Maps, and what is larger than memory, go block by block, and so does anything with one of the
    options from --resume on. Exit code 3 where blocks could not be read; --resume tries them again.

    Example: `luxvox predict my-vessels brain.ome.zarr vessels.ome.zarr`
    """
    from ..predict.blockwise_command import BlockOptions
    from ..predict.predict_command import predict_command

    whole = predict_command(
        weights, volume, out, task, structure, threshold=threshold, probabilities=probabilities,
        instances=instances, tables=tables, flips=flips, channel=channel, voxel_size=voxel_size,
        device=device, overwrite=overwrite, ngff=ngff,
        blocks=BlockOptions(resume, parts, part, workers, scheduler, dry_run, sbatch),
    )  # fmt: skip
    if not whole:
        raise typer.Exit(3)

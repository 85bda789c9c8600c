"""The one command line, `luxvox`: a thin table of verbs.

Lives in the root because it calls every room. Bodies are imported inside the verbs, so that
`luxvox --help` loads typer and nothing heavy. `main` turns every mistake of the user into one line.
"""

from __future__ import annotations

import shlex
import sys
import traceback
from pathlib import Path
from typing import Annotated, Literal

import typer

from . import __version__
from .configs.explain import explain, one_line
from .configs.options import Dataset, Json, Overrides, Overwrite
from .configs.threads import let_threads_sleep
from .finetune import few_labels
from .finetune.focus import verbs as focus_verbs
from .predict import export_verb, focus_verb
from .predict.search_verbs import classify, embed, search
from .predict.tables.verb import tables
from .predict.weights_verbs import weights

# In every version of typer, with click inside or beside it: wrong options, missing arguments.
_UsageError = typer.BadParameter.__bases__[0]

_EXIT_MISTAKE = 2
_EXIT_INTERRUPTED = 130  # 128 + SIGINT, as shells count

command = typer.Typer(
    name="luxvox",
    add_completion=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
    help="A 3D foundation model for light-sheet fluorescence microscopy.",
    epilog="Start with `luxvox demo`, or with `luxvox audit DATASET` on your own volumes.",
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"luxvox {__version__}")
        raise typer.Exit


@command.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, help="Print the version.")
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of an error; works at any place.")
    ] = False,
) -> None:
    """Take the options that stand before the verb; `main` reads --debug itself."""


@command.command()
def doctor(json: Json = False) -> None:
    """Say what is installed, which devices there are, and whether reading and writing work.

    Exit code 1 where something is broken.

    Example: `luxvox doctor`
    """
    from .predict.doctor import doctor_command

    if not doctor_command(json_out=json):
        raise typer.Exit(1)


@command.command()
def info(
    volumes: Annotated[
        list[str], typer.Argument(metavar="VOLUME", help="Files or folders of any format.")
    ],
) -> None:
    """Say what volumes are: axes, levels, voxel size, chunks, intensity, and what is missing.

    Example: `luxvox info brain.ome.zarr stack.tif`
    """
    from .data.info import info_command

    info_command(volumes)


@command.command()
def convert(
    source: Annotated[str, typer.Argument(metavar="IN", help="A volume of any readable format.")],
    out: Annotated[
        str, typer.Argument(metavar="OUT", help="A name in .ome.zarr, .ome.tif or .nii.gz.")
    ],
    voxel_size: Annotated[
        str | None,
        typer.Option(metavar="'Z Y X'", help="In micrometres, in place of what the file says."),
    ] = None,
    axes: Annotated[
        str | None,
        typer.Option(metavar="ORDER", help="How the array lies in the file, as in: xyz, tczyx."),
    ] = None,
    channel: Annotated[
        str | None, typer.Option(help="Keep one channel, by index (from 0) or name.")
    ] = None,
    time: Annotated[int, typer.Option(min=0, help="Which time point, from 0.")] = 0,
    dataset: Annotated[
        str | None,
        typer.Option(help="Array of an HDF5 or Zarr container, or series of a TIFF."),
    ] = None,
    labels: Annotated[
        bool,
        typer.Option("--labels", help="It holds labels: coarser levels keep the commonest one."),
    ] = False,
    ngff: Annotated[
        Literal["0.4", "0.5"], typer.Option(help="OME-Zarr version; 0.4 for older viewers.")
    ] = "0.5",
    overwrite: Overwrite = False,
) -> None:
    """Write any readable volume as multiscale OME-Zarr, OME-TIFF or NIfTI, block by block.

    Example: `luxvox convert stack.tif stack.ome.zarr --voxel-size '6 1.62 1.62'`
    """
    from .data.convert import convert_command

    convert_command(
        source, out, voxel_size=voxel_size, axes=axes, channel=channel, time=time, ngff=ngff,
        overwrite=overwrite, labels=labels, dataset=dataset,
    )  # fmt: skip


@command.command()
def audit(
    dataset: Dataset,
    json: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the findings there as well.")
    ] = None,
) -> None:
    """Find what is wrong with a list before anybody trains on it. Exit code 2 if there are errors.

    Looks for damaged files, duplicates, groups in two splits, wrong axes, missing captions ...

    Example: `luxvox audit mydata/dataset.csv`
    """
    from .data.audit import audit_command

    audit_command(dataset, json)


@command.command()
def bank(
    dataset: Dataset,
    out: Annotated[str, typer.Argument(metavar="OUT", help="A name in .safetensors.")],
    shape: Annotated[
        tuple[int, int, int],
        typer.Option(metavar="Z Y X", help="Voxels of a crop; training crops may be smaller."),
    ] = (96, 96, 96),
    voxel_size: Annotated[
        str | None,
        typer.Option(metavar="'Z Y X'", help="Wanted, in micrometres; without it as acquired."),
    ] = None,
    crops: Annotated[int, typer.Option(min=1, help="Of each volume, at most.")] = 32,
    seed: Annotated[int, typer.Option(min=0, help="Chooses the places.")] = 0,
    skip_unreadable: Annotated[
        bool, typer.Option("--skip-unreadable", help="Leave damaged volumes out.")
    ] = False,
    overwrite: Overwrite = False,
) -> None:
    """Pack crops of many volumes into one file, for machines that cannot stream the volumes.

    Pretrain from it with `data=OUT`.

    Example: `luxvox bank mydata/dataset.csv crops.safetensors --crops 16`
    """
    from .data.bank_pack import bank_command

    bank_command(
        dataset, out, shape=shape, voxel_size=voxel_size, crops=crops, seed=seed,
        skip_unreadable=skip_unreadable, overwrite=overwrite,
    )  # fmt: skip


@command.command()
def simulate(
    out: Annotated[str, typer.Argument(metavar="OUT", help="A new or empty folder.")],
    overrides: Overrides = None,
    count: Annotated[int, typer.Option(min=1, help="How many volumes.")] = 16,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same bytes.")] = 0,
    recipe: Annotated[
        str, typer.Option(metavar="RECIPE", help="A YAML file, or a shipped one: brain, clear.")
    ] = "brain",
    structures: Annotated[
        str | None, typer.Option(metavar="A,B", help="Which, in turn: nuclei,vessels,axons ...")
    ] = None,
    format: Annotated[
        Literal["ome-zarr", "tiff"], typer.Option(help="Labels lie inside the OME-Zarr stores.")
    ] = "ome-zarr",
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes; without it one for each core.")
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Go on in a folder that is not empty.")
    ] = False,
    sheet: Annotated[
        bool, typer.Option("--sheet", help="Write OUT/sheet.png, a picture of every structure.")
    ] = False,
    real: Annotated[
        list[str] | None,
        typer.Option(metavar="DATASET", help="Real volumes beside them on the sheet; repeatable."),
    ] = None,
) -> None:
    """Simulate light-sheet volumes with labels, captions and known optics, and the list of them.

    Example: `luxvox simulate sim --count 16 --seed 1 --structures nuclei,vessels size=96,96,96`
    """
    from .data.manifest import read_dataset
    from .data.synthetic.simulate import simulate_command

    if real and not sheet:
        raise typer.BadParameter("--real names volumes for the sheet; add --sheet")
    for source in real or []:
        read_dataset(source)  # a wrong list is told before the work, not after
    table = simulate_command(
        out, count=count, seed=seed, structures=structures, format=format, overrides=overrides,
        workers=workers, overwrite=overwrite, recipe=recipe,
    )  # fmt: skip
    if sheet:
        from .predict.simulated_sheet import write_sheet

        typer.echo(f"contact sheet: {write_sheet(table, real or [])}")


@command.command()
def pretrain(
    recipe: Annotated[
        str, typer.Argument(metavar="RECIPE", help="A YAML file, or the name of a shipped one.")
    ],
    overrides: Overrides = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the newest checkpoint in out=RUN.")
    ] = False,
) -> None:
    """Learn from volumes without labels; weights, curves and pictures land in the folder out=RUN.

    On several GPUs: `accelerate launch -m luxvox.pretrain RECIPE KEY=VALUE ...`

    Example: `luxvox pretrain cpu_real data=mydata/dataset.csv out=runs/first steps=500`
    """
    from .pretrain.__main__ import pretrain_command

    pretrain_command(recipe, overrides or [], resume=resume)


for _verb in (
    few_labels.finetune,
    few_labels.evaluate,
    few_labels.benchmark,
    few_labels.suggest,
    few_labels.predict,
    focus_verb.focus,
    focus_verbs.focus_features,
    focus_verbs.focus_fit,
    focus_verbs.focus_quality,
    *(classify, embed, export_verb.export, search, tables),
):
    command.command()(_verb)
command.add_typer(weights)


@command.command()
def demo(
    overrides: Overrides = None,
    out: Annotated[
        Path, typer.Option(metavar="FOLDER", help="A new folder for volumes and run.")
    ] = Path("luxvox-demo"),
) -> None:
    """Simulate volumes, pretrain a small model on them, say where the report lies. No network.

    Takes a few minutes on two cores.

    Example: `luxvox demo --out my-demo`
    """
    from .pretrain.demo import demo_command

    demo_command(out, overrides or [])


@command.command()
def report(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run.")],
    blind: Annotated[
        bool, typer.Option("--blind", help="Compare runs under letters, for experts to rate.")
    ] = False,
    dataset: Annotated[
        str | None, typer.Option(metavar="DATASET", help="--blind: the volumes to compare them on.")
    ] = None,
    against: Annotated[
        list[str] | None, typer.Option(metavar="RUN", help="--blind: another run; repeatable.")
    ] = None,
    count: Annotated[int, typer.Option(min=1, help="--blind: volumes at most.")] = 12,
    seed: Annotated[int, typer.Option(min=0, help="--blind: draws volumes and letters.")] = 0,
) -> None:
    """Write RUN/report.html anew: one self-contained page. Works while a run is going, too.

    With --blind: RUN/blind/ for the experts (a page, rating.csv), and RUN/blind_key.csv, which says
    what hides behind the letters.

    Example: `luxvox report runs/first`
    """
    from .report.finetune import is_finetuned, write_finetune_report
    from .report.pretrain import write_pretrain_report

    if blind:
        from .finetune.blind import blind_rating

        if dataset is None:
            raise typer.BadParameter("--blind needs volumes; add --dataset LIST")
        page = blind_rating([run, *(against or [])], dataset, run / "blind", count, seed)
        typer.echo(f"{page}; the key lies in {run / 'blind_key.csv'}")
        return
    if dataset or against:
        raise typer.BadParameter("--dataset and --against belong to --blind; add it")
    typer.echo(write_finetune_report(run) if is_finetuned(run) else write_pretrain_report(run))


def main() -> None:
    """Entry point of the console script and of `python -m luxvox`; never returns."""
    sys.exit(run_command(sys.argv[1:]))


def run_command(arguments: list[str]) -> int:
    """Run one command line.

    Args:
        arguments: what stands after `luxvox`.

    Returns:
        Exit code: 0 done, 1 a defect or a failed check, 2 a mistake of the user, 3 part of the
        input could not be read, 130 interrupted.
    """
    let_threads_sleep()
    debug = "--debug" in arguments
    arguments = [argument for argument in arguments if argument != "--debug"] or ["--help"]
    try:
        # Not standalone: errors come back here, so that all kinds are shown alike.
        code = command(args=arguments, prog_name="luxvox", standalone_mode=False)
    except (Exception, KeyboardInterrupt) as error:
        if debug:
            traceback.print_exc()
        code, message = _explain(error, arguments)
        if message:
            print(f"error: {message}", file=sys.stderr)
    if code == _EXIT_INTERRUPTED:
        print(_interrupted(arguments), file=sys.stderr)
    return code or 0


def _explain(error: BaseException, arguments: list[str]) -> tuple[int, str]:
    """Exit code and one line for what went wrong; empty where there is nothing to say."""
    if isinstance(error, (KeyboardInterrupt, typer.Abort)):
        return _EXIT_INTERRUPTED, ""
    if isinstance(error, _UsageError):
        verb = arguments[0] if arguments[0] in [*_verbs(), "weights"] else ""
        message = one_line(error.format_message())  # pyright: ignore[reportAttributeAccessIssue]
        return _EXIT_MISTAKE, f"{message} See: {' '.join(['luxvox', verb]).strip()} --help"
    mendable = explain(error)
    if mendable is not None:
        return _EXIT_MISTAKE, mendable
    return 1, f"{type(error).__name__}: {one_line(error)} [{_keep_traceback()}]"


def _verbs() -> list[str]:
    return [entry.callback.__name__ for entry in command.registered_commands if entry.callback]


def _keep_traceback() -> str:
    """Write the traceback of a defect to a file: a long run must not have to be repeated for it."""
    from .data.intensity_cache import cache_home

    path = cache_home() / "last_error.txt"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(traceback.format_exc(), encoding="utf-8")
    except OSError:
        return "a defect of luxvox? --debug shows the traceback"
    return f"a defect of luxvox? The traceback is in {path}"


def _interrupted(arguments: list[str]) -> str:
    """Say how to go on, with the very command where there is one."""
    if arguments[:1] != ["pretrain"]:
        return "interrupted; what was written whole stays, run the same command again"
    again = [word for word in arguments if word != "--resume"] + ["--resume"]
    return f"interrupted; go on from the last checkpoint with: luxvox {shlex.join(again)}"


if __name__ == "__main__":
    main()

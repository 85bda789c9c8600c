"""The body of `luxvox focus`: volumes in, a table, a summary, a page out."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from ..configs.errors import InputError
from ..data.voxel import VoxelSize, parse_voxel_size
from ..models.catalog import find_folder
from ..report.focus import write_focus_page
from ..report.focus_figures import FocusCurve
from .focus import RUN, FocusResult, Known, Mode, Scorer, score_stack, support_of
from .focus_map import write_focus_map
from .focus_resume import judged_slices
from .focus_scorer import load_scorer
from .focus_sidecar import Sidecar, write_sidecar
from .focus_stack import FocusStack, open_stacks
from .focus_table import summary, write_summary, write_table
from .focus_watch import watch_folder

_SHOWN = 5  # slices of the montage
_LARGEST = 512  # pixels a side of a slice in the montage


def focus_command(
    volumes: Sequence[str],
    mode: Mode,
    out: Path,
    *,
    stain: str | None = None,
    weights: str | None = None,
    watch: Path | None = None,
    idle_s: float | None = None,
    report: Path | None = None,
    map_out: Path | None = None,
    resume: bool = False,
    sidecar: Sidecar | None = None,
    tiles: bool | None = None,
    channel: str | None = None,
    voxel_size: str | None = None,
    na: float | None = None,
    wavelength_nm: float | None = None,
    index: float | None = None,
    objective: str = "",
) -> None:
    """Score stacks, or a folder as it fills.

    Args:
        volumes: anything that `open_stacks` takes.
        mode: "sweep" or "volume".
        out: the table; the summary goes beside it, as OUT's name with .stacks.json.
        stain: free text.
        weights: see `load_scorer`.
        watch: score this folder as it fills, in place of volumes. idle_s: see `watch_folder`.
        report: a page in HTML.
        map_out: tile scores of one volume as an image, see `write_focus_map`.
        resume: go on with a map that was stopped, see `judged_slices`.
        sidecar: "ome" or "zarr": metadata in a file beside the table.
        tiles: rows of tiles; None = in volume mode.
        channel: by index or name; None = all.
        voxel_size: "z y x" in um, in place of what the files say.
        na: of the objective. wavelength_nm: of emission. Both narrow the spectrum to what the lens
            passes, where the pixel is known too.
        index: of the medium; with na, wavelength_nm and the pixel a learned head says micrometres.
        objective: name of the lens, for calibrations of the weights.

    Raises:
        InputError: anything that the user can mend.
    """
    _check_outputs(out, report)
    size = None if voxel_size is None else parse_voxel_size(voxel_size, "--voxel-size")
    if watch is not None:
        if volumes:
            raise InputError(f"--watch takes one folder: leave volumes out, such as {volumes[0]}")
        _check_watch(watch, {
            "--report": report is not None, "--map": map_out is not None, "--resume": resume,
            "--sidecar": sidecar is not None, "--tiles": tiles is True,
            "--no-tiles": tiles is False, "--channel": channel is not None,
        })  # fmt: skip
        scorer = load_scorer(weights, objective, na, wavelength_nm, index)
        watch_folder(
            watch, out, mode, stain, idle_s, scorer=scorer, voxel_size_um=size,
            support_px=support_of(na, wavelength_nm, None if size is None else size[2]),
        )  # fmt: skip
        return
    if idle_s is not None:
        raise InputError("--idle ends --watch; give --watch FOLDER, or leave it out")
    if not volumes:
        raise InputError("no volume given; name volumes or folders of slices, or --watch a folder")
    stacks = _open(volumes, channel, size)
    if map_out is not None:
        _check_map(map_out, mode, stacks)
    elif resume:
        raise InputError("--resume goes on with a map; give the same --map, or leave it out")
    scorer = load_scorer(weights, objective, na, wavelength_nm, index)
    asked = {
        "mode": mode, "stain": stain, "weights": _state(weights), "na": na,
        "wavelength_nm": wavelength_nm, "index": index, "objective": objective,
    }  # fmt: skip
    with ExitStack() as held:
        known = None
        if map_out is not None:
            known = held.enter_context(judged_slices(map_out, stacks[0], asked, resume))
        results = _score(stacks, mode, stain, scorer, (na, wavelength_nm), known)
        if map_out is not None:
            write_focus_map(map_out, results[0], overwrite=resume)
        if resume and known is not None:
            print(
                f"{map_out}: {known.before} of {-(-len(stacks[0]) // RUN)} blocks of slices skipped"
            )
    write_table(out, results, mode == "volume" if tiles is None else tiles)
    write_summary(out.with_suffix(".stacks.json"), results)
    if sidecar is not None:
        suffix = ".ome.xml" if sidecar == "ome" else ".attributes.json"
        write_sidecar(out.with_suffix(suffix), results, sidecar)
    if report is not None:
        write_focus_page(report, mode, (_curve(result) for result in results))
    _say(results, out)


def _check_outputs(table: Path, report: Path | None) -> None:
    """Refuse before the work what could not be written after it."""
    for path in (table,) if report is None else (table, report):
        if path.is_dir():
            raise InputError(f"{path}: a folder stands there; name a file")
        if not path.absolute().parent.is_dir():
            raise InputError(f"{path}: the folder {path.parent} does not exist; make it first")
    if report is not None and report.suffix.lower() not in (".html", ".htm"):
        raise InputError(f"--report {report}: the page is HTML; give a name in .html")


def _check_watch(folder: Path, given: Mapping[str, bool]) -> None:
    """Refuse options that say something of whole stacks; slices that come one by one are none."""
    several = [option for option, asked in given.items() if asked]
    if several:
        raise InputError(
            f"--watch {folder}: writes the table of slices alone, and would drop "
            f"{', '.join(several)}; leave {'it' if len(several) == 1 else 'them'} out, or score "
            "the folder once it is full"
        )


def _score(
    stacks: Sequence[FocusStack],
    mode: Mode,
    stain: str | None,
    scorer: Scorer | None,
    lens: tuple[float | None, float | None],
    known: Known | None,
) -> list[FocusResult]:
    """Judge stacks one by one, with a line of progress each; `lens` is NA and wavelength."""
    results = []
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, transient=True) as line:
        for stack in stacks:
            slices = line.add_task(stack.stack_id, total=len(stack))
            pixel = None if stack.voxel_size_um is None else stack.voxel_size_um[2]
            results.append(
                score_stack(
                    stack, mode, stain, scorer, support_of(*lens, pixel),
                    lambda done, total, task=slices: line.update(task, completed=done), known,
                )
            )  # fmt: skip
    return results


def _state(weights: str | None) -> list[tuple[str, int, int]]:
    """Files of weights as they stand; written anew they give other scores."""
    if weights is None:
        return []
    folder = Path(weights) if Path(weights).is_dir() else find_folder(weights)
    files = sorted(folder.rglob("*"))
    return [(f.name, f.stat().st_size, f.stat().st_mtime_ns) for f in files if f.is_file()]


def _check_map(out: Path, mode: Mode, stacks: Sequence[FocusStack]) -> None:
    """Refuse before the work what `write_focus_map` would refuse after it."""
    if mode != "volume" or len(stacks) != 1:
        raise InputError(
            f"--map {out}: of {len(stacks)} stacks in {mode} mode, expected one volume; give one "
            "VOLUME, --channel, and --mode volume"
        )


def _open(volumes: Sequence[str], channel: str | None, size: VoxelSize | None) -> list[FocusStack]:
    stacks = [stack for name in volumes for stack in open_stacks(name, channel, size)]
    seen: dict[tuple[str, str], str] = {}
    for stack in stacks:
        key = stack.stack_id, stack.channel
        if key in seen:
            raise InputError(
                f"{stack.image_paths[0]}: a stack called {stack.stack_id!r} comes from {seen[key]} "
                "already; rename one, or score them one by one"
            )
        seen[key] = stack.image_paths[0]
    return stacks


def _say(results: Sequence[FocusResult], out: Path) -> None:
    for result in results:
        for note in result.notes:
            print(f"warning: {result.stack.stack_id}: {note}", file=sys.stderr)
        print(_line(result))
    unknown = [r.stack.stack_id for r in results if r.stack.voxel_size_um is None]
    if unknown:
        shown = ", ".join(unknown[:3]) + (" ..." if len(unknown) > 3 else "")
        print(
            f"warning: no z spacing known of {shown}: places are in slices, z_um stays empty; "
            "give --voxel-size 'Z Y X'",
            file=sys.stderr,
        )
    print(f"{out}: {sum(len(result.slices) for result in results)} slices")


def _line(result: FocusResult) -> str:
    told = summary(result)
    name = f"{told['stack_id']} {told['channel']}".strip()
    judged = f"{told['valid_slices']} of {told['slices']} slices have a score"
    if result.peak is None:
        return f"{name}: {judged}"
    if result.peak.best_z is None:
        return f"{name}: {judged}; no best slice ({result.peak.reason})"
    um = "" if told["best_z_um"] is None else f" = {told['best_z_um']:.2f} um"
    doubt = ", at the end of the sweep: focus may lie outside" if result.peak.boundary else ""
    several = f", {told['number_of_peaks']} peaks" if told["number_of_peaks"] > 1 else ""
    return f"{name}: best z {result.peak.best_z:.2f}{um}{doubt}{several}; {judged}"


def _curve(result: FocusResult) -> FocusCurve:
    stack = result.stack
    told = summary(result)
    facts = [
        (key.replace("_", " "), _words(value))
        for key, value in told.items()
        if value not in (None, "", [], {})
    ]
    lows, highs = (
        np.array([np.nan if bound is None else bound for bound in bounds], np.float64)
        for bounds in (
            [found.lo if found.defocus_um is None else None for found in result.slices],
            [found.hi if found.defocus_um is None else None for found in result.slices],
        )
    )
    known = bool(np.isfinite(lows).any() and np.isfinite(highs).any())
    return FocusCurve(
        name=f"{stack.stack_id} {stack.channel}".strip(),
        z=np.array(stack.z_index, np.float64),
        scores=result.scores,
        low=lows if known else None,
        high=highs if known else None,
        measures={name.removesuffix("_filtered"): v for name, v in result.measures.items()},
        tiles=result.tile_scores,
        best_z=None if result.peak is None else result.peak.best_z,
        montage=list(_montage(result)),
        facts=facts,
    )


def _montage(result: FocusResult) -> Iterator[tuple[str, np.ndarray]]:
    """The best slice of a sweep between others; of a volume slices evenly over z."""
    stack, last = result.stack, len(result.stack) - 1
    places = set(np.linspace(0, last, min(_SHOWN, last + 1)).round().astype(int).tolist())
    best = None if result.peak is None else result.peak.place
    if best is not None:
        places = {0, best // 2, best, (best + last + 1) // 2, last}
    for place in sorted(places):
        picture = stack.read([place])[0].numpy()
        thin = -(-max(picture.shape) // _LARGEST)
        reason = f" ({result.reasons[place]})" if result.reasons[place] else ""
        star = " best" if place == best else ""
        yield f"z {stack.z_index[place]}{star}{reason}", picture[::thin, ::thin]


def _words(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list):
        return "; ".join(_words(entry) for entry in value)
    if isinstance(value, dict):
        return ", ".join(f"{key} {_words(entry)}" for key, entry in value.items())
    return str(value)

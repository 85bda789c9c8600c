"""A segmenter as a package of bioimage.io: a zip that ilastik, deepImageJ and others run as it is.

ONNX weights on raw intensities, a test image with its answer, description, card and cover. What the
format cannot say of our normalisation, and what stands for it, is said in `bioimageio_description`.
"""

from __future__ import annotations

import io
import json
import math
import shutil
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module, metadata
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
import yaml
from numpy.typing import NDArray
from torch import Tensor, nn

from ..configs.errors import InputError
from ..configs.whole_file import whole_file
from ..data.synthetic.catalogue import CATALOGUE
from ..data.synthetic.recipe import SimulateRecipe
from ..data.synthetic.sample import make_sample
from ..data.voxel import VoxelSize
from ..models.catalog import find_folder
from ..models.checkpoint import CONFIG
from ..models.dense import fill_to_patches
from ..report.planes import grey_scale
from .bioimageio_description import EPSILON, PERCENTILES, Package, card, describe
from .export import OPSET, ExportedTask, Triple, check_place, compare, write_program
from .task_weights import Task, TaskWeights, open_dense

WEIGHTS, RDF, README, COVER = "segmenter.onnx", "rdf.yaml", "README.md", "cover.png"
TEST_INPUT, TEST_OUTPUT = "test_input.npy", "test_output.npy"
_NEEDED = ("onnx", "onnxscript", "onnxruntime", "bioimageio.core")  # the extra [bioimageio]
_COVER_SIDE = 256  # pixels at least
_DATE = (1980, 1, 1, 0, 0, 0)  # the same bytes whenever it is packed


@dataclass(frozen=True)
class Credits:
    """Who stands behind a package, and what others may do with it.

    Attributes:
        authors: names, as they are to be cited.
        licence: SPDX identifier such as "CC-BY-4.0"; None = that of the weights, if they state one.
    """

    authors: tuple[str, ...] = ()
    licence: str | None = None


class PackagedSegmenter(nn.Module):
    """From intensities, scaled by percentiles, to probabilities; voxel size and structure inside.

    Args:
        weights: of a task "segment".
    """

    voxel_size_um: Tensor

    def __init__(self, weights: TaskWeights) -> None:
        super().__init__()
        self.task = ExportedTask(weights)
        size = weights.task.voxel_size_um or (0.0, 0.0, 0.0)  # zeros = unknown
        self.register_buffer("voxel_size_um", torch.tensor([size]))

    def forward(self, scaled: Tensor) -> Tensor:
        """[1, 1, Z, Y, X], 0 and 1 at the two `PERCENTILES` -> probabilities [1, F, Z, Y, X]."""
        return self.task(torch.asinh(scaled - 1), self.voxel_size_um)


def export_bioimageio(
    weights: str | Path,
    out: str | Path,
    *,
    part: Task | str | None = None,
    structure: str | None = None,
    size: Triple | None = None,
    credits: Credits | None = None,
    overwrite: bool = False,
) -> float:
    """Write a package of bioimage.io; bioimageio.core has tested it before it is in place.

    Args:
        weights: a RUN that segments, or pretrained dense weights.
        out: ends in .zip.
        part: None or "segment"; pretrained weights want it said.
        structure: text that names the foreground, for pretrained weights.
        size: (z, y, x) voxels of a block; None = that of the weights.
        credits: None = nobody is named.
        overwrite: replace what stands at `out`.

    Returns:
        Largest difference between the packaged answer and the model's, over the largest answer.

    Raises:
        InputError: no segmenter, another ending, packages of the extra [bioimageio] that are
            missing, a place that cannot be written, or bioimageio.core refuses the package.
        RuntimeError: the answers differ.
    """
    out = Path(out)
    check_place(out, (".zip",), overwrite)
    _check_extra(out)
    task: Any = part
    told = open_dense(weights).told(task, structure).asked(structure)
    if told.task.task != "segment":
        raise InputError(
            f"{weights}: fine-tuned for task {told.task.task!r}; packages of bioimage.io hold "
            "segmenters; leave --format out for a file in .onnx or .pt2"
        )
    credits = credits or Credits()
    block = size or told.task.tile
    fill_to_patches(torch.zeros(1, 1, *block), told.model.encoder.config.patch)  # not too small
    image = simulated_image(block, told.task.structure, told.task.voxel_size_um)
    module = PackagedSegmenter(told).eval()
    with TemporaryDirectory() as folder:
        onnx = Path(folder) / WEIGHTS
        scaled = torch.from_numpy(by_percentiles(image))
        with torch.no_grad():
            wanted = module(scaled)
            program = torch.export.export(module, (scaled,))
        difference = compare(write_program(program, onnx)(scaled), wanted, out)
        package = Package(
            told.task,
            Path(weights).name,
            block,
            credits.authors,
            credits.licence or _licence_of(weights),
            metadata.version("luxvox"),
            OPSET,
        )
        files = {
            WEIGHTS: onnx.read_bytes(),
            TEST_INPUT: _npy(image),
            TEST_OUTPUT: _npy(wanted.numpy()),
            COVER: _cover(image[0, 0], wanted[0].numpy()),
            README: card(package).encode(),
        }
        packed = Path(folder) / "package.zip"
        write_package(packed, package, files)
        _tested(packed, out)
        _put(packed, out)
    return difference


def write_package(path: Path, package: Package, files: Mapping[str, bytes]) -> None:
    """Write files and the description that lists them, with their sha256, as one zip.

    Args:
        path: is replaced.
        package: what the description says.
        files: by name: weights, test tensors, cover and card.
    """
    text = yaml.safe_dump(describe(package, files), sort_keys=False, allow_unicode=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as held:
        for name, content in {RDF: text.encode(), **files}.items():
            held.writestr(zipfile.ZipInfo(name, _DATE), content, zipfile.ZIP_DEFLATED)


def by_percentiles(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """What readers of the package do first: `scale_range` over all axes, as the format defines it.

    Args:
        image: any shape, intensities.

    Returns:
        Same shape, float32.
    """
    low, high = np.percentile(image, PERCENTILES)
    return ((image - low) / (high - low + EPSILON)).astype(np.float32)


def simulated_image(
    size: Triple, structure: str | None, voxel_size_um: VoxelSize | None
) -> NDArray[np.float32]:
    """[1, 1, Z, Y, X] float32 camera counts of the simulated structure that the text names.

    Args:
        size: (z, y, x) voxels.
        structure: text; where nothing simulated is in it, vessels are drawn.
        voxel_size_um: (z, y, x); None = cubes of 1 um.
    """
    named = [one.name for one in CATALOGUE.values() if one.title in (structure or "").lower()]
    z, y, x = voxel_size_um or (1.0, 1.0, 1.0)
    pixel = math.sqrt(y * x)
    recipe = SimulateRecipe(
        size=size,
        structures=tuple(named[:1] or ["vessels"]),
        pixel_um=(pixel, pixel),
        z_over_xy=(z / pixel, z / pixel),
    )
    return make_sample(recipe, seed=0, number=0).image.astype(np.float32)[None, None]


def _check_extra(out: Path) -> None:
    missing = [name for name in _NEEDED if find_spec(name.partition(".")[0]) is None]
    if missing:
        raise InputError(
            f"{out}: a package of bioimage.io needs {', '.join(missing)}, not installed: run "
            'pip install "luxvox[bioimageio]"'
        )


def _licence_of(weights: str | Path) -> str | None:
    """The licence that config.json states; None where it is a sentence, such as "not stated"."""
    config = json.loads((find_folder(weights) / CONFIG).read_text(encoding="utf-8"))
    stated = str(config.get("licence") or "")
    return stated if stated and " " not in stated else None


def _npy(values: NDArray[np.float32]) -> bytes:
    file = io.BytesIO()
    np.save(file, values)
    return file.getvalue()


def _cover(image: NDArray[np.float32], answer: NDArray[np.float32]) -> bytes:
    """PNG, twice as wide as high: brightest along z beside the most probable foreground.

    Args:
        image: [Z, Y, X] intensities.
        answer: [F, Z, Y, X] probabilities; of several classes the first is the background.
    """
    from matplotlib.image import imsave

    foreground = answer[0] if len(answer) == 1 else 1 - answer[0]
    views = [grey_scale(image.max(0)[None])[0, ..., 0], foreground.max(0)]
    side = max(image.shape[1:])
    picture = np.zeros((side, 2 * side), np.float32)
    for number, view in enumerate(views):
        left = number * side
        picture[: view.shape[0], left : left + view.shape[1]] = view
    larger = np.ones((-(-_COVER_SIDE // side),) * 2, np.float32)
    file = io.BytesIO()
    imsave(file, np.kron(picture, larger), cmap="gray", vmin=0, vmax=1, format="png")
    return file.getvalue()


def _tested(packed: Path, out: Path) -> None:
    """Let bioimageio.core read the package, run it and compare the answer.

    Raises:
        InputError: it does not pass; the message says the first reason.
    """
    core = import_module("bioimageio.core")
    import_module("loguru").logger.disable("bioimageio")  # pages of progress
    summary = core.test_model(packed, weight_format="onnx", devices=["cpu"])
    if summary.status != "passed":
        first = _first_error(summary.details)
        raise InputError(
            f"{out}: bioimageio.core does not accept the package ({first}); nothing was kept"
        )


def _first_error(details: Sequence[Any]) -> str:
    for detail in details:
        for error in detail.errors:
            where = ".".join(str(part) for part in error.loc)
            return f"{where}: {str(error.msg).splitlines()[0]}"
    return "it does not say why"


def _put(packed: Path, out: Path) -> None:
    """Copy the package to its place, whole or not at all."""
    try:
        with whole_file(out) as draft:
            shutil.copyfile(packed, draft)
    except OSError as error:
        raise InputError(f"{out}: cannot be written ({error.strerror or error})") from error

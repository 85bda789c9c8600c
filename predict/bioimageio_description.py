"""What stands in rdf.yaml and README.md of a package of bioimage.io (model description 0.5).

The format has no step for our normalisation, asinh((x - level) / spread) with the median and the
spread of the tissue, measured without foreground and empty medium. What comes nearest is
`scale_range`: its percentiles are those of the whole image, also where a program cuts it into
blocks. The median stands for the level, and the distance from there down to the 15.9th percentile,
one sigma of a normal distribution, for the spread; the asinh is part of the weights.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .task_weights import TaskConfig, Triple

FORMAT = "0.5.4"
PERCENTILES = (15.9, 50.0)
EPSILON = 1e-6  # the format's own, in intensity units

_CITE = {
    "text": "Dosovitskiy et al. 2021, An image is worth 16x16 words (the kind of the encoder)",
    "doi": "10.48550/arXiv.2010.11929",
}


@dataclass(frozen=True)
class Package:
    """What a description says of a segmenter.

    Attributes:
        task: of the weights.
        weights: their name, for people.
        block: (z, y, x) voxels that go in at once; fixed.
        authors: names.
        licence: SPDX identifier; None = not stated.
        version: of luxvox.
        opset: of the ONNX file.
    """

    task: TaskConfig
    weights: str
    block: Triple
    authors: tuple[str, ...]
    licence: str | None
    version: str
    opset: int

    @property
    def target(self) -> str:
        """What is found, in words."""
        return self.task.structure or ", ".join(self.task.classes) or "foreground"


def describe(package: Package, files: Mapping[str, bytes]) -> dict[str, Any]:
    """The content of rdf.yaml.

    Args:
        package: what is described.
        files: by name; one ends in .onnx, two in _input.npy and _output.npy, one in .png, one is
            README.md.
    """

    def file(ending: str) -> dict[str, str]:
        name = next(name for name in files if name.endswith(ending))
        return {"source": name, "sha256": hashlib.sha256(files[name]).hexdigest()}

    return {
        "format_version": FORMAT,
        "type": "model",
        "name": re.sub(r"[^A-Za-z0-9_+\- ()]", " ", f"luxvox {package.target}")[:64].strip(),
        "description": f"Finds {package.target} in light-sheet microscopy, voxel by voxel.",
        "authors": [{"name": name} for name in package.authors],
        "license": package.licence,
        "cite": [_CITE],
        "tags": ["light-sheet", "3d", "segmentation", "luxvox", "fluorescence-light-microscopy"],
        "documentation": file("README.md"),
        "covers": [file(".png")],
        "inputs": [_input(package, file("_input.npy"))],
        "outputs": [_output(package, file("_output.npy"))],
        "weights": {"onnx": {**file(".onnx"), "opset_version": package.opset}},
        "config": {
            "luxvox": {
                "version": package.version,
                "weights": package.weights,
                "task": package.task.model_dump(mode="json"),
            }
        },
    }


def card(package: Package) -> str:
    """The content of README.md."""
    size = package.task.voxel_size_um
    if size is None:
        voxels = "of no certain size; it is not known, or differed"
    else:
        voxels = " x ".join(f"{side:g}" for side in size) + " um, resample others"
    z, y, x = package.block
    low, middle = PERCENTILES
    if package.task.classes:
        answer = f"the probability of each of {', '.join(package.task.classes)}"
    else:
        answer = f"one probability; luxvox counts what is above {package.task.threshold:.3g}"
    return f"""# {package.target}: segmentation of light-sheet volumes

From the weights `{package.weights}` by luxvox {package.version}.

- In: one channel of raw intensities, axes z, y, x, in blocks of {z} x {y} x {x} voxels. The size is
  fixed: larger volumes are cut into such blocks, smaller ones filled up.
- Voxels (z, y, x) as trained on: {voxels}.
- Out: {answer}.
- Licence: {package.licence or "not stated; it depends on the volumes that were learnt from"}.

## Normalisation

luxvox divides by the spread of the tissue around its level, both measured without foreground, empty
medium and padding, and takes the asinh. Here percentiles of the whole image stand for them: the
{middle:g}th for the level, the distance from there to the {low:g}th for the spread. In tissue they
are much the same. Where much of an image is empty, padded or foreground they are not: cut it to the
tissue first, or use `luxvox predict`, which measures.

## Validation

`test_output.npy` is what the model answers to `test_input.npy`, a simulated volume. How good the
segmentation is on volumes of yours nobody knows: label a part of one and compare the two, for
example with `luxvox evaluate`. Not for diagnosis.
"""


def _input(package: Package, test: Mapping[str, str]) -> dict[str, Any]:
    low, high = PERCENTILES
    sides = [
        {**axis, "size": side, "concatenable": True}
        for axis, side in zip(_axes(package.task), package.block, strict=True)
    ]
    return {
        "id": "raw",
        "description": "Intensities as the microscope wrote them.",
        "axes": [
            {"type": "batch", "size": 1},
            {"type": "channel", "channel_names": ["intensity"]},
            *sides,
        ],
        "data": {"type": "float32"},
        "test_tensor": dict(test),
        "preprocessing": [
            {
                "id": "scale_range",
                "kwargs": {
                    "axes": ["channel", "z", "y", "x"],
                    "min_percentile": low,
                    "max_percentile": high,
                    "eps": EPSILON,
                },
            },
        ],
    }


def _output(package: Package, test: Mapping[str, str]) -> dict[str, Any]:
    sides = [
        {
            **axis,
            "size": {"tensor_id": "raw", "axis_id": axis["id"]},
            # Blocks overlap by a quarter, as those of luxvox predict do.
            **({"halo": side // 8} if side >= 8 else {}),
        }
        for axis, side in zip(_axes(package.task), package.block, strict=True)
    ]
    names = package.task.classes or (package.task.structure or "foreground",)
    return {
        "id": "probability",
        "description": f"Probability of {package.target}"[:128],
        "axes": [
            {"type": "batch", "size": 1},
            {"type": "channel", "channel_names": [_identifier(name) for name in names]},
            *sides,
        ],
        "data": {"type": "float32", "range": [0.0, 1.0]},
        "test_tensor": dict(test),
    }


def _axes(task: TaskConfig) -> list[dict[str, Any]]:
    """Axes z, y, x, with their voxel size where it is known."""
    size = task.voxel_size_um
    known = [{}] * 3 if size is None else [{"unit": "micrometer", "scale": side} for side in size]
    return [{"type": "space", "id": axis, **said} for axis, said in zip("zyx", known, strict=True)]


def _identifier(name: str) -> str:
    """A name as the format wants those of channels: letters, digits and underscores."""
    word = re.sub(r"\W+", "_", name, flags=re.ASCII).strip("_") or "foreground"
    return word if word[0].isalpha() else f"class_{word}"

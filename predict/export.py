"""Weights as one file that runs without luxvox: torch.export (.pt2) or ONNX (.onnx).

One crop of one size goes in, normalised as config.json says; what is asked for, and the name of the
structure, are part of the file.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..configs.errors import InputError
from ..configs.whole_file import whole_file
from ..data.normalize import NORMALISATION
from ..models.dense import DenseModel, fill_to_patches
from ..models.encoder import Encoder
from .task_weights import DenseWeights, Task, TaskWeights, open_dense

Triple = tuple[int, int, int]

SUFFIXES = (".pt2", ".onnx")
OPSET = 18  # of ONNX: the oldest that torch writes without converting
_NEEDED = ("onnx", "onnxscript", "onnxruntime")  # the extra [export]
_TOLERANCE = 1e-3  # of the largest answer; float32 in another order of sums


class ExportedTask(nn.Module):
    """Segmentation, restoration or classification of one crop, with its condition inside.

    Args:
        weights: that know their task.
    """

    condition: Tensor | None

    def __init__(self, weights: TaskWeights) -> None:
        super().__init__()
        self.model, self.task = weights.model, weights.task
        self.register_buffer("condition", weights.condition, persistent=True)

    def forward(self, crop: Tensor, voxel_size_um: Tensor) -> Tensor:
        """[1, 1, Z, Y, X] normalised and [1, 3] um (zeros = unknown) -> the answer.

        Probabilities [1, F, Z, Y, X] of segmentation, the normalised image [1, 1, Z, Y, X] of
        restoration, probabilities [1, K] of classification.
        """
        known = (voxel_size_um > 0).all(dim=1)
        size = torch.where(known[:, None], voxel_size_um, 1.0)
        head = self.task.head
        if self.task.task == "classify":
            return self.model.classify(crop, size, known, head=head).softmax(dim=1)
        if self.task.task == "restore":
            return self.model.restore(crop, size, known, self.condition, head=head)
        logits = self.model.segment(crop, size, known, self.condition, head=head).logits
        return logits.sigmoid() if logits.shape[1] == 1 else logits.softmax(dim=1)


class ExportedEncoder(nn.Module):
    """The encoder alone: tokens of one crop.

    Args:
        model: whose encoder has tokens.

    Raises:
        InputError: a net without tokens.
    """

    def __init__(self, model: DenseModel, where: str) -> None:
        super().__init__()
        if not isinstance(model.encoder, Encoder):
            raise InputError(f"{where}: a {model.config.backbone}, whose encoder has no tokens")
        self.encoder = model.encoder

    def forward(self, crop: Tensor, voxel_size_um: Tensor) -> Tensor:
        """[1, 1, Z, Y, X] normalised and [1, 3] um (zeros = unknown) -> [1, N, D], z-major."""
        known = (voxel_size_um > 0).all(dim=1)
        size = torch.where(known[:, None], voxel_size_um, 1.0)
        return self.encoder(fill_to_patches(crop, self.encoder.config.patch), size, known).tokens


def export(
    weights: str | Path,
    out: str | Path,
    *,
    part: Task | str | None = None,
    structure: str | None = None,
    size: Triple | None = None,
    overwrite: bool = False,
) -> float:
    """Write one file that answers without luxvox, and OUT.json that says what goes in.

    Args:
        weights: a RUN, a folder of weights, or a name.
        out: ends in .pt2 or .onnx.
        part: "encoder", or of pretrained weights a task; None = the task of a fine-tuned RUN.
        structure: text that names the foreground, for pretrained weights.
        size: (z, y, x) voxels of a crop; None = that of the weights.
        overwrite: replace what stands at `out`.

    Returns:
        Largest difference between the file's answer and the model's, over the largest answer.

    Raises:
        InputError: another ending, no task, a part that the weights do not have, packages of the
            extra [export] that are missing, or a place that cannot be written.
        RuntimeError: the answers differ.
    """
    out = Path(out)
    check_place(out, SUFFIXES, overwrite)
    _check_extra(out)
    loaded = open_dense(weights)
    module = _module(loaded, part, structure)
    sides = size or loaded.tile
    torch.manual_seed(0)
    crop = torch.randn(1, 1, *sides)
    inputs = (crop, torch.tensor([[2.0, 1.0, 1.0]]))
    fill_to_patches(crop, loaded.model.encoder.config.patch)  # refuses what is too small
    with torch.no_grad():
        wanted = module(*inputs)
        program = torch.export.export(module, inputs)
    try:
        with whole_file(out) as draft:
            difference = compare(write_program(program, draft)(*inputs), wanted, out)
        about = json.dumps(_about(loaded, module, inputs, wanted), indent=2) + "\n"
        out.with_suffix(out.suffix + ".json").write_text(about, encoding="utf-8")
    except OSError as error:
        raise InputError(f"{out}: cannot be written ({error.strerror or error})") from error
    return difference


def check_place(out: Path, suffixes: Sequence[str], overwrite: bool) -> None:
    """Refuse a name with another ending, a file that stands there, and a folder that does not.

    Raises:
        InputError: any of them.
    """
    if out.suffix not in suffixes:
        raise InputError(f"{out}: expected a name in {' or '.join(suffixes)}")
    if out.exists() and not overwrite:
        raise InputError(f"{out}: exists already; choose another name, or add --overwrite")
    if not out.parent.is_dir():
        raise InputError(f"{out}: the folder {out.parent} does not exist; make it first")


def compare(answer: Tensor, wanted: Tensor, out: Path) -> float:
    """Largest difference between a file's answer and the model's, over the largest answer.

    Raises:
        RuntimeError: it is more than float32 in another order of sums gives.
    """
    difference = float((answer - wanted).abs().max() / wanted.abs().max().clamp(min=1e-9))
    if difference > _TOLERANCE:
        raise RuntimeError(
            f"{out}: the file's answer differs from the model's by {difference:.1e} of the "
            "largest; it was not kept"
        )
    return difference


def _check_extra(out: Path) -> None:
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if out.suffix == ".onnx" and missing:
        raise InputError(
            f"{out}: ONNX needs {', '.join(missing)}, not installed: run pip install "
            '"luxvox[export]", or choose a name in .pt2'
        )


def _module(loaded: DenseWeights, part: str | None, structure: str | None) -> nn.Module:
    if part == "encoder":
        return ExportedEncoder(loaded.model, loaded.where).eval()
    tasks = ("segment", "restore", "classify")
    if part is not None and part not in tasks:
        raise InputError(f"--part {part}: expected encoder or one of {', '.join(tasks)}")
    task: Any = part
    return ExportedTask(loaded.told(task, structure).asked(structure)).eval()


def write_program(program: torch.export.ExportedProgram, path: Path) -> Callable[..., Tensor]:
    """Write a file in .pt2 or .onnx.

    Returns:
        What runs the file as it lies on disk: tensors in, the answer out.
    """
    if path.suffix == ".pt2":
        torch.export.save(program, path)
        module = torch.export.load(path).module()
        return lambda *inputs: module(*inputs).detach()
    logging.getLogger("onnxscript").setLevel(logging.ERROR)  # what it leaves unfolded is no concern
    torch.onnx.export(program, f=str(path), external_data=False, verbose=False, opset_version=OPSET)
    session = import_module("onnxruntime").InferenceSession(
        path, providers=["CPUExecutionProvider"]
    )
    names = [one.name for one in session.get_inputs()]

    def run(*inputs: Tensor) -> Tensor:
        given = {name: one.numpy() for name, one in zip(names, inputs, strict=True)}
        return torch.from_numpy(np.asarray(session.run(None, given)[0]))

    return run


def _about(
    loaded: DenseWeights, module: nn.Module, inputs: tuple[Tensor, ...], answer: Tensor
) -> dict[str, Any]:
    """What has to be known to use the file."""
    task = module.task.model_dump(mode="json") if isinstance(module, ExportedTask) else "encoder"
    return {
        "weights": loaded.where,
        "inputs": {
            "crop": {"shape": list(inputs[0].shape), "axes": "bczyx", "dtype": "float32"},
            "voxel_size_um": {"shape": [1, 3], "axes": "zyx", "unknown": [0, 0, 0]},
        },
        "output": {"shape": list(answer.shape), "dtype": "float32"},
        "normalisation": NORMALISATION,
        "task": task,
    }

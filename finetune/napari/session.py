"""What happens behind the widget: weights, predictions, corrections, and learning from them.

Without a screen, so that it can be tested and used as it is.
"""

from __future__ import annotations

import csv
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...configs.errors import InputError
from ...configs.load import load_recipe
from ...data.normalize import normalize
from ...data.row import Row
from ...data.save import save_volume
from ...predict.blockwise_request import output_of
from ...predict.image import predict_maps
from ...predict.memory import need_memory
from ...predict.task_weights import TaskWeights, open_dense
from ...predict.volume import need_name
from ..examples import load_support
from ..recipe import FinetuneRecipe
from ..run import finetune
from .fields import Field

Told = Callable[[int, int], None]
"""Told (how much is done, how much in all); what it raises stops the work."""
_BYTES = 40  # of memory for each voxel that is predicted at once, about


class CancelledError(Exception):
    """The user has asked to stop."""


@dataclass
class Session:
    """Weights in use, and what has been corrected so far.

    Attributes:
        folder: takes corrections (files, as a list for `luxvox finetune`) and runs.
        weights: in use; None = not chosen yet.
        source: name or folder of these weights.
        corrections: fields and their corrected labels, in order.
    """

    folder: Path
    weights: TaskWeights | None = None
    source: str = ""
    corrections: list[tuple[Field, NDArray[Any]]] = field(default_factory=list)

    def load(self, source: str, structure: str | None = None, device: str = "cpu") -> TaskWeights:
        """Choose weights.

        Args:
            source: a RUN, a weights folder, or a shipped name.
            structure: text that names what pretrained weights are to find.
            device: where the model runs.

        Raises:
            InputError: nothing there, no structure named, or weights of a task without an image.
        """
        dense = open_dense(source, device)
        found = dense.told("segment" if dense.task is None else None, structure).asked(structure)
        need_name(found)
        if found.task.task == "classify":
            raise InputError(f"{source}: classifies whole tiles; take weights that give an image")
        self.weights, self.source = found, source
        return found

    def predict(self, part: Field, told: Told) -> NDArray[Any]:
        """Labels [Z, Y, X], or a restored image, of a field; normalised as its whole layer is.

        Raises:
            InputError: no weights, or too little memory.
        """
        weights = self._weights()
        need_memory(
            _BYTES * part.image.size, f"layer {part.layer!r}: a field of {part.image.shape} voxels",
            "choose a smaller one, or use luxvox predict, which goes block by block",
        )  # fmt: skip
        image = normalize(part.image, part.stats).astype(np.float32, copy=False)
        maps = predict_maps(weights, image, part.voxel_size_um, progress=told)
        return output_of(weights).values(maps.answer, part.stats)

    def correct(self, part: Field, labels: NDArray[Any]) -> None:
        """Keep corrected labels of a field; a field that is there already gets the new ones.

        Raises:
            InputError: weights that give no labels, or another shape.
        """
        if self._weights().task.task != "segment":
            raise InputError(f"{self.source}: restores images, expected weights that segment")
        if labels.shape != part.image.shape:
            raise InputError(
                f"labels of {labels.shape} voxels for a field of {part.image.shape}; correct the "
                "layer that the preview made"
            )
        place = part.layer, part.origin, part.image.shape
        kept = [
            (other, known)
            for other, known in self.corrections
            if (other.layer, other.origin, other.image.shape) != place
        ]
        self.corrections = [*kept, (part, np.array(labels))]

    def learn(self, told: Told, overrides: tuple[str, ...] = ()) -> TaskWeights:
        """Fine-tune the weights in use on all corrections, and use what comes out.

        Args:
            told: of every step.
            overrides: `key=value` of the recipe configs/finetune/segment.yaml.

        Returns:
            The new weights; the old ones stay in use where it is stopped or fails.

        Raises:
            InputError: nothing corrected, or labels without foreground or background.
        """
        weights = self._weights()
        if not self.corrections:
            raise InputError("no corrections: preview a field, and correct its labels first")
        rows = self._write()
        several = len(weights.task.classes) > 1
        examples = [
            # Normalised as the layer is, not as the field alone would be.
            replace(
                example,
                image=normalize(part.image, part.stats).astype(np.float32, copy=False),
                stats=part.stats,
            )
            for example, (part, _) in zip(
                load_support(rows, "segment", classes=several), self.corrections, strict=True
            )
        ]
        run = _free(self.folder / "run")
        words = {
            "data": self.folder / "corrections", "out": run, "weights": self.source,
            "labels": "classes" if several else "binary", "tracker": "none",
        }  # fmt: skip
        recipe = load_recipe(
            "finetune/segment.yaml",
            FinetuneRecipe,
            [*(f'{key}="{value}"' for key, value in words.items()), *overrides],
        )
        try:
            finetune(recipe, rows, examples, told)
        except BaseException:
            shutil.rmtree(run, ignore_errors=True)  # what was stopped is of no use
            raise
        return self.load(str(run), weights.task.structure, str(_device(weights)))

    def _weights(self) -> TaskWeights:
        if self.weights is None:
            raise InputError("no weights chosen: give a RUN, a folder of weights, or luxvox-tiny")
        return self.weights

    def _write(self) -> list[Row]:
        """Images and labels of all corrections as files, and the list of them."""
        structure = self._weights().task.structure
        folder = self.folder / "corrections"
        rows, table = [], [("id", "image", "labels", "group", "structure")]
        for number, (part, labels) in enumerate(self.corrections, start=1):
            paths = [folder / f"{number}_{what}.ome.tif" for what in ("image", "labels")]
            for path, array in zip(paths, (part.image, labels), strict=True):
                save_volume(array, path, voxel_size_um=part.voxel_size_um, overwrite=True)
            name = f"correction {number}"
            row = Row(
                name, paths[0], paths[1], group=part.layer, structure=structure, list_row=number + 1
            )
            rows.append(row)
            table.append((name, paths[0].name, paths[1].name, part.layer, structure or ""))
        with (folder / "dataset.csv").open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows(table)
        return rows


def _device(weights: TaskWeights) -> Any:
    return next(weights.model.parameters()).device


def _free(path: Path) -> Path:
    """The first of PATH-1, PATH-2, ... that is not taken."""
    number = 1
    while path.with_name(f"{path.name}-{number}").exists():
        number += 1
    return path.with_name(f"{path.name}-{number}")

"""The widget in napari's window: buttons, progress, layers. What they do stands in session.py."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QObject, QThread, Signal  # pyright: ignore[reportMissingImports]
from qtpy.QtWidgets import (  # pyright: ignore[reportMissingImports]
    QComboBox,
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QProgressBar,
    QPushButton,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from ...configs.explain import explain
from ...data.intensity_cache import cache_home
from ...predict.volume import choose_device
from .fields import Field, field_of, visible_field, voxels_of
from .session import CancelledError, Session

if TYPE_CHECKING:
    from napari.viewer import Viewer  # pyright: ignore[reportMissingImports]

PREVIEW = (32, 192, 192)
"""(z, y, x) voxels of a preview at most: some seconds of work."""
_FIELD = "luxvox"  # key of the field in a layer's metadata


class Work(QThread):
    """One function in a thread of its own, told of and stopped between its steps."""

    told = Signal(int, int)
    done = Signal(object)
    failed = Signal(str)

    def __init__(self, do: Callable[[Callable[[int, int], None]], Any], parent: QObject) -> None:
        super().__init__(parent)
        self._do = do

    def run(self) -> None:
        """Work; ends with `done` or `failed`."""
        try:
            found = self._do(self._tell)
        except CancelledError:
            self.failed.emit("stopped; everything is as it was")
        except Exception as error:  # shown to the user in whatever thread it came up
            self.failed.emit(explain(error) or f"{type(error).__name__}: {error}")
        else:
            self.done.emit(found)

    def _tell(self, done: int, total: int) -> None:
        if self.isInterruptionRequested():
            raise CancelledError
        self.told.emit(done, total)


class LuxvoxWidget(QWidget):
    """Pick weights and a layer; preview, run, correct, learn.

    Args:
        napari_viewer: whose layers are worked on.
        folder: takes corrections and runs; None = beside the caches of luxvox.
    """

    def __init__(self, napari_viewer: Viewer, folder: Path | None = None) -> None:
        super().__init__()
        self.viewer = napari_viewer
        self.session = Session(folder or cache_home() / "napari")
        self.work: Work | None = None
        self._predicted: dict[str, NDArray[Any]] = {}
        self._loaded: tuple[str, str] | None = None
        self._build()
        for event in ("inserted", "removed", "reordered"):
            getattr(self.viewer.layers.events, event).connect(self._list_layers)
        self._list_layers()

    def preview(self) -> None:
        """Predict what is on the screen."""

        def part() -> Field:
            return visible_field(self._layer(), tuple(self.viewer.dims.point), PREVIEW)

        self._predict(part)

    def run_all(self) -> None:
        """Predict the whole layer."""

        def part() -> Field:
            layer = self._layer()
            return field_of(layer, (0, 0, 0), tuple(voxels_of(layer).shape))

        self._predict(part)

    def learn(self) -> None:
        """Fine-tune on every preview whose labels were changed."""

        def begin() -> Callable[[Callable[[int, int], None]], Any]:
            for layer in self.viewer.layers:
                part = layer.metadata.get(_FIELD)
                known = self._predicted.get(layer.name)
                if part is not None and known is not None and not np.array_equal(known, layer.data):
                    self.session.correct(part, layer.data)
            steps = self.steps.value()
            overrides = (f"steps={steps}", f"one_shot_steps={steps}")
            return lambda told: self.session.learn(told, overrides)

        self._start(begin, "learning", self._learnt)

    def cancel(self) -> None:
        """Ask the work at hand to stop after its step."""
        if self.work is not None:
            self.work.requestInterruption()

    def _predict(self, part: Callable[[], Field]) -> None:
        def begin() -> Callable[[Callable[[int, int], None]], Any]:
            self._load()
            chosen = part()
            return lambda told: (chosen, self.session.predict(chosen, told))

        self._start(begin, "predicting", self._show)

    def _start(
        self,
        begin: Callable[[], Callable[[Callable[[int, int], None]], Any]],
        what: str,
        then: Callable[[Any], None],
    ) -> None:
        """Gather what is needed here, and do the rest in a thread."""
        if self.work is not None:
            return
        self.message.setText(what)
        try:
            self.work = Work(begin(), self)
        except Exception as error:  # a slot of Qt: nobody above could show it
            self.message.setText(explain(error) or f"{type(error).__name__}: {error}")
            return
        self.work.told.connect(self._told)
        self.work.done.connect(then)
        self.work.failed.connect(self.message.setText)
        self.work.finished.connect(self._ended)
        self._enable(False)
        self.work.start()

    def _ended(self) -> None:
        self.work = None
        self.bar.setValue(0)
        self._enable(True)

    def _told(self, done: int, total: int) -> None:
        self.bar.setMaximum(total)
        self.bar.setValue(done)

    def _show(self, found: tuple[Field, NDArray[Any]]) -> None:
        """Put a prediction over its layer; labels can then be corrected."""
        part, values = found
        name = f"luxvox {part.layer}"
        if name in self.viewer.layers:
            self.viewer.layers.remove(name)
        place = part.placed(self.viewer.layers[part.layer])
        if values.dtype.kind == "f":
            self.viewer.add_image(values, name=name, **place)
            self.message.setText("restored")
            return
        self.viewer.add_labels(values, name=name, metadata={_FIELD: part}, **place)
        self._predicted[name] = values.copy()
        self.message.setText(
            f"{(values > 0).mean():.2%} of {' x '.join(map(str, values.shape))} voxels; correct "
            "them with the brush, then learn"
        )

    def _learnt(self, _: Any) -> None:
        count = len(self.session.corrections)
        self.weights.setText(self.session.source)
        self._loaded = self.weights.text(), self.structure.text().strip()
        self.message.setText(
            f"learnt from {count} corrected field{'s' if count > 1 else ''}: "
            f"{self.session.source}; preview again"
        )

    def _load(self) -> None:
        wanted = self.weights.text().strip(), self.structure.text().strip()
        if wanted != self._loaded:
            self.session.load(wanted[0], wanted[1] or None, choose_device("auto"))
            self._loaded = wanted

    def _layer(self) -> Any:
        return self.viewer.layers[self.layers.currentText()]

    def _list_layers(self, _: object = None) -> None:
        chosen = self.layers.currentText()
        self.layers.clear()
        names = [
            layer.name
            for layer in self.viewer.layers
            if type(layer).__name__ == "Image" and not layer.name.startswith("luxvox ")
        ]
        self.layers.addItems(names)
        if chosen in names:
            self.layers.setCurrentText(chosen)
        self._enable(self.work is None)

    def _enable(self, idle: bool) -> None:
        for button in (self.buttons["preview"], self.buttons["run"]):
            button.setEnabled(idle and self.layers.count() > 0)
        self.buttons["learn"].setEnabled(idle)
        self.buttons["cancel"].setEnabled(not idle)

    def _build(self) -> None:
        self.weights, self.structure = QLineEdit("luxvox-tiny"), QLineEdit()
        self.structure.setPlaceholderText("of pretrained weights: blood vessels")
        self.layers, self.steps = QComboBox(), QSpinBox()
        self.steps.setRange(1, 5000)
        self.steps.setValue(150)
        self.bar, self.message = QProgressBar(), QLabel("")
        self.message.setWordWrap(True)
        browse = QPushButton("...")
        browse.clicked.connect(self._browse)
        line = QHBoxLayout()
        line.addWidget(self.weights)
        line.addWidget(browse)
        form = QFormLayout()
        form.addRow("weights", line)
        form.addRow("structure", self.structure)
        form.addRow("layer", self.layers)
        form.addRow("steps to learn", self.steps)
        whole = QVBoxLayout(self)
        whole.addLayout(form)
        self.buttons: dict[str, QPushButton] = {}
        for name, text, do in (
            ("preview", "preview what is shown", self.preview),
            ("run", "run on all of the layer", self.run_all),
            ("learn", "learn from my corrections", self.learn),
            ("cancel", "cancel", self.cancel),
        ):
            self.buttons[name] = QPushButton(text)
            self.buttons[name].clicked.connect(do)
            whole.addWidget(self.buttons[name])
        whole.addWidget(self.bar)
        whole.addWidget(self.message)
        whole.addStretch()

    def _browse(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "A RUN, or a folder of weights")
        if folder:
            self.weights.setText(folder)

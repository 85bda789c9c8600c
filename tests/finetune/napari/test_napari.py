"""The widget offscreen: preview, brush, learn, cancel; and the session without any screen."""

from __future__ import annotations

import os
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from luxvox.configs.errors import InputError
from luxvox.finetune.napari.fields import (
    field_of,
    measure_layer,
    visible_field,
    voxel_size_of,
    voxels_of,
)
from luxvox.finetune.napari.session import CancelledError, Session
from luxvox.models.dense import DenseConfig, DenseModel, SegmentConfig
from luxvox.models.sizes import EncoderConfig
from luxvox.predict.task_weights import TaskConfig, save_task

QUICK = ("one_shot_steps=4", "batch_size=1", "crop=[16,16,16]", "precision=no", "device=cpu")


def nothing(done: int, total: int) -> None:
    pass


@pytest.fixture
def image() -> np.ndarray:
    rng = np.random.default_rng(0)
    image = rng.poisson(100, (24, 40, 48)).astype(np.uint16)
    image[8:16, 10:20, 10:30] += 400
    return image


@pytest.fixture
def layer(image) -> SimpleNamespace:
    """What `fields` wants of a layer of napari."""
    return SimpleNamespace(
        name="brain", data=image, scale=(4.0, 2.0, 2.0), translate=(0.0, 10.0, 0.0),
        units=("micrometer",) * 3, rgb=False, multiscale=False, metadata={},
        corner_pixels=np.array([[0, 5, 6], [0, 25, 46]]),
        world_to_data=lambda point: np.array(point) / (4, 2, 2),
    )  # fmt: skip


@pytest.fixture
def run(tmp_path) -> str:
    torch.manual_seed(0)
    config = DenseConfig(
        channels=(4, 8, 16), depths=2, text_dim=8, condition_width=4,
        heads={"segment": SegmentConfig()},
    )  # fmt: skip
    model = DenseModel(EncoderConfig(width=24, depth=2, heads=2), config).eval()
    task = TaskConfig(task="segment", head="segment", tile=(16, 16, 16))
    save_task(tmp_path / "first" / "weights", model, task, {}, "card")
    return str(tmp_path / "first")


def test_a_field_is_what_is_on_the_screen(layer):
    found = visible_field(layer, (40.0, 30.0, 50.0), (8, 64, 16))
    assert found.image.shape == (8, 20, 16)  # all of y, the middle of x, around the slider
    assert found.origin == (6, 5, 18)
    assert np.array_equal(found.image, layer.data[6:14, 5:25, 18:34])
    assert found.voxel_size_um == (4, 2, 2)
    assert found.stats == measure_layer(layer)
    place = found.placed(layer)
    assert place["translate"].tolist() == [24, 20, 36]


def test_what_a_layer_cannot_be(layer):
    for change in ({"data": np.zeros((3, 4, 5, 6))}, {"rgb": True}, {"data": np.zeros((1, 9, 9))}):
        with pytest.raises(InputError, match="expected one volume"):
            voxels_of(SimpleNamespace(**{**vars(layer), **change}))
    pixels = {"units": ("pixel",) * 3}
    unknown = SimpleNamespace(**{**vars(layer), **pixels, "scale": (1, 1, 1)})
    assert voxel_size_of(unknown) is None
    assert voxel_size_of(SimpleNamespace(**{**vars(layer), **pixels})) == (4, 2, 2)


def test_corrections_teach_and_lie_on_disk(layer, run, tmp_path):
    session = Session(tmp_path / "session")
    with pytest.raises(InputError, match="no weights"):
        session.predict(field_of(layer, (0, 0, 0), (24, 40, 48)), nothing)
    session.load(run)
    part = field_of(layer, (4, 4, 4), (16, 32, 32))
    before = session.predict(part, nothing)
    assert before.shape == (16, 32, 32)
    with pytest.raises(InputError, match="no corrections"):
        session.learn(nothing)
    wanted = np.zeros_like(before)
    wanted[4:12, 6:16, 6:26] = 1
    session.correct(part, before)
    session.correct(part, wanted)  # the later one counts
    assert len(session.corrections) == 1
    seen = []
    weights = session.learn(lambda *told: seen.append(told), QUICK)
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert weights.fine_tuned
    assert session.source == str(tmp_path / "session" / "run-1")
    assert (tmp_path / "session" / "corrections" / "dataset.csv").exists()
    old = dict(session.weights.model.state_dict())
    session.load(run)
    assert any(
        not torch.equal(tensor, old[name])
        for name, tensor in session.weights.model.state_dict().items()
    )


def test_learning_can_be_stopped_and_changes_nothing(layer, run, tmp_path):
    session = Session(tmp_path / "session")
    weights = session.load(run)
    labels = np.zeros((16, 32, 32), np.uint8)
    labels[4:8] = 1
    session.correct(field_of(layer, (4, 4, 4), labels.shape), labels)

    def stop(done: int, total: int) -> None:
        if done == 2:
            raise CancelledError

    with pytest.raises(CancelledError):
        session.learn(stop, QUICK)
    assert session.weights is weights
    assert not list((tmp_path / "session").glob("run-*"))


@pytest.fixture
def viewer():
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    pytest.importorskip("napari", reason='napari is not installed: pip install "luxvox[napari]"')
    pytest.importorskip("qtpy", reason="no Qt")
    from napari.components import ViewerModel
    from qtpy.QtWidgets import QApplication

    application = QApplication.instance() or QApplication([])
    yield ViewerModel()  # layers and sliders, no window
    application.processEvents()


def wait(widget, seconds: float = 60) -> None:
    from qtpy.QtWidgets import QApplication

    began = time.monotonic()
    while widget.work is not None and time.monotonic() - began < seconds:
        QApplication.processEvents()
        time.sleep(0.01)
    assert widget.work is None


def test_preview_brush_learn_and_cancel(viewer, image, run, tmp_path):
    from luxvox.finetune.napari.widget import LuxvoxWidget

    widget = LuxvoxWidget(viewer, tmp_path / "session")
    assert not widget.buttons["preview"].isEnabled()
    viewer.add_image(image, name="brain", scale=(4, 2, 2), units=("um",) * 3)
    assert widget.layers.currentText() == "brain"
    widget.weights.setText("nowhere")
    widget.preview()
    assert "no weights of that name" in widget.message.text()
    widget.weights.setText(run)
    widget.run_all()
    wait(widget)
    labels = viewer.layers["luxvox brain"]
    assert labels.data.shape == image.shape
    assert list(labels.scale) == [4, 2, 2]
    widget.learn()
    wait(widget)
    assert "no corrections" in widget.message.text()
    labels.data[:] = 0
    labels.paint((10, 15, 15), 1)
    assert labels.data.any()
    widget.steps.setValue(5000)
    widget.learn()
    assert not widget.buttons["learn"].isEnabled()
    widget.cancel()
    wait(widget, 120)
    assert "stopped" in widget.message.text()
    assert widget.session.source == run


def test_the_manifest_names_what_is_there():
    npe2 = pytest.importorskip(
        "npe2", reason='napari is not installed: pip install "luxvox[napari]"'
    )
    import luxvox.finetune.napari as room

    manifest = npe2.PluginManifest.from_file(Path(str(room.__file__)).with_name("napari.yaml"))
    assert manifest.name == "luxvox"
    manifest.validate_imports()

"""One file without luxvox: it answers what the model answers, or is not kept."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from luxvox.configs.errors import InputError
from luxvox.models.dense import DenseConfig, DenseModel, RestoreConfig, SegmentConfig
from luxvox.models.sizes import EncoderConfig
from luxvox.predict.export import export
from luxvox.predict.task_weights import TaskConfig, load_task, open_dense, save_task

SIZE = (8, 16, 16)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fine-tuned for three classes, with a condition."""
    torch.manual_seed(0)
    config = DenseConfig(
        channels=(4, 8, 16), depths=1, text_dim=6, condition_width=4,
        heads={"segment": SegmentConfig(classes=3), "restore": RestoreConfig()},
    )  # fmt: skip
    model = DenseModel(EncoderConfig(width=24, depth=1, heads=2), config)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    task = TaskConfig(
        task="segment", head="segment", structure="vessels", tile=SIZE, classes=("a", "b", "c")
    )
    folder = tmp_path_factory.mktemp("run")
    save_task(folder / "weights", model, task, {}, "card", torch.randn(1, 6))
    return folder


def answer(run: Path, crop: torch.Tensor, size: torch.Tensor, known: bool) -> torch.Tensor:
    weights = load_task(run)
    with torch.no_grad():
        found = weights.model.segment(crop, size, torch.tensor([known]), weights.condition)
    return found.logits.softmax(1)


@pytest.mark.slow
def test_a_file_of_torch_export_answers_as_the_model_does(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "x.pt2"
    assert export(run, out) < 1e-4
    program = torch.export.load(out).module()
    crop, size = torch.randn(1, 1, *SIZE), torch.tensor([[3.0, 1.5, 1.5]])
    found = program(crop, size)
    assert found.shape == (1, 3, *SIZE)
    assert torch.allclose(found, answer(run, crop, size, True), atol=1e-5)
    unknown = program(crop, torch.zeros(1, 3))
    assert torch.allclose(unknown, answer(run, crop, size, False), atol=1e-5)
    about = json.loads((tmp_path / "x.pt2.json").read_text())
    assert about["inputs"]["crop"]["shape"] == [1, 1, *SIZE]
    assert about["task"]["structure"] == "vessels"


def test_the_encoder_alone(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "encoder.pt2"
    export(run, out, part="encoder", size=(8, 8, 16))
    crop, size = torch.randn(1, 1, 8, 8, 16), torch.tensor([[3.0, 1.5, 1.5]])
    encoder = open_dense(run).model.encoder
    with torch.no_grad():
        wanted = encoder(crop, size, torch.tensor([True])).tokens
        untold = encoder(crop, torch.ones(1, 3), torch.tensor([False])).tokens
    program = torch.export.load(out).module()
    assert torch.allclose(program(crop, size), wanted, atol=1e-5)
    # Zeros say that nobody knows the voxel size.
    assert torch.allclose(program(crop, torch.zeros(1, 3)), untold, atol=1e-5)
    assert not torch.allclose(wanted, untold, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("part", "size"), [("encoder", SIZE), (None, SIZE), (None, (16, 24, 40)), (None, (9, 16, 20))]
)
def test_onnx_answers_as_the_model_does(
    run: Path, tmp_path: Path, part: str | None, size: tuple[int, int, int]
) -> None:
    """Sides of whole patches and others; each file takes crops of its one size."""
    for name in ("onnx", "onnxscript"):
        pytest.importorskip(name, reason="the extra [export] is not installed")
    runtime = pytest.importorskip("onnxruntime", reason="the extra [export] is not installed")
    out = tmp_path / "x.onnx"
    assert export(run, out, part=part, size=size) < 1e-3
    crop, voxels = torch.randn(1, 1, *size), torch.tensor([[3.0, 1.5, 1.5]])
    session = runtime.InferenceSession(out, providers=["CPUExecutionProvider"])
    names = [one.name for one in session.get_inputs()]

    def asked(crop: torch.Tensor) -> np.ndarray:
        return session.run(None, {names[0]: crop.numpy(), names[1]: voxels.numpy()})[0]

    if part == "encoder":
        with torch.no_grad():
            encoder = open_dense(run).model.encoder
            wanted = encoder(crop, voxels, torch.tensor([True])).tokens
    else:
        wanted = answer(run, crop, voxels, True)
        assert wanted.shape == (1, 3, *size)
    assert np.allclose(asked(crop), wanted.numpy(), atol=1e-4)
    with pytest.raises(Exception, match="invalid dimensions"):
        asked(torch.randn(1, 1, 8, 8, 8))


def test_what_cannot_be_exported_is_said_in_one_line(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match=r"expected a name in \.pt2 or \.onnx"):
        export(run, tmp_path / "x.pt")
    (tmp_path / "there.pt2").write_text("mine")
    with pytest.raises(InputError, match="exists already"):
        export(run, tmp_path / "there.pt2")
    assert (tmp_path / "there.pt2").read_text() == "mine"
    with pytest.raises(InputError, match=r"the folder .*no does not exist; make it first"):
        export(run, tmp_path / "no" / "x.pt2")
    with pytest.raises(InputError, match="--part decoder: expected encoder or one of"):
        export(run, tmp_path / "x.pt2", part="decoder")
    with pytest.raises(InputError, match="fine-tuned for task 'segment', asked for 'restore'"):
        export(run, tmp_path / "x.pt2", part="restore")
    with pytest.raises(InputError, match="expected at least a patch of 8"):
        export(run, tmp_path / "x.pt2", size=(4, 16, 16))
    monkeypatch.setattr("luxvox.predict.export.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"luxvox\[export\]"):
        export(run, tmp_path / "x.onnx")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["there.pt2"]

"""Packages of bioimage.io: what is in the zip, and that bioimageio.core runs it."""

from __future__ import annotations

import hashlib
import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from luxvox.__main__ import run_command
from luxvox.configs.errors import InputError
from luxvox.models.dense import DenseConfig, DenseModel, RestoreConfig, SegmentConfig
from luxvox.models.sizes import EncoderConfig
from luxvox.predict.bioimageio import (
    Credits,
    PackagedSegmenter,
    by_percentiles,
    export_bioimageio,
    simulated_image,
    write_package,
)
from luxvox.predict.bioimageio_description import Package, card, describe
from luxvox.predict.task_weights import TaskConfig, load_task, save_task

BLOCK = (16, 24, 24)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fine-tuned for axons, at a known voxel size."""
    torch.manual_seed(0)
    config = DenseConfig(
        channels=(4, 8, 16), depths=1, text_dim=6, condition_width=4,
        heads={"segment": SegmentConfig(), "restore": RestoreConfig()},
    )  # fmt: skip
    model = DenseModel(EncoderConfig(width=24, depth=1, heads=2), config)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    task = TaskConfig(
        task="segment", head="segment", structure="axons", tile=BLOCK, voxel_size_um=(4, 1.5, 1.5)
    )
    folder = tmp_path_factory.mktemp("run")
    save_task(folder / "weights", model, task, {}, "card", torch.randn(1, 6))
    return folder


def some_package(**changes: object) -> Package:
    task = TaskConfig(task="segment", head="segment", structure="axons", voxel_size_um=(4, 2, 2))
    values = {
        "task": task, "weights": "my-axons", "block": BLOCK, "authors": ("Ada",),
        "licence": "CC-BY-4.0", "version": "0.1.0", "opset": 18,
    }  # fmt: skip
    return Package(**{**values, **changes})  # type: ignore[arg-type]


FILES = {
    "segmenter.onnx": b"weights", "test_input.npy": b"in", "test_output.npy": b"out",
    "cover.png": b"picture", "README.md": b"words",
}  # fmt: skip


def test_the_zip_lists_all_its_files_with_their_sums(tmp_path: Path) -> None:
    write_package(tmp_path / "p.zip", some_package(), FILES)
    with zipfile.ZipFile(tmp_path / "p.zip") as held:
        assert sorted(held.namelist()) == sorted([*FILES, "rdf.yaml"])
        said = yaml.safe_load(held.read("rdf.yaml"))
        named = [
            said["weights"]["onnx"], said["documentation"], *said["covers"],
            said["inputs"][0]["test_tensor"], said["outputs"][0]["test_tensor"],
        ]  # fmt: skip
        assert len(named) == len(FILES)
        for one in named:
            assert hashlib.sha256(held.read(one["source"])).hexdigest() == one["sha256"]
    write_package(tmp_path / "again.zip", some_package(), FILES)
    assert (tmp_path / "again.zip").read_bytes() == (tmp_path / "p.zip").read_bytes()


def test_the_description_says_axes_blocks_and_voxels() -> None:
    said = describe(some_package(), FILES)
    space = [axis for axis in said["inputs"][0]["axes"] if axis["type"] == "space"]
    assert [(axis["id"], axis["size"], axis["scale"]) for axis in space] == [
        ("z", 16, 4), ("y", 24, 2), ("x", 24, 2),
    ]  # fmt: skip
    assert {axis["unit"] for axis in space} == {"micrometer"}
    out = [axis for axis in said["outputs"][0]["axes"] if axis["type"] == "space"]
    assert [axis["halo"] for axis in out] == [2, 3, 3]
    assert said["license"] == "CC-BY-4.0"
    assert said["authors"] == [{"name": "Ada"}]
    unknown = TaskConfig(task="segment", head="segment", classes=("back ground", "2nd kind"))
    said = describe(some_package(task=unknown, licence=None), FILES)
    assert all("unit" not in axis for axis in said["inputs"][0]["axes"])
    assert said["outputs"][0]["axes"][1]["channel_names"] == ["back_ground", "class_2nd_kind"]
    assert "of no certain size" in card(some_package(task=unknown, licence=None))
    assert "4 x 2 x 2 um" in card(some_package())


def test_the_test_image_shows_what_is_named() -> None:
    axons, again = (simulated_image(BLOCK, "axons", (4, 1.5, 1.5)) for _ in range(2))
    assert axons.shape == (1, 1, *BLOCK)
    assert np.array_equal(axons, again)
    assert np.ptp(axons) > 50
    assert not np.array_equal(axons, simulated_image(BLOCK, "nuclei", (4, 1.5, 1.5)))


def test_the_packaged_network_is_that_of_luxvox(run: Path) -> None:
    """Gain and offset of a camera change nothing; the voxel size and the structure are inside."""
    weights = load_task(run)
    image = simulated_image(BLOCK, "axons", (4, 1.5, 1.5))
    low, level = np.percentile(image, [15.9, 50])
    normal = torch.from_numpy(np.arcsinh((image - level) / (level - low)).astype(np.float32))
    size, known = torch.tensor([[4.0, 1.5, 1.5]]), torch.tensor([True])
    network = PackagedSegmenter(weights).eval()
    with torch.no_grad():
        wanted = weights.model.segment(normal, size, known, weights.condition).logits.sigmoid()
        found = network(torch.from_numpy(by_percentiles(image)))
        other = network(torch.from_numpy(by_percentiles(7 * image + 1000)))
    assert torch.allclose(found, wanted, atol=1e-4)
    assert torch.allclose(other, wanted, atol=1e-4)
    assert found.std() > 1e-3


def test_what_cannot_be_packaged_is_said_in_one_line(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("luxvox.predict.bioimageio.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"luxvox\[bioimageio\]"):
        export_bioimageio(run, tmp_path / "x.zip")
    monkeypatch.setattr("luxvox.predict.bioimageio.find_spec", lambda name: name)
    with pytest.raises(InputError, match=r"expected a name in \.zip"):
        export_bioimageio(run, tmp_path / "x.onnx")
    with pytest.raises(InputError, match="expected at least a patch of 8"):
        export_bioimageio(run, tmp_path / "x.zip", size=(4, 16, 16))
    with pytest.raises(InputError, match="fine-tuned for task 'segment', asked for 'restore'"):
        export_bioimageio(run, tmp_path / "x.zip", part="restore")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["x.zip", "--format", "onnx"], "x.zip: expected a name in .onnx with --format onnx"),
        (["x.onnx", "--format", "bioimageio"], "expected a name in .zip with --format bioimageio"),
        (["x.pt2", "--author", "Ada"], "belong to packages of bioimage.io"),
        (["x.pt2", "--licence", "MIT"], "belong to packages of bioimage.io"),
    ],
)
def test_options_that_do_not_fit_are_refused(
    run: Path, words: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(["export", str(run), *words]) == 2
    shown = capsys.readouterr().err
    assert expected in shown
    assert shown.count("\n") == 1


@pytest.mark.slow
def test_bioimageio_core_runs_the_package(run: Path, tmp_path: Path) -> None:
    core = pytest.importorskip("bioimageio.core", reason="the extra [bioimageio] is not installed")
    out = tmp_path / "axons.zip"
    assert export_bioimageio(run, out, credits=Credits(("Ada",), "CC-BY-4.0")) < 1e-3
    assert [path.name for path in tmp_path.iterdir()] == ["axons.zip"]
    assert core.test_model(out).status == "passed"
    with zipfile.ZipFile(out) as held:
        image = np.load(io.BytesIO(held.read("test_input.npy")))
        wanted = np.load(io.BytesIO(held.read("test_output.npy")))
    assert wanted.std() > 1e-3
    assert image.shape == wanted.shape == (1, 1, *BLOCK)
    # Larger than a block: cut by bioimageio.core, by the percentiles of the whole.
    larger = simulated_image((24, 40, 40), "axons", (4, 1.5, 1.5))
    answer = core.predict(model=out, inputs={"raw": larger}, blocksize_parameter=1)
    found = answer.members["probability"].data.values
    assert found.shape == larger.shape
    network = PackagedSegmenter(load_task(run)).eval()
    halo = [(0, 0), (0, 0), (2, 2), (3, 3), (3, 3)]
    first = np.pad(by_percentiles(larger), halo, mode="symmetric")[..., :16, :24, :24]
    with torch.no_grad():
        own = network(torch.from_numpy(first)).numpy()
    assert np.allclose(found[..., :12, :18, :18], own[..., 2:14, 3:21, 3:21], atol=1e-3)
    with pytest.raises(InputError, match=r"does not accept the package \(license"):
        export_bioimageio(run, tmp_path / "x.zip", credits=Credits((), "no-such-licence"))
    assert [path.name for path in tmp_path.iterdir()] == ["axons.zip"]

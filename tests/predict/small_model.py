"""Small weights without the training: what stage A leaves, and what fine-tuning leaves."""

from __future__ import annotations

from pathlib import Path

import torch

from luxvox.models.checkpoint import save_weights
from luxvox.models.dense import DenseConfig, DenseModel, SegmentConfig
from luxvox.models.sizes import EncoderConfig
from luxvox.predict.model import Model
from luxvox.predict.task_weights import TaskConfig, TaskWeights, save_task

SHARED = 32  # width of the space that crops share with sentences


def save_small(folder: Path, seed: int = 0) -> Path:
    config = {
        "architecture": {
            "encoder": EncoderConfig(width=24, depth=1, heads=2).model_dump(mode="json"),
            "encoder_name": "vit",
            "text": {"folder": None, "width": 384, "dim": SHARED, "trainable_layers": 0},
            "crop_shape": [16, 16, 16],
            "crop_voxel_size_um": None,
        },
        "recipe": {"objective": {"text": 1.0}},
        "normalisation": "asinh", "voxel_size_range_um": None, "stains": [], "structures": [],
        "data": {}, "licence": "none",
    }  # fmt: skip
    torch.manual_seed(seed)
    model = Model(config, "small")
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    # Training leaves parts in the file that the encoder does not use.
    tensors = model.state_dict() | {"masked_decoder.weight": torch.ones(3)}
    return save_weights(folder, tensors, config, "# small\n")


def save_segmenter(run: Path, tile: int) -> Path:
    """A run that segments "dots", by tiles of so many voxels a side."""
    task = TaskConfig(task="segment", head="segment", structure="dots", tile=(tile,) * 3)
    save_task(run / "weights", _segmenter(False), task, {}, "card", torch.zeros(1, 8))
    return run


def toy_weights() -> TaskWeights:
    """Segments with a depth channel; tiles of 16 voxels."""
    task = TaskConfig(task="segment", head="segment", tile=(16, 16, 16))
    return TaskWeights(_segmenter(True), task, "toy", torch.randn(1, 8))


def _segmenter(distance: bool) -> DenseModel:
    torch.manual_seed(0)
    config = DenseConfig(
        channels=(4, 8, 16), depths=2, text_dim=8, condition_width=4,
        heads={"segment": SegmentConfig(distance=distance)},
    )  # fmt: skip
    model = DenseModel(EncoderConfig(width=24, depth=2, heads=2), config).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return model

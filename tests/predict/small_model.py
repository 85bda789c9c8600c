"""Weights of a small encoder with captions: what stage A leaves, without the training."""

from __future__ import annotations

from pathlib import Path

import torch

from luxvox.models.checkpoint import save_weights
from luxvox.models.sizes import EncoderConfig
from luxvox.predict.model import Model

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

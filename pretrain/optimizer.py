"""AdamW, without decay on what is no matrix: norms, biases, scales, single tokens."""

from __future__ import annotations

import torch
from torch import nn

from .recipe import OptimRecipe


def make_optimizer(model: nn.Module, recipe: OptimRecipe) -> torch.optim.AdamW:
    """Build AdamW over the trainable parameters.

    Weight decay is for the matrices of linear and convolution layers. Everything of another owner
    or with fewer than two dimensions, such as tokens kept as [R, D] tables, goes without.
    """
    matrices = {
        id(module.weight)
        for module in model.modules()
        if isinstance(module, nn.Linear | nn.Conv3d | nn.ConvTranspose3d)
    }
    trained = [p for p in model.parameters() if p.requires_grad]
    return torch.optim.AdamW(
        [
            {
                "params": [p for p in trained if id(p) in matrices],
                "weight_decay": recipe.weight_decay,
            },
            {"params": [p for p in trained if id(p) not in matrices], "weight_decay": 0.0},
        ],
        lr=recipe.lr,
        betas=recipe.betas,
        fused=next(model.parameters()).is_cuda,
    )

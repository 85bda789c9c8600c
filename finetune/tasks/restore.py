"""Restoration: the input plus a learned residual, judged as images and as spectra.

The model computes in normalised intensities, which are nearly logarithmic where it is bright. The
metrics do not, and neither does the loss: what is bright would hardly count.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ...data.normalize import denormalize
from ...models.dense import DenseFeatures, DenseModel
from ...models.heads.restore import RestoreHead
from ...models.heads.richardson_lucy import DeconvolutionConfig
from ...models.losses.restoration import restoration_loss
from ...models.metrics.restoration import restoration_metrics
from ..baselines.deconvolution import fit_deconvolution
from ..examples import Example
from ..sub_crops import Batch

HEAD = "restore"
WEIGHTS = {"l1": 0.5, "rmse": 1.0, "ssim": 0.2, "gradient": 0.1, "frequency": 0.1}
MOST_DB = 100.0
"""Equal images have an infinite PSNR, which neither JSON nor a mean can hold: cut there."""
_BRIGHTER = 1.0  # than the target in normalised intensity; beyond, the inverse would explode


class RestoreTask(nn.Module):
    """The model as restoration trains it.

    Args:
        model: with the head.
        head: its name.
    """

    def __init__(self, model: DenseModel, head: str = HEAD) -> None:
        super().__init__()
        chosen = model.heads[head]
        assert isinstance(chosen, RestoreHead)
        self.model, self.head = model, head

    def features(self, batch: Batch) -> DenseFeatures:
        """All that comes before the head."""
        return self.model(batch.image, batch.voxel_size_um, batch.spacing_known, batch.condition)

    def forward(self, batch: Batch, features: DenseFeatures | None = None) -> dict[str, Tensor]:
        """Terms of the loss, and `loss`; features of the batch may be given, if nothing moved."""
        assert batch.target is not None
        given = self.features(batch) if features is None else features
        found = self.model.heads[self.head](given.full, batch.image)
        target = batch.target.float()
        brightest = float(torch.where(batch.counts[:, None], target, 0.0).max())
        bounded = found.float().clamp(max=brightest + _BRIGHTER)
        terms = restoration_loss(bounded.sinh(), target.sinh(), batch.counts, batch.span)
        loss = sum(weight * terms[name] for name, weight in WEIGHTS.items())
        assert isinstance(loss, Tensor)
        return terms | {"loss": loss}


def first_guess(examples: Sequence[Example]) -> DeconvolutionConfig | None:
    """The deconvolution that does best on the support; None where none beats the image as it is.

    Without it the few pairs are spent on learning what two numbers say.

    Args:
        examples: with targets.
    """
    found = fit_deconvolution(examples, "richardson_lucy")
    return found.config if any(found.sigma) else None


def restore_metrics(found: NDArray[np.float32], example: Example) -> dict[str, float]:
    """PSNR, SSIM and NRMSE of a restored image, and of the input as it is (`identity_psnr` ...).

    All are finite: PSNR is cut at 100 dB.

    Args:
        found: [Z, Y, X], normalised like the image. Compared in the file's intensities, as a user
            sees them.
        example: with a target.
    """
    assert example.target is not None
    truth = denormalize(example.target.astype(np.float64), example.stats)
    mine = restoration_metrics(denormalize(found.astype(np.float64), example.stats), truth)
    given = restoration_metrics(denormalize(example.image.astype(np.float64), example.stats), truth)
    scores = mine | {f"identity_{name}": value for name, value in given.items()}
    return {n: min(v, MOST_DB) if n.endswith("psnr") else v for n, v in scores.items()}

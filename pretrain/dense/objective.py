"""The model of stage B: dense model, masked decoder and optics head behind one forward."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...data.synthetic.stock import SimulatedBatch
from ...models.dense import (
    DenseConfig,
    DenseFeatures,
    DenseModel,
    RestoreConfig,
    SegmentConfig,
)
from ...models.heads.segment import Segmentation
from ...models.losses.frequency import frequency_loss
from ...models.losses.masked import masked_patch_loss
from ...models.losses.segmentation import deep_supervision_loss
from ...models.masked_decoder import MaskedDecoder
from ...models.patch_embed import patchify
from ...models.sizes import DecoderConfig, EncoderConfig
from ..masking import Masks
from .real import RealBatch
from .recipe import DenseObjectiveRecipe
from .targets import Asked, optics_targets

_NOISE = 0.1  # floor of the masked loss, in normalised intensity
_OPTICS = 4


def dense_config(encoder: EncoderConfig, text_dim: int, backbone: str = "vit") -> DenseConfig:
    """Heads of stage B on the default sizes, of our own net or of a control."""
    heads = {"segment": SegmentConfig(), "centreline": SegmentConfig(), "restore": RestoreConfig()}
    return DenseConfig.for_encoder(encoder).model_copy(
        update={"heads": heads, "text_dim": text_dim, "backbone": backbone}
    )


class DensePretrainModel(nn.Module):
    """Everything that stage B trains.

    Args:
        encoder: dimensions.
        dense: of the dense model.
        decoder: of the masked decoder, kept from stage A as rehearsal.
        weights: of the terms.
    """

    def __init__(
        self,
        encoder: EncoderConfig,
        dense: DenseConfig,
        decoder: DecoderConfig,
        weights: DenseObjectiveRecipe,
    ) -> None:
        super().__init__()
        self.weights = weights
        self.dense = DenseModel(encoder, dense)
        self.decoder = MaskedDecoder(decoder, encoder)
        self.optics = nn.Sequential(nn.LayerNorm(encoder.width), nn.Linear(encoder.width, _OPTICS))
        if not weights.masked:
            self.decoder.requires_grad_(False)

    def forward(
        self,
        batch: SimulatedBatch | RealBatch,
        asked: Asked | None,
        condition: Tensor | None,
        known: Tensor,
        masks: Masks,
    ) -> dict[str, Tensor]:
        """Scalar terms by name; `loss` is what is to be differentiated.

        Args:
            batch: simulated crops, or real ones degraded again.
            asked: what is asked of each; None for real crops, which have no labels.
            condition: [B, T], which structure is named; rows of 0 = none; None for real crops.
            known: [B] bool, whether the voxel size is told.
            masks: of the rehearsal.
        """
        features = self.dense(batch.image, batch.voxel_size_um, known, condition)
        terms: dict[str, Tensor] = {}
        if asked is not None:
            terms |= self._labelled(features, asked)
        if self.weights.restore:
            restored = self.dense.heads["restore"](features.full, batch.image)
            terms["restore"] = _restore_loss(restored, batch)
        if self.weights.optics and isinstance(batch, SimulatedBatch):
            guessed = self.optics(features.encoded.prefix[:, 0])
            terms["optics"] = F.smooth_l1_loss(guessed, optics_targets(batch))
        if self.weights.masked:
            terms["masked"] = self._rehearse(batch, known, masks)
        weighted = [getattr(self.weights, name) * term for name, term in terms.items()]
        # A real batch reaches no segmentation head; DDP waits for a gradient of every parameter.
        every = [0.0 * p.sum() for p in self.parameters() if p.requires_grad]
        return terms | {"loss": torch.stack([*weighted, *every]).sum()}

    def _labelled(self, features: DenseFeatures, asked: Asked) -> dict[str, Tensor]:
        terms = {}
        for name, truth, counts in (
            ("segment", asked.labels, None),
            ("centreline", asked.centreline, asked.tube[:, None, None, None]),
        ):
            if getattr(self.weights, name):
                found: Segmentation = self.dense.heads[name](features.full, features.coarse)
                counted = None if counts is None else counts.expand(truth.shape)
                parts = deep_supervision_loss([found.logits, *found.coarse], truth, counted)
                terms[name] = torch.stack([*parts.values()]).sum()
        return terms

    def _rehearse(self, batch: SimulatedBatch | RealBatch, known: Tensor, masks: Masks) -> Tensor:
        """Masked reconstruction of the same crops, as in stage A."""
        encoder = self.dense.encoder
        patch = encoder.config.patch
        encoded = encoder(
            batch.image, batch.voxel_size_um, known, keep=masks.keep, key_mask=masks.keep_real
        )
        prediction = self.decoder(encoded, encoded.query_positions_um(masks.query))
        target = torch.take_along_dim(patchify(batch.image, patch), masks.query[:, :, None], dim=1)
        counts = torch.ones_like(masks.query, dtype=torch.bool)
        noise = batch.image.new_full((len(batch.image),), _NOISE)
        terms = masked_patch_loss(prediction, target, noise, counts)
        frequency = frequency_loss(prediction, target, noise, counts, patch)
        return torch.stack([*terms.values(), 0.05 * frequency]).sum()


def _restore_loss(restored: Tensor, batch: SimulatedBatch | RealBatch) -> Tensor:
    """Robust error to the good image; padding of real volumes does not count."""
    if isinstance(batch, SimulatedBatch):
        return F.smooth_l1_loss(restored.float(), well_imaged(batch.clean))
    each = F.smooth_l1_loss(restored.float(), batch.clean, reduction="none")
    counts = batch.counts[:, None].to(each.dtype)
    return (each * counts).sum() / counts.sum().clamp(min=1)


def well_imaged(clean: Tensor) -> Tensor:
    """[B, 1, Z, Y, X] normalised dye -> as an instrument would show it that resolves two voxels.

    The good one of a real pair is an image, too: what is asked to undo more oversharpens it.
    """
    # Two means over two voxels: 1 2 1 along every axis.
    wide = F.pad(clean.sinh(), (1,) * 6, mode="replicate")
    return F.avg_pool3d(F.avg_pool3d(wide, 2, 1), 2, 1).asinh()

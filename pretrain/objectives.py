"""The pretraining model: one forward from crops to the terms of the loss.

Everything that is trained sits in one module, so that DDP and FSDP wrap one forward. Every term is
a mean over samples: it splits exactly over ranks and over micro-batches. The one term that does not
split, the contrastive one, gathers its features over ranks with their gradient; under accumulation
it is handled by `accumulate.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from einops import rearrange
from torch import Tensor, nn

from ..models.baselines import build_encoder
from ..models.encoder import Encoded
from ..models.losses.contrastive import contrastive_loss, gather_with_gradient
from ..models.losses.frequency import frequency_loss
from ..models.losses.masked import masked_patch_loss
from ..models.masked_decoder import MaskedDecoder, MaskedPrediction
from ..models.patch_embed import patchify
from ..models.pool import AttentionPool, mean_token
from ..models.sizes import EncoderConfig
from ..models.text import Projector, TextTower
from .masking import Masks
from .recipe import PretrainRecipe

Batch = dict[str, Tensor]
Task = Literal["learn", "project", "words", "inspect"]


@dataclass(frozen=True)
class Captions:
    """The distinct captions of a global batch, the same on every rank.

    ids: [M] int64, matching `caption_id` of a batch.
    features: [M, T] vectors of a frozen sentence encoder, or None where it learns.
    texts: the M sentences, for an encoder that learns.
    """

    ids: Tensor
    features: Tensor | None = None
    texts: list[str] | None = None


@dataclass(frozen=True)
class CachedContrast:
    """What the contrastive term of a whole step says about one micro-batch (see accumulate.py).

    image_gradient: [B, dim], gradient of the term to this micro-batch's image vectors.
    all_images: [G, dim] and all_ids: [G], every image of the global batch, without gradient.
    """

    image_gradient: Tensor
    all_images: Tensor
    all_ids: Tensor


class PretrainModel(nn.Module):
    """Encoder, masked decoder, pooling and the two projectors into the shared space."""

    def __init__(
        self,
        recipe: PretrainRecipe,
        encoder: EncoderConfig,
        text_dim: int,
        tower: TextTower | None = None,
    ) -> None:
        """Build from a recipe; `tower` only where the sentence encoder itself learns."""
        super().__init__()
        self.recipe = recipe
        self.patch = encoder.patch
        self.tower = tower
        self.text_width = text_dim
        self.encoder = build_encoder(recipe.encoder.name, encoder)
        self.decoder = MaskedDecoder(recipe.decoder, encoder)
        self.pool = AttentionPool(encoder.width, encoder.heads)
        self.image_projector = Projector(encoder.width, recipe.text.dim)
        self.text_projector = Projector(text_dim, recipe.text.dim)
        # exp(2.66) = 1 / 0.07, the temperature that CLIP starts from (arXiv 2103.00020). One number
        # in a vector, because FSDP2 cannot share out scalars.
        self.logit_scale = nn.Parameter(torch.tensor([2.66]))
        if recipe.objective.masked == 0:
            self.decoder.requires_grad_(False)
        if recipe.objective.text == 0:
            for part in (self.pool, self.image_projector, self.text_projector):
                part.requires_grad_(False)
            self.logit_scale.requires_grad_(False)

    def forward(self, task: Task, *inputs: Any) -> dict[str, Tensor]:
        """Do `learn`, `project`, `words` or `inspect`.

        One door for all four, because DDP and FSDP only watch `forward`. In all of them `batch`
        holds `crop` [B, 1, Z, Y, X] normalised, `voxel_size_um` [B, 3], `spacing_known` [B],
        `noise` [B], `caption_id` [B] and `extent` [B, 3].
        """
        return getattr(self, task)(*inputs)

    def learn(
        self,
        batch: Batch,
        masks: Masks,
        captions: Captions | None = None,
        cached: CachedContrast | None = None,
    ) -> dict[str, Tensor]:
        """Scalar terms of the loss by name; `loss` is what is to be differentiated.

        Args:
            batch: crops of one micro-batch.
            masks: what is visible and what is rebuilt.
            captions: the distinct captions of the global batch; None leaves the text term out.
            cached: under accumulation, what the contrastive term of the whole step says about this
                micro-batch; `captions` then comes with one micro-batch of the step only.
        """
        encoded = self.encode(batch, masks)
        terms = self.masked_terms(batch, masks, encoded) if self.recipe.objective.masked else {}
        if cached is None:
            if captions is not None:
                images = gather_with_gradient(self.image_vectors(encoded))
                ids = gather_with_gradient(batch["caption_id"])
                terms["text"] = text_term(images, ids, captions.ids, self.words(captions))
            return terms | {"loss": self.weighted_sum(terms)}

        loss = self.weighted_sum(terms) / self.recipe.accumulate
        pulled = (self.image_vectors(encoded) * cached.image_gradient).sum()
        if captions is not None:
            # The text side learns once a step. Its images are constants here: the image side is
            # already counted by `pulled`, micro-batch by micro-batch.
            terms["text"] = text_term(
                cached.all_images, cached.all_ids, captions.ids, self.words(captions)
            )
            loss = loss + self.recipe.objective.text * terms["text"]
        return terms | {"loss": loss + self.recipe.objective.text * pulled}

    def project(self, batch: Batch, masks: Masks) -> dict[str, Tensor]:
        """`images` [B, dim]: unit vectors of the visible tokens."""
        return {"images": self.image_vectors(self.encode(batch, masks))}

    def words(self, captions: Captions) -> dict[str, Tensor]:
        """`texts` [M, dim]: unit vectors of captions; `scale`: factor on cosines, a scalar."""
        features = captions.features
        if features is None:
            assert self.tower is not None  # it learns: texts come in place of features
            assert captions.texts is not None
            features = self.tower.encode(captions.texts)
        # CLIP's ceiling of 100: a sharper softmax only chases label noise.
        return {
            "texts": self.text_projector(features),
            "scale": self.logit_scale[0].exp().clamp(max=100.0),
        }

    def encode(self, batch: Batch, masks: Masks) -> Encoded:
        """Encode the visible tokens only."""
        return self.encoder(
            batch["crop"],
            batch["voxel_size_um"],
            batch["spacing_known"],
            keep=masks.keep,
            key_mask=masks.keep_real,
        )

    def image_vectors(self, encoded: Encoded) -> Tensor:
        """[B, dim] unit vectors in the space shared with captions."""
        return self.image_projector(self.pool(encoded))

    def masked_terms(self, batch: Batch, masks: Masks, encoded: Encoded) -> dict[str, Tensor]:
        """Reconstruction terms on queried, hence hidden, patches only."""
        prediction = self.rebuild(masks, encoded)
        patches = patchify(batch["crop"], self.patch)  # [B, N, P]
        target = torch.take_along_dim(patches, masks.query[:, :, None], dim=1)  # [B, Q, P]
        counts = masks.query_real
        if counts is None:
            counts = torch.ones_like(masks.query, dtype=torch.bool)
        terms = masked_patch_loss(prediction, target, batch["noise"], counts)
        if self.recipe.objective.frequency > 0:
            terms["frequency"] = frequency_loss(
                prediction, target, batch["noise"], counts, self.patch
            )
        return terms

    def rebuild(self, masks: Masks, encoded: Encoded) -> MaskedPrediction:
        """Predict the queried patches from the encoded visible ones."""
        return self.decoder(encoded, encoded.query_positions_um(masks.query))

    def weighted_sum(self, terms: dict[str, Tensor]) -> Tensor:
        """The loss that is trained: terms by their weights in the recipe."""
        weights = self.recipe.objective
        weight = {
            "patch": weights.masked,
            "intensity": weights.masked * weights.intensity,
            "mean": weights.masked * weights.moments,
            "log_std": weights.masked * weights.moments,
            "frequency": weights.masked * weights.frequency,
            "text": weights.text,
        }
        total = torch.zeros((), device=self.logit_scale.device)
        for name, term in terms.items():
            total = total + weight[name] * term
        return total

    @torch.no_grad()
    def inspect(self, batch: Batch, masks: Masks) -> dict[str, Tensor]:
        """What evaluation looks at.

        Returns:
            `rebuilt` [B, Q, P] voxels of the queried patches in normalised intensity, by predicted
            mean and standard deviation; `images` and `images_no_spacing` [B, dim], from all tokens,
            the second with the voxel size hidden; `features` [B, D], the mean of all real tokens.
        """
        rebuilt = self.rebuild(masks, self.encode(batch, masks)).voxels()
        real = _real_tokens(batch["extent"], batch["crop"], self.patch)
        known = self.encoder(
            batch["crop"], batch["voxel_size_um"], batch["spacing_known"], key_mask=real
        )
        hidden = self.encoder(
            batch["crop"],
            torch.ones_like(batch["voxel_size_um"]),
            torch.zeros_like(batch["spacing_known"]),
            key_mask=real,
        )
        return {
            "rebuilt": rebuilt,
            "images": self.image_vectors(known),
            "images_no_spacing": self.image_vectors(hidden),
            "features": mean_token(known),
        }


def text_term(
    images: Tensor, image_ids: Tensor, caption_ids: Tensor, words: dict[str, Tensor]
) -> Tensor:
    """Multi-positive contrastive loss of all images against all captions of the global batch.

    Args:
        images: [G, dim] unit vectors; image_ids: [G] their captions.
        image_ids: [G] int64, -1 where an image has no caption.
        caption_ids: [M] int64.
        words: of these captions, from `PretrainModel.words`.
    """
    return contrastive_loss(images, image_ids, words["texts"], caption_ids, words["scale"]).loss


def _real_tokens(extent: Tensor, crop: Tensor, patch: tuple[int, int, int]) -> Tensor | None:
    """[B, N] bool, False on tokens of padding; None where no crop of the batch is padded."""
    sides = torch.tensor(crop.shape[2:], device=extent.device)
    if bool((extent == sides).all()):
        return None
    inside = [
        torch.arange(int(side) // edge, device=extent.device) < extent[:, axis, None] // edge
        for axis, (side, edge) in enumerate(zip(crop.shape[2:], patch, strict=True))
    ]
    z, y, x = inside
    real = z[:, :, None, None] & y[:, None, :, None] & x[:, None, None, :]
    return rearrange(real, "b z y x -> b (z y x)")

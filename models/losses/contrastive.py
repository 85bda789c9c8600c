"""Image-text alignment with few captions: equal captions are positives, never negatives.

Multi-positive targets as in UniCL (arXiv 2204.03610), on a text side without duplicates.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch import distributed as dist


class ContrastiveResult(NamedTuple):
    """The loss, its two halves (no gradient), and how many distinct captions had images."""

    loss: Tensor
    image_to_text: Tensor
    text_to_image: Tensor
    captions: Tensor


def contrastive_loss(
    image: Tensor, image_caption: Tensor, text: Tensor, text_caption: Tensor, logit_scale: Tensor
) -> ContrastiveResult:
    """Align images with their captions.

    Image to text: an exact softmax over the M distinct captions. Text to image: over all images of
    the batch, averaged over the images of that caption, then over the captions that have any.

    Args:
        image: [B, D], unit vectors of the whole batch (see `gather_with_gradient`).
        image_caption: [B] int64, the caption of each image; -1 = none, the image is left out.
        text: [M, D], unit vectors of distinct captions; those without an image are negatives.
        text_caption: [M] int64, distinct.
        logit_scale: scalar, factor on the cosines (already exponentiated).

    Returns:
        Loss 0 (with a gradient of 0) where no image has a caption. Images whose caption is not
        among `text_caption` are left out like those that have none.
    """
    logits = logit_scale * (image.float() @ text.float().T)  # [B, M]
    positive = image_caption[:, None] == text_caption[None, :]
    has_caption = positive.any(dim=1)  # [B]
    images_of = positive.sum(dim=0)  # [M]

    log_text = logits.log_softmax(dim=1)
    per_image = -torch.where(positive, log_text, 0.0).sum(dim=1)
    image_to_text = per_image.sum() / has_caption.sum().clamp(min=1)

    # Images without a caption may show anything: they are no negatives either. A large finite
    # number rather than -inf keeps the gradient finite when nobody has a caption.
    log_image = logits.masked_fill(~has_caption[:, None], -1e4).log_softmax(dim=0)
    per_text = -torch.where(positive, log_image, 0.0).sum(dim=0) / images_of.clamp(min=1)
    captions = (images_of > 0).sum()
    text_to_image = per_text.sum() / captions.clamp(min=1)
    loss = 0.5 * (image_to_text + text_to_image)
    return ContrastiveResult(loss, image_to_text.detach(), text_to_image.detach(), captions)


def gather_with_gradient(tensor: Tensor) -> Tensor:
    """All ranks' rows, in rank order: [B, ...] -> [W*B, ...]; the identity without process group.

    The gradient that a row collects on every rank is summed onto its owner. With the same loss
    computed on every rank and gradients averaged over ranks (as DDP does), W ranks with B rows give
    the gradient of one rank with W*B.
    """
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return tensor
    gathered = _Gather.apply(tensor)
    assert isinstance(gathered, Tensor)
    return gathered


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        ctx.rows = tensor.shape[0]
        parts = [torch.empty_like(tensor) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, tensor.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        total = grads[0].contiguous().clone()
        dist.all_reduce(total)
        start = dist.get_rank() * ctx.rows
        return total[start : start + ctx.rows]

"""Gradient accumulation that does not shrink the contrastive batch.

The contrastive term needs all images of a step at once; memory holds one micro-batch. As in
gradient caching (Gao et al., arXiv 2101.06983): a first pass without gradient gives every image
vector, the term's gradient to those vectors is taken, and in the second pass each micro-batch is
pulled along its share. The extra forward is the price; it is paid only where `accumulate` is above
1 and text is trained.
"""

from __future__ import annotations

import torch
from torch import nn

from ..models.losses.contrastive import gather_with_gradient
from .masking import Masks
from .objectives import Batch, CachedContrast, Captions, text_term


def cache_contrast(
    wrapped: nn.Module,
    micro_batches: list[tuple[Batch, Masks]],
    captions: Captions,
    rank: int,
    world_size: int,
) -> list[CachedContrast]:
    """First pass: what the contrastive term of the whole step says about each micro-batch.

    Args:
        wrapped: the model as the launcher wrapped it (DDP, FSDP or bare).
        micro_batches: crops and masks of this rank, in order.
        captions: the distinct captions of the global batch.
        rank: of this process.
        world_size: number of processes.

    Returns:
        One entry a micro-batch. The gradient is scaled by the number of processes, because DDP and
        FSDP average gradients while each image belongs to one process only.
    """
    with torch.no_grad():
        parts = [wrapped("project", batch, masks)["images"] for batch, masks in micro_batches]
        local = torch.cat(parts).float()
        all_images = gather_with_gradient(local)
        all_ids = gather_with_gradient(
            torch.cat([batch["caption_id"] for batch, _ in micro_batches])
        )
        words = wrapped("words", captions)
    leaf = all_images.detach().requires_grad_()
    with torch.enable_grad():
        (gradient,) = torch.autograd.grad(text_term(leaf, all_ids, captions.ids, words), leaf)
    mine = gradient[rank * len(local) : (rank + 1) * len(local)] * world_size
    sizes = [len(batch["crop"]) for batch, _ in micro_batches]
    return [CachedContrast(part, all_images, all_ids) for part in mine.split(sizes)]

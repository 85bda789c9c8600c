"""Run by test_two_ranks: one step of all terms on this rank's share of a fixed global batch.

Usage: python two_ranks_worker.py OUT.pt; under torchrun each rank takes its own rows, gradients are
averaged as DDP does, and rank 0 writes loss terms and gradients.
"""

import sys

import torch
from torch import distributed as dist
from torch import nn

from luxvox.models.encoder import Encoder
from luxvox.models.losses.contrastive import contrastive_loss, gather_with_gradient
from luxvox.models.losses.frequency import frequency_loss
from luxvox.models.losses.masked import masked_patch_loss
from luxvox.models.masked_decoder import MaskedDecoder
from luxvox.models.patch_embed import gather_patches
from luxvox.models.pool import AttentionPool
from luxvox.models.sizes import DecoderConfig, EncoderConfig
from luxvox.models.text import Projector

GLOBAL_BATCH = 6


def make_modules() -> nn.ModuleDict:
    torch.manual_seed(0)
    config = EncoderConfig(width=48, depth=2, heads=2, patch=(4, 4, 4))
    modules = nn.ModuleDict(
        {
            "encoder": Encoder(config),
            "decoder": MaskedDecoder(DecoderConfig(width=48, depth=2, heads=2), config),
            "pool": AttentionPool(48, 2),
            "project_image": Projector(48, 16),
            "project_text": Projector(12, 16),
        }
    )
    modules.register_parameter("log_scale", nn.Parameter(torch.tensor(2.0)))
    return modules.double()


def global_batch() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    order = torch.rand(GLOBAL_BATCH, 24, generator=generator).argsort(1)
    return {
        "crop": torch.randn(GLOBAL_BATCH, 1, 8, 12, 16, generator=generator).double(),
        "voxel": torch.rand(GLOBAL_BATCH, 3, generator=generator) + 1,
        "known": torch.rand(GLOBAL_BATCH, generator=generator) < 0.7,
        "keep": order[:, :6],
        "hidden": order[:, 6:14],
        "counts": torch.rand(GLOBAL_BATCH, 8, generator=generator) < 0.7,
        "noise": torch.rand(GLOBAL_BATCH, generator=generator),
        # Captions shared between the ranks, one image without any.
        "caption": torch.tensor([0, 1, 2, 0, -1, 2]),
    }


def main() -> None:
    torch.set_num_threads(1)
    distributed = dist.is_torchelastic_launched()
    rank, world = 0, 1
    if distributed:
        dist.init_process_group("gloo")
        rank, world = dist.get_rank(), dist.get_world_size()
    rows = GLOBAL_BATCH // world
    batch = {k: v[rank * rows : (rank + 1) * rows] for k, v in global_batch().items()}
    text = torch.randn(3, 12, generator=torch.Generator().manual_seed(2)).double()
    modules = make_modules()
    encoded = modules["encoder"](batch["crop"], batch["voxel"], batch["known"], batch["keep"])
    hidden = batch["hidden"]
    prediction = modules["decoder"](encoded, encoded.query_positions_um(hidden))
    target = gather_patches(batch["crop"], (4, 4, 4), hidden)
    terms = masked_patch_loss(prediction, target, batch["noise"], batch["counts"])
    terms["frequency"] = frequency_loss(
        prediction, target, batch["noise"], batch["counts"], (4, 4, 4)
    )
    image = gather_with_gradient(modules["project_image"](modules["pool"](encoded)))
    caption = gather_with_gradient(batch["caption"])
    terms["text"] = contrastive_loss(
        image, caption, modules["project_text"](text), torch.arange(3), modules.log_scale.exp()
    ).loss
    saved = {}
    for name, term in terms.items():
        modules.zero_grad(set_to_none=False)
        term.backward(retain_graph=True)
        value = term.detach().double().clone()
        gradients = {
            key: p.grad.clone() for key, p in modules.named_parameters() if p.grad is not None
        }
        if distributed:
            for tensor in (value, *gradients.values()):
                dist.all_reduce(tensor)
                tensor /= world
        saved[name] = {"value": value, **gradients}
    if rank == 0:
        torch.save(saved, sys.argv[1])
    if distributed:
        dist.destroy_process_group()


if __name__ == "__main__":
    main()

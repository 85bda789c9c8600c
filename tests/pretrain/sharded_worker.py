"""One of two ranks that train a fully sharded model on the CPU; started by test_sharded.py.

accelerate shards on accelerators only, so this applies torch's `fully_shard` itself, in the way
that configs/accelerate/fsdp.yaml asks for; checked is what is ours: average, checkpoint, judging.
"""

from __future__ import annotations

import sys

import torch
from torch import distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from luxvox.models.block import Block
from luxvox.models.losses.contrastive import gather_with_gradient
from luxvox.models.masked_decoder import CrossBlock
from luxvox.models.sizes import DecoderConfig, EncoderConfig
from luxvox.pretrain.ema import Ema
from luxvox.pretrain.masking import draw_masks
from luxvox.pretrain.objectives import Batch, Captions, PretrainModel
from luxvox.pretrain.optimizer import make_optimizer
from luxvox.pretrain.recipe import PretrainRecipe
from luxvox.pretrain.state import gather_state, restore_state

PATCH, GRID = (4, 4, 4), (2, 2, 3)


def build() -> PretrainModel:
    """The same small model everywhere."""
    torch.manual_seed(0)
    recipe = PretrainRecipe.model_validate(
        {
            "data": {"source": "none", "crop": {"shape": (8, 8, 12), "patch": PATCH}},
            "out": "none",
            "steps": 4,
            "text": {"dim": 16},
            "decoder": DecoderConfig(width=24, depth=1, heads=2).model_dump(),
        }
    )
    return PretrainModel(recipe, EncoderConfig(width=24, depth=2, heads=2, patch=PATCH), 12)


def batch_of(step: int, rows: slice) -> Batch:
    """Rows of the global batch of one step."""
    draw = torch.Generator().manual_seed(step)
    whole = {
        "crop": torch.randn(4, 1, 8, 8, 12, generator=draw),
        "voxel_size_um": torch.ones(4, 3),
        "spacing_known": torch.ones(4, dtype=torch.bool),
        "noise": torch.full((4,), 0.1),
        "caption_id": torch.tensor([0, 1, 2, 1]),
        "extent": torch.tensor([[8, 8, 12]]).expand(4, 3),
        "index": torch.arange(4) + 4 * step,
    }
    return {name: value[rows] for name, value in whole.items()}


def train(model: PretrainModel, rows: slice, steps: range, state: dict | None = None) -> dict:
    """Some steps from the start or from a gathered state; returns the state gathered after them."""
    optimizer = make_optimizer(model, model.recipe.optim)
    ema = Ema(model, 0.9)
    if state is not None:
        restore_state(model, optimizer, ema, state)
    captions = Captions(torch.arange(3), torch.eye(3, 12))
    for step in steps:
        batch = batch_of(step, rows)
        masks = draw_masks(batch["index"], batch["extent"], GRID, PATCH, model.recipe.masking, 0)
        optimizer.zero_grad()
        model("learn", batch, masks, captions)["loss"].backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        ema.update(model, step)
        with ema.swapped(model), torch.no_grad():  # as evaluation does between steps
            seen = model("inspect", batch, masks)
            words = model("words", captions)["texts"]
    gathered = gather_state(model, optimizer, ema)
    return gathered | {"rebuilt": gather_with_gradient(seen["rebuilt"]), "words": words}


def main(out: str) -> None:
    """Train sharded: 2 steps, gather, restore into a fresh model, 2 more; rank 0 saves."""
    dist.init_process_group("gloo")
    rank = dist.get_rank()
    rows = slice(2 * rank, 2 * rank + 2)
    mesh = init_device_mesh("cpu", (2,))

    def sharded() -> PretrainModel:
        model = build()
        for module in model.modules():
            if isinstance(module, Block | CrossBlock):
                fully_shard(module, mesh=mesh)
        fully_shard(model, mesh=mesh)
        return model

    half = train(sharded(), rows, range(2))
    # Only rank 0 holds the gathered tensors; every rank reads them back, as from a file.
    box = [{name: half[name] for name in ("model", "optimizer", "ema")}]
    dist.broadcast_object_list(box)
    done = train(sharded(), rows, range(2, 4), box[0])
    if rank == 0:
        torch.save(done, out)
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1])

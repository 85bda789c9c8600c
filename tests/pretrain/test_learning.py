"""Does it learn, and z as z? A model with swapped axes or a shifted mask cannot pass."""

from __future__ import annotations

import torch

from luxvox.models.patch_embed import patchify
from luxvox.models.sizes import DecoderConfig, EncoderConfig
from luxvox.pretrain.baselines import inverse_distance, visible_mean
from luxvox.pretrain.masking import draw_masks
from luxvox.pretrain.objectives import Batch, PretrainModel
from luxvox.pretrain.recipe import PretrainRecipe

PATCH, GRID, SIDES = (4, 4, 4), (3, 4, 5), (12, 16, 20)


def _ramps(first: int, count: int) -> Batch:
    """Crops whose intensity rises along z, with another slope along x and a random offset."""
    draw = torch.Generator().manual_seed(first)
    z, _, x = torch.meshgrid(*(torch.linspace(-1, 1, side) for side in SIDES), indexing="ij")
    slope = torch.rand(count, 2, 1, 1, 1, generator=draw) * 4 - 2
    offset = torch.randn(count, 1, 1, 1, generator=draw)
    crop = slope[:, 0] * z * 1.5 + slope[:, 1] * x.square() + offset
    return {
        "crop": (crop + 0.02 * torch.randn(crop.shape, generator=draw))[:, None],
        "voxel_size_um": torch.ones(count, 3),
        "spacing_known": torch.ones(count, dtype=torch.bool),
        "noise": torch.full((count,), 0.02),
        "extent": torch.tensor([SIDES]).expand(count, 3),
        "index": torch.arange(first, first + count),
    }


def test_hidden_patches_of_an_axis_coded_scene_are_foreseen_better_than_by_interpolation() -> None:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    recipe = PretrainRecipe.model_validate(
        {
            "data": {"source": "none", "crop": {"shape": SIDES, "patch": PATCH}},
            "out": "none",
            "steps": 150,
            "objective": {"text": 0},
            "decoder": DecoderConfig(width=32, depth=2, heads=2).model_dump(),
        }
    )
    encoder = EncoderConfig(
        width=48, depth=2, heads=2, patch=PATCH, wavelengths_um=(8, 80), layer_scale=0.5
    )
    model = PretrainModel(recipe, encoder, 8)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for step in range(recipe.steps):
        batch = _ramps(step * 16, 16)
        masks = draw_masks(batch["index"], batch["extent"], GRID, PATCH, recipe.masking, 0)
        optimizer.zero_grad()
        model("learn", batch, masks)["loss"].backward()
        optimizer.step()

    batch = _ramps(1_000_000, 32)
    masks = draw_masks(
        batch["index"], batch["extent"], GRID, PATCH, recipe.masking, 1, every_hidden=True
    )
    patches = patchify(batch["crop"], PATCH)
    target = torch.take_along_dim(patches, masks.query[:, :, None], dim=1)
    rebuilt = model("inspect", batch, masks)["rebuilt"]
    guesses = {
        "model": rebuilt,
        "mean": visible_mean(patches, masks),
        "interpolation": inverse_distance(patches, masks, GRID, PATCH, batch["voxel_size_um"]),
    }
    error = {name: float((guess - target).square().mean()) for name, guess in guesses.items()}
    assert error["model"] < 0.7 * error["interpolation"] < error["mean"], error
    # Rebuilt patches rise along z inside the patch too, where the scene does.
    inside = rebuilt.unflatten(-1, PATCH)
    rise = (inside[..., -1, :, :] - inside[..., 0, :, :]).mean((-1, -2)).flatten()
    wanted = target.unflatten(-1, PATCH)
    wanted_rise = (wanted[..., -1, :, :] - wanted[..., 0, :, :]).mean((-1, -2)).flatten()
    assert float(torch.corrcoef(torch.stack([rise, wanted_rise]))[0, 1]) > 0.8

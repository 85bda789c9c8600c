"""The controls: same doors as our encoder, and hidden patches are hidden."""

import pytest
import torch

from luxvox.configs.errors import InputError
from luxvox.models.baselines import build_encoder
from luxvox.models.encoder import Encoder
from luxvox.models.losses.masked import masked_patch_loss
from luxvox.models.masked_decoder import MaskedDecoder
from luxvox.models.patch_embed import gather_patches, patchify, unpatchify
from luxvox.models.pool import AttentionPool
from luxvox.models.sizes import SIZES, DecoderConfig

SHAPES = {"unet": (16, 24, 32), "swinunetr": (32, 32, 64)}
NANO = SIZES["nano"]


def batch(name, kept=10):
    generator = torch.Generator().manual_seed(0)
    crop = torch.randn(2, 1, *SHAPES[name], generator=generator)
    count = crop[0].numel() // 512
    order = torch.rand(2, count, generator=generator).argsort(1)
    known = torch.tensor([True, False])
    return crop, torch.full((2, 3), 2.0), known, order[:, :kept], order[:, kept:]


@pytest.mark.parametrize("name", ["unet", "swinunetr"])
def test_hidden_patches_reach_nothing_and_the_objective_runs(name):
    torch.manual_seed(0)
    encoder = build_encoder(name, NANO)
    crop, voxel, known, keep, hidden = batch(name)
    grid = tuple(side // 8 for side in SHAPES[name])
    encoded = encoder(crop, voxel, known, keep)
    assert encoded.grid == grid
    assert encoded.tokens.shape == (2, crop[0].numel() // 512, 96)
    assert encoded.positions_um[0, 0].tolist() == [8.0, 8.0, 8.0]  # 4 voxels of 2 um
    assert encoded.positions_um[1, 0].tolist() == [4.0, 4.0, 4.0]  # spacing unknown
    patches = patchify(crop, NANO.patch)
    for rows, same in ((hidden, True), (keep, False)):
        changed = patches.scatter_add(
            1, rows[..., None].expand(-1, -1, 512), torch.ones(2, rows.shape[1], 512)
        )
        other = encoder(unpatchify(changed, grid, NANO.patch), voxel, known, keep)
        assert torch.equal(other.tokens, encoded.tokens) == same

    decoder, pool = MaskedDecoder(DecoderConfig(), NANO), AttentionPool(96, 3)
    prediction = decoder(encoded, encoded.query_positions_um(hidden))
    counts = torch.ones_like(hidden, dtype=torch.bool)
    target = gather_patches(crop, NANO.patch, hidden)
    terms = masked_patch_loss(prediction, target, torch.ones(2) * 0.1, counts)
    (sum(terms.values()) + pool(encoded).pow(3).sum()).backward()
    idle = [name for name, p in encoder.named_parameters() if p.grad is None]
    assert idle == []
    assert encoder.hidden_value.grad.abs() > 0
    assert not any("BatchNorm" in type(module).__name__ for module in encoder.modules())


def test_padding_is_hidden_and_masked():
    encoder = build_encoder("unet", NANO)
    crop, voxel, known, keep, _ = batch("unet")
    key_mask = torch.ones(2, 10, dtype=torch.bool)
    key_mask[0, 6:] = False
    encoded = encoder(crop, voxel, known, keep, key_mask)
    assert (~encoded.key_mask[0]).nonzero().flatten().tolist() == sorted(keep[0, 6:].tolist())
    assert encoded.key_mask[1].all()
    patches = patchify(crop, NANO.patch)
    patches[0, keep[0, 6:]] = 5.0
    other = encoder(unpatchify(patches, encoded.grid, NANO.patch), voxel, known, keep, key_mask)
    assert torch.equal(other.tokens, encoded.tokens)


def test_names_and_sides():
    assert isinstance(build_encoder("vit", NANO), Encoder)
    with pytest.raises(InputError, match="vit, unet, swinunetr"):
        build_encoder("resnet", NANO)
    crop, voxel, known, keep, _ = batch("unet")
    swin = build_encoder("swinunetr", NANO)
    with pytest.raises(InputError, match="16 voxels along z, expected a multiple of 32"):
        swin(crop, voxel, known, keep)
    with pytest.raises(InputError, match="at least one side of 64"):
        swin(torch.zeros(2, 1, 32, 32, 32), voxel, known, keep)

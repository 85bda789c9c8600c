"""The encoder: hidden and padded voxels reach nothing, positions are in um, the graph is whole."""

import pytest
import torch

from luxvox.configs.errors import InputError
from luxvox.models.encoder import Encoder
from luxvox.models.patch_embed import gather_patches, patchify, unpatchify
from luxvox.models.position import token_positions_um
from luxvox.models.sizes import SIZES, EncoderConfig

SHAPE, GRID = (16, 24, 40), (2, 3, 5)


def make_encoder(**change):
    torch.manual_seed(0)
    encoder = Encoder(SIZES["nano"].model_copy(update={"depth": 2, **change}))
    # A new model is nearly linear in places; real weights are not.
    for parameter in encoder.parameters():
        parameter.data.add_(0.1 * torch.randn_like(parameter))
    return encoder.eval()


def inputs(batch=2, kept=8):
    generator = torch.Generator().manual_seed(1)
    crop = torch.randn(batch, 1, *SHAPE, generator=generator)
    voxel = torch.tensor([[6.0, 1.6, 1.6], [1.0, 2.0, 2.0]])[:batch]
    keep = torch.rand(batch, 30, generator=generator).argsort(1)[:, :kept]
    return crop, voxel, torch.ones(batch, dtype=torch.bool), keep


def change_patches(crop, index, by=3.0):
    """Add to all voxels of the patches `index` [B, n]."""
    patches = patchify(crop, (8, 8, 8)).clone()
    for sample, rows in enumerate(index.tolist()):
        patches[sample, rows] += by
    return unpatchify(patches, GRID, (8, 8, 8))


def test_gives_one_token_per_kept_patch_in_order():
    encoder, (crop, voxel, known, keep) = make_encoder(), inputs()
    encoded = encoder(crop, voxel, known, keep)
    assert encoded.tokens.shape == (2, 8, 96)
    assert encoded.prefix.shape == (2, 6, 96)
    assert encoded.grid == GRID
    everywhere = token_positions_um(GRID, (8, 8, 8), voxel)
    expected = torch.take_along_dim(everywhere, keep[..., None], dim=1)
    assert torch.equal(encoded.positions_um, expected)
    assert torch.equal(encoded.query_positions_um(keep), expected)
    turned = encoder(crop, voxel, known, keep.flip(1))
    assert torch.allclose(turned.tokens.flip(1), encoded.tokens, atol=1e-5)


def test_hidden_voxels_never_reach_the_encoder():
    encoder, (crop, voxel, known, keep) = make_encoder(), inputs()
    hidden = torch.rand(2, 30).scatter(1, keep, -1.0).argsort(1)[:, 8:]
    before = encoder(crop, voxel, known, keep)
    after = encoder(change_patches(crop, hidden), voxel, known, keep)
    assert torch.equal(before.tokens, after.tokens)
    assert torch.equal(before.prefix, after.prefix)
    seen = encoder(change_patches(crop, keep[:, :1]), voxel, known, keep)
    assert (before.tokens - seen.tokens)[:, 5].abs().max() > 1e-3


def test_all_tokens_equal_keep_of_everything():
    encoder, (crop, voxel, known, _) = make_encoder(), inputs()
    every = torch.arange(30).expand(2, 30)
    assert torch.allclose(
        encoder(crop, voxel, known).tokens, encoder(crop, voxel, known, every).tokens, atol=1e-5
    )


def test_padded_patches_change_nothing():
    encoder, (crop, voxel, known, keep) = make_encoder(), inputs()
    key_mask = torch.ones(2, 8, dtype=torch.bool)
    key_mask[0, 5:] = False
    before = encoder(crop, voxel, known, keep, key_mask)
    changed = change_patches(crop, torch.stack([keep[0, 5:], keep[0, 5:]]))
    changed[1] = crop[1]
    after = encoder(changed, voxel, known, keep, key_mask)
    assert torch.equal(before.tokens[0, :5], after.tokens[0, :5])
    assert torch.equal(before.prefix, after.prefix)
    # Padding is as good as not there.
    shorter = encoder(crop[:1], voxel[:1], known[:1], keep[:1, :5])
    assert torch.allclose(before.tokens[:1, :5], shorter.tokens, atol=1e-5)
    assert torch.allclose(before.prefix[:1], shorter.prefix, atol=1e-5)
    # And a mask of nothing but real tokens is the fast path.
    masked = encoder(crop, voxel, known, keep, torch.ones_like(key_mask))
    assert torch.allclose(masked.tokens, encoder(crop, voxel, known, keep).tokens, atol=1e-5)


def test_same_positions_give_the_same_tokens_and_moving_them_all_changes_nothing():
    encoder, (crop, voxel, known, keep) = make_encoder(), inputs()
    patches = gather_patches(crop, (8, 8, 8), keep)
    positions = torch.take_along_dim(
        token_positions_um(GRID, (8, 8, 8), voxel), keep[..., None], dim=1
    )
    acquisition = encoder.acquisition(voxel, known)

    def tokens(at):
        return encoder.encode_patches(patches, at, voxel * 8, acquisition)[1]

    here = tokens(positions)
    assert torch.allclose(here, encoder(crop, voxel, known, keep).tokens, atol=1e-5)
    moved = tokens(positions + torch.tensor([512.0, -64.0, 7.0]))
    assert torch.allclose(here, moved, atol=1e-3)
    assert (here - tokens(positions * 1.3)).abs().max() > 1e-2
    assert (here - tokens(positions.flip(-1))).abs().max() > 1e-2


def test_unknown_spacing_means_index_units_whatever_the_number_says():
    encoder, (crop, voxel, known, keep) = make_encoder(), inputs()
    unknown = torch.zeros_like(known)
    first = encoder(crop, voxel, unknown, keep)
    second = encoder(crop, voxel * 7, unknown, keep)
    assert torch.equal(first.tokens, second.tokens)
    assert torch.equal(first.pitch_um, torch.full((2, 3), 8.0))
    ones = torch.ones(2, 3)
    told = encoder(crop, ones, known, keep)  # same positions, but the acquisition token knows
    assert torch.equal(told.positions_um, first.positions_um)
    assert (told.tokens - first.tokens).abs().max() > 1e-4


def test_voxel_size_matters():
    encoder, (crop, voxel, known, keep) = make_encoder(), inputs()
    first = encoder(crop, voxel, known, keep).tokens
    assert (first - encoder(crop, voxel * 2, known, keep).tokens).abs().max() > 1e-3


def test_anisotropic_patch():
    encoder, (crop, voxel, known, _) = make_encoder(patch=(4, 8, 8)), inputs()
    encoded = encoder(crop, voxel, known)
    assert encoded.tokens.shape == (2, 60, 96)
    assert encoded.grid == (4, 3, 5)


def test_crop_that_is_no_multiple_of_the_patch():
    encoder, (crop, voxel, known, keep) = make_encoder(), inputs()
    with pytest.raises(InputError, match="20 voxels along y"):
        encoder(crop[:, :, :, :20], voxel, known, keep)


def test_every_parameter_learns():
    encoder, (crop, voxel, known, keep) = make_encoder(), inputs()
    known = torch.tensor([True, False])
    encoded = encoder(crop, voxel, known, keep)
    (encoded.tokens.square().sum() + encoded.prefix.pow(3).sum()).backward()
    idle = [name for name, p in encoder.named_parameters() if p.grad is None or not p.grad.any()]
    assert idle == []


def test_recomputing_activations_gives_the_same_gradient():
    encoder, (crop, voxel, known, keep) = make_encoder().train(), inputs()
    grads = []
    for recompute in (False, True):
        encoder.checkpoint_activations = recompute
        encoder.zero_grad()
        encoder(crop, voxel, known, keep).tokens.pow(3).mean().backward()
        grads.append([p.grad.clone() for p in encoder.parameters() if p.grad is not None])
    assert all(torch.equal(a, b) for a, b in zip(*grads, strict=True))


def test_no_batch_norm_and_drop_path_only_on_request():
    assert not any("BatchNorm" in type(module).__name__ for module in make_encoder().modules())
    encoder, batch = make_encoder().train(), inputs()
    assert torch.equal(encoder(*batch).tokens, encoder(*batch).tokens)
    dropping = make_encoder(drop_path=0.5).train()
    draws = torch.stack([dropping(*batch).tokens for _ in range(8)])
    assert draws.std(dim=0).max() > 1e-3


@pytest.mark.parametrize("padded", [False, True])
def test_compiles_as_one_graph_and_not_again_for_new_data(padded):
    encoder, (crop, voxel, known, keep) = make_encoder(depth=1), inputs()
    keep = keep.contiguous()
    key_mask = torch.ones(2, 8, dtype=torch.bool) if padded else None
    torch._dynamo.reset()
    compiled = torch.compile(encoder, backend="aot_eager", fullgraph=True)
    expected = encoder(crop, voxel, known, keep, key_mask).tokens
    assert torch.allclose(compiled(crop, voxel, known, keep, key_mask).tokens, expected, atol=1e-5)
    with torch._dynamo.config.patch(error_on_recompile=True):
        compiled(crop + 1, voxel * 2, ~known, keep.flip(1), key_mask)


def test_bfloat16_stays_close():
    encoder, (crop, voxel, known, keep) = make_encoder(), inputs()
    exact = encoder(crop, voxel, known, keep).tokens
    with torch.autocast("cpu", torch.bfloat16):
        mixed = encoder(crop, voxel, known, keep).tokens
    assert (mixed.float() - exact).abs().mean() < 0.05
    low = encoder.bfloat16()(crop.bfloat16(), voxel, known, keep).tokens
    assert (low.float() - exact).abs().mean() < 0.1


def test_config_alone_builds_it_again():
    encoder, batch = make_encoder(), inputs()
    again = Encoder(EncoderConfig.model_validate_json(encoder.config.model_dump_json())).eval()
    again.load_state_dict(encoder.state_dict())
    assert torch.equal(encoder(*batch).tokens, again(*batch).tokens)

"""Tokens of several depths: the last are the encoder's own, and maps lie as the crop does."""

import pytest
import torch
from einops import rearrange

from luxvox.models.encoder import Encoder
from luxvox.models.features import encoder_features, even_depths
from luxvox.models.sizes import EncoderConfig


def make(depth=3, patch=(4, 8, 8)):
    torch.manual_seed(0)
    return Encoder(EncoderConfig(width=24, depth=depth, heads=2, patch=patch)).eval()


def inputs(shape=(12, 16, 40)):
    crop = torch.randn(2, 1, *shape, generator=torch.Generator().manual_seed(1))
    return crop, torch.tensor([[4.0, 1.6, 1.6], [1, 1, 1]]), torch.tensor([True, False])


@pytest.mark.parametrize(
    ("depth", "count", "expected"),
    [
        (12, 4, (3, 6, 9, 12)),
        (8, 4, (2, 4, 6, 8)),
        (4, 4, (1, 2, 3, 4)),
        (2, 4, (1, 2)),
        (12, 1, (12,)),
        (1, 4, (1,)),
    ],
)
def test_depths_are_even_and_end_with_the_last(depth, count, expected):
    assert even_depths(depth, count) == expected


def test_the_last_equals_the_encoder():
    encoder, (crop, voxel, known) = make(), inputs()
    maps, encoded = encoder_features(encoder, crop, voxel, known, (1, 3))
    expected = encoder(crop, voxel, known)
    assert maps[1].shape == (2, 24, 3, 2, 5)
    torch.testing.assert_close(rearrange(maps[1], "b d z y x -> b (z y x) d"), expected.tokens)
    for name in ("tokens", "prefix", "positions_um", "pitch_um"):
        torch.testing.assert_close(getattr(encoded, name), getattr(expected, name))
    assert encoded.grid == expected.grid
    assert encoded.key_mask is None


def test_an_earlier_depth_equals_a_shorter_encoder():
    encoder, (crop, voxel, known) = make(), inputs()
    maps, _ = encoder_features(encoder, crop, voxel, known, (2, 3))
    encoder.blocks = encoder.blocks[:2]
    expected = rearrange(encoder(crop, voxel, known).tokens, "b (z y x) d -> b d z y x", z=3, y=2)
    torch.testing.assert_close(maps[0], expected)
    assert not torch.allclose(maps[0], maps[1], atol=1e-3)


def test_checkpointed_gradients_are_equal():
    encoder, (crop, voxel, known) = make().train(), inputs()
    gradients = []
    for encoder.checkpoint_activations in (False, True):
        encoder.zero_grad()
        maps, _ = encoder_features(encoder, crop, voxel, known, (1, 3))
        sum(m.square().sum() for m in maps).backward()
        gradients.append(encoder.patch_embed.proj.weight.grad.clone())
    torch.testing.assert_close(*gradients)
    assert gradients[0].abs().max() > 0


def test_refuses_a_depth_that_is_not_there():
    with pytest.raises(ValueError, match=r"depths \[0, 4\], expected 1 to 3"):
        encoder_features(make(), *inputs(), depths=(0, 2, 4))

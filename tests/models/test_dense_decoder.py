"""The dense decoder: back to full resolution for any patch, told apart by what is said."""

import pytest
import torch
from torch.nn import functional as F

from luxvox.models.dense_decoder import Condition, DenseDecoder
from luxvox.models.detail import DetailStream

PATCHES = [(8, 8, 8), (4, 8, 8), (2, 8, 8), (4, 4, 4), (8, 4, 16), (2, 2, 2), (1, 1, 1)]


def make(patch, maps=2, channels=(4, 6, 8)):
    torch.manual_seed(0)
    return DenseDecoder(12, maps, patch, channels, text_dim=5, condition_width=7)


def inputs(patch, grid=(2, 1, 3), maps=2, channels=(4, 6, 8)):
    torch.manual_seed(1)
    shape = [cells * side for cells, side in zip(grid, patch, strict=True)]
    detail = DetailStream(channels, patch)(torch.randn(2, 1, *shape))
    return [torch.randn(2, 12, *grid) for _ in range(maps)], [m.detach() for m in detail], shape


@pytest.mark.parametrize("patch", PATCHES)
def test_any_patch_comes_back_to_full_resolution(patch):
    decoder = make(patch)
    maps, detail, shape = inputs(patch)
    decoded = decoder(maps, detail, None)
    assert len(decoded) == len(decoder.scales) == len(decoder.channels)
    for features, scale, width in zip(decoded, decoder.scales, decoder.channels, strict=True):
        assert features.shape == (
            2,
            width,
            *(side // step for side, step in zip(shape, scale, strict=True)),
        )
    assert decoder.scales[0] == (1, 1, 1)
    assert decoder.scales[-1] == patch


def test_one_level_more_doubles_the_channels():
    assert make((8, 8, 8)).channels == (4, 6, 8, 16)
    assert make((16, 16, 16)).channels == (4, 6, 8, 16, 32)
    assert make((4, 4, 4)).channels == (4, 6, 8)


def test_every_depth_and_every_skip_matters():
    decoder = make((8, 8, 8))
    maps, detail, _ = inputs((8, 8, 8))
    before = decoder(maps, detail, None)[0]
    for parts in (maps, detail):
        for number, part in enumerate(parts):
            parts[number] = part + torch.randn_like(part)
            assert (decoder(maps, detail, None)[0] - before).abs().max() > 1e-2
            parts[number] = part


def test_gradient_reaches_every_parameter():
    decoder = make((4, 8, 8))
    for level in decoder.levels:  # what starts neutral passes no gradient on before the first step
        torch.nn.init.normal_(level.film.weight)
    maps, detail, _ = inputs((4, 8, 8))
    said = torch.tensor([[1.0, -2, 3, 0, 1], [0, 0, 0, 0, 0]])
    sum(m.square().mean() for m in decoder(maps, detail, said)).backward()
    for name, parameter in decoder.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name


def test_starts_unconditioned_and_then_listens():
    decoder = make((8, 8, 8))
    maps, detail, _ = inputs((8, 8, 8))
    words = F.normalize(torch.randn(2, 5), dim=-1)
    nothing = decoder(maps, detail, None)[0]
    assert torch.equal(decoder(maps, detail, words)[0], nothing)
    for level in decoder.levels:
        torch.nn.init.normal_(level.film.weight, std=0.1)
    silent = words * torch.tensor([[1.0], [0]])  # the second row says nothing
    mixed, nothing = decoder(maps, detail, silent)[0], decoder(maps, detail, None)[0]
    assert (mixed - nothing)[0].abs().max() > 1e-2
    torch.testing.assert_close(mixed[1], nothing[1], rtol=1e-4, atol=1e-5)


def test_condition_by_hand():
    condition = Condition(2, 2)
    condition.proj.weight.data = torch.eye(2)
    text = torch.tensor([[3.0, 1.0], [0, 0]])  # the first, normalised: (1, -1)
    given = condition(text, 2)
    torch.testing.assert_close(given[0], F.silu(torch.tensor([1.0, -1.0])), rtol=0, atol=1e-4)
    assert torch.equal(given[1], condition.null)
    assert torch.equal(condition(None, 3), condition.null.expand(3, 2))

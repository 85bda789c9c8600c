"""The detail stream: strides follow the patch, and its reach is short."""

import pytest
import torch
from torch import nn

from luxvox.configs.errors import InputError
from luxvox.models.detail import DetailStream, kernels_of, steps_of
from luxvox.models.residual import InstanceNorm, ResidualConv


@pytest.mark.parametrize(
    ("patch", "steps", "kernels"),
    [
        ((8, 8, 8), [(2, 2, 2)] * 3, [(3, 3, 3)] * 4),
        ((4, 8, 8), [(1, 2, 2), (2, 2, 2), (2, 2, 2)], [(1, 3, 3)] + [(3, 3, 3)] * 3),
        ((2, 8, 8), [(1, 2, 2), (1, 2, 2), (2, 2, 2)], [(1, 3, 3)] * 2 + [(3, 3, 3)] * 2),
        ((4, 4, 4), [(2, 2, 2)] * 2, [(3, 3, 3)] * 3),
        ((8, 4, 8), [(2, 1, 2), (2, 2, 2), (2, 2, 2)], [(3, 1, 3)] + [(3, 3, 3)] * 3),
        ((1, 1, 1), [], [(3, 3, 3)]),
    ],
)
def test_steps_and_kernels(patch, steps, kernels):
    assert steps_of(patch) == steps
    assert kernels_of(patch) == kernels


@pytest.mark.parametrize("patch", [(8, 6, 8), (12, 8, 8)])
def test_a_patch_must_be_reached_by_halves(patch):
    with pytest.raises(InputError, match=r"patch is .*expected powers of two"):
        steps_of(patch)


@pytest.mark.parametrize(
    ("patch", "shapes"),
    [
        ((8, 8, 8), [(8, 16, 24), (4, 8, 12), (2, 4, 6)]),
        ((4, 8, 8), [(8, 16, 24), (8, 8, 12), (4, 4, 6)]),
        ((2, 8, 8), [(8, 16, 24), (8, 8, 12), (8, 4, 6)]),
        ((2, 2, 2), [(8, 16, 24), (4, 8, 12)]),
    ],
)
def test_maps_and_gradients(patch, shapes):
    torch.manual_seed(0)
    stream = DetailStream((4, 6, 8), patch)
    maps = stream(torch.randn(2, 1, 8, 16, 24))
    assert [m.shape for m in maps] == [
        (2, width, *shape) for width, shape in zip((4, 6, 8), shapes, strict=False)
    ]
    sum(m.square().mean() for m in maps).backward()
    for name, parameter in stream.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name


def test_no_batch_norm_and_samples_do_not_mix():
    torch.manual_seed(0)
    stream = DetailStream((4, 6, 8), (8, 8, 8))
    assert not any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in stream.modules())
    crops = torch.randn(2, 1, 16, 16, 16)
    for together, alone in zip(stream(crops), stream(crops[:1]), strict=True):
        torch.testing.assert_close(together[:1], alone, rtol=1e-4, atol=1e-4)


def test_instance_norm_is_torchs_and_takes_one_voxel():
    x = torch.randn(2, 3, 4, 5, 6) * 3 + 1
    ours, theirs = InstanceNorm(3), nn.InstanceNorm3d(3, affine=True)
    for norm in (ours, theirs):
        norm.weight.data, norm.bias.data = torch.tensor([1.0, 2, 3]), torch.tensor([0.5, 0, -1])
    torch.testing.assert_close(ours(x), theirs(x))
    assert torch.equal(ours(torch.ones(1, 3, 1, 1, 1)).flatten(), ours.bias)
    film = torch.tensor([[1.0, 1, 1, 2, 2, 2]] * 2)
    torch.testing.assert_close(ours(x, film), theirs(x) * 2 + 2)


def test_the_level_of_the_crop_survives_the_norms():
    torch.manual_seed(0)
    block = ResidualConv(4, (3, 3, 3))
    x = torch.randn(1, 4, 8, 8, 8)
    torch.testing.assert_close(block(x + 5) - block(x), torch.full_like(x, 5.0))

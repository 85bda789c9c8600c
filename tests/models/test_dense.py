"""The dense model: full resolution for any crop, far voxels matter, the foreground can be named."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from luxvox.configs.errors import InputError
from luxvox.models.dense import (
    ClassifyConfig,
    DenseConfig,
    DenseModel,
    RestoreConfig,
    SegmentConfig,
    fill_to_patches,
)
from luxvox.models.residual import InstanceNorm
from luxvox.models.sizes import SIZES, EncoderConfig

HEADS = {
    "segment": SegmentConfig(distance=True),
    "many": SegmentConfig(classes=4),
    "restore": RestoreConfig(),
    "classify": ClassifyConfig(classes=3),
}


def make(patch=(8, 8, 8), depth=2, channels=(4, 6, 8), heads=HEADS):
    torch.manual_seed(0)
    encoder = EncoderConfig(width=24, depth=depth, heads=2, patch=patch)
    return DenseModel(encoder, DenseConfig(channels=channels, text_dim=6, heads=heads))


def inputs(shape, batch=2):
    crop = torch.randn(batch, 1, *shape, generator=torch.Generator().manual_seed(1))
    return crop, torch.tensor([4.0, 1.6, 1.6]).expand(batch, 3), torch.ones(batch).bool()


class Identity(nn.Module):
    """In the place of an instance norm, which lets every voxel reach every other."""

    def forward(self, x, film=None):
        return x


def without_norms(model):
    for module in model.modules():
        for name, child in module.named_children():
            if isinstance(child, InstanceNorm):
                setattr(module, name, Identity())
    return model


@pytest.mark.parametrize("patch", [(8, 8, 8), (4, 8, 8), (2, 8, 8), (4, 4, 4)])
@pytest.mark.parametrize("shape", [(8, 8, 8), (16, 24, 8), (9, 17, 23), (13, 8, 31)])
def test_any_crop_and_patch_gives_full_resolution(shape, patch):
    model, batch = make(patch), inputs(shape)
    features = model(*batch)
    assert features.full.shape == (2, 4, *shape)
    for coarse, scale in zip(features.coarse, features.scales, strict=True):
        steps = tuple(slice(None, None, step) for step in scale)
        assert coarse.shape[2:] == batch[0][:, 0][(slice(None), *steps)].shape[1:]
    coarsest = {(8, 8, 8): (4, 4, 4), (4, 8, 8): (2, 4, 4), (2, 8, 8): (1, 4, 4)}
    assert features.scales[-1] == coarsest.get(patch, patch)
    assert model.segment(*batch).logits.shape == (2, 1, *shape)
    assert model.segment(*batch).distance.shape == (2, 1, *shape)
    assert model.segment(*batch, head="many").logits.shape == (2, 4, *shape)
    assert model.classify(*batch).shape == (2, 3)


def test_gradient_reaches_every_parameter():
    model, (crop, voxel, _) = make((4, 8, 8)), inputs((8, 16, 24))
    known = torch.tensor([True, False])
    for name, parameter in model.named_parameters():  # what starts neutral passes nothing on
        if any(part in name for part in ("film", "residual", "distance")):
            nn.init.normal_(parameter, std=0.1)
    said = torch.randn(2, 6) * torch.tensor([[1.0], [0]])
    features = model(crop, voxel, known, said)
    one, many = (model.heads[name](features.full, features.coarse) for name in ("segment", "many"))
    answers = [one.logits, one.distance, *one.coarse, many.logits, *many.coarse]
    answers += [model.heads["restore"](features.full, crop)]
    answers += [model.heads["classify"](features.encoded)]
    sum(answer.square().mean() for answer in answers).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name


def test_a_far_voxel_matters_through_the_tokens_only():
    model, (crop, voxel, known) = without_norms(make()), inputs((8, 8, 96), batch=1)
    crop.requires_grad_()

    def influence():
        voxel_logit = model.segment(crop, voxel, known).logits[0, 0, 4, 4, 4]
        return torch.autograd.grad(voxel_logit, crop)[0][0, 0, ..., 64:].abs().max()

    assert influence() > 1e-7
    for project in model.decoder.project:
        nn.init.zeros_(project.weight)
    assert influence() == 0


def test_output_moves_with_the_crop_by_whole_patches():
    model = make(heads={"segment": SegmentConfig()}).eval()
    scene = torch.zeros(1, 1, 24, 48, 48)
    scene[..., 9:15, 18:26, 17:23] = torch.rand(6, 8, 6) * 4 + 2
    moved = torch.roll(scene, 8, dims=4)
    _, voxel, known = inputs((8, 8, 8), batch=1)
    with torch.no_grad():
        here, there = (model.segment(s, voxel, known).logits for s in (scene, moved))
    inner = (..., slice(4, 20), slice(10, 36), slice(10, 30))
    back = torch.roll(there, -8, dims=4)
    error, change = (here - back)[inner].abs().mean(), (here - there)[inner].abs().mean()
    assert error < 0.05 * change


def test_fills_by_mirror_and_cuts_back():
    crop = torch.arange(10.0).view(1, 1, 1, 1, 10)
    filled = fill_to_patches(crop, (1, 1, 4))
    assert filled.flatten().tolist() == [*range(10), 8, 7]
    assert fill_to_patches(filled, (1, 1, 4)) is filled
    model, (odd, voxel, known) = make().eval(), inputs((16, 13, 21))
    whole = model(fill_to_patches(odd, (8, 8, 8)), voxel, known).full
    torch.testing.assert_close(model(odd, voxel, known).full, whole[..., :13, :21])


def test_untrained_restoration_is_the_identity():
    model, batch = make(), inputs((9, 16, 20))
    assert torch.equal(model.restore(*batch), batch[0])


def test_bad_input_is_said():
    model, batch = make(), inputs((8, 16, 7))
    with pytest.raises(InputError, match="crop has 7 voxels along x, expected at least a patch"):
        model(*batch)
    with pytest.raises(InputError, match=r'no RestoreHead named "segment".*found'):
        model.restore(*inputs((8, 8, 8)), head="segment")
    with pytest.raises(InputError, match="expected powers of two"):
        make(patch=(6, 8, 8))


def test_config_comes_back_from_json_and_refuses_typos():
    config = DenseConfig(heads=HEADS)
    assert DenseConfig.model_validate_json(config.model_dump_json()) == config
    with pytest.raises(ValueError, match="chanels"):
        DenseConfig(chanels=(8, 16, 32))
    assert DenseConfig.for_encoder(SIZES["nano"]).channels == (8, 16, 32)
    assert DenseConfig.for_encoder(SIZES["small"]).channels == (16, 32, 64)


def scenes(generator, count=4, side=16):
    """A bright plate across z and a bright ball-like box in each crop: two structures."""
    crop = 0.3 * torch.randn(count, 1, side, side, side, generator=generator)
    plate, box = torch.zeros_like(crop), torch.zeros_like(crop)
    for sample in range(count):
        z, y, x = torch.randint(1, side - 6, (3,), generator=generator).tolist()
        box[sample, 0, z : z + 5, y : y + 5, x : x + 5] = 1
        place = torch.randint(0, side - 1, (1,), generator=generator).item()
        plate[sample, 0, :, :, place : place + 2] = 1
    return crop + 2 * torch.maximum(plate, box), plate, box


def test_what_is_said_decides_which_structure_is_found():
    heads = {"segment": SegmentConfig()}
    model = make((4, 4, 4), depth=1, heads=heads)
    words = F.normalize(torch.randn(2, 6), dim=-1)
    generator = torch.Generator().manual_seed(0)
    voxel, known = torch.ones(8, 3), torch.ones(8, dtype=torch.bool)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)

    def batch():
        crop, plate, box = scenes(generator)
        return torch.cat([crop, crop]), torch.cat([plate, box]), words.repeat_interleave(4, 0)

    for _ in range(60):
        crop, target, said = batch()
        given = model.segment(crop, voxel, known, said)
        loss = F.binary_cross_entropy_with_logits(given.logits, target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    crop, target, said = batch()
    with torch.no_grad():
        found = (model.eval().segment(crop, voxel, known, said).logits > 0).float()

    def dice(one, other):
        return (2 * (one * other).sum() / (one.sum() + other.sum())).item()

    plate, box = found.chunk(2)
    assert dice(plate, target[:4]) > 0.7
    assert dice(box, target[4:]) > 0.7
    assert dice(plate, target[4:]) < 0.4

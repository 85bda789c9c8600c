"""The masked decoder: queries stand alone, see real tokens only, and interpolate from the start."""

import torch

from luxvox.models.encoder import Encoded, Encoder
from luxvox.models.losses.masked import masked_patch_loss
from luxvox.models.masked_decoder import MaskedDecoder, MaskedPrediction
from luxvox.models.patch_embed import gather_patches, patchify
from luxvox.models.position import token_positions_um
from luxvox.models.sizes import DecoderConfig, EncoderConfig

NANO = EncoderConfig(width=96, depth=2, heads=3)


def make_decoder(**change):
    torch.manual_seed(0)
    return MaskedDecoder(DecoderConfig(**change), NANO).eval()


def encoded_tokens(count=20, key_mask=None, seed=0):
    generator = torch.Generator().manual_seed(seed)
    positions = torch.rand(2, count, 3, generator=generator) * 60
    tokens = torch.randn(2, count, 96, generator=generator)
    return Encoded(tokens, tokens[:, :0], positions, torch.full((2, 3), 8.0), (8, 8, 8), key_mask)


def flat(prediction: MaskedPrediction):
    return torch.cat([prediction.voxels(), prediction.mean[..., None]], -1)


def test_shapes_and_voxels():
    encoded = encoded_tokens()
    prediction = make_decoder()(encoded, encoded.positions_um[:, :7])
    assert prediction.values.shape == (2, 7, 512)
    assert prediction.mean.shape == prediction.log_std.shape == (2, 7)
    by_hand = prediction.mean[..., None] + prediction.log_std.exp()[..., None] * prediction.values
    assert torch.allclose(prediction.voxels(), by_hand, atol=1e-6)


def test_queries_do_not_see_each_other():
    decoder, encoded = make_decoder(), encoded_tokens()
    queries = torch.rand(2, 9, 3) * 60
    everything = flat(decoder(encoded, queries))
    assert torch.allclose(flat(decoder(encoded, queries[:, 2:5])), everything[:, 2:5], atol=1e-5)
    assert (everything[:, 0] - everything[:, 1]).abs().max() > 1e-4


def test_padded_tokens_change_nothing():
    key_mask = torch.ones(2, 20, dtype=torch.bool)
    key_mask[:, 15:] = False
    encoded = encoded_tokens(key_mask=key_mask)
    tokens = encoded.tokens.clone()
    tokens[:, 15:] += 100
    decoder, queries = make_decoder(), torch.rand(2, 9, 3) * 60
    before = flat(decoder(encoded, queries))
    assert torch.equal(before, flat(decoder(encoded._replace(tokens=tokens), queries)))
    shorter = encoded._replace(
        tokens=encoded.tokens[:, :15], positions_um=encoded.positions_um[:, :15], key_mask=None
    )
    assert torch.allclose(before, flat(decoder(shorter, queries)), atol=1e-5)


def test_moving_everything_changes_nothing_moving_queries_does():
    decoder, encoded = make_decoder(), encoded_tokens()
    queries = torch.rand(2, 9, 3) * 60
    shift = torch.tensor([300.0, -50.0, 17.0])
    moved = encoded._replace(positions_um=encoded.positions_um + shift)
    before = flat(decoder(encoded, queries))
    assert torch.allclose(before, flat(decoder(moved, queries + shift)), atol=1e-3)
    assert (before - flat(decoder(encoded, queries + shift))).abs().max() > 1e-3


def test_an_untrained_decoder_listens_to_near_tokens():
    decoder = make_decoder()
    positions = token_positions_um((6, 6, 6), (8, 8, 8), torch.ones(1, 3))
    tokens = torch.randn(1, 216, 96).requires_grad_()
    encoded = Encoded(tokens, tokens[:, :0], positions, torch.full((1, 3), 8.0), (6, 6, 6), None)
    query = torch.tensor([[[24.0, 24.0, 24.0]]])
    decoder(encoded, query).values.square().sum().backward()
    weight = tokens.grad.norm(dim=-1)[0]
    distance = (positions[0] - query[0]).norm(dim=-1)
    near, far = weight[distance < 8].mean(), weight[distance > 24].mean()
    assert near > 5 * far


def test_every_parameter_learns():
    decoder, encoded = make_decoder(), encoded_tokens()
    flat(decoder(encoded, torch.rand(2, 9, 3) * 60)).pow(3).sum().backward()
    idle = [name for name, p in decoder.named_parameters() if p.grad is None or not p.grad.any()]
    assert idle == []


def test_compiles_as_one_graph_with_backward():
    decoder, encoded = make_decoder(depth=1), encoded_tokens()
    torch._dynamo.reset()
    compiled = torch.compile(decoder, backend="aot_eager", fullgraph=True)
    queries = torch.rand(2, 9, 3) * 60
    prediction = compiled(encoded, queries)
    prediction.voxels().sum().backward()
    assert torch.allclose(flat(prediction), flat(decoder(encoded, queries)), atol=1e-5)


def test_learns_to_rebuild_what_its_neighbours_tell():
    """Smooth waves: after 120 small steps far better than the visible mean."""
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    encoder = Encoder(NANO)
    decoder = MaskedDecoder(DecoderConfig(depth=2), NANO)
    parameters = [*encoder.parameters(), *decoder.parameters()]
    optimiser = torch.optim.AdamW(parameters, lr=2e-3)
    place = torch.stack(torch.meshgrid(*[torch.arange(32.0)] * 3, indexing="ij"), -1)
    voxel, known = torch.ones(4, 3), torch.ones(4, dtype=torch.bool)
    errors = []
    for _ in range(120):
        wave = torch.randn(4, 3, generator=generator) * 0.1
        start = torch.rand(4, generator=generator)[:, None, None, None] * 6.28
        crop = torch.sin(torch.einsum("zyxa,ba->bzyx", place, wave) + start)[:, None]
        order = torch.rand(4, 64, generator=generator).argsort(1)
        keep, hidden = order[:, :16], order[:, 16:40]
        encoded = encoder(crop, voxel, known, keep)
        prediction = decoder(encoded, encoded.query_positions_um(hidden))
        target = gather_patches(crop, NANO.patch, hidden)
        ones = torch.ones_like(hidden, dtype=torch.bool)
        loss = sum(masked_patch_loss(prediction, target, torch.full((4,), 0.05), ones).values())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        visible = gather_patches(crop, NANO.patch, keep).mean((1, 2))[:, None, None]
        error = (prediction.voxels() - target).square().mean() / (visible - target).square().mean()
        errors.append(error.item())
    assert patchify(crop, NANO.patch).std() > 0.3
    assert sum(errors[-20:]) / 20 < 0.5

"""The focus head: what it sees, what it must not see, levels, stains, mixing."""

from __future__ import annotations

import pytest
import torch
from scipy.ndimage import gaussian_filter
from torch.nn import functional as F

from luxvox.configs.errors import InputError
from luxvox.models.focus_bank import UNKNOWN_BLUR_PX, FocusBank, blur_px
from luxvox.models.focus_config import FocusConfig, FocusFeatures, FocusInput
from luxvox.models.focus_context import TokenContext
from luxvox.models.focus_levels import expected_distance, level_values, soft_labels
from luxvox.models.focus_regressor import FocusRegressor
from luxvox.models.focus_stain import StainGrounding, StainRanks
from luxvox.models.heads.focus import FocusHead

SMALL = {"channels": (4, 8, 16), "width": 16, "stain_dim": 8}
LENS = (0.3, 0.52, 1.45, 0.8)


def texture(sigma: float, count: int = 4, noise: float = 0.01, seed: int = 0) -> torch.Tensor:
    """[count, 64, 64]: points, blurred, then noisy."""
    rng = torch.Generator().manual_seed(seed)
    points = (torch.rand(count, 64, 64, generator=rng) < 0.02).float() * 20
    blurred = torch.from_numpy(gaussian_filter(points.numpy(), (0, sigma, sigma)))
    return blurred + noise * torch.randn(blurred.shape, generator=rng)


def given(
    tiles: torch.Tensor, stain: int = 0, sweep: bool = True, tokens: torch.Tensor | None = None
) -> FocusInput:
    """One stack [Z, T, 64, 64]."""
    return FocusInput(
        tiles[None], torch.tensor([LENS]), torch.tensor([stain]), torch.tensor([sweep]),
        torch.arange(len(tiles))[None], tokens,
    )  # fmt: skip


def head(**changes) -> FocusHead:
    torch.manual_seed(0)
    return FocusHead(FocusConfig(**{**SMALL, **changes})).eval()


# The fixed bank


def test_rings_lose_high_frequencies_first():
    bank = FocusBank(10)
    sharp, soft = (bank(texture(s)[None], torch.tensor([2.0]))[0, 0, :10, 0, 0] for s in (1.0, 3.0))
    assert (sharp - soft)[6:8].min() > 2
    assert (sharp - soft)[:2].abs().max() < 1.0


def test_the_bank_does_not_know_the_gain_but_the_noise():
    bank, blur = FocusBank(10), torch.tensor([2.0])
    tiles = texture(1.5)
    plain, brighter = bank(tiles[None], blur), bank(3 * tiles[None], blur)
    assert torch.allclose(plain[:, :, :-1], brighter[:, :, :-1], atol=1e-3)
    assert torch.allclose(brighter[:, :, -1] - plain[:, :, -1], torch.tensor(3.0).log(), atol=1e-3)
    noisy = bank(texture(1.5, noise=0.1)[None], blur)
    assert (noisy[0, :, -1] - plain[0, :, -1]).mean() == pytest.approx(2.3, abs=0.2)


def test_rings_are_laid_out_by_what_the_lens_blurs():
    bank = FocusBank(10)
    once, twice = (
        bank(texture(1.5)[None], torch.tensor([b]))[0, 0, :10, 0, 0] for b in (1.6, 2.56)
    )
    # A ring is 1.6 times the one before: with 1.6 times the blur every ring moves by one.
    assert torch.allclose(once[2:8], twice[3:9], atol=0.05)
    assert blur_px(torch.tensor([LENS])).item() == pytest.approx(0.52 / 0.3 / 0.8 + 1)
    assert blur_px(torch.full((1, 4), torch.nan)).item() == UNKNOWN_BLUR_PX


# Levels


def test_soft_labels_have_the_distance_as_their_mean():
    values = level_values(FocusConfig().edges_dof)
    assert values.tolist() == list(range(10))
    distance = torch.tensor([0.0, 0.3, 4.0, 8.9, 9.0])
    labels = soft_labels(distance, values)
    assert torch.allclose(labels @ values, distance, atol=1e-6)
    assert (labels > 0).sum(-1).tolist() == [1, 2, 1, 2, 1]
    assert soft_labels(torch.tensor(40.0), values)[-1] == 1
    assert expected_distance(labels.clamp(1e-9).log(), values) == pytest.approx(
        distance.numpy(), abs=1e-4
    )


def test_edges_must_rise():
    with pytest.raises(ValueError, match="rising"):
        FocusConfig(edges_dof=(1.0, 1.0))


# The head


def test_shapes_and_ranges_of_an_answer():
    tiles = texture(1.0, 12).reshape(3, 4, 64, 64)
    answer = head()(given(tiles))
    assert answer.logits is not None
    assert answer.logits.shape == (1, 3, 10)
    assert answer.tiles.shape == (1, 3, 4)
    assert torch.allclose(answer.weights.sum(-1), torch.ones(1, 3))
    assert ((answer.expected >= 0) & (answer.expected <= 9)).all()
    assert ((answer.empty >= 0) & (answer.empty <= 1)).all()
    other = head()(given(texture(4.0, 12).reshape(3, 4, 64, 64)))
    assert (answer.expected - other.expected).abs().min() > 1e-4


def test_tiles_count_by_foreground_never_by_what_they_say():
    model = head()
    pooled = torch.randn(1, 2, 3, 16)
    gate = torch.full((1, 2, 3, 8, 8), -20.0)
    gate[:, :, 1] = 20.0
    answer = model.answer(
        FocusFeatures(pooled, gate, torch.zeros(gate.shape[:3])),
        torch.zeros(1).long(),
        torch.tensor([False]),
    )
    assert answer.weights[0, :, 1].min() > 0.99
    assert torch.allclose(answer.expected, answer.tiles[:, :, 1], atol=0.05)
    shuffled = FocusFeatures(pooled.flip(0, 1), gate, torch.zeros(gate.shape[:3]))
    again = model.answer(shuffled, torch.zeros(1).long(), torch.tensor([False]))
    assert torch.equal(again.weights, answer.weights)


def test_the_mixer_sees_neighbours_of_sweeps_only():
    model = head(mixer=True)
    torch.nn.init.normal_(model.mix.across.weight)
    tiles = texture(1.0, 14).reshape(7, 2, 64, 64)
    changed = tiles.clone()
    changed[0] = texture(5.0, 2, seed=3)
    for sweep, reach in ((True, 3), (False, 1)):
        moved = (
            model(given(tiles, sweep=sweep)).expected - model(given(changed, sweep=sweep)).expected
        ).abs()[0]
        assert (moved[:reach] > 1e-6).all()
        assert (moved[reach:] < 1e-5).all()
    alone = model(given(tiles[:1])).expected
    assert torch.allclose(alone, model(given(tiles[:1], sweep=False)).expected)
    # Ends are no edges: the same slice everywhere has the same answer everywhere.
    same = model(given(tiles[:1].expand(7, -1, -1, -1))).expected
    assert torch.allclose(same, same[:, :1].expand_as(same), atol=1e-5)


def test_the_lens_steers_and_its_absence_is_no_nan():
    model = head()
    torch.nn.init.normal_(model.film[-1].weight, std=0.3)
    one = given(texture(1.0).reshape(2, 2, 64, 64))
    unknown = one._replace(lens=torch.full((1, 4), torch.nan))
    assert model(unknown).expected.isfinite().all()
    assert (model(one).expected - model(unknown).expected).abs().max() > 1e-4


def test_tokens_are_read_between_their_middles():
    context = TokenContext(6, 5).eval()
    torch.nn.init.zeros_(context.inside.weight)
    tokens = torch.randn(1, 2, 2, 8, 8, 6)
    low, high = context(tokens, torch.tensor([[0, 15]])).unbind(1)
    at = context(tokens, torch.tensor([[3, 4, 7, 8, 11, 12]]))
    middle = (at[:, 2] + at[:, 3]) / 2
    assert torch.allclose(middle, (low + high) / 2, atol=1e-5)
    assert torch.allclose(at[:, 0], low, atol=1e-6)
    assert torch.allclose(at[:, 5], high, atol=1e-6)
    torch.nn.init.normal_(context.inside.weight)
    inside = context(tokens[:, :, :1], torch.arange(9)[None])
    assert (inside[:, 0] - inside[:, 1]).abs().max() > 0.1
    assert torch.allclose(inside[:, 0], inside[:, 8])


def test_tokens_are_wanted_by_heads_with_context_only():
    with pytest.raises(ValueError, match="context is 6"):
        head(context=6)(given(texture(1.0).reshape(2, 2, 64, 64)))
    with_tokens = given(texture(1.0).reshape(2, 2, 64, 64), tokens=torch.randn(1, 2, 1, 8, 8, 6))
    assert head(context=6)(with_tokens).expected.shape == (1, 2)


# Stains


def test_a_further_stain_changes_no_other():
    torch.manual_seed(1)
    texts = torch.randn(3, 12)
    grounding = StainGrounding(texts, 8, 5)
    fewer = StainGrounding(texts[:2], 8, 5)
    own = {k: v[:2] if k in ("texts", "tokens") else v for k, v in grounding.state_dict().items()}
    fewer.load_state_dict(own)
    assert torch.allclose(fewer(), grounding()[:3], atol=1e-6)
    assert torch.allclose(grounding().norm(dim=-1), torch.ones(4), atol=1e-5)
    ranks = StainRanks(8, 10)
    assert torch.allclose(ranks(grounding()[:3]), ranks(grounding())[:3], atol=1e-6)
    assert torch.allclose(ranks(grounding()).norm(dim=-1), torch.ones(4, 10), atol=1e-5)


def test_levels_lie_between_their_bases_and_follow_the_stain():
    torch.manual_seed(1)
    ranks = StainRanks(8, 10)
    assert torch.allclose(ranks.blend.sum(1), torch.ones(10))
    assert ranks.blend[0].tolist() == [1, 0, 0]
    assert ranks.blend[-1].tolist() == [0, 0, 1]
    two = ranks(F.normalize(torch.randn(2, 8), dim=-1))
    near, far = (two[0, 0] @ two[0, k] for k in (1, 9))
    assert near > far
    assert (two[0] - two[1]).abs().max() > 0.1


def test_kept_prototypes_answer_without_ranks_and_a_wrong_stain_differs():
    model, ranks = head(stains=2), StainRanks(8, 10)
    stains = F.normalize(torch.randn(3, 8), dim=-1)
    prototypes = ranks(stains).detach()
    tiles = texture(1.0).reshape(2, 2, 64, 64)
    learning = model(given(tiles, stain=1), prototypes).expected
    model.keep_prototypes(stains, prototypes)
    torch.nn.init.normal_(model.film[-1].weight, std=0.3)
    model_without = model(given(tiles, stain=1)).expected
    assert learning.shape == model_without.shape
    wrong = model(given(tiles, stain=2)).expected
    assert (wrong - model_without).abs().max() > 1e-4
    again = head(stains=2)
    again.load_state_dict(model.state_dict())
    assert torch.equal(again(given(tiles, stain=1)).expected, model_without)


def test_grounding_finds_the_stain_of_an_image():
    torch.manual_seed(2)
    texts, images = torch.randn(4, 12), torch.randn(4, 6)
    grounding = StainGrounding(texts, 8, 6)
    labels = torch.arange(1, 5)
    for _ in range(60):
        loss = F.cross_entropy(10 * grounding.align(images), labels)
        steps = torch.autograd.grad(loss, list(grounding.parameters()), allow_unused=True)
        with torch.no_grad():
            for parameter, step in zip(grounding.parameters(), steps, strict=True):
                parameter -= 0.3 * (0 if step is None else step)
    assert grounding.align(images + 0.05 * torch.randn(4, 6)).argmax(1).tolist() == [1, 2, 3, 4]


# The comparison


def test_regression_gives_one_number_and_no_levels():
    torch.manual_seed(0)
    model = FocusRegressor(FocusConfig(width=16, regressor="resnet10t")).eval()
    with torch.inference_mode():
        answer = model(given(texture(1.0).reshape(2, 2, 64, 64)))
        other = model(given(texture(4.0).reshape(2, 2, 64, 64)))
    assert answer.logits is None
    assert (answer.expected >= 0).all()
    assert (answer.expected - other.expected).abs().max() > 1e-5
    with pytest.raises(InputError, match="no encoder of timm"):
        FocusRegressor(FocusConfig(regressor="resnet_of_mine"))


# Measures


def test_a_head_without_convolutions_is_the_bank_and_the_measures():
    model = head(channels=None, measures=3)
    one = given(texture(1.0).reshape(2, 2, 64, 64))._replace(measures=torch.zeros(1, 2, 2, 3))
    other = one._replace(measures=torch.ones(1, 2, 2, 3))
    plain, moved = model(one).expected, model(other).expected
    assert (plain - moved).abs().min() > 1e-4
    soft = one._replace(tiles=given(texture(4.0).reshape(2, 2, 64, 64)).tiles)
    assert (model(soft).expected - plain).abs().min() > 1e-4
    with pytest.raises(ValueError, match="measures is 3"):
        model(one._replace(measures=None))
    with pytest.raises(ValueError, match="measures is 0"):
        head()(one)
    # In units of what was learnt from.
    seen = 50 + 10 * torch.randn(200, 3, generator=torch.Generator().manual_seed(0))
    model.keep_measures(seen)
    raised = one._replace(measures=seen.mean(0) + torch.zeros(1, 2, 2, 3))
    assert torch.allclose(model(raised).expected, plain, atol=1e-4)


def test_a_head_keeps_how_often_levels_are_met():
    model = head(course=True)
    model.keep_prior(torch.tensor([0.0] * 80 + [9.0] * 10 + [torch.nan] * 5))
    assert model.prior.sum().item() == pytest.approx(1)
    assert model.prior[0].item() == pytest.approx(81 / 100)
    assert model.prior[9].item() == pytest.approx(11 / 100)
    sweep = model(given(texture(1.0, 8).reshape(8, 1, 64, 64)))
    seen = sweep._replace(empty=torch.zeros_like(sweep.empty))
    assert model.course(seen, torch.arange(8.0)) is not None
    assert head().course(seen, torch.arange(8.0)) is None

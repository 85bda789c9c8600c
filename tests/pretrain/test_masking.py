"""Masks: fixed counts, no overlap, padding left alone, the same for every rank."""

from __future__ import annotations

import pytest
import torch

from luxvox.pretrain.masking import Masks, draw_masks
from luxvox.pretrain.recipe import MaskingRecipe

PATCH = (8, 8, 8)
GRID = (3, 4, 5)
FULL = torch.tensor([[24, 32, 40]])
KINDS = {"random": (1, 0, 0), "blocks": (0, 1, 0), "slabs": (0, 0, 1)}


def _recipe(kind: str) -> MaskingRecipe:
    random, blocks, slabs = KINDS[kind]
    return MaskingRecipe(ratio=0.75, queries=0.5, random=random, blocks=blocks, slabs=slabs)


def _draw(kind: str, count: int = 6, extent: torch.Tensor = FULL, **more: bool) -> Masks:
    return draw_masks(
        torch.arange(count), extent.expand(count, 3), GRID, PATCH, _recipe(kind), seed=5, **more
    )


@pytest.mark.parametrize("kind", KINDS)
def test_counts_are_fixed_and_no_token_is_both_seen_and_asked_for(kind: str) -> None:
    masks = _draw(kind)
    assert masks.keep.shape == (6, 15)
    assert masks.query.shape == (6, 30)
    assert masks.keep_real is None
    assert masks.query_real is None
    for keep, query in zip(masks.keep.tolist(), masks.query.tolist(), strict=True):
        assert len(set(keep)) == 15
        assert len(set(query)) == 30
        assert not set(keep) & set(query)
        assert max(keep + query) < 60


@pytest.mark.parametrize("kind", KINDS)
def test_every_token_is_hidden_in_some_sample(kind: str) -> None:
    masks = _draw(kind, count=60)
    seen = set(masks.keep.flatten().tolist())
    asked = set(masks.query.flatten().tolist())
    assert seen == asked == set(range(60))


def test_every_hidden_token_can_be_asked_for() -> None:
    masks = _draw("random", count=2, every_hidden=True)
    for keep, query in zip(masks.keep.tolist(), masks.query.tolist(), strict=True):
        assert set(keep) | set(query) == set(range(60))


def test_slabs_show_whole_planes_of_tokens() -> None:
    masks = draw_masks(
        torch.arange(8),
        FULL.expand(8, 3),
        GRID,
        PATCH,
        MaskingRecipe(ratio=2 / 3, queries=0.2, random=0, blocks=0, slabs=1),
        seed=1,
    )
    planes = masks.keep // 20
    assert all(len(set(row.tolist())) == 1 for row in planes)
    assert len(set(planes[:, 0].tolist())) > 1


def test_blocks_hide_neighbours_together_more_often_than_chance() -> None:
    def together(kind: str) -> float:
        hidden = torch.ones(40, 60)
        hidden.scatter_(1, _draw(kind, count=40).keep, 0)
        volume = hidden.view(40, *GRID)
        return float((volume[..., 1:] == volume[..., :-1]).float().mean())

    assert together("blocks") > together("random") + 0.1


def test_padding_is_neither_seen_nor_asked_for() -> None:
    extent = torch.tensor([[8, 32, 16]])  # 1 x 4 x 2 real tokens of 3 x 4 x 5
    masks = _draw("random", extent=extent)
    assert masks.keep_real is not None
    assert masks.query_real is not None
    for part, real in ((masks.keep, masks.keep_real), (masks.query, masks.query_real)):
        z, y, x = part[real] // 20, part[real] // 5 % 4, part[real] % 5
        assert int(z.max()) == 0
        assert int(y.max()) <= 3
        assert int(x.max()) <= 1
    assert masks.keep_real.sum(1).tolist() == [2] * 6  # a quarter of 8
    assert masks.query_real.sum(1).tolist() == [6] * 6


def test_a_sample_has_the_same_mask_on_any_rank_and_another_one_next_time() -> None:
    whole = _draw("random", count=6)
    second_rank = draw_masks(
        torch.arange(3, 6), FULL.expand(3, 3), GRID, PATCH, _recipe("random"), seed=5
    )
    assert torch.equal(whole.keep[3:], second_rank.keep)
    assert torch.equal(whole.query[3:], second_rank.query)
    assert not torch.equal(whole.keep[0], whole.keep[1])
    other = draw_masks(torch.arange(6), FULL.expand(6, 3), GRID, PATCH, _recipe("random"), seed=6)
    assert not torch.equal(whole.keep, other.keep)

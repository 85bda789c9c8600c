"""Every draw must follow its purpose, its seed and its index, to the last bit of each."""

import itertools

import pytest

from luxvox.data.draws import keyed_rng

PURPOSES = ("crop", "augment", "fixed", "strata", "volume", "mask", "caption")


def draw(purpose: str, seed: int, index: int) -> float:
    return float(keyed_rng(purpose, seed, index).random())


def test_the_same_key_gives_the_same_numbers():
    assert draw("crop", 3, 7) == draw("crop", 3, 7)


@pytest.mark.parametrize("purpose", PURPOSES)
@pytest.mark.parametrize("base", [0, 2**32, 2**53, 2**63])
def test_neighbouring_seeds_and_indices_give_other_numbers(purpose, base):
    """Keys above 2^53 must not pass through a float, which would round their low bits away."""
    seeds = {draw(purpose, seed, 5) for seed in range(8)}
    indices = {draw(purpose, 5, base + index) for index in range(8)}
    assert len(seeds) == len(indices) == 8


def test_purposes_do_not_share_numbers():
    found = [draw(purpose, 0, 0) for purpose in PURPOSES]
    assert all(a != b for a, b in itertools.combinations(found, 2))

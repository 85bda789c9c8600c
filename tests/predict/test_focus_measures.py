"""Measures as input of the head: what changes them and what does not, places in a stack."""

from __future__ import annotations

import pytest
import torch
from scipy.ndimage import gaussian_filter

from luxvox.data.sharpness import MEASURES
from luxvox.predict.focus_measures import MEASURED, MeasureRange, measure_windows, with_places
from luxvox.predict.focus_windows import StackScale


def tiles(sigmas: tuple[float, ...], noise: float = 0.02) -> torch.Tensor:
    """[S, 2, 64, 64]: the same points, blurred, then noisy."""
    rng = torch.Generator().manual_seed(0)
    points = (torch.rand(2, 64, 64, generator=rng) < 0.02).float() * 20
    sharp = [torch.from_numpy(gaussian_filter(points.numpy(), (0, s, s))) for s in sigmas]
    return torch.stack(sharp) + noise * torch.randn(len(sigmas), 2, 64, 64, generator=rng)


def test_gain_and_offset_change_nothing():
    counts = tiles((1.0, 2.0, 4.0))

    def measured(stack: torch.Tensor) -> torch.Tensor:
        return measure_windows(StackScale.of(stack.flatten(0, 1)).apply(stack))

    plain = measured(counts)
    assert plain.shape == (3, 2, len(MEASURES))
    assert torch.allclose(measured(7 * counts + 130), plain, atol=0.02)
    assert plain.std(0).min() > 0.02


def test_sharper_says_more_and_noise_alone_nothing():
    sharp, soft = measure_windows(tiles((1.0, 3.0)))
    falls = dict(zip(MEASURES, (sharp - soft).mean(0).tolist(), strict=True))
    for name in ("dcts", "tenengrad", "brenner_filtered", "laplacian_variance", "smd"):
        assert falls[name] > 0.3, name
    noise = 0.1 * torch.randn(8, 1, 64, 64, generator=torch.Generator().manual_seed(1))
    nothing = dict(zip(MEASURES, measure_windows(noise).mean((0, 1)).tolist(), strict=True))
    for name in ("tenengrad", "brenner", "laplacian_variance", "high_frequency"):
        assert abs(nothing[name]) < 1.0, name
    black = measure_windows(torch.zeros(2, 1, 64, 64))
    assert black.isfinite().all()


def test_places_are_those_of_the_own_stack():
    measures = measure_windows(tiles((4.0, 3.0, 1.0, 2.0, 3.5)))
    found = with_places(measures, MeasureRange.of(measures, sweep=True))
    assert found.shape == (5, 2, MEASURED)
    assert torch.equal(found[..., : len(MEASURES)], measures)
    places = found[..., len(MEASURES) : -1]
    assert (places.amin(0), places.amax(0)) == (pytest.approx(0), pytest.approx(1))
    assert places[..., MEASURES.index("brenner_filtered")].argmax(0).tolist() == [2, 2]
    assert (found[..., -1] == 1).all()


@pytest.mark.parametrize(("slices", "sweep"), [(5, False), (4, True), (1, True)])
def test_volumes_single_slices_and_few_have_no_places(slices, sweep):
    measures = measure_windows(tiles((1.0, 2.0, 3.0, 4.0, 5.0)[:slices]))
    found = with_places(measures, MeasureRange.of(measures, sweep))
    assert (found[..., len(MEASURES) :] == 0).all()

"""Sizes: dimensions of the plan, and impossible ones are refused."""

import pytest
from pydantic import ValidationError

from luxvox.models.encoder import Encoder
from luxvox.models.sizes import SIZES, DecoderConfig, EncoderConfig


@pytest.mark.parametrize(
    ("name", "width", "depth", "head_dim"),
    [("nano", 96, 4, 32), ("tiny", 192, 8, 64), ("small", 384, 12, 64), ("base", 768, 12, 64)],
)
def test_sizes_of_the_plan(name, width, depth, head_dim):
    size = SIZES[name]
    assert (size.width, size.depth, size.width // size.heads) == (width, depth, head_dim)


@pytest.mark.parametrize(("name", "millions"), [("nano", 0.50), ("tiny", 3.7), ("small", 21.6)])
def test_parameter_count(name, millions):
    count = sum(parameter.numel() for parameter in Encoder(SIZES[name]).parameters())
    assert count / 1e6 == pytest.approx(millions, rel=0.05)


@pytest.mark.parametrize(
    "change",
    [
        {"heads": 5},  # 192 / 5
        {"heads": 64},  # heads of 3 dimensions
        {"patch": (8, 0, 8)},
        {"wavelengths_um": (100.0, 10.0)},
        {"dpeth": 3},
        {"drop_path": 1.0},
    ],
)
def test_impossible_encoders_are_refused(change):
    with pytest.raises(ValidationError):
        EncoderConfig(**change)


def test_impossible_decoder_is_refused():
    with pytest.raises(ValidationError, match="multiple of heads"):
        DecoderConfig(width=100, heads=3)

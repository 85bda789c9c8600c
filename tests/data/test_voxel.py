from __future__ import annotations

import pytest

from luxvox.configs.errors import InputError
from luxvox.data.voxel import format_voxel_size, parse_voxel_size, unit_to_um


@pytest.mark.parametrize(
    ("unit", "um"),
    [
        ("micrometer", 1.0),
        ("microns", 1.0),
        ("micron", 1.0),
        ("um", 1.0),
        ("\u00b5m", 1.0),  # micro sign
        ("\u03bcm", 1.0),  # Greek mu
        ("\\u00B5m", 1.0),  # ImageJ's escape, six characters
        ("um\x00", 1.0),
        ("nm", 1e-3),
        ("Nanometers", 1e-3),
        ("mm", 1e3),
        ("millimeter", 1e3),
        ("cm", 1e4),
        ("meter", 1e6),
        ("m", 1e6),
        ("inch", 25400.0),
        ("\u212b", 1e-4),  # angstrom sign
    ],
)
def test_units_become_micrometres(unit: str, um: float) -> None:
    assert unit_to_um(unit) == um


@pytest.mark.parametrize("unit", [None, "", "pixel", "pixels", "second", "furlong", "\x00"])
def test_what_is_no_length_stays_unknown(unit: str | None) -> None:
    assert unit_to_um(unit) is None


@pytest.mark.parametrize(
    "text", ["6 1.62 1.62", "6,1.62,1.62", " 6, 1.62, 1.62 ", "0.006 0.00162 0.00162 mm"]
)
def test_voxel_size_is_read_in_any_spelling(text: str) -> None:
    assert parse_voxel_size(text) == pytest.approx((6.0, 1.62, 1.62))


@pytest.mark.parametrize("text", ["", "1 2", "1 2 3 4", "a b c", "1 2 0", "1 -2 3", "nan 1 1"])
def test_nonsense_is_refused_and_quoted(text: str) -> None:
    with pytest.raises(InputError, match=r"three (positive )?numbers"):
        parse_voxel_size(text)


def test_unknown_is_written_as_unknown() -> None:
    assert format_voxel_size(None) == "unknown"
    assert format_voxel_size((6.0, 1.62, 1.62)) == "6 x 1.62 x 1.62 um"

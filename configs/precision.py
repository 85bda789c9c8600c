"""Number formats that a recipe may ask for."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator


def _no(value: Any) -> Any:
    """A bare `no` is False to YAML."""
    return "no" if value is False else value


Precision = Annotated[Literal["no", "bf16"], BeforeValidator(_no)]
"""Of what the model computes in; "no" = float32."""

AutoPrecision = Annotated[Literal["auto", "no", "bf16"], BeforeValidator(_no)]
"""The same, or bf16 wherever the device is fast at it."""

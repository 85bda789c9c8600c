"""Model dimensions as data: what a recipe may say about encoder and decoder, and the named sizes.

Apart from the modules, so that a recipe can be checked without building (or importing) a network.
"""

from __future__ import annotations

from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class EncoderConfig(BaseModel):
    """Dimensions of the encoder; all that is needed, with its weights, to build it again."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    width: int = Field(default=192, ge=6)
    depth: int = Field(default=8, ge=1)
    heads: int = Field(default=3, ge=1)
    patch: tuple[int, int, int] = (8, 8, 8)
    """Voxels behind one token, (z, y, x); anisotropic ones are allowed."""
    registers: int = Field(default=4, ge=0)
    mlp_ratio: float = Field(default=8 / 3, gt=0)
    layer_scale: float = Field(default=0.3, gt=0)
    """First value of LayerScale; the 1e-5 to 1e-2 of deep nets slows shallow ones."""
    drop_path: float = Field(default=0.0, ge=0, lt=1)
    wavelengths_um: tuple[float, float] = (16.0, 1536.0)
    """Shortest and longest wavelength of the rotary position: about 2 x the smallest token pitch
    and 4 x the largest crop of the corpus. A constant of the model, not of a data set."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        check_heads(self.width, self.heads)
        if min(self.patch) < 1:
            raise ValueError(f"patch is {self.patch}, expected three sizes of at least 1 voxel")
        low, high = self.wavelengths_um
        if not 0 < low < high:
            raise ValueError(f"wavelengths_um is {self.wavelengths_um}, expected 0 < low < high")
        return self

    @property
    def patch_voxels(self) -> int:
        """Voxels in one patch."""
        return self.patch[0] * self.patch[1] * self.patch[2]


class DecoderConfig(BaseModel):
    """Dimensions of the light decoder of masked pretraining; it is thrown away afterwards."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    width: int = Field(default=96, ge=6)
    depth: int = Field(default=2, ge=1)
    """Two, for speed: in single runs on real volumes four rebuilt better (0.355 after 1,600 steps
    against 0.365 after 2,000), at three quarters of the rate (docs/results.md)."""
    heads: int = Field(default=3, ge=1)
    mlp_ratio: float = Field(default=4 / 3, gt=0)
    """Half of the usual: on real volumes the whole one rebuilt no better, and took longer."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        check_heads(self.width, self.heads)
        return self


def check_heads(width: int, heads: int) -> None:
    """Refuse a width that the heads cannot share out, or heads too narrow for three rotary axes."""
    if width % heads:
        raise ValueError(f"width {width} is no multiple of heads {heads}")
    if (width // heads) % 2 or width // heads < 6:
        raise ValueError(
            f"width {width} / heads {heads} = {width // heads}, expected an even number >= 6, "
            "which the rotary position needs (one pair of dimensions per axis)"
        )


SIZES: dict[str, EncoderConfig] = {
    "nano": EncoderConfig(width=96, depth=4, heads=3),
    "tiny": EncoderConfig(width=192, depth=8, heads=3),
    "small": EncoderConfig(width=384, depth=12, heads=6),
    "base": EncoderConfig(width=768, depth=12, heads=12),
}
"""nano: tests and the demo on a CPU; tiny: inside the wheel; small: the main model; base: later."""

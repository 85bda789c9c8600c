"""The dense model: encoder, detail stream and decoder, with heads by name."""

from __future__ import annotations

from typing import Annotated, Literal, NamedTuple, TypeVar

from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn import functional as F

from ..configs.errors import InputError
from .dense_control import ControlDecoder, ControlEncoder, no_tokens
from .dense_decoder import DenseDecoder
from .detail import DetailStream
from .encoder import Encoded, Encoder
from .features import encoder_features, even_depths
from .heads.classify import ClassifyHead
from .heads.probe import LinearProbe, NearestProbe
from .heads.restore import RestoreHead
from .heads.richardson_lucy import DeconvolutionConfig
from .heads.segment import Segmentation, SegmentHead
from .residual import Triple
from .sizes import EncoderConfig

Head = TypeVar("Head", bound=nn.Module)


class SegmentConfig(BaseModel):
    """A segmentation head."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    task: Literal["segment"] = "segment"
    classes: int = Field(default=1, ge=1)
    """1 = binary; else one logit per class, background included."""
    distance: bool = False
    """A channel more, for splitting objects that touch."""


class RestoreConfig(BaseModel):
    """A restoration head."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    task: Literal["restore"] = "restore"
    first_guess: DeconvolutionConfig | None = None
    """What the residual is added to; None = the crop itself."""


class ClassifyConfig(BaseModel):
    """A classification head."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    task: Literal["classify"] = "classify"
    classes: int = Field(ge=2)
    method: Literal["attentive", "linear", "knn"] = "attentive"
    """An attentive pool that learns, or what needs frozen features only (`heads.probe`)."""
    samples: int = Field(default=0, ge=0)
    """knn: how many crops of the support are kept."""


HeadConfig = Annotated[SegmentConfig | RestoreConfig | ClassifyConfig, Field(discriminator="task")]


class DenseConfig(BaseModel):
    """Dimensions of everything but the encoder."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    backbone: Literal["vit", "unet", "swinunetr"] = "vit"
    """Ours, or a control: MONAI's nets, see `unet`."""
    channels: tuple[int, int, int] = (16, 32, 64)
    """Of detail stream and decoder at strides 1, 2 and 4; fewer for small encoders."""
    depths: int = Field(default=4, ge=1)
    """How many evenly spaced depths of the encoder are read, the last included."""
    text_dim: int = Field(default=384, ge=1)
    """Of the vector that names the foreground; 384 is that of the default sentence encoder."""
    condition_width: int = Field(default=64, ge=1)
    heads: dict[str, HeadConfig] = {"segment": SegmentConfig(), "restore": RestoreConfig()}

    @classmethod
    def for_encoder(cls, encoder: EncoderConfig) -> DenseConfig:
        """Defaults that cost about what the encoder does."""
        if encoder.width < 192:
            return cls(channels=(8, 16, 32))
        return cls(channels=(8, 32, 64)) if encoder.width < 384 else cls()


class DenseFeatures(NamedTuple):
    """Features of crops. Shapes: B batch, C channels.

    full: [B, C, Z, Y, X].
    coarse: [B, C_i, ceil(Z / sz), ceil(Y / sy), ceil(X / sx)] of levels 2 and 3, fine to coarse.
    scales: (sz, sy, sx) of each coarse map: voxels of the crop behind one of its own.
    encoded: tokens and prefix tokens, of the crop filled up to whole patches.
    """

    full: Tensor
    coarse: tuple[Tensor, ...]
    scales: tuple[Triple, ...]
    encoded: Encoded


class DenseModel(nn.Module):
    """[B, 1, Z, Y, X] crops of any size of at least a patch -> features and answers per voxel.

    Args:
        encoder: dimensions; sides of the patch are powers of two.
        config: of the rest.

    Raises:
        InputError: a patch that halving cannot reach.
    """

    def __init__(self, encoder: EncoderConfig, config: DenseConfig) -> None:
        super().__init__()
        self.config = config
        self.depths = even_depths(encoder.depth, config.depths)
        if config.backbone != "vit":
            self.encoder = ControlEncoder(encoder)
            self.detail = nn.Identity()
            self.decoder = ControlDecoder(config.text_dim, config.condition_width, config.backbone)
        else:
            self.encoder = Encoder(encoder)
            self.detail = DetailStream(config.channels, encoder.patch)
            self.decoder = DenseDecoder(
                encoder.width,
                len(self.depths),
                encoder.patch,
                config.channels,
                config.text_dim,
                config.condition_width,
            )
        self.supervised = min(len(config.channels), len(self.decoder.channels))
        self.heads = nn.ModuleDict(
            {name: self._build(head, encoder) for name, head in config.heads.items()}
        )

    def _build(self, head: HeadConfig, encoder: EncoderConfig) -> nn.Module:
        channels = self.decoder.channels[: self.supervised]
        if isinstance(head, SegmentConfig):
            return SegmentHead(channels, head.classes, head.distance)
        if isinstance(head, RestoreConfig):
            return RestoreHead(channels[0], head.first_guess)
        if head.method == "linear":
            return LinearProbe(encoder.width, head.classes)
        if head.method == "knn":
            return NearestProbe(encoder.width, head.classes, head.samples)
        return ClassifyHead(encoder.width, encoder.heads, head.classes)

    def forward(
        self,
        crop: Tensor,
        voxel_size_um: Tensor,
        spacing_known: Tensor,
        condition: Tensor | None = None,
    ) -> DenseFeatures:
        """Features at full resolution.

        Args:
            crop: [B, 1, Z, Y, X], normalised intensity.
            voxel_size_um: [B, 3], (z, y, x) in um; ignored where it is not known.
            spacing_known: [B] bool.
            condition: [B, text_dim], which foreground is meant; None or rows of zeros = not said.

        Raises:
            InputError: a side is shorter than a patch.
        """
        sides = crop.shape[2:]
        filled = fill_to_patches(crop, self.encoder.config.patch)
        if isinstance(self.decoder, ControlDecoder):
            encoded = no_tokens(crop, self.encoder.config.width)
            decoded = [self.decoder(filled, condition)]
        else:
            assert isinstance(self.encoder, Encoder)
            maps, encoded = encoder_features(
                self.encoder, filled, voxel_size_um, spacing_known, self.depths
            )
            decoded = self.decoder(maps, self.detail(filled), condition)[: self.supervised]
        scales = self.decoder.scales[: self.supervised]
        full, *coarse = (
            features[..., : -(-sides[0] // z), : -(-sides[1] // y), : -(-sides[2] // x)]
            for features, (z, y, x) in zip(decoded, scales, strict=True)
        )
        return DenseFeatures(full, tuple(coarse), scales[1:], encoded)

    def segment(
        self,
        crop: Tensor,
        voxel_size_um: Tensor,
        spacing_known: Tensor,
        condition: Tensor | None = None,
        head: str = "segment",
    ) -> Segmentation:
        """Logits [B, K, Z, Y, X], and coarser ones while training; arguments as `forward`."""
        chosen = self._head(head, SegmentHead)
        features = self(crop, voxel_size_um, spacing_known, condition)
        return chosen(features.full, features.coarse)

    def restore(
        self,
        crop: Tensor,
        voxel_size_um: Tensor,
        spacing_known: Tensor,
        condition: Tensor | None = None,
        head: str = "restore",
    ) -> Tensor:
        """Restored crop [B, 1, Z, Y, X], normalised like the given one; arguments as `forward`."""
        chosen = self._head(head, RestoreHead)
        return chosen(self(crop, voxel_size_um, spacing_known, condition).full, crop)

    def classify(
        self, crop: Tensor, voxel_size_um: Tensor, spacing_known: Tensor, head: str = "classify"
    ) -> Tensor:
        """Logits [B, K] of whole crops; the decoder is not run."""
        chosen = self._head(head, ClassifyHead, LinearProbe, NearestProbe)
        filled = fill_to_patches(crop, self.encoder.config.patch)
        return chosen(self.encoder(filled, voxel_size_um, spacing_known))

    def _head(self, name: str, *kinds: type[Head]) -> Head:
        head = self.heads[name] if name in self.heads else None
        if not isinstance(head, kinds):
            found = {name: config.task for name, config in self.config.heads.items()}
            raise InputError(
                f'no {kinds[0].__name__} named "{name}" in these weights, found {found}; '
                "choose weights or a task that fit"
            )
        return head


def fill_to_patches(crop: Tensor, patch: Triple) -> Tensor:
    """Mirror the ends of [B, C, Z, Y, X] up to whole patches.

    Raises:
        InputError: a side is shorter than a patch.
    """
    missing = []
    for axis, side, size in zip("zyx", crop.shape[2:], patch, strict=True):
        if side < size:
            raise InputError(
                f"crop has {side} voxels along {axis}, expected at least a patch of {size}; "
                "give a larger crop"
            )
        missing.append(-side % size)
    z, y, x = missing
    return F.pad(crop, (0, x, 0, y, 0, z), mode="reflect") if any(missing) else crop

"""The focus head: how far every slice, and every tile of it, lies from focus, in depths of field.

Cells of 8 x 8 pixels are described by a stem at native resolution, and by the tokens of a frozen 3D
encoder where there is one; a gate says which cells hold foreground, and tiles and slices are means
over foreground, never over what is sharp. The distance comes as a distribution over levels.
"""

from __future__ import annotations

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from ..block import init_linear
from ..focus_bank import blur_px
from ..focus_config import FocusAnswer, FocusConfig, FocusFeatures, FocusInput
from ..focus_context import TokenContext
from ..focus_course import SweepCourse, find_course
from ..focus_levels import expected_distance, level_values, soft_labels
from ..focus_stem import FocusStem
from ..focus_strange import Strangeness

_SLICES = 5  # that the mixer sees
REACH = _SLICES // 2
"""Slices on either side that a mixed slice depends on."""
_LEAST_GATE = 1e-3
_LEAST_SPREAD = 1e-3  # of a measure that never changes
_LENS = 5  # NA, wavelength, index, pixel, and whether they are known
_FIRST_TEMPERATURE, _MOST_TEMPERATURE = 10.0, 100.0
_LOG_VARIANCES = (-6.0, 4.0)


class FocusHead(nn.Module):
    """Tiles of slices -> distances from focus.

    `features` sees one slice at a time and may be kept; `answer` puts slices together.

    Args:
        config: dimensions.
    """

    values: Tensor
    prototypes: Tensor
    stain_vectors: Tensor
    measures_mean: Tensor
    measures_spread: Tensor
    prior: Tensor

    def __init__(self, config: FocusConfig) -> None:
        super().__init__()
        self.config = config
        width, levels = config.width, config.levels
        self.stem = FocusStem(config)
        self.own = nn.Sequential(
            nn.LayerNorm(self.stem.features), init_linear(nn.Linear(self.stem.features, width))
        )
        self.strange = Strangeness(self.stem.bank.features)
        self.context = TokenContext(config.context, width) if config.context else None
        if config.measures:
            self.measured = init_linear(nn.Linear(config.measures, width))
            self.register_buffer("measures_mean", torch.zeros(config.measures))
            self.register_buffer("measures_spread", torch.ones(config.measures))
        if config.course:
            self.register_buffer("prior", torch.full((levels,), 1 / levels))
        self.join = nn.Sequential(nn.GELU(), init_linear(nn.Linear(width, width)))
        self.settle = nn.Sequential(nn.GELU(), init_linear(nn.Linear(width, width)))
        if config.film:
            given = _LENS + (config.stain_dim if config.stains else 0)
            steer = nn.Linear(width, 2 * width)
            nn.init.zeros_(steer.weight)
            nn.init.zeros_(steer.bias)
            self.film = nn.Sequential(init_linear(nn.Linear(given, width)), nn.GELU(), steer)
        self.gate = init_linear(nn.Linear(width, 1))
        self.mix = _Mixer(width) if config.mixer else None
        self.last = nn.Sequential(nn.LayerNorm(width), init_linear(nn.Linear(width, width)))
        if config.stains:
            self.project = init_linear(nn.Linear(width, config.stain_dim))
            self.log_temperature = nn.Parameter(torch.tensor(_FIRST_TEMPERATURE).log())
            rows = config.stains + 1
            self.register_buffer("prototypes", torch.zeros(rows, levels, config.stain_dim))
            self.register_buffer("stain_vectors", torch.zeros(rows, config.stain_dim))
        else:
            self.levels = init_linear(nn.Linear(width, levels))
        self.spread = init_linear(nn.Linear(width, 1))
        self.register_buffer("values", level_values(config.edges_dof), persistent=False)

    def forward(self, given: FocusInput, prototypes: Tensor | None = None) -> FocusAnswer:
        """Judge stacks; see `features` and `answer`."""
        return self.answer(self.features(given), given.stain, given.sweep, prototypes=prototypes)

    def features(self, given: FocusInput) -> FocusFeatures:
        """Describe tiles, each slice by itself.

        Raises:
            ValueError: tokens or measures are missing, or given to a head that does not read any.
        """
        if (given.tokens is None) != (self.context is None):
            raise ValueError(f"context is {self.config.context}, tokens are {given.tokens}")
        if (given.measures is None) != (self.config.measures == 0):
            raise ValueError(f"measures is {self.config.measures}, given are {given.measures}")
        described = self.stem(given.tiles, blur_px(given.lens))  # [B, Z, T, 8, 8, F]
        strange = self.strange(described[..., -self.stem.bank.features :])
        h = self.own(described)
        if self.context is not None and given.tokens is not None:
            h = h + self.context(given.tokens, given.z)
        if given.measures is not None:
            even = (given.measures - self.measures_mean) / self.measures_spread
            h = h + self.measured(even)[:, :, :, None, None]
        h = h + self.join(h)
        if self.config.film:
            scale, shift = self._steer(given.lens, given.stain).chunk(2, -1)
            h = h * (1 + scale) + shift
        h = h + self.settle(h)
        gate = self.gate(h)[..., 0]
        weight = gate.sigmoid() + _LEAST_GATE
        pooled = (h * weight[..., None]).sum((3, 4)) / weight.sum((3, 4))[..., None]
        return FocusFeatures(pooled, gate, strange)

    def answer(
        self,
        found: FocusFeatures,
        stain: Tensor,
        sweep: Tensor,
        prototypes: Tensor | None = None,
    ) -> FocusAnswer:
        """Put slices together.

        Args:
            found: of neighbouring slices, in order.
            stain: [B] numbers.
            sweep: [B] bool; others are not mixed.
            prototypes: [S + 1, K, D], while they are learnt; None = those kept with the weights.
        """
        pooled = found.pooled
        if self.mix is not None and pooled.shape[1] > 1:
            pooled = torch.where(sweep[:, None, None, None], self.mix(pooled), pooled)
        h = F.gelu(self.last(pooled))  # [B, Z, T, W]
        seen = found.gate.sigmoid().flatten(3)
        weights = seen.mean(-1) + _LEAST_GATE
        weights = weights / weights.sum(-1, keepdim=True)
        tile_logits = self._level_logits(h, stain, prototypes)
        logits = (tile_logits * weights[..., None]).sum(2)
        spread = (self.spread(h)[..., 0].float() * weights).sum(2)
        return FocusAnswer(
            expected=expected_distance(logits, self.values),
            log_variance=spread.clamp(*_LOG_VARIANCES),
            tiles=expected_distance(tile_logits, self.values),
            empty=1 - seen.flatten(2).amax(-1),
            weights=weights,
            strange=found.strange.mean(-1),
            logits=logits,
            tile_logits=tile_logits,
        )

    @torch.no_grad()
    def keep_prototypes(self, stains: Tensor, prototypes: Tensor) -> None:
        """Keep what the text tower led to: stains [S + 1, D], prototypes [S + 1, K, D]."""
        self.stain_vectors.copy_(stains)
        self.prototypes.copy_(prototypes)

    @torch.no_grad()
    def keep_measures(self, measures: Tensor) -> None:
        """Keep mean and spread of the measures [N, M] that are learnt from."""
        self.measures_mean.copy_(measures.mean(0))
        self.measures_spread.copy_(measures.std(0).clamp(min=_LEAST_SPREAD))

    @torch.no_grad()
    def keep_prior(self, truth: Tensor) -> None:
        """Keep how often levels are met, by distances [N] of slices; nan = not known."""
        counts = soft_labels(truth[truth.isfinite()], self.values).sum(0) + 1
        self.prior.copy_(counts / counts.sum())

    def course(self, answer: FocusAnswer, z: Tensor) -> SweepCourse | None:
        """Judge a sweep as a whole.

        Args:
            answer: of one stack, S slices of it that are evenly spread.
            z: [S] rising places.

        Returns:
            None of a head that does not do so, and where too few slices show anything.
        """
        if not self.config.course or answer.logits is None:
            return None
        return find_course(answer.logits[0], self.prior, self.values, z, answer.empty[0])

    def _level_logits(self, h: Tensor, stain: Tensor, prototypes: Tensor | None) -> Tensor:
        """[B, Z, T, W] -> [B, Z, T, K] float32."""
        if not self.config.stains:
            return self.levels(h).float()
        kept = self.prototypes if prototypes is None else prototypes
        vectors = F.normalize(self.project(h).float(), dim=-1)
        likeness = torch.einsum("bztd,bkd->bztk", vectors, kept[stain].float())
        return likeness * self.log_temperature.exp().clamp(1.0, _MOST_TEMPERATURE)

    def _steer(self, lens: Tensor, stain: Tensor) -> Tensor:
        """[B, 1, 1, 1, 1, 2 W]: scale and shift of the features."""
        known = lens.isfinite().all(-1, keepdim=True)
        given = torch.where(known, lens.log(), 0.0)
        given = torch.cat([given, known.float()], -1)
        if self.config.stains:
            given = torch.cat([given, self.stain_vectors[stain]], -1)
        return self.film(given)[:, None, None, None, None]


class _Mixer(nn.Module):
    """Each feature along z, 5 slices wide; beyond the ends the last slice goes on.

    Zeros there would look like dark slices.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.along = nn.Conv1d(width, width, _SLICES, groups=width)
        self.across = nn.Linear(width, width)
        nn.init.zeros_(self.across.weight)
        nn.init.zeros_(self.across.bias)

    def forward(self, pooled: Tensor) -> Tensor:
        """[B, Z, T, W] -> the same."""
        batch, _, tiles, _ = pooled.shape
        lines = rearrange(pooled, "b z t w -> (b t) w z")
        mixed = self.along(F.pad(lines, (REACH, REACH), mode="replicate"))
        mixed = rearrange(F.gelu(mixed), "(b t) w z -> b z t w", b=batch, t=tiles)
        return pooled + self.across(mixed)

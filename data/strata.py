"""Which volumes a batch is cut from, as a function of (seed, step), whatever workers and ranks.

Apart from `crops.py` because a crop bank draws in the same way.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .draws import keyed_rng


class Strata:
    """Volumes by caption, then by group, so that no caption and no animal crowds out the others."""

    def __init__(self, captions: Sequence[int], groups: Sequence[str]) -> None:
        """Sort volumes into strata.

        Args:
            captions: caption id of each volume; where it is -1, its group is a stratum of its own.
            groups: animal or parent volume of each volume.
        """
        strata: dict[tuple[int, str], dict[str, list[int]]] = {}
        for volume, (caption, group) in enumerate(zip(captions, groups, strict=True)):
            key = (caption, "") if caption >= 0 else (-1, group)
            strata.setdefault(key, {}).setdefault(group, []).append(volume)
        self._strata = [list(strata[key].values()) for key in sorted(strata)]

    def __len__(self) -> int:
        """Number of strata."""
        return len(self._strata)

    def draw(self, seed: int, step: int, count: int) -> NDArray[np.int64]:
        """Draw the volumes of one global batch.

        A batch holds min(count, number of strata) different strata. Small batches go round: each
        pass over the strata is a new shuffle, cut into whole batches. Inside a stratum the group is
        drawn first, then the volume.

        Args:
            seed: of the run.
            step: number of the batch, from 0.
            count: samples of the global batch, over all ranks.

        Returns:
            [count] indices of volumes, in a random order of strata.
        """
        total = len(self._strata)
        if count <= total:
            turn, place = divmod(step, total // count)
            order = keyed_rng("strata", seed, turn).permutation(total)
            chosen = order[place * count : (place + 1) * count]
        else:
            rng = keyed_rng("strata", seed, step)
            rounds = [rng.permutation(total) for _ in range(-(-count // total))]
            chosen = np.concatenate(rounds)[:count]
        rng = keyed_rng("volume", seed, step)
        volumes = np.empty(count, dtype=np.int64)
        for place, stratum in enumerate(chosen):
            groups = self._strata[stratum]
            group = groups[rng.integers(len(groups))]
            volumes[place] = group[rng.integers(len(group))]
        return volumes

"""Random numbers that are pure functions of what they are for.

Every draw is keyed by (purpose, seed, index), so crops and augmentation do not depend on the number
of workers or ranks, on the order of the work, or on where a run was resumed.
"""

from __future__ import annotations

import zlib

import numpy as np

_WORD = (1 << 64) - 1


def keyed_rng(purpose: str, seed: int, index: int) -> np.random.Generator:
    """A generator of its own for one purpose, seed and index (Philox, Salmon et al. 2011).

    Args:
        purpose: such as "crop"; keeps draws of different parts apart.
        seed: of the run.
        index: global sample index, or any other running number from 0.
    """
    key = [(seed ^ (zlib.crc32(purpose.encode()) << 32)) & _WORD, index & _WORD]
    # As uint64: a list of one number above 2^63 and one below becomes float64, and loses the seed.
    return np.random.Generator(np.random.Philox(key=np.array(key, dtype=np.uint64)))

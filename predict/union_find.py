"""Union-find over numbers that are given out as one goes: which of them mean the same thing."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


class UnionFind:
    """Numbers from 1 on, 0 = background; some 8 bytes each."""

    def __init__(self) -> None:
        """Begin with the background alone."""
        self._parent = np.zeros(1, np.int64)
        self._count = 0

    def __len__(self) -> int:
        """How many numbers were given out."""
        return self._count

    def add(self, count: int) -> NDArray[np.int64]:
        """Give out the next `count` numbers: [count], ascending."""
        first, self._count = self._count + 1, self._count + count
        if self._count >= len(self._parent):
            grown = np.arange(max(2 * len(self._parent), self._count + 1))
            grown[: len(self._parent)] = self._parent
            self._parent = grown
        return np.arange(first, self._count + 1)

    def join(self, one: int, other: int) -> None:
        """Make two numbers one; the smaller stays."""
        one, other = self._find(one), self._find(other)
        self._parent[max(one, other)] = min(one, other)

    def roots(self) -> NDArray[np.int64]:
        """[count + 1], the number that stands for each; that of 0 is 0."""
        parent = self._parent[: self._count + 1].copy()
        while True:
            above = parent[parent]
            if np.array_equal(above, parent):
                return parent
            parent = above

    def _find(self, number: int) -> int:
        while self._parent[number] != number:
            self._parent[number] = self._parent[self._parent[number]]
            number = int(self._parent[number])
        return number

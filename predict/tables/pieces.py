"""Connected pieces of a mask larger than memory, numbered box by box.

A box is labelled together with one plane of voxels before it on every axis. Any two voxels that
touch, over corners too, lie in such a box together, so nothing else has to be compared.
"""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray

from ..block_grid import Box, common, inside
from ..task_weights import Triple
from ..union_find import UnionFind
from .boxes import grown


class Pieces:
    """Numbers of pieces; only the far faces of the boxes before are kept.

    Boxes must come z slowest, as from `boxes`.
    """

    def __init__(self, shape: Triple, side: int) -> None:
        """Begin with nothing.

        Args:
            shape: (Z, Y, X) of the volume.
            side: of the boxes.
        """
        self.found = UnionFind()
        self._shape, self._side = shape, side
        self._faces: dict[Triple, list[tuple[Box, NDArray[np.int64]]]] = {}

    def around(self, box: Box) -> Box:
        """What has to be read to number a box."""
        return grown(box, 1, 0, self._shape)

    def number(self, box: Box, labels: NDArray) -> NDArray[np.int64]:
        """Number the pieces of a box, each of equal labels that touch at a face, edge or corner.

        Args:
            box: where we are.
            labels: [Z, Y, X] of `around(box)`, 0 = background.

        Returns:
            [Z, Y, X] of the box, 0 = background. Provisional: `found.roots()` says in the end which
            numbers are one piece.
        """
        from skimage.measure import label

        around = self.around(box)
        local = np.asarray(label(labels, connectivity=3), np.int64)
        if not local.any():
            return np.zeros([part.stop - part.start for part in box], np.int64)
        number = np.zeros(int(local.max()) + 1, np.int64)
        known = self._known(box, around)
        there = known > 0
        for piece, before in np.unique(np.stack([local[there], known[there]]), axis=1).T:
            if number[piece]:
                self.found.join(int(number[piece]), int(before))
            else:
                number[piece] = before
        fresh = np.flatnonzero(number == 0)[1:]
        number[fresh] = self.found.add(len(fresh))
        numbered = number[local][inside(box, around)]
        self._keep(box, numbered)
        return numbered

    def _known(self, box: Box, around: Box) -> NDArray[np.int64]:
        """What the boxes before have said of the planes before this one."""
        known = np.zeros([part.stop - part.start for part in around], np.int64)
        at = self._place(box)
        for back in itertools.product((0, 1), repeat=3):
            place = (at[0] - back[0], at[1] - back[1], at[2] - back[2])
            for face, numbers in self._faces.get(place, ()):
                if all(
                    a.start < b.stop and b.start < a.stop for a, b in zip(face, around, strict=True)
                ):
                    shared = common(face, around)
                    known[inside(shared, around)] = numbers[inside(shared, face)]
        return known

    def _keep(self, box: Box, numbered: NDArray[np.int64]) -> None:
        """Keep the last planes of a box, if anything is in them; forget those nobody will need."""
        at = self._place(box)
        for place in [place for place in self._faces if place[0] < at[0] - 1]:
            del self._faces[place]
        faces = []
        for axis in range(3):
            face = list(box)
            face[axis] = slice(box[axis].stop - 1, box[axis].stop)
            plane = (face[0], face[1], face[2])
            numbers = numbered[inside(plane, box)]
            if numbers.any():
                faces.append((plane, numbers.copy()))
        if faces:
            self._faces[at] = faces

    def _place(self, box: Box) -> Triple:
        z, y, x = (part.start // self._side for part in box)
        return z, y, x

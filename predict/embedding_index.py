"""The file of `luxvox embed`: vectors of crops with their places, one group a channel of a volume.

    X.zarr                  attributes: the weights, width of a vector
    X.zarr/volumes/KEY      attributes: which volume, how its crops are cut
        vectors             [M, D] float32, of length 1, in chunks of crops
        origins             [M, 3] int32, corner (z, y, x) of each crop, voxels of the level read

A group appears whole or not at all, so that a stopped run goes on with the next volume.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from ..configs.errors import InputError
from ..data.voxel import VoxelSize

Triple = tuple[int, int, int]

_MARK = "luxvox_embeddings"
_VERSION = 1
_CHUNK = 4096  # crops


@dataclass(frozen=True)
class Place:
    """One channel of a volume, and how its crops are cut; all tuples are (z, y, x).

    Attributes:
        image: absolute path.
        channel: index.
        channel_name: as the file calls it.
        axes: as the list states them; None = the file's.
        stated_um: voxel size as the list states it; None = the file's.
        changed_ns: when the file was last changed.
        level: of the pyramid.
        box: voxels of the level that one crop covers.
        level_um: voxel size of the level; None = unknown.
    """

    image: str
    channel: int
    channel_name: str
    axes: str | None
    stated_um: VoxelSize | None
    changed_ns: int
    level: int
    box: Triple
    level_um: VoxelSize | None

    @property
    def key(self) -> str:
        """Name of its group."""
        said = json.dumps([self.image, self.channel, self.axes, self.stated_um])
        return hashlib.sha256(said.encode()).hexdigest()[:16]


class EmbeddingIndex:
    """An index on disk. `open_index` and `make_index` give one."""

    def __init__(self, path: Path, weights: str, digest: str, width: int) -> None:
        """Hold what the attributes say; `weights` names them as the user did."""
        self.path, self.weights, self.digest, self.width = path, weights, digest, width

    def has(self, place: Place) -> bool:
        """Whether this channel, as its file stands now, is in the index."""
        stored = self._attributes(self.path / "volumes" / place.key)
        return stored is not None and _place(stored) == place

    def add(self, place: Place, vectors: NDArray[np.float32], origins: NDArray[np.int32]) -> None:
        """Write a channel, whole or not at all; an older one of that key is replaced.

        Args:
            place: which.
            vectors: [M, D].
            origins: [M, 3].

        Raises:
            InputError: it cannot be written.
        """
        target = self.path / "volumes" / place.key
        partial = target.with_name(f".{place.key}.partial")
        try:
            shutil.rmtree(partial, ignore_errors=True)
            group = zarr.open_group(partial, mode="w", attributes=asdict(place))
            rows = min(_CHUNK, len(vectors))
            group.create_array("vectors", data=vectors, chunks=(rows, vectors.shape[1]))
            group.create_array("origins", data=origins, chunks=(rows, 3))
            shutil.rmtree(target, ignore_errors=True)
            partial.rename(target)
        except OSError as error:
            raise InputError(
                f"{self.path}: cannot be written ({error.strerror or error}); volumes that were "
                "done stay; free some space and run the same command again"
            ) from error
        finally:
            shutil.rmtree(partial, ignore_errors=True)

    def read(self) -> Iterator[tuple[Place, NDArray[np.float32], NDArray[np.int32]]]:
        """Places with their vectors [M, D] and origins [M, 3], sorted by path and channel.

        Raises:
            InputError: a group is damaged.
        """
        found = []
        for path in self.path.glob("volumes/[!.]*"):
            stored = self._attributes(path)
            if stored is not None:
                found.append((_place(stored), path))
        for place, path in sorted(found, key=lambda pair: (pair[0].image, pair[0].channel)):
            try:
                group = zarr.open_group(path, mode="r")
                vectors, origins = (np.asarray(group[name]) for name in ("vectors", "origins"))
            except (OSError, ValueError, KeyError) as error:
                raise InputError(f"{path}: damaged ({error}); remove it and embed again") from error
            if vectors.shape != (len(origins), self.width):
                raise InputError(f"{path}: {vectors.shape} vectors for {len(origins)} crops")
            yield place, vectors, origins

    @staticmethod
    def _attributes(path: Path) -> dict[str, Any] | None:
        try:
            stored = json.loads((path / "zarr.json").read_text(encoding="utf-8"))["attributes"]
            _place(stored)
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return stored


def make_index(path: Path, weights: str, digest: str, width: int) -> EmbeddingIndex:
    """Begin an index, or go on with one of the same weights.

    Args:
        path: ends in .zarr.
        weights: their name.
        digest: their sha256.
        width: of a vector.

    Raises:
        InputError: something else stands there, or an index of other weights.
    """
    if path.suffix.lower() != ".zarr":
        raise InputError(f"{path}: expected a name in .zarr")
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        index = open_index(path)
        if index.digest != digest:
            raise InputError(
                f"{path}: embedded with {index.weights}, other weights than {weights}; vectors of "
                "two models cannot be compared: choose another name"
            )
        return index
    try:
        about = {"weights": weights, "digest": digest, "width": width}
        group = zarr.open_group(path, mode="w", attributes={_MARK: _VERSION, **about})
        group.create_group("volumes")
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror or error})") from error
    return EmbeddingIndex(path, weights, digest, width)


def open_index(path: Path) -> EmbeddingIndex:
    """Open what `luxvox embed` wrote.

    Raises:
        InputError: nothing there, something else, or a later version.
    """
    try:
        stored = json.loads((path / "zarr.json").read_text(encoding="utf-8"))["attributes"]
        version = int(stored[_MARK])
        index = EmbeddingIndex(path, stored["weights"], stored["digest"], int(stored["width"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path}: no embeddings there; make them with luxvox embed VOLUME --out {path}"
        ) from error
    if version > _VERSION:
        raise InputError(f"{path}: written by a later luxvox (version {version}); update luxvox")
    return index


def _place(stored: dict[str, Any]) -> Place:
    tuples = {
        name: None if stored[name] is None else tuple(stored[name])
        for name in ("box", "stated_um", "level_um")
    }
    return Place(**{**stored, **tuples})

"""The lists that are compared on: one structure each, read once, with noise where it is wanted."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from ...configs.errors import InputError
from ...data.draws import keyed_rng
from ...data.manifest import read_dataset
from ...data.normalize import denormalize, describe, normalize
from ...data.row import Row
from ...data.tissue import to_blocks
from ..examples import Example, Task, load_example
from .plan import BenchmarkPlan, slug

_PARTNER = {"segment": "labels", "restore": "target", "classify": "class_name"}


@dataclass
class BenchmarkList:
    """Rows of one list, of one structure where it is segmented, and their examples in memory.

    Attributes:
        name: short, for tables and files.
        task: what its rows are read for.
        rows: with the partner that the task needs.
        noise: see `BenchmarkPlan.noise`.
    """

    name: str
    task: Task
    rows: tuple[Row, ...]
    noise: float = 0.0
    _kept: dict[str, Example] = field(default_factory=dict, repr=False)
    _digests: dict[str, str] = field(default_factory=dict, repr=False)

    def example(self, row: Row) -> Example:
        """Read a row, once.

        Raises:
            InputError: as `examples.load_example`.
        """
        if row.id not in self._kept:
            example = load_example(row, self.task)
            if self.task == "restore" and self.noise:
                example = noisy(example, self.noise)
            self._kept[row.id] = example
        return self._kept[row.id]

    def digest(self, row: Row) -> str:
        """See `Example.digest`; kept when the example is forgotten."""
        if row.id not in self._digests:
            self._digests[row.id] = self.example(row).digest()
        return self._digests[row.id]

    def forget(self) -> None:
        """Free the memory."""
        self._kept.clear()

    @property
    def groups(self) -> frozenset[str]:
        """Animals or parent volumes."""
        return frozenset(row.group for row in self.rows)


def read_lists(plan: BenchmarkPlan, say: Callable[[str], None]) -> list[BenchmarkList]:
    """Read every list for every task that it can serve.

    Lists for segmentation that hold several structures become one for each.

    Args:
        plan: names them.
        say: told what is left out.

    Raises:
        InputError: a list cannot be read, two have one name, or nothing is left.
    """
    found: list[BenchmarkList] = []
    for source in plan.datasets:
        served = False
        for task in plan.tasks:
            rows = read_dataset(source, restore=task == "restore").rows
            kept = tuple(row for row in rows if getattr(row, _PARTNER[task]) is not None)
            if task == "classify" and len({row.class_name for row in kept}) < 2:
                kept = ()
            if not kept:
                say(f"{source}: no rows for {task}, left out of it")
                continue
            served = True
            if len(kept) < len(rows):
                say(f"{source}: {len(rows) - len(kept)} of {len(rows)} rows cannot serve {task}")
            noise = plan.noise if task == "restore" else 0.0
            for name, part in _parts(_name(Path(source)), kept, task).items():
                found.append(BenchmarkList(name, task, part, noise))
        if not served:
            columns = ", ".join(_PARTNER[task].removesuffix("_name") for task in plan.tasks)
            raise InputError(
                f"{source}: no row has what {', '.join(plan.tasks)} needs; fill the column "
                f"({columns}), or name other --tasks"
            )
    keys = [(one.name, one.task) for one in found]
    for key in keys:
        if keys.count(key) > 1:
            raise InputError(
                f"two lists are called {key[0]!r}, after their folder or file; rename one of them"
            )
    return found


def noisy(example: Example, share: float) -> Example:
    """The same pair with white noise in the degraded image, and normalised anew.

    Args:
        example: of restoration.
        share: standard deviation over the target's range, 1st to 99.9th percentile.
    """
    assert example.target is not None
    image = denormalize(example.image.astype(np.float64), example.stats)
    target = denormalize(example.target.astype(np.float64), example.stats)
    low, high = np.percentile(target, [1, 99.9])
    rng = keyed_rng(f"benchmark noise {example.id}", 0, 0)
    image = (image + share * (high - low) * rng.standard_normal(image.shape)).astype(np.float32)
    stats = describe(to_blocks(image), example.id)
    wanted = normalize(target.astype(np.float32), stats)
    return replace(example, image=normalize(image, stats), stats=stats, target=wanted)


def _name(source: Path) -> str:
    """`delivr_cfos/dataset.csv` -> delivr_cfos, `restore.csv` -> restore."""
    path = source.expanduser().absolute()
    return slug(path.parent.name if path.stem == "dataset" else path.stem)


def _parts(name: str, rows: tuple[Row, ...], task: Task) -> dict[str, tuple[Row, ...]]:
    by_structure: dict[str | None, list[Row]] = defaultdict(list)
    for row in rows:
        by_structure[row.structure if task == "segment" else None].append(row)
    if len(by_structure) == 1:
        return {name: rows}
    return {f"{name}-{slug(key or 'unnamed')}": tuple(of) for key, of in by_structure.items()}

"""What is made of a finished output, and lies beside it: tables, and a page that shows it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..configs.errors import InputError
from ..data.open import open_volume
from ..data.volume import Volume
from ..report.whole_volume import Preview, WholeVolume, write_whole_volume_report
from .beside import beside
from .block_output import BlockOutput
from .preview import as_colours, enlarged, preview_grid, preview_size, thinned
from .tables.measure import Tables, measure

Progress = Callable[[int, int], None]
"""Told (how much is done, how much in all)."""


@dataclass(frozen=True)
class Outcome:
    """A prediction that lies on disk, whole.

    Attributes:
        image: what was predicted from, one channel.
        out: the output.
        output: what stands in it.
        instances: whether labels number objects.
        names: of label values.
    """

    image: Volume
    out: Path
    output: BlockOutput
    instances: bool
    names: Mapping[int, str] = field(default_factory=dict)

    @property
    def tables(self) -> Path:
        """Folder of the tables: OUT.tables."""
        return beside(self.out, ".tables")

    @property
    def page(self) -> Path:
        """The report: OUT.html."""
        return beside(self.out, ".html")

    def clear(self) -> None:
        """Remove what was made of an earlier output."""
        shutil.rmtree(self.tables, ignore_errors=True)
        self.page.unlink(missing_ok=True)

    def measure(self, progress: Progress = lambda done, total: None) -> Tables:
        """Measure labels and write the tables. Errors as `tables.measure.measure`."""
        found = measure(
            open_volume(self.out), instances=self.instances, image=self.image, names=self.names,
            background=_background(self.output, self.instances), progress=progress,
        )  # fmt: skip
        found.write(self.tables)
        return found

    def report(
        self, lead: str, facts: Sequence[tuple[str, str]], warning: str, tables: Tables | None
    ) -> Path:
        """Write the page.

        Args:
            lead: one line on what this is.
            facts: (what, how much).
            warning: what is wrong with the output; "" = nothing.
            tables: to show; None = there are none.

        Raises:
            InputError: image or output cannot be read.
        """
        whole = WholeVolume(
            self.out.name, lead, self._preview(), facts, warning,
            *(() if tables is None else (tables.objects, tables.structures, tables.regions)),
        )  # fmt: skip
        return write_whole_volume_report(self.page, whole)

    def _preview(self) -> Preview:
        result = open_volume(self.out)
        grid = preview_grid(self.image)
        image, size = thinned(self.image, grid)[0], preview_size(self.image, grid)
        if self.output.what == "embeddings":
            small = as_colours(thinned(result, preview_grid(result)))
            return Preview(image, enlarged(small, grid), "rgb", size)
        found = thinned(result, grid)
        if len(found) > 1:
            return Preview(image, found.argmax(0), "labels", size)
        if not self.output.is_labels:
            return Preview(image, found[0], "image", size)
        labels, background = found[0], _background(self.output, self.instances)
        if background:
            labels[labels == background] = 0
        return Preview(image, labels, "objects" if self.instances else "labels", size)


def check_tables(output: BlockOutput) -> None:
    """Refuse before long work what could not be measured after it.

    Raises:
        InputError: an output that is no labels, or a class with the number of the background.
    """
    if output.what != "labels":
        raise InputError(
            f"--tables: {output.what} are not counted, expected labels or --instances; leave it out"
        )
    if _background(output, False) and 0 in output.label_values[1:]:
        raise InputError(
            f"--tables: label 0 is a class and {output.label_values[0]} the background; leave it "
            "out, and renumber the labels"
        )


def _background(output: BlockOutput, instances: bool) -> int:
    """The label of nothing; numbered objects always have 0."""
    return 0 if instances or not output.label_values else output.label_values[0]

"""Put weights where the wheel carries them: models/weights/NAME, in bf16, with a card.

    python benchmarks/ship_weights.py RUN luxvox-tiny LIST --hours 2.2 \\
        --sentences benchmarks/text_alignment.json

RUN holds dense weights that were aligned with sentences (`luxvox pretrain align_text`). LIST is the
list of real volumes that it and what it began with were trained on (its rows of split train; the
names of their groups go into config.json, so that a benchmark knows what has been seen). What the
card says of results and sources stands in benchmarks/cards/. Prints what stands in
models/catalog.py.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch

from luxvox.data.manifest import read_dataset
from luxvox.models.alignment import ALIGNMENT
from luxvox.models.catalog import WEIGHTS
from luxvox.models.checkpoint import load_weights, save_weights
from luxvox.models.shard_index import sha256_of
from luxvox.models.text_vectors import NAMES_TENSOR
from luxvox.predict.focus_weights import KIND
from luxvox.pretrain.origin import name_of, without_folders

_CARDS = Path(__file__).parent / "cards"
_WATTS = 30  # assumed: two busy cores of a server with their share of memory and cooling

_CARD = """# {name}

A 3D vision transformer of {size} for light-sheet microscopy with detail stream, dense decoder and
heads that find a named structure, its centreline, and restore; {parameters:.1f} million parameters,
stored in bfloat16. Pretrained without labels on real volumes (masked reconstruction and captions),
then on simulated ones with perfect labels and on real ones degraded again. A pool and two
projections ({sentences:.1f} million parameters more) place its crops beside sentences; they were
fitted last, with the encoder held still. It knows {names} names of structures and stains by heart;
other words need the sentence encoder of the extra [text].

## Intended use

- the start for few-label tasks: `luxvox finetune segment LIST --shots 3 --out RUN`
- segmentation by name, to be checked on your own volumes:
  `luxvox predict {name} VOLUME OUT --task segment --structure "blood vessels"`
- embeddings of crops, search by a sentence, a first guess at what a volume shows: `luxvox embed`,
  `luxvox search`, `luxvox classify`

## What it cannot do

- diagnose, or decide anything about a patient
- count or measure without being checked on your own volumes
- find what differs much from what it was taught: {structures}
- keep its quality far from voxels of {low} to {high} um (z, y, x), which were simulated; it warns
- tell dim from absent: a structure that is not stained is not found
- restore without fine-tuning: untouched, it usually leaves an image worse than it was
- read sentences: it places words beside what crops look like, and knows {captions} captions of real
  volumes; negations, numbers and places in the brain mean nothing to it. There is always a best
  crop and a best name, also where none fits

Nearly all real volumes are cleared mouse brains of few laboratories; other organs, species and
microscopes are hardly there.

## Results

{results}

{text}

## Data

{groups} groups of real volumes (images and captions only), and simulated volumes without number.

{sources}

## Energy

{hours:.1f} hours of two CPU cores, measured, all runs that led here; at an assumed {watts} W that
is about {energy:.2f} kWh. No GPU was used. Runs that were thrown away are not counted.

Licence of these weights: Apache-2.0.
"""


def main() -> None:
    """Read the run, write the folder, print its checksums."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("name")
    parser.add_argument("list", help="of the real volumes; split train was learnt from")
    parser.add_argument("--hours", type=float, required=True, help="of all runs that led here")
    parser.add_argument("--sentences", type=Path, required=True, help="of text_alignment.py")
    given = parser.parse_args()
    tensors, config = load_weights(given.run / "weights")
    rows = [row for row in read_dataset(given.list).rows if row.split == "train"]
    groups = sorted({row.group for row in rows if row.group})
    config["recipe"] = without_folders(config["recipe"], ("out", "init", "real"))
    config["data"] |= {"groups": groups, "group_count": len(groups)}
    config["data"]["real"] = f"{Path(given.list).parent.name}/{name_of(given.list)}"
    config["stains"] = sorted({row.stain for row in rows if row.stain})
    low, high = config["voxel_size_range_um"]
    encoder = config["architecture"]["encoder"]
    sentences = sum(t.numel() for n, t in tensors.items() if n.startswith(ALIGNMENT))
    every = sum(tensor.numel() for tensor in tensors.values())
    card = _CARD.format(
        name=given.name,
        size=f"width {encoder['width']} and depth {encoder['depth']}",
        parameters=(every - sentences - tensors[NAMES_TENSOR].numel()) / 1e6,
        sentences=sentences / 1e6,
        names=len(config["architecture"]["names"]),
        structures=", ".join(config["structures"]),
        captions=len({row.caption for row in rows if row.caption}),
        low=" x ".join(map(str, low)),
        high=" x ".join(map(str, high)),
        results=_part(given.name, "results"),
        text=_said(json.loads(given.sentences.read_text(encoding="utf-8"))),
        groups=len(groups),
        sources=_part(given.name, "sources"),
        hours=given.hours,
        watts=_WATTS,
        energy=given.hours * _WATTS / 1000,
    )
    del config["format_version"]
    stored = {
        # Names stay as they are: they shall equal what the sentence encoder gives.
        name: tensor if name == NAMES_TENSOR else tensor.to(torch.bfloat16)
        for name, tensor in tensors.items()
    }
    folder = ship(WEIGHTS / given.name, stored, config, card)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    sums = {path.relative_to(folder).as_posix(): sha256_of(path) for path in files}
    print(json.dumps({given.name: sums}, indent=4))


def ship(folder: Path, tensors: dict[str, torch.Tensor], config: dict[str, Any], card: str) -> Path:
    """Write the weights; the focus head that lies in the folder stays, checked by its own test."""
    with tempfile.TemporaryDirectory() as kept:
        head = Path(kept) / KIND
        if (folder / KIND).is_dir():
            shutil.copytree(folder / KIND, head)
        save_weights(folder, tensors, config, card)
        if head.is_dir():
            shutil.copytree(head, folder / KIND)
    return folder


def _part(name: str, what: str) -> str:
    """A part of the card that was written by hand."""
    return (_CARDS / f"{name}.{what}.md").read_text(encoding="utf-8").strip()


def _said(found: dict[str, Any]) -> str:
    """The table of what sentences find."""
    held = found["held-back groups"]
    asked = (
        ("own caption first, held-back groups", held["captions"]),
        ("structure named, held-back groups", held["names"]),
        ("structure named, dataset left out", found["dataset left out"]),
        (
            "the same, structures that are simulated",
            found["dataset left out, structures that are simulated"],
        ),
    )
    lines = [
        "**Sentences**, share of volumes that are right, 95 % intervals over groups (left out: of",
        "what the projections saw; the encoder has met most of these volumes, without labels):",
        "",
        "| | volumes | groups | right | chance |",
        "|---|---|---|---|---|",
    ]
    for words, row in asked:
        low, high = row["share_interval"]
        lines.append(
            f"| {words} | {row['volumes']} | {row['groups']} | {row['share']:.2f} "
            f"[{low:.2f}, {high:.2f}] | {row['chance']:.2f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()

"""Put weights of stage B where the wheel carries them: models/weights/NAME, in bf16, with a card.

    python benchmarks/ship_weights.py RUN luxvox-tiny LIST --results results.md --sources sources.md

LIST is the list of real volumes that the run and what it began with were trained on (its rows of
split train; the names of their groups go into config.json, so that a benchmark knows what has been
seen). The two Markdown files become parts of the card. Prints what stands in models/catalog.py.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch

from luxvox.data.manifest import read_dataset
from luxvox.models.catalog import WEIGHTS
from luxvox.models.checkpoint import load_weights, save_weights
from luxvox.models.shard_index import sha256_of
from luxvox.pretrain.origin import name_of, without_folders

_CARD = """# {name}

A 3D vision transformer of {size} for light-sheet microscopy with detail stream, dense decoder and
heads that find a named structure, its centreline, and restore; {parameters:.1f} million parameters,
stored in bfloat16. Pretrained without labels on real volumes (masked reconstruction and captions),
then on simulated ones with perfect labels and on real ones degraded again.

Meant as the start for few-label tasks (`luxvox finetune`), for segmentation by name
(`luxvox predict {name} VOLUME OUT --task segment --structure "blood vessels"`) and for embeddings.

**What it cannot do**: diagnose; count or measure without being checked on your own volumes; find
what differs much from what it was taught: {structures}. Voxels from {low} to {high} um (z, y, x)
were simulated; far from these it warns, and does worse. It was trained on a CPU, for hours rather
than days.

## Results

{results}

## Data

{groups} groups of real volumes, images and captions only, and simulated volumes without number.

{sources}

Licence of these weights: Apache-2.0.
"""


def main() -> None:
    """Read the run, write the folder, print its checksums."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("name")
    parser.add_argument("list", help="of the real volumes; split train was learnt from")
    parser.add_argument("--results", type=Path, required=True, help="Markdown")
    parser.add_argument("--sources", type=Path, required=True, help="Markdown")
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
    card = _CARD.format(
        name=given.name,
        size=f"width {encoder['width']} and depth {encoder['depth']}",
        parameters=sum(tensor.numel() for tensor in tensors.values()) / 1e6,
        structures=", ".join(config["structures"]),
        low=low,
        high=high,
        results=given.results.read_text(encoding="utf-8").strip(),
        groups=len(groups),
        sources=given.sources.read_text(encoding="utf-8").strip(),
    )
    del config["format_version"]
    folder = save_weights(WEIGHTS / given.name, tensors, config, card, torch.bfloat16)
    sums = {path.name: sha256_of(path) for path in sorted(folder.iterdir())}
    print(json.dumps({given.name: sums}, indent=4))


if __name__ == "__main__":
    main()

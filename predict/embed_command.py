"""`luxvox embed`: crops of many volumes into one index that `luxvox search` reads."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..data.crop_plan import plan_crops
from ..data.manifest import open_row, read_dataset
from ..data.row import Row
from ..data.volume import Volume
from ..models.catalog import find_folder
from ..models.checkpoint import fingerprint
from .embedding_index import Place, make_index
from .model import Model, load
from .predictor import Predictor
from .volume import choose_device


def embed_command(
    sources: Sequence[str], out: Path, weights: str, device: str = "auto", batch_size: int = 8
) -> Path:
    """Embed every channel of every volume; those that the index has already are left out.

    Args:
        sources: volumes, lists, folders, globs.
        out: a name in .zarr.
        weights: as of `luxvox.load`.
        device: auto, cpu or cuda.
        batch_size: crops encoded together.

    Returns:
        `out`.

    Raises:
        InputError: a volume that cannot be read (those before it stay embedded), weights that
            embed nothing, or an index of other weights.
    """
    rows = [row for source in sources for row in read_dataset(source).rows]
    folder = find_folder(weights)
    model = load(folder, choose_device(device))
    if not model.knows_captions:
        print("note: these weights know no sentences, so luxvox search cannot use the index")
    index = make_index(out, weights, fingerprint(folder), model.embed_dim)
    for number, row in enumerate(rows, start=1):
        volume = open_row(row)
        for channel in range(volume.num_channels):
            place = _place(row, volume, channel, model)
            where = f"{number}/{len(rows)} {row.image.name} channel {place.channel_name}"
            if index.has(place):
                print(f"{where}: there already")
                continue
            vectors = model.embed(volume, channel, batch_size)
            origins = np.array(model.crop_origins(volume), dtype=np.int32)
            index.add(place, vectors, origins)
            print(f"{where}: {len(vectors)} crops", flush=True)
    print(out)
    return out


def _place(row: Row, volume: Volume, channel: int, model: Model | Predictor) -> Place:
    plan = plan_crops(volume, model.crop)
    try:
        changed = row.image.stat().st_mtime_ns
    except OSError:  # an array inside a container, say
        changed = 0
    return Place(
        image=str(row.image),
        channel=channel,
        channel_name=volume.channel_names[channel],
        axes=row.axes,
        stated_um=row.voxel_size_um,
        changed_ns=changed,
        level=plan.level,
        box=plan.box,
        level_um=volume.levels[plan.level].voxel_size_um,
    )

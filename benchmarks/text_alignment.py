"""Do crops find their sentence? Captions and names on held-back groups and on whole datasets.

    python benchmarks/text_alignment.py WEIGHTS LIST SIMULATED --out benchmarks/text_alignment.json

WEIGHTS are dense ones (stage B), LIST has real volumes with a split, SIMULATED comes from `luxvox
simulate`. Fits the alignment as `luxvox pretrain align_text` does, keys behind the options, and
asks three things, each with a 95 % interval from a bootstrap over groups:

- captions: of the volumes held back, how many find their own among all captions of those volumes;
- names: how many find their own structure among all structures of LIST;
- names, dataset left out: the same for every dataset, by an alignment that has seen nothing of it.
  The encoder itself has seen its training groups, without labels: that is not undone.

--before RUN (stage A) is asked, too: its projections, with the encoder as it is now.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

import torch

from luxvox.configs.load import load_recipe
from luxvox.finetune.benchmark.statistics import estimate
from luxvox.models.alignment import Alignment
from luxvox.models.checkpoint import load_strict, load_weights
from luxvox.pretrain.align.corpus import AlignCorpus
from luxvox.pretrain.align.encoded import EncodedCrops, plain_crops
from luxvox.pretrain.align.fit import fit_alignment
from luxvox.pretrain.align.judge import Judged, balanced, judge
from luxvox.pretrain.align.recipe import AlignRecipe
from luxvox.pretrain.align.run import (
    FIXED_SEED,
    JUDGED_CROPS,
    encode_lists,
    encoder_of,
    new_alignment,
    open_parts,
)


def main() -> None:
    """Encode once, fit once for the held-back groups and once for each dataset, write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("weights")
    parser.add_argument("list")
    parser.add_argument("simulated")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--before", type=Path, help="a run of stage A")
    parser.add_argument("keys", nargs="*", help="of the recipe, as in: steps=300")
    given = parser.parse_intermixed_args()
    recipe = load_recipe(
        "align_text",
        AlignRecipe,
        [f"init={given.weights}", f"data=[{given.list},{given.simulated}]", *given.keys],
    )
    model, _, corpus = open_parts(recipe)
    learnt = encode_lists(corpus, model, recipe)
    asked = _real_crops(corpus, model)
    result: dict[str, Any] = {"recipe": recipe.model_dump(mode="json", include=_SHOWN)}
    alignment = new_alignment(model, recipe)
    if given.before is not None:
        tensors, _ = load_weights(given.before / "weights")
        parts = ("pool.", "image_projector.", "text_projector.")
        own = {name: tensor for name, tensor in tensors.items() if name.startswith(parts)}
        load_strict(alignment, own, str(given.before))
        result["stage A's projections"] = _held_back(alignment.eval(), corpus, asked)
        alignment = new_alignment(model, recipe)
    fit_alignment(alignment, learnt, corpus.captions, corpus.names, recipe)
    result["held-back groups"] = _held_back(alignment, corpus, asked)
    result |= _left_out(model, recipe, corpus, learnt, asked)
    given.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=1))


_SHOWN = {"views", "tokens", "steps", "batch_size", "variants", "noise", "naming", "dim", "seed"}


class _Asked:
    """Real volumes, those learnt from and those held back: crops, and what is known of each."""

    def __init__(self, crops: EncodedCrops, rows: list[Any], held_back: list[bool]) -> None:
        self.crops, self.rows = crops, rows
        self.held_back = torch.tensor(held_back)
        root = Path(os.path.commonpath([row.image for row in rows]))
        places = [row.image.relative_to(root).parts for row in rows]
        self.datasets = ["/".join(parts[: min(2, len(parts) - 1)]) for parts in places]
        self.structures = crops.structure[crops.structure >= 0].unique()

    def of(self, volumes: torch.Tensor) -> EncodedCrops:
        """Crops of some volumes, [V] bool."""
        return self.crops.at(volumes[self.crops.volume])


def _real_crops(corpus: AlignCorpus, model: Any) -> _Asked:
    """Of the first list; held-back volumes are numbered behind those that are learnt from."""
    encoder, train = encoder_of(model), corpus.train[0]
    assert corpus.val is not None
    crops = [
        plain_crops(source, encoder, JUDGED_CROPS, FIXED_SEED) for source in (train, corpus.val)
    ]
    real = [row.split == "val" and "sim_" not in row.group for row in corpus.val.rows]
    held = crops[1].at(torch.tensor(real)[crops[1].volume])
    number = torch.tensor(real).cumsum(0) - 1 + len(train.rows)
    held = EncodedCrops(held.tokens, held.real, number[held.volume], held.caption, held.structure)
    rows = [
        *train.rows,
        *(row for row, is_real in zip(corpus.val.rows, real, strict=True) if is_real),
    ]
    back = [False] * len(train.rows) + [True] * sum(real)
    return _Asked(EncodedCrops.joined([crops[0], held]), rows, back)


def _held_back(alignment: Alignment, corpus: AlignCorpus, asked: _Asked) -> dict[str, Any]:
    crops = asked.of(asked.held_back)
    captions, names = _texts(corpus)
    return {
        "captions": _table(judge(alignment, crops, captions, crops.caption), asked),
        "names": _table(judge(alignment, crops, names, crops.structure, asked.structures), asked),
    }


def _left_out(
    model: Any,
    recipe: AlignRecipe,
    corpus: AlignCorpus,
    learnt: list[EncodedCrops],
    asked: _Asked,
) -> dict[str, Any]:
    """Names of every dataset by an alignment without it."""
    _, names = _texts(corpus)
    found: list[Judged] = []
    each = {}
    for dataset in sorted(set(asked.datasets)):
        inside = torch.tensor([one == dataset for one in asked.datasets])
        crops = asked.of(inside)
        if not bool((crops.structure >= 0).any()):
            continue
        others = learnt[0].at(~inside[learnt[0].volume])
        alignment = new_alignment(model, recipe)
        fit_alignment(alignment, [others, *learnt[1:]], corpus.captions, corpus.names, recipe)
        judged = judge(alignment, crops, names, crops.structure, asked.structures)
        if judged is not None:
            found.append(judged)
            each[dataset] = {"volumes": len(judged.right), "right": int(judged.right.sum())}
            print(dataset, each[dataset], flush=True)
    every = Judged(
        *(torch.cat([torch.from_numpy(part[k]) for part in found]).numpy() for k in range(3)),
        found[0].chance,
    )
    simulated = {int(one) for one in learnt[1].structure.unique()}
    taught = [int(one) in simulated for one in every.own]
    known = Judged(every.right[taught], every.own[taught], every.volume[taught], every.chance)
    return {
        "dataset left out": _table(every, asked),
        "dataset left out, structures that are simulated": _table(known, asked),
        "each dataset": each,
    }


def _texts(corpus: AlignCorpus) -> tuple[torch.Tensor, torch.Tensor]:
    """First wording of every caption, and of every structure."""
    captions, names = (
        torch.stack([vectors[0] for vectors in book.features])
        for book in (corpus.captions, corpus.names)
    )
    return captions, names


def _table(judged: Judged | None, asked: _Asked) -> dict[str, Any]:
    assert judged is not None
    groups = [asked.rows[volume].group for volume in judged.volume]
    right = [float(one) for one in judged.right]
    mean, low, high = estimate(right, groups)
    _, macro_low, macro_high = estimate(right, groups, [str(one) for one in judged.own])
    return {
        "volumes": len(right),
        "groups": len(set(groups)),
        "share": mean,
        "share_interval": [low, high],
        "macro": balanced(judged),
        "macro_interval": [macro_low, macro_high],
        "chance": judged.chance,
    }


if __name__ == "__main__":
    main()

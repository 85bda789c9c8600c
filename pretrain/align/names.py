"""What things are called: wordings of structures, and the names that weights know by heart."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ...data.captions import caption_key
from ...data.row import Row
from ...data.stains import parse_stain
from ...data.synthetic.catalogue import CATALOGUE
from ..dense.targets import structure_names

# What users of light-sheet microscopes look for beside what can be simulated.
_ALSO = (
    "cells", "cell bodies", "somata", "cell membranes", "nucleoli", "mitotic cells",
    "proliferating cells", "neuronal nuclei", "neuronal cell bodies", "dendrites",
    "dendritic spines",
    "neurites", "nerves", "nerve fibers", "fibres", "fibers", "projections", "synapses",
    "interneurons", "pyramidal neurons", "Purkinje cells", "motor neurons", "dopaminergic neurons",
    "noradrenergic neurons", "c-Fos", "c-Fos positive cells", "active neurons", "glia",
    "glial cells", "oligodendrocytes", "myelin", "white matter", "capillaries", "arteries",
    "arterioles", "veins", "blood vasculature", "lymphatic vessels", "endothelial cells",
    "pericytes", "macrophages", "T cells", "immune cells", "tumour", "tumor", "tumour cells",
    "cancer cells", "metastases", "virus", "infected cells", "beta amyloid plaques",
    "amyloid beta plaques", "senile plaques", "amyloid deposits", "tau tangles", "glomeruli",
    "tubules", "airways", "alveoli", "islets", "islets of Langerhans", "hair cells", "muscle",
    "muscle fibres", "cardiomyocytes", "collagen", "bone", "embryo", "somites", "organoid",
    "lumen", "epithelium", "cell bodies and nuclei", "background", "tissue", "whole brain",
    "mitochondria", "bacteria", "roots",
)  # fmt: skip
_ALSO_STAINS = (
    "nuclear stain", "DAPI-like stain", "Hoechst stain", "SYTOX stain", "TO-PRO-3 stain",
    "c-Fos immunolabel", "c-Fos label", "NeuN label", "CTIP2 label", "parvalbumin label",
    "somatostatin label", "p75NTR label", "GPR85 label", "5-HT2A receptor label", "Iba1",
    "microglia label", "CX3CR1-GFP", "GFAP", "CD31", "lectin", "smooth muscle actin label",
    "podocalyxin", "evans blue", "vessel stain", "axon label", "tdTomato", "GFP", "EGFP", "YFP",
    "Thy1-GFP", "mCherry expression", "amyloid stain", "methoxy-X04", "Congo red", "thioflavin S",
    "virus reporter", "autofluorescence", "tyrosine hydroxylase", "eosin", "SYTO 16 stain",
)  # fmt: skip


def structure_wordings(structures: Sequence[str]) -> list[list[str]]:
    """Ways to name each of several structures, the given one first; no name stands for two.

    Args:
        structures: such as "blood vessels"; only what can be simulated has other names.
    """
    given = {caption_key(name) for name in structures}
    titles = {caption_key(entry.title): name for name, entry in CATALOGUE.items()}
    wordings = []
    for structure in structures:
        known = titles.get(caption_key(structure))
        others = () if known is None else structure_names(known)
        wordings.append([structure, *(name for name in others if caption_key(name) not in given)])
    return wordings


def usual_names(rows: Iterable[Row]) -> tuple[str, ...]:
    """Names of structures and stains that a user is likely to type, each once.

    Args:
        rows: of the lists; what their columns `structure` and `stain` say belongs to it.
    """
    names = [name for structure in CATALOGUE for name in structure_names(structure)]
    names += [stain for entry in CATALOGUE.values() for stain in entry.stains]
    for row in rows:
        names += [row.structure] if row.structure else []
        names += [parse_stain(row.stain).name] if row.stain else []
    once = {caption_key(name): name for name in reversed([*names, *_ALSO, *_ALSO_STAINS])}
    return tuple(sorted(once.values(), key=str.casefold))

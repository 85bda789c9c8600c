"""What a free-text caption says, by small tables: organism, organ, clearing, target, structure.

Apart from `captions`, because the tables grow with every new data set while the grammar does not.
Only what the text states is returned; a text that names two organisms gives none.

Sources: clearing methods as listed in Ueda et al., Nat. Rev. Neurosci. 21, 61 (2020); proteins by
their HGNC symbols and usual aliases; dyes and proteins that glow as their makers name them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from .stains import stated_wavelength_nm

# (name we write, pattern). Patterns match whole words in any letter case unless marked (?-i:...).
_ORGANISMS = (
    ("mouse", r"mouse|mice|murine"),
    ("rat", r"rats?"),
    ("human", r"humans?|patients?"),
    ("macaque", r"macaques?|rhesus"),
    ("marmoset", r"marmosets?"),
    ("zebrafish", r"zebra ?fish|danio rerio"),
    ("Drosophila", r"drosophila|fruit fl(?:y|ies)"),
    ("C. elegans", r"c\. ?elegans|caenorhabditis"),
    ("Arabidopsis", r"arabidopsis"),
    ("chicken", r"chick(?:en)?s?"),
    ("Xenopus", r"xenopus"),
)
_ORGANS = (
    ("brain", r"brains?"),
    ("spinal cord", r"spinal cords?"),
    ("tumour", r"tumou?rs?"),
    ("embryo", r"embryos?"),
    ("heart", r"hearts?"),
    ("kidney", r"kidneys?"),
    ("lung", r"lungs?"),
    ("liver", r"livers?"),
    ("retina", r"retinas?"),
    ("intestine", r"intestines?|gut"),
    ("lymph node", r"lymph nodes?"),
    ("organoid", r"organoids?"),
    ("ovule", r"ovules?"),
    ("root", r"roots?"),
)
_CLEARING = (
    ("iDISCO-cleared", r"i-?disco\+?(?:-cleared)?"),
    ("3DISCO-cleared", r"3-?disco(?:-cleared)?"),
    ("uDISCO-cleared", r"u-?disco(?:-cleared)?"),
    ("vDISCO-cleared", r"v-?disco(?:-cleared)?"),
    ("CUBIC-cleared", r"(?-i:CUBIC(?:-[LRXP])?)(?:-cleared)?"),
    ("CLARITY-cleared", r"(?-i:CLARITY)(?:-cleared)?"),
    ("SHIELD-cleared", r"(?-i:SHIELD)(?:-cleared)?"),
    ("PEGASOS-cleared", r"pegasos(?:-cleared)?"),
    ("BABB-cleared", r"babb(?:-cleared)?"),
    ("ECi-cleared", r"(?-i:ECi)(?:-cleared)?|ethyl cinnamate"),
    ("expanded", r"expanded|expansion microscopy"),
    ("cleared", r"cleared"),
)
_MODALITIES = (
    ("light-sheet microscopy", r"light-? ?sheet|lsfm|spim"),
    ("confocal microscopy", r"confocal"),
    ("two-photon microscopy", r"(?:two|2)-?photon"),
)
# Target (what is coloured), and the words that go with it in a short sentence.
_TARGETS = (
    ("c-Fos label", r"c-?fos"),
    ("tyrosine hydroxylase (TH) label", r"tyrosine hydroxylase|(?-i:TH)"),
    ("CTIP2 label", r"ctip2|bcl11b"),
    ("GFAP label", r"gfap|glial fibrillary acidic protein"),
    ("p75NTR label", r"p75ntr|ngfr"),
    ("dopamine beta-hydroxylase (DBH) label", r"dopamine beta-hydroxylase|(?-i:DBH)"),
    ("GPR85 label", r"gpr85"),
    ("5-HT2A receptor label", r"5-?ht-?2a|htr2a"),
    ("NeuN label", r"neun|rbfox3"),
    ("Iba1 label", r"iba-?1|aif1"),
    ("CD31 label", r"cd31|pecam-?1"),
    ("smooth muscle actin label", r"smooth muscle actin|acta2"),
    ("parvalbumin label", r"parvalbumin|pvalb"),
    ("somatostatin label", r"somatostatin"),
    ("amyloid beta label", r"amyloid[- ]beta|a\u03b2|abeta"),
    ("SYTO 24 stain", r"syto ?24"),
    ("SYTOX stain", r"sytox"),
    ("DAPI stain", r"dapi(?!-like)"),
    ("TO-PRO-3 stain", r"to-?pro-?3"),
    ("propidium iodide stain", r"propidium iodide"),
    ("lectin stain", r"lectin"),
    ("Congo red stain", r"congo red"),
    ("GFP expression", r"e?gfp|green fluorescent protein"),
    ("YFP expression", r"e?yfp"),
    ("tdTomato expression", r"td-?tomato"),
    ("mCherry expression", r"mcherry"),
)
_STRUCTURES = (
    ("nuclei", r"nucle(?:us|i)"),
    ("blood vessels", r"blood vessels?|vessels?|vasculature|capillar(?:y|ies)"),
    ("axons", r"axons?|axonal projections?"),
    ("microglia", r"microglia"),
    ("amyloid plaques", r"(?:amyloid )?plaques?"),
    ("astrocytes", r"astrocytes?"),
    ("neuropil", r"neuropil"),
    ("neurons", r"neurons?|neuronal (?:soma(?:ta)?|cell bod(?:y|ies))"),
    ("cell bodies", r"cell bod(?:y|ies)|soma(?:ta)?"),
    ("mitochondria", r"mitochondri(?:a|on)"),
)

_Table = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Attributes:
    """What a text states; None or empty where it says nothing (or contradicts itself)."""

    modality: str | None = None
    clearing: str | None = None
    organism: str | None = None
    organ: str | None = None
    targets: tuple[str, ...] = ()
    structures: tuple[str, ...] = ()
    wavelength_nm: float | None = None

    @property
    def specimen(self) -> str | None:
        """Clearing, organism and organ in one phrase, such as "cleared mouse brain"."""
        if self.organism is None and self.organ is None:
            return None
        parts = (self.clearing, self.organism, self.organ)
        return " ".join(part for part in parts if part)


def parse_attributes(text: str) -> Attributes:
    """Read the attributes that a caption states, by the tables of this file."""
    clearing = _found(text, _CLEARING)
    if len(clearing) > 1:
        # "an iDISCO-cleared brain" also holds the plain word; the method says more.
        clearing = [name for name in clearing if name != "cleared"]
    return Attributes(
        modality=_only(_found(text, _MODALITIES)),
        clearing=_only(clearing),
        organism=_only(_found(text, _ORGANISMS)),
        organ=_only(_found(text, _ORGANS)),
        targets=tuple(_found(text, _TARGETS)),
        structures=tuple(_found(text, _STRUCTURES)),
        wavelength_nm=stated_wavelength_nm(text),
    )


def _found(text: str, table: _Table) -> list[str]:
    """Names of a table that the text holds, in the order in which it mentions them."""
    places = []
    for name, pattern in table:
        # Not \b: names such as "5-HT2A" and "iDISCO+" begin or end with other characters.
        match = re.search(rf"(?<![\w])(?:{pattern})(?![\w])", text, re.IGNORECASE)
        if match:
            places.append((match.start(), name))
    return [name for _, name in sorted(places)]


def _only(names: list[str]) -> str | None:
    return names[0] if len(names) == 1 else None

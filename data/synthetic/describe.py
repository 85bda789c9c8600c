"""Captions of simulated volumes, written from what was drawn.

A caption is a function of its facts: two volumes with the same facts get the same caption, because
two wordings of one meaning would be negatives of each other in the contrastive loss. Different
facts get different wordings, so that no sentence frame stands for a structure.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from .catalogue import CATALOGUE
from .compose import Scene

_SHARP, _BLURRED = 1.0, 2.5  # mean distance from focus, in depths of field
_NOISY, _CLEAN = 60.0, 400.0  # photons of a bright voxel


@dataclass(frozen=True)
class Facts:
    """What a caption may say, in words; empty where nothing is to be said.

    Attributes:
        structure: such as "blood vessels".
        stain: what colours it.
        amount: such as "sparse".
        size: of objects, or calibre of tubes: "fine".
        pattern: such as "in clusters".
        also: a second structure that the stain colours.
        specimen: such as "iDISCO-cleared mouse brain".
        quality: what the optics did: "slightly out of focus".
        sampling: such as "anisotropic voxels".
    """

    structure: str
    stain: str
    amount: str = ""
    size: str = ""
    pattern: str = ""
    also: str = ""
    specimen: str = ""
    quality: str = ""
    sampling: str = ""


def facts_of(scene: Scene, optics: Mapping[str, float]) -> Facts:
    """Put the numbers of a scene and of its optics into words."""
    words = scene.words
    return Facts(
        structure=scene.main.title,
        stain=scene.stain,
        amount=words.get("amount", ""),
        size=words.get("size", words.get("calibre", "")),
        pattern=words.get("pattern", ""),
        also=", ".join(CATALOGUE[name].title for name in scene.stained[1:]),
        specimen=_specimen(optics["index"]),
        quality=_quality(optics),
        sampling=_sampling(scene),
    )


def caption(facts: Facts) -> str:
    """The caption of a volume: one wording, chosen by the facts themselves."""
    ways = wordings(facts)
    chosen = zlib.crc32("|".join(asdict(facts).values()).encode()) % len(ways)
    return ways[chosen]


def wordings(facts: Facts) -> list[str]:
    """Every full way to say the facts."""
    what_how = " ".join([_with(facts, facts.amount, facts.size), facts.pattern]).strip()
    where = f"a {facts.specimen}" if facts.specimen[0] not in "aeiou" else f"an {facts.specimen}"
    frames = (
        f"Simulated light-sheet microscopy of {where} with {_a(facts.stain)}; {what_how}",
        f"{_capital(what_how)} in a simulated light-sheet volume of {where}, {facts.stain}",
        f"A simulated light-sheet fluorescence volume with {_a(facts.stain)}. It shows {what_how}",
        f"{_capital(facts.stain)} in {where}, imaged by simulated light-sheet microscopy, showing "
        f"{what_how}",
        f"Volume of {where}, {facts.stain}: {what_how}, seen with a simulated light sheet",
        f"In this simulated light-sheet image of {where}, {_a(facts.stain)} marks {what_how}",
    )
    extras = [f"{facts.also} are faintly coloured as well"] if facts.also else []
    extras += [text for text in (facts.quality, facts.sampling) if text]
    tails = [""]
    if extras:
        joined = "; ".join(extras)
        tails = [f". {_capital(joined)}", f"; {joined}"]
    return [f"{frame}{tail}." for frame in frames for tail in tails]


def short_templates(facts: Facts) -> list[str]:
    """Short ways to name what is seen, for zero-shot classification and as variants."""
    some, sized = _with(facts, facts.amount), _with(facts, facts.size)
    return [
        f"{_capital(facts.structure)}.",
        f"{_capital(some)}.",
        f"{_capital(sized)}.",
        f"{_capital(facts.structure)}, {facts.stain}.",
        f"A light-sheet volume of {facts.structure}.",
        f"{_capital(facts.stain)} showing {facts.structure}.",
        f"{_capital(facts.structure)} in {facts.specimen}.",
    ]


def _with(facts: Facts, *words: str) -> str:
    """The structure with its adjectives: "fine axons", "axons of medium calibre"."""
    after = [word for word in words if word.startswith("of ")]
    before = [word for word in words if word and word not in after]
    return " ".join([*before, facts.structure, *after])


def _specimen(index: float) -> str:
    """Which clearing goes with a refractive index.

    Ueda et al., Nat. Rev. Neurosci. 21, 61 (2020): dibenzyl ether and ethyl cinnamate 1.56, CUBIC-R
    about 1.52, aqueous gels such as SHIELD and CLARITY about 1.46; water is 1.33.
    """
    for least, name in ((1.535, "iDISCO-cleared "), (1.49, "CUBIC-cleared "), (1.43, "cleared ")):
        if index >= least:
            return f"{name}mouse brain"
    return "mouse brain"


def _quality(optics: Mapping[str, float]) -> str:
    depth_of_field = optics["index"] * optics["wavelength_um"] / optics["na"] ** 2
    away = abs(optics["defocus_um"]) / depth_of_field
    said = []
    if away > _BLURRED:
        said.append("out of focus")
    elif away > _SHARP:
        said.append("slightly out of focus")
    if optics["photons"] < _NOISY:
        said.append("with strong noise")
    elif optics["photons"] > _CLEAN:
        said.append("with little noise")
    if optics["stripes"] > 0.2:
        said.append("with shadow stripes along the light path")
    return ", ".join(said)


def _sampling(scene: Scene) -> str:
    along, across, _ = scene.grid.voxel_size_um
    return "planes are far apart" if along > 2.5 * across else ""


def _a(stain: str) -> str:
    return f"{'an' if stain[0].lower() in 'aeiou' else 'a'} {stain}"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]

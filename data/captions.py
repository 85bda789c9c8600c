"""Captions: when two are the same, and truthful ways to say one of them differently.

Nothing is ever added that the caption or the list does not state; words are only left out, put in
another order, or taken from the row's stain and structure.
"""

from __future__ import annotations

import random
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import replace

from .attributes import parse_attributes
from .row import Row
from .stains import parse_stain

# Sentences end at . ! ? before a capital or a digit, but not after an initial ("C. elegans") or an
# abbreviation.
_SENTENCE_END = re.compile(
    r"(?<!\b[A-Z]\.)(?<!e\.g\.)(?<!i\.e\.)(?<!ca\.)(?<=[.!?])\s+(?=[A-Z0-9(])"
)

# Where a choice, a condition or a negation is spoken of, leaving a clause out can turn the meaning.
_DELICATE = re.compile(
    r"\b(?:or|nor|either|neither|if|unless|except|but|although|not|no|without|lacking|rather)\b",
    re.IGNORECASE,
)
# A clause that only adds to the one before it.
_SUPPLEMENT = re.compile(
    r"(?:a|an|the|which|where|with|consistent|reflecting|and|\w+ing)\b", re.IGNORECASE
)
# A clause before the main one that only says how or where.
_OPENING = re.compile(r"(?:in|at|on|from|acquired|imaged|recorded|captured)\b", re.IGNORECASE)
# What a structure looks like, where it is not named.
_APPEARANCE = re.compile(
    r"\b(?:cells?|fib(?:re|er)s?|tubes?|blobs?|puncta|deposits?|processes|branch\w+|filament\w+)\b",
    re.IGNORECASE,
)
_ADJECTIVES = 2  # a clause before the last of at most so many words is an adjective before a noun

# Each is used only where the row or its caption fills every slot.
_TEMPLATES = (
    "{structure}",
    "{stain}",
    "{structure}, {stain}",
    "{stain}, {structure}",
    "{stain} showing {structure}",
    "{structure} seen with {stain}",
    "a 3D image of {structure}",
    "a volume with {structure}, {stain}",
    "{structure} in {specimen}",
    "{stain} in {specimen}",
    "{specimen}, {structure}",
    "{specimen}, {stain}",
    "{specimen}: {structure}, {stain}",
    "{stain} in {specimen}, showing {structure}",
    "{structure} in {specimen}, {stain}",
    "{modality} of {structure}",
    "{modality}, {stain}",
    "{modality} of {structure}, {stain}",
    "{modality} of {specimen}, {stain}",
    "{modality} of {specimen} with {structure}",
    "{modality} of {structure} in {specimen}, {stain}",
    "{stain}, {channel}",
    "{structure}, {channel}",
    "{modality}, {channel}, {stain} in {specimen}",
)


def caption_of(row: Row) -> str | None:
    """The caption of a row, spaces tidied; None where the list has none."""
    text = " ".join(row.caption.split()) if row.caption else ""
    return text or None


def missing_captions(rows: Sequence[Row]) -> list[Row]:
    """Rows without a caption, in order; image and text can only be aligned where this is empty."""
    return [row for row in rows if caption_of(row) is None]


def caption_key(text: str) -> str:
    """What makes two captions one: the text in Unicode NFKC, spaces tidied, in one letter case."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def caption_ids(rows: Sequence[Row]) -> tuple[list[int], list[str]]:
    """Number the distinct captions of a list.

    Returns:
        The caption id of each row, -1 where it has none; and the captions, at their ids, each as
        first written. Ids follow the order of the keys, so that the order of rows does not matter.
    """
    texts: dict[str, str] = {}
    for row in rows:
        text = caption_of(row)
        if text is not None:
            texts.setdefault(caption_key(text), text)
    number = {key: index for index, key in enumerate(sorted(texts))}
    ids = [number[caption_key(text)] if (text := caption_of(row)) else -1 for row in rows]
    return ids, [texts[key] for key in sorted(texts)]


def caption_variants(caption: str, row: Row, count: int, seed: int) -> list[str]:
    """Say a caption in several truthful ways.

    Sentences are left out or reordered (one that tells what is seen stays), clauses are left out,
    or a short sentence is built from the row's stain and structure.

    Args:
        caption: the full caption.
        row: its row; its stain and structure go into the short sentences.
        count: how many variants, at least 1.
        seed: chooses them; the same seed gives the same variants on every machine.

    Returns:
        `count` texts: first the full caption, then different ones; when the caption allows fewer
        than `count` different ways, they repeat in order.
    """
    draw = random.Random(f"{seed}/{caption_key(caption)}")
    full = " ".join(caption.split())
    found = {caption_key(full): full}
    templates = _filled_templates(full, row)
    draw.shuffle(templates)
    sentences = _SENTENCE_END.split(full)
    # Every way of drawing is tried often enough that short captions give all that they can.
    for attempt in range(8 * count):
        if len(found) >= count:
            break
        if templates and attempt % 2:
            text = templates.pop()
        else:
            text = _thinned(sentences, draw)
        found.setdefault(caption_key(text), text)
    for text in templates:
        if len(found) < count:
            found.setdefault(caption_key(text), text)
    ways = list(found.values())[:count]
    return [ways[index % len(ways)] for index in range(count)]


def variant_table(rows: Sequence[Row], count: int, seed: int) -> list[list[str]]:
    """Variants of every distinct caption of a list, none shared between two captions.

    A variant that fits two captions ("microglia") would be a positive of one and a negative of the
    other, so it is left to neither; the full captions always stay.

    Returns:
        [number of captions][count] texts, in the order of `caption_ids`.
    """
    ids, captions = caption_ids(rows)
    tables = []
    for index, caption in enumerate(captions):
        alike = [row for row, number in zip(rows, ids, strict=True) if number == index]
        # Only what all volumes under this caption share may be said of each of them.
        shared = {
            name: getattr(alike[0], name)
            if len({getattr(row, name) for row in alike}) == 1
            else None
            for name in ("stain", "structure")
        }
        tables.append(caption_variants(caption, replace(alike[0], **shared), 4 * count, seed))
    users: dict[str, set[int]] = {}
    for index, texts in enumerate(tables):
        for text in texts:
            users.setdefault(caption_key(text), set()).add(index)
    result = []
    for texts in tables:
        own = [text for text in texts[1:] if len(users[caption_key(text)]) == 1]
        ways = list(dict.fromkeys([texts[0], *own]))[:count]
        result.append([ways[index % len(ways)] for index in range(count)])
    return result


def _filled_templates(caption: str, row: Row) -> list[str]:
    said = parse_attributes(caption)
    stain = parse_stain(row.stain) if row.stain else None
    wavelength_nm = (stain and stain.wavelength_nm) or said.wavelength_nm
    structure = row.structure or (said.structures[0] if said.structures else None)
    specimen = said.specimen
    if structure and specimen and structure.casefold() in specimen.casefold():
        specimen = None  # "embryo in embryo"
    slots = {
        "structure": structure,
        # Several targets in one caption are a scheme, not a stain; then only the list may say.
        "stain": stain.name if stain else (said.targets[0] if len(said.targets) == 1 else None),
        "specimen": specimen,
        "modality": said.modality,
        "channel": f"{wavelength_nm:g} nm channel" if wavelength_nm else None,
    }
    known = {name: text for name, text in slots.items() if text}
    filled = []
    for template in _TEMPLATES:
        if set(re.findall(r"{(\w+)}", template)) <= known.keys():
            filled.append(_as_sentence(template.format(**known)))
    return filled


def _thinned(sentences: list[str], draw: random.Random) -> str:
    """Some of the sentences in some order, some clauses left out."""
    best = max(_telling(s) for s in sentences)
    telling = [s for s in sentences if _telling(s) == best]
    keep = [draw.choice(telling)]
    keep += [s for s in sentences if s is not keep[0] and draw.random() < 0.5]
    draw.shuffle(keep)
    return " ".join(_thin_clauses(s, draw) if draw.random() < 0.6 else s for s in keep)


def _telling(text: str) -> int:
    """How much a text tells: 2 what is seen, 1 only in which specimen, 0 neither."""
    said = parse_attributes(text)
    if said.targets or said.structures or _APPEARANCE.search(text):
        return 2
    return 1 if said.specimen else 0


def _thin_clauses(sentence: str, draw: random.Random) -> str:
    """Leave out clauses of a sentence that it stays true without."""
    if _DELICATE.search(sentence):
        return sentence
    parts = [part.strip() for part in sentence.rstrip(".").split(";")]
    kept = [part for part in parts if draw.random() < 0.6] or [draw.choice(parts)]
    thinned = []
    for part in kept:
        clauses = part.split(", ")
        last = len(clauses) - 1
        chosen = [
            clause
            for index, clause in enumerate(clauses)
            if not _is_droppable(clause, index, last) or draw.random() < 0.5
        ]
        thinned.append(", ".join(chosen or clauses))
    text = _as_sentence("; ".join(thinned))
    return text if _telling(text) == _telling(sentence) else sentence


def _is_droppable(clause: str, index: int, last: int) -> bool:
    if index == 0:
        return last > 0 and bool(_OPENING.match(clause) or len(clause.split()) <= _ADJECTIVES)
    short = len(clause.split()) <= _ADJECTIVES
    if _SUPPLEMENT.match(clause):
        # "producing intense" before "homogeneous labeling": its noun is still to come.
        return index == last or not short
    return index < last and short


def _as_sentence(text: str) -> str:
    """First letter large (unless the word has its own spelling, as iDISCO), a full stop."""
    first = text.split(" ", 1)[0]
    plain = first[1:] == first[1:].lower() and "-" not in first[:2]
    return (text[0].upper() + text[1:] if plain else text).rstrip(".") + "."

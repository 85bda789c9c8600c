"""Captions: identity, attributes, and variants that only ever say what the caption says."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from luxvox.data.attributes import parse_attributes
from luxvox.data.captions import (
    caption_ids,
    caption_key,
    caption_of,
    caption_variants,
    missing_captions,
    variant_table,
)
from luxvox.data.row import Row
from luxvox.data.stains import parse_stain

LONG = (
    "Light-sheet fluorescence microscopy patch from a cleared adult wildtype (WT) mouse brain. "
    "Tissue was immunostained for tyrosine hydroxylase (TH), a marker of dopaminergic neurons. "
    "Fluorescence was captured in the 639 nm channel. TH signal is localized to the cytoplasm of "
    "neuronal soma, producing intense, homogeneous labeling of dopaminergic cells."
)
SHORT = (
    "Light-sheet microscopy of an iDISCO-cleared mouse brain with labelled axons; thin, winding, "
    "bright fibres."
)
# Words that templates may put between those of the caption and the row.
GLUE = set(
    "a an the in of with and seen showing image 3d volume microscopy label channel nm".split()
)


def _row(caption: str | None = None, **values: object) -> Row:
    return replace(Row(id="r", image=Path("/r.tif"), caption=caption), **values)


def _words(text: str) -> set[str]:
    return set(re.findall(r"[\w-]+", text.casefold()))


def test_captions_are_one_by_their_words_not_their_typing() -> None:
    assert caption_key("C-Fos  nuclei\n in\u00a0brain") == caption_key("c-fos NUCLEI in brain")
    assert caption_key("\uff24API") == caption_key("DAPI")  # full-width letters
    assert caption_key("nuclei") != caption_key("nucleus")


def test_ids_follow_the_caption_not_the_row() -> None:
    rows = [_row("Vessels."), _row(None), _row("Nuclei."), _row("  vessels. "), _row("")]
    ids, captions = caption_ids(rows)
    assert ids == [1, -1, 0, 1, -1]
    assert captions == ["Nuclei.", "Vessels."]
    assert caption_ids(rows[::-1])[0] == ids[::-1]
    assert missing_captions(rows) == [rows[1], rows[4]]
    assert caption_of(rows[3]) == "vessels."


def test_attributes_of_a_real_caption() -> None:
    said = parse_attributes(LONG)
    assert (said.organism, said.organ, said.clearing) == ("mouse", "brain", "cleared")
    assert said.specimen == "cleared mouse brain"
    assert said.targets == ("tyrosine hydroxylase (TH) label",)
    assert said.structures[0] == "neurons"
    assert said.wavelength_nm == 639
    assert parse_attributes(SHORT).specimen == "iDISCO-cleared mouse brain"
    assert parse_attributes(SHORT).structures == ("axons",)


def test_attributes_are_not_guessed() -> None:
    # Two organisms, "th" inside and as a small word, a particle size: nothing may be concluded.
    said = parse_attributes("Both mouse and human samples, the 4th with 100 nm beads")
    assert said.organism is None
    assert said.targets == ()
    assert said.wavelength_nm is None
    assert parse_attributes("").specimen is None


@pytest.mark.parametrize(
    ("text", "name", "key", "nm"),
    [
        ("axon label, 647 nm", "axon label", "axon", 647.0),
        ("c-Fos immunolabel", "c-Fos immunolabel", "cfos", None),
        ("cFos", "cFos", "cfos", None),
        ("DAPI (405 nm)", "DAPI", "dapi", 405.0),
        ("label", "label", "label", None),
    ],
)
def test_stain_texts(text: str, name: str, key: str, nm: float | None) -> None:
    stain = parse_stain(text)
    assert (stain.name, stain.key, stain.wavelength_nm) == (name, key, nm)


@pytest.mark.parametrize("caption", [LONG, SHORT])
def test_variants_are_true_distinct_and_repeatable(caption: str) -> None:
    row = _row(caption, stain="axon label, 647 nm" if caption is SHORT else None)
    variants = caption_variants(caption, row, 12, seed=4)
    assert variants[0] == caption
    assert len({caption_key(text) for text in variants}) == 12
    known = _words(caption) | _words(row.stain or "") | GLUE | {"neurons"}
    for text in variants:
        assert _words(text) <= known, text
        assert text.endswith(".")
    assert variants == caption_variants(caption, row, 12, seed=4)
    assert variants != caption_variants(caption, row, 12, seed=5)
    assert any(len(text) < len(caption) / 2 for text in variants)


def test_every_variant_tells_what_is_seen() -> None:
    caption = "Confocal volume. Thin axons run through it. One channel of four was kept."
    for text in caption_variants(caption, _row(caption), 30, seed=0):
        assert "axons" in text.casefold(), text


def test_sentences_that_deny_or_choose_stay_whole() -> None:
    caption = "Nuclei are stained, not vessels, and axons or dendrites, which glow, are absent."
    for text in caption_variants(caption, _row(caption), 30, seed=0):
        assert text == caption or len(text.split()) <= 6, text


def test_an_adjective_never_loses_its_noun() -> None:
    for caption, left, noun in ((SHORT, "winding", "fibres"), (LONG, "intense", "labeling")):
        texts = caption_variants(caption, _row(caption), 40, seed=1)
        assert sum(left in text for text in texts) > 2
        assert all(noun in text for text in texts if left in text)
        assert any("a marker of" not in text for text in texts if "immunostained" in text) or (
            caption is SHORT
        )


def test_a_caption_with_few_ways_repeats_them() -> None:
    variants = caption_variants("Something odd", _row("Something odd"), 5, seed=0)
    assert len(variants) == 5
    assert variants[0] == "Something odd"
    assert {caption_key(text).rstrip(".") for text in variants} == {"something odd"}


def test_no_variant_serves_two_captions() -> None:
    one = "Light-sheet microscopy of a cleared mouse brain with microglia; small somata."
    two = "Live imaging of microglia; sparse branching cells on a dark background."
    rows = [_row(one, structure="microglia"), _row(two, structure="microglia"), _row(one)]
    shared = caption_variants(two, rows[1], 20, 0)
    assert "Microglia." in shared
    table = variant_table(rows, 6, seed=0)
    assert [len(texts) for texts in table] == [6, 6]
    assert table[0][0] == one
    keys = [{caption_key(text) for text in texts} for texts in table]
    assert keys[0].isdisjoint(keys[1])
    assert all(len(k) > 2 for k in keys)


def test_variants_of_the_shared_list_are_distinct(shared_data: Path) -> None:
    from luxvox.data.manifest import read_dataset

    rows = read_dataset(shared_data / "pretrain" / "dataset.csv").rows
    ids, captions = caption_ids(rows)
    assert len(captions) == 25
    assert min(ids) == 0
    table = variant_table(rows, 8, seed=0)
    assert sum(len(set(texts)) for texts in table) > 7 * 24

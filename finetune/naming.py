"""What the foreground is called, and the vector that says so to the decoder."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from ..models.catalog import SHIPPED, find_folder
from ..models.checkpoint import load_weights
from ..models.text_vectors import KnownNames, read_names, text_vectors
from .examples import Example
from .start import DEFAULT_WEIGHTS

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


def named(structures: Sequence[str], folder: str | None, weights: str | None) -> Tensor | None:
    """[S, T], the vectors of names; None where there are none.

    Args:
        structures: texts.
        folder: of the sentence encoder; None = the installed package.
        weights: as in the recipe; what is started from may know usual names by heart. From scratch
            the table of the weights that ship serves, which is of the same sentence encoder.

    Raises:
        InputError: a name that is not known, and no sentence encoder.
    """
    if not structures:
        return None
    known = None if folder is not None else _known(weights)
    return text_vectors(
        structures, known, folder, None, weights or DEFAULT_WEIGHTS, ", or set structure=none"
    )


def _known(weights: str | None) -> KnownNames | None:
    shipped = weights in (None, "none")
    if shipped and DEFAULT_WEIGHTS not in SHIPPED:
        return None
    where = DEFAULT_WEIGHTS if weights is None or shipped else weights
    tensors, config = load_weights(find_folder(where))
    return read_names(config.get("architecture", {}), tensors, where)

"""KEY=VALUE words of a user, as they are meant; apart because two commands read them."""

from __future__ import annotations

from collections.abc import Sequence


def as_meant(overrides: Sequence[str]) -> list[str]:
    """Let `steps=N` count for one shot too, unless `one_shot_steps` is said beside it.

    The shipped recipes name both numbers: whoever asks for 10 steps would get 150 at K = 1.

    Args:
        overrides: KEY=VALUE.

    Returns:
        Words for `load_recipe`.
    """
    said = {word.partition("=")[0] for word in overrides}
    if "steps" in said and "one_shot_steps" not in said:
        return [*overrides, "one_shot_steps=null"]
    return list(overrides)

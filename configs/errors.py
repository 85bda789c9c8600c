"""The one error that means "the user can fix this". It stands lowest so that every room can raise
it."""

from __future__ import annotations


class InputError(ValueError):
    """A mistake in what the user gave: a file, a key, an axis, an option.

    The message is one line: which file or key, what was found, what was expected, what to do. The
    command line prints it without a traceback and ends with exit code 2.
    """

"""Text from files and frameworks, made safe to print."""

from __future__ import annotations

import re

# Control characters, surrogates, and the marks that reorder text: a layer's name in a stranger's
# file must not drive the terminal.
_UNPRINTABLE = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)


def printable(text: str) -> str:
    """The text with a question mark in the place of everything that a terminal would act on.

    Examples
    --------
    >>> printable("lstm" + chr(27) + "[31m")
    'lstm?[31m'
    """
    return _UNPRINTABLE.sub("?", text)

"""Regular expressions that are compiled when they are used for the first time.

Compiling all that the modules of one command have takes longer than its requests, and most of them are for
what a user seldom writes. A type checker sees `re.compile`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from re import compile as expression

__all__ = ["Late", "compiled", "expression"]


class Late:
    """A pattern in the place of the one of `re`: each method is taken from there once."""

    def __init__(self, pattern: str | bytes, flags: int = 0) -> None:
        self.pattern = pattern
        self.given_flags = flags

    def __getattr__(self, name: str) -> Any:
        # Copies and pickles look for methods that a pattern does not have.
        if name.startswith("_"):
            raise AttributeError(name)
        # `re` keeps what it compiled. The next look finds the attribute, and not this method.
        found = getattr(re.compile(self.pattern, self.given_flags), name)
        setattr(self, name, found)
        return found


def compiled(text: str) -> re.Pattern[str]:
    """Return the pattern of a user; raise ValueError with the reason if `text` is none.

    It may take any time on a text: use it on texts that somebody trusted has written or signed.
    """
    try:
        return re.compile(text)
    except (re.error, RecursionError, OverflowError) as error:
        raise ValueError(str(error)) from error


if not TYPE_CHECKING:
    expression = Late

"""Which name of a variable a misspelt one may stand for."""

from __future__ import annotations

from difflib import SequenceMatcher
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection

# The least similarity (0 to 1) of a name that is suggested; more is wanted where no whole word is the same.
_CLOSE, _CLOSE_WITHOUT_WORD = 0.5, 0.6
# A word that is so many times as long as every name is similar to none; comparing takes quadratic time.
_LONGEST = 3


def closest(rest: str, kinds: Collection[str]) -> tuple[tuple[str, str | None], ...]:
    """Return the kind and the suffix of each name that `rest` is most similar to; empty for none.

    `rest` is a kind, perhaps with a separator that is not a letter, and a suffix, which may be None.
    """
    start = rest[: _LONGEST * max(map(len, kinds))]
    heads = [start, *(start[:i] for i, character in enumerate(start) if not character.isalpha())]
    candidates = [
        (SequenceMatcher(None, head.upper(), kind).ratio(), kind, head) for kind in kinds for head in heads
    ]
    best = max(ratio for ratio, _, _ in candidates)
    found = [(kind, head) for ratio, kind, head in candidates if ratio == best]
    shares_word = any({*head.upper().split("_")} & {*kind.split("_")} for kind, head in found)
    if best < (_CLOSE if shares_word else _CLOSE_WITHOUT_WORD):
        return ()
    return tuple(dict.fromkeys((kind, rest[len(head) + 1 :] or None) for kind, head in found))

"""How an error's text is laid out for people (imgpkg-spec 1.9)."""

from __future__ import annotations

import re
from itertools import pairwise

# A login in an address, wherever somebody has put one: in an argument, in a file, in an answer.
_LOGIN = re.compile(r"://[^\s/?#@]*@")
_OPEN, _CLOSE = "([{", ")]}"
# No error of ours is as deep; a text of others may be, and each line would be longer than the one before.
_DEEPEST = 20


def laid_out(text: str) -> str:
    """Break the first line after each `: ` before a capital letter and indent by two more blanks each time.

    Lines that were there are kept, for `str()` of an error has no others than ours. Text in brackets, and
    between `...|` and `|...`, is left in one piece; nothing is ever dropped, but a login in an address.
    """
    first, newline, rest = _LOGIN.sub("://REDACTED@", text).partition("\n")
    cuts = [0, *_cuts(first), len(first)]
    chunks = [first[start:end] for start, end in pairwise(cuts)]
    *above, last = (_indented(chunk, depth) for depth, chunk in enumerate(chunks))
    return "\n".join([*(line.removesuffix(" ") for line in above), last]) + newline + rest


def _indented(chunk: str, depth: int) -> str:
    return "  " * min(depth, _DEEPEST) + chunk


def _cuts(line: str) -> list[int]:
    """Return where the line is cut: after the blank of `: X` outside of every group."""
    cuts, depth, at = [], 0, 0
    while at < len(line):
        if line.startswith("...|", at) and at + 4 < len(line):
            end = line.find("|...", at + 4)
            at = len(line) if end < 0 else end + 4
            continue
        letter = line[at]
        if letter in _OPEN:
            depth += 1
        elif letter in _CLOSE:
            depth = max(0, depth - 1)
        elif depth == 0 and line.startswith(": ", at) and "A" <= line[at + 2 : at + 3] <= "Z":
            cuts.append(at + 2)
        at += 1
    return cuts

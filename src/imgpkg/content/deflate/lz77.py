"""Find what repeats earlier bytes, exactly as the original's encoder finds it.

A token is an int: a literal byte, or `length << 16 | distance`, which is above every literal.
"""

from __future__ import annotations

MARGIN = 15
REACH = 32768
LAST_LITERAL = 255

_SHORTEST = 4
_LONGEST_EXTENSION = 254
_TABLE_SHIFT = 18
_MULTIPLIER = 0x1E35A7BD
_WORD = 0xFFFFFFFF
# The search goes on byte by byte at first, and in longer steps the longer it finds nothing.
_FIRST_SKIP = 32
_SKIP_SHIFT = 5


def length_and_distance(token: int) -> tuple[int, int]:
    """Take the token of a match apart."""
    return token >> 16, token & 0xFFFF


class Matcher:
    """Turns blocks into tokens; matches may begin in the block before, at most 32768 bytes back."""

    def __init__(self) -> None:
        # By hash: where four bytes were last seen, counted from the very first byte, and which.
        self._seen: dict[int, tuple[int, int]] = {}
        self._previous = b""
        self._position = 0

    def advance(self, block: bytes) -> None:
        """Make `block` the one before the next."""
        self._previous = block
        self._position += len(block)

    def tokens(self, block: bytes) -> list[int]:
        """Return what stands for `block`, in order."""
        found: list[int] = []
        joined = self._previous + block
        covered = at = 0
        while (match := self._search(block, at)) is not None:
            start, candidate = match
            found += block[covered:start]
            covered = self._emit(joined, block, start, candidate, found)
            at = covered + 1
        found += block[covered:]
        return found

    def _search(self, block: bytes, at: int) -> tuple[int, int] | None:
        """Look from `at` on for four bytes seen before; return where, and where they were."""
        last = len(block) - MARGIN
        skip = _FIRST_SKIP
        while True:
            step = skip >> _SKIP_SHIFT
            skip += step
            if at + step > last:
                return None
            candidate = self._candidate(block, at)
            if candidate is not None:
                return at, candidate
            at += step

    def _emit(self, joined: bytes, block: bytes, at: int, candidate: int, found: list[int]) -> int:
        """Append the match at `at` and those that follow without a gap; return where they end."""
        start = len(joined) - len(block)
        again: int | None = candidate
        while again is not None:
            limit = min(_LONGEST_EXTENSION, len(block) - at - _SHORTEST)
            length = _SHORTEST + _common(joined, start + again + _SHORTEST, start + at + _SHORTEST, limit)
            found.append(length << 16 | at - again)
            at += length
            if at >= len(block) - MARGIN:
                break
            self._candidate(block, at - 1)
            again = self._candidate(block, at)
        return at

    def _candidate(self, block: bytes, at: int) -> int | None:
        """Remember the four bytes at `at`; return where the same were seen, relative to the block."""
        word = int.from_bytes(block[at : at + _SHORTEST], "little")
        slot = (word * _MULTIPLIER & _WORD) >> _TABLE_SHIFT
        here = self._position + at
        position, seen = self._seen.get(slot, (-REACH - 1, 0))
        self._seen[slot] = (here, word)
        if seen != word or here - position > REACH:
            return None
        return position - self._position


def _common(data: bytes, left: int, right: int, limit: int) -> int:
    """Return how many bytes are the same from `left` and from `right` on, at most `limit`."""
    pairs = zip(data[left : left + limit], data[right : right + limit], strict=False)
    return next((index for index, (one, other) in enumerate(pairs) if one != other), limit)

"""LZ77: find repeated bytes, in the same places as the original's encoder.

A token is an int: a literal byte, or the match `length << 16 | distance`, which is larger than any literal.
"""

from __future__ import annotations

# The original ends its search so many bytes before the end of a block.
MARGIN = 15
REACH = 32768
LAST_LITERAL = 255

_SHORTEST = 4
_LONGEST_EXTENSION = 254
_TABLE_SHIFT = 18
_MULTIPLIER = 0x1E35A7BD
_WORD = 0xFFFFFFFF
# The search moves by one byte at first, and by longer steps the longer it finds no match.
_FIRST_SKIP = 32
_SKIP_SHIFT = 5


def length_and_distance(token: int) -> tuple[int, int]:
    """Return the length and the distance of a match."""
    return token >> 16, token & 0xFFFF


class Matcher:
    """Turn blocks into tokens; a match can begin in the block before, at most 32768 bytes back."""

    def __init__(self) -> None:
        # By hash: the last position of four bytes, counted from the start of the stream, and the bytes.
        self._seen: dict[int, tuple[int, int]] = {}
        self._previous = b""
        self._position = 0

    def advance(self, block: bytes) -> None:
        """Continue after `block`, to which matches of the next block can refer."""
        self._previous = block
        self._position += len(block)

    def tokens(self, block: bytes) -> list[int]:
        """Return the tokens of `block` in order."""
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
        """Search from `at` for four bytes seen before; return their position and the earlier one."""
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
        """Append the match at `at` and the matches directly after it; return where the last one ends."""
        start = len(joined) - len(block)
        again: int | None = candidate
        while again is not None:
            limit = min(_LONGEST_EXTENSION, len(block) - at - _SHORTEST)
            length = _SHORTEST + _common(joined, start + again + _SHORTEST, start + at + _SHORTEST, limit)
            found.append(length << 16 | at - again)
            at += length
            if at >= len(block) - MARGIN:
                break
            # Of the positions inside a match, the original stores only the last one.
            self._candidate(block, at - 1)
            again = self._candidate(block, at)
        return at

    def _candidate(self, block: bytes, at: int) -> int | None:
        """Store the position of the four bytes at `at`; return the earlier one, relative to the block."""
        word = int.from_bytes(block[at : at + _SHORTEST], "little")
        slot = (word * _MULTIPLIER & _WORD) >> _TABLE_SHIFT
        here = self._position + at
        position, seen = self._seen.get(slot, (-REACH - 1, 0))
        self._seen[slot] = (here, word)
        if seen != word or here - position > REACH:
            return None
        return position - self._position


def _common(data: bytes, left: int, right: int, limit: int) -> int:
    """Return how many bytes from `left` equal those from `right`, at most `limit`."""
    pairs = zip(data[left : left + limit], data[right : right + limit], strict=False)
    return next((index for index, (one, other) in enumerate(pairs) if one != other), limit)

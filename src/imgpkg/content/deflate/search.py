"""LZ77 in few steps of the interpreter: the tokens of `lz77.py`, with work for all positions done at once.

A long integer is a vector here: with every eighth byte in a lane of its own, one multiplication computes
the slots of all these bytes. What is left for the interpreter is a short loop over the bytes that no match
covers, and one over the matches.
"""

from __future__ import annotations

from array import array
from sys import byteorder
from typing import TYPE_CHECKING, NamedTuple

from imgpkg.content.deflate.lz77 import MARGIN, REACH

if TYPE_CHECKING:
    from collections.abc import Iterable

# A smaller number in the order of tokens is a literal byte.
FIRST_MATCH = 256

_SLOTS = 1 << 14
# The state before the first byte of a stream.
EMPTY = bytes(2 * _SLOTS)

_SEGMENT, _LANE = 1 << 16, 8
_MULTIPLIER = 0x1E35A7BD
_SLOT_SHIFT, _MARK_SHIFT = 18, 10
_NO_MARK = 256
_LONGEST = 258
_SINGLE_STEPS, _STEP_SHIFT = 32, 5


def _in_all_lanes(value: int) -> int:
    return int.from_bytes(value.to_bytes(_LANE, "little") * (_SEGMENT // _LANE), "little")


_WORD_BITS, _SLOT_BITS, _MARK_BITS = (_in_all_lanes(bits) for bits in (0xFFFFFFFF, _SLOTS - 1, 0xFF))


class BlockTokens(NamedTuple):
    """The tokens of a block.

    `order` has literal bytes, and for each match the next number from `FIRST_MATCH` on; `literals` are the
    literal bytes alone, `lengths` and `distances` those of the matches.
    """

    order: list[int]
    literals: bytes
    lengths: list[int]
    distances: list[int]


class Window:
    """Bytes; and for each position the number that four of them are, its slot in the table, and its mark.

    Other numbers with the same slot have another mark, but for one in 256.
    """

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.words, self.slots, self.marks = array("I"), array("H"), bytearray()
        for start in range(0, len(data), _SEGMENT):
            # The last bytes of a segment are in words with the first of the next one.
            part = data[start : start + _SEGMENT + _LANE]
            self._add(part + bytes(_SEGMENT + _LANE - len(part)))

    @property
    def columns(self) -> tuple[bytes, array[int], array[int], bytearray]:
        """The bytes, words, slots and marks."""
        return self.data, self.words, self.slots, self.marks

    def _add(self, part: bytes) -> None:
        words = array("I", bytes(4 * _SEGMENT))
        for offset in range(4):
            words[offset::4] = array("I", part[offset : offset + _SEGMENT])
        number = int.from_bytes(part, "little")
        products = [((number >> 8 * place) & _WORD_BITS) * _MULTIPLIER for place in range(_LANE)]
        slots = array("H", _slots(products))
        if byteorder == "big":  # pragma: no cover - the tests run on little-endian machines
            words.byteswap()
            slots.byteswap()
        self.words += words
        self.slots += slots
        self.marks += _beside(((product >> _MARK_SHIFT) & _MARK_BITS for product in products), 8)


def _slots(products: list[int]) -> bytes:
    """Return the slots of all positions, of two bytes each; a product has every eighth position."""
    slots = [(product >> _SLOT_SHIFT) & _SLOT_BITS for product in products]
    joined = array("Q", EMPTY[:8] * (2 * _SEGMENT // _LANE))
    # A lane has room for the slots of four positions.
    joined[0::2] = array("Q", _beside(slots[:4], 16))
    joined[1::2] = array("Q", _beside(slots[4:], 16))
    return joined.tobytes()


def _beside(numbers: Iterable[int], width: int) -> bytes:
    """Join numbers whose lanes have values of `width` bits: in each lane, one beside the other."""
    joined = 0
    for place, number in enumerate(numbers):
        joined |= number << width * place
    return joined.to_bytes(_SEGMENT, "little")


class MatchSearch:
    """Find the matches of one block after the other in a window."""

    def __init__(self, window: Window) -> None:
        self._window = window
        # By slot: the last position that was stored, and its mark. Without a mark there is no position.
        self._table = [0] * _SLOTS
        self._marks = [_NO_MARK] * _SLOTS

    def seed(self, start: int, end: int) -> None:
        """Store all positions from `start` to `end`: more than any search does."""
        last = dict(zip(self._window.slots[start:end], range(start, end), strict=True))
        for slot, position in last.items():
            self._store(slot, position)

    def restore(self, state: bytes, end: int) -> None:
        """Continue at `end`, where another search had `state`."""
        for slot, distance in enumerate(array("H", state)):
            if distance:
                self._store(slot, end - distance)

    def state(self, end: int) -> bytes:
        """Return what the tokens after `end` depend on, apart from the last 32768 bytes.

        For each slot: how far before `end` its position is, 0 if that is too far for a match.
        """
        distances = [
            end - position if mark != _NO_MARK and end - position <= REACH else 0
            for position, mark in zip(self._table, self._marks, strict=True)
        ]
        return array("H", distances).tobytes()

    def _store(self, slot: int, position: int) -> None:
        self._table[slot] = position
        self._marks[slot] = self._window.marks[position]

    # One function, because a call takes as long as all else that is done for a byte.
    def tokens(self, start: int, end: int) -> BlockTokens:
        """Return the tokens of the block from `start` to `end`, of more than `MARGIN` bytes."""
        data, words, slots, new_marks = self._window.columns
        table, marks, limit = self._table, self._marks, end - MARGIN
        runs, order, lengths, distances = list[bytes](), list[int](), list[int](), list[int]()
        covered = first = start
        while first < limit:
            # No call of `min` either.
            for at in range(first, first + _SINGLE_STEPS if first + _SINGLE_STEPS < limit else limit):  # noqa: FURB136
                slot, mark = slots[at], new_marks[at]
                earlier, table[slot] = table[slot], at
                if marks[slot] != mark:
                    marks[slot] = mark
                elif words[earlier] == words[at] and at - earlier <= REACH:
                    break
            else:
                at, earlier = self._leap(at + 1, limit)
                if at == limit:
                    break
            runs.append(data[covered:at])
            order += runs[-1]
            while True:
                if other := words[earlier + 4] ^ words[at + 4]:
                    length = 4 if other & 0xFF else 5 if other & 0xFFFF else 6 if other & 0xFFFFFF else 7
                else:
                    length = self._length(earlier, at)
                order.append(FIRST_MATCH + len(lengths))
                lengths.append(length if at + length < end else end - at)
                distances.append(at - earlier)
                at += length
                if at >= limit:
                    break
                # Of the positions inside a match, only the last one is stored.
                slot = slots[at - 1]
                table[slot], marks[slot] = at - 1, new_marks[at - 1]
                slot, mark = slots[at], new_marks[at]
                earlier, table[slot] = table[slot], at
                if marks[slot] != mark or words[earlier] != words[at] or at - earlier > REACH:
                    marks[slot] = mark
                    break
            covered, first = at, at + 1
        runs.append(data[covered:end])
        return BlockTokens([*order, *runs[-1]], b"".join(runs), lengths, distances)

    def _leap(self, at: int, limit: int) -> tuple[int, int]:
        """MatchSearch on from `at` in steps of two bytes and more; return `limit` if there is no match."""
        _, words, slots, new_marks = self._window.columns
        skip = 2 * _SINGLE_STEPS
        while at + (step := skip >> _STEP_SHIFT) <= limit:
            slot, mark = slots[at], new_marks[at]
            earlier, is_same = self._table[slot], self._marks[slot] == mark
            self._table[slot], self._marks[slot] = at, mark
            if is_same and words[earlier] == words[at] and at - earlier <= REACH:
                return at, earlier
            skip += step
            at += step
        return limit, limit

    def _length(self, earlier: int, at: int) -> int:
        """Return the length of a match of at least eight bytes, perhaps beyond the end of its block."""
        data = self._window.data
        one = int.from_bytes(data[earlier + 8 : earlier + _LONGEST], "little")
        other = int.from_bytes(data[at + 8 : at + _LONGEST], "little")
        difference = one ^ other
        # The lowest bit that is set lies in the first byte that differs.
        return 8 + ((difference & -difference).bit_length() - 1) // 8 if difference else _LONGEST

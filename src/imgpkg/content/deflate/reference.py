"""The readable deflate encoder (RFC 1951), whose output the fast ones must equal byte for byte.

The fast ones are `_deflate.c` and, where nothing was compiled, `portable.py`. The digest of a layer is that
of its compressed bytes, so these bytes must never change with the version of zlib, of Python or of this
package. That is why no encoder uses zlib.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from imgpkg.content.deflate.lz77 import LAST_LITERAL, REACH, Matcher, length_and_distance
from imgpkg.dataclass import dataclass

if TYPE_CHECKING:
    from collections.abc import Sequence

BLOCK = 65535
# Symbols of the code-length alphabet (RFC 1951 section 3.2.7): repeat the last length, few or many zeros.
REPEAT, ZEROS, MANY_ZEROS = 16, 17, 18

# The original stores blocks of fewer bytes, or searches no matches in them.
STORED_BELOW, HUFFMAN_BELOW = 17, 128
LITERALS, DISTANCES = 286, 30
END_OF_BLOCK, FIRST_LENGTH = 256, 257
MAX_LENGTH, MAX_CODE_LENGTH = 15, 7
FEWEST_CODES = 4
DYNAMIC = 4
# Adding to a long integer copies it, so bits become bytes early.
_FLUSH_BITS = 1 << 12

LENGTH_EXTRA = (0,) * 8 + tuple(bits for bits in range(1, 6) for _ in range(4)) + (0,)
DISTANCE_EXTRA = (0, 0, *(bits for bits in range(14) for _ in range(2)))
RUN_EXTRA = {REPEAT: 2, ZEROS: 3, MANY_ZEROS: 7}
CODE_ORDER = (16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15)
_LONGEST_REPEAT, _SHORTEST_REPEAT = 6, 3
_MOST_ZEROS, _FEWEST_MANY = 138, 11
_TRIVIAL = 2


def _bases(first: int, extra: Sequence[int]) -> tuple[int, ...]:
    bases = [first]
    for bits in extra[:-1]:
        bases.append(bases[-1] + (1 << bits))
    return tuple(bases)


# RFC 1951 section 3.2.5 has a separate symbol for the length 258.
LENGTH_BASE = (*_bases(3, LENGTH_EXTRA)[:-1], 258)
DISTANCE_BASE = _bases(1, DISTANCE_EXTRA)


def _symbols(bases: Sequence[int], largest: int) -> list[int]:
    """Return for each value the symbol whose range contains it."""
    symbols: list[int] = []
    for symbol, end in enumerate((*bases[1:], largest + 1)):
        symbols += [symbol] * (end - len(symbols))
    return symbols


LENGTH_SYMBOL = _symbols(LENGTH_BASE, 258)
DISTANCE_SYMBOL = _symbols(DISTANCE_BASE, REACH)


class ReferenceEncoder:
    """Compress a stream; the bytes do not depend on the sizes of the pieces that it comes in."""

    def __init__(self) -> None:
        self._bits = Bits()
        self._matcher = Matcher()
        self._waiting = bytearray()
        self._is_finished = False

    def compress(self, data: bytes | memoryview) -> bytes:
        """Add `data`; return the compressed bytes that are ready; raise ValueError after `finish`."""
        self._check_open()
        self._waiting += data
        while len(self._waiting) >= BLOCK:
            self._put_block(bytes(self._waiting[:BLOCK]))
            del self._waiting[:BLOCK]
        return self._bits.taken()

    def finish(self) -> bytes:
        """Return the last data block and an empty final block; raise ValueError if called again."""
        self._check_open()
        self._is_finished = True
        if self._waiting:
            self._put_block(bytes(self._waiting))
            self._waiting.clear()
        self._bits.put_end()
        return self._bits.taken()

    def _check_open(self) -> None:
        if self._is_finished:
            raise ValueError("the encoder is finished")

    def _put_block(self, block: bytes) -> None:
        if len(block) < STORED_BELOW:
            self._bits.put_stored(block)
        elif len(block) < HUFFMAN_BELOW:
            self._put_huffman(block, _HuffmanBlock(block, is_plain=True))
        else:
            tokens = self._matcher.tokens(block)
            # Matches must save at least 1/16 of the symbols; else only literals are written.
            is_plain = len(tokens) > len(block) - (len(block) >> 4)
            self._put_huffman(block, _HuffmanBlock(block if is_plain else tokens, is_plain=is_plain))
        self._matcher.advance(block)

    def _put_huffman(self, block: bytes, coded: _HuffmanBlock) -> None:
        size = coded.size
        if (len(block) + 5) * 8 < size + (size >> 4):
            self._bits.put_stored(block)
            return
        coded.write_codes(self._bits)
        coded.write(self._bits)


class Bits:
    """Pack bits into bytes, from the low end of each byte (RFC 1951 section 3.1.1)."""

    def __init__(self) -> None:
        self._done = bytearray()
        self._bits = 0
        self._count = 0

    def put(self, value: int, count: int) -> None:
        """Add the low `count` bits of `value`; the others are zero."""
        self._bits |= value << self._count
        self._count += count
        if self._count >= _FLUSH_BITS:
            self._flush()

    def put_bytes(self, data: bytes) -> None:
        """Pad with zeros to a whole byte, then append `data`."""
        self._count += -self._count % 8
        self._flush()
        self._done += data

    def put_stored(self, block: bytes) -> None:
        """Add a block that is stored as it is (RFC 1951 section 3.2.4)."""
        self.put(0, 3)
        size = len(block)
        self.put_bytes(size.to_bytes(2, "little") + (size ^ 0xFFFF).to_bytes(2, "little") + block)

    def put_end(self) -> None:
        """Add an empty block that is the last one."""
        self.put(1, 3)
        self.put_bytes(b"\0\0\xff\xff")

    def taken(self) -> bytes:
        """Return the complete bytes and remove them."""
        self._flush()
        done = bytes(self._done)
        self._done.clear()
        return done

    def _flush(self) -> None:
        size, rest = divmod(self._count, 8)
        self._done += (self._bits & ((1 << 8 * size) - 1)).to_bytes(size, "little")
        self._bits >>= 8 * size
        self._count = rest


class _Code:
    """A Huffman code for given frequencies of symbols."""

    def __init__(self, frequencies: Sequence[int], limit: int) -> None:
        self.lengths = code_lengths(frequencies, limit)
        self.words = code_words(self.lengths)
        self.size = sum(count * length for count, length in zip(frequencies, self.lengths, strict=True))

    def put(self, symbol: int, bits: Bits) -> None:
        bits.put(self.words[symbol], self.lengths[symbol])


@dataclass(frozen=True)
class _HuffmanBlock:
    """The tokens of one block, and the three Huffman codes by which they need the fewest bits."""

    tokens: Sequence[int]
    is_plain: bool

    @cached_property
    def frequencies(self) -> tuple[list[int], list[int]]:
        literals, distances = [0] * LITERALS, [0] * DISTANCES
        for token in self.tokens:
            if token <= LAST_LITERAL:
                literals[token] += 1
            else:
                length, distance = length_and_distance(token)
                literals[FIRST_LENGTH + LENGTH_SYMBOL[length]] += 1
                distances[DISTANCE_SYMBOL[distance]] += 1
        literals[END_OF_BLOCK] = 1
        # A code must have at least one word, even if the block has no match.
        if not any(distances):
            distances[0] = 1
        return literals, distances

    @cached_property
    def literals(self) -> _Code:
        return _Code(self.frequencies[0], MAX_LENGTH)

    @cached_property
    def distances(self) -> _Code:
        return _Code(self.frequencies[1], MAX_LENGTH)

    @cached_property
    def counts(self) -> tuple[int, int]:
        """The numbers of literal and of distance lengths to write, without unused symbols at the end."""
        literals = FIRST_LENGTH if self.is_plain else used_symbols(self.frequencies[0])
        return literals, used_symbols(self.frequencies[1])

    @cached_property
    def runs(self) -> list[tuple[int, int]]:
        literals, distances = self.counts
        return run_lengths(self.literals.lengths[:literals] + self.distances.lengths[:distances])

    @cached_property
    def run_frequencies(self) -> list[int]:
        counts = [0] * len(CODE_ORDER)
        for symbol, _ in self.runs:
            counts[symbol] += 1
        return counts

    @cached_property
    def codes(self) -> _Code:
        return _Code(self.run_frequencies, MAX_CODE_LENGTH)

    @cached_property
    def code_count(self) -> int:
        return max(FEWEST_CODES, used_symbols([self.codes.lengths[symbol] for symbol in CODE_ORDER]))

    @property
    def size(self) -> int:
        """The estimated size in bits, without the extra bits of matches, to choose the kind of block."""
        extra = sum(self.run_frequencies[symbol] * bits for symbol, bits in RUN_EXTRA.items())
        header = 3 + 5 + 5 + 4 + 3 * self.code_count
        return header + self.codes.size + self.literals.size + self.distances.size + extra

    def write_codes(self, bits: Bits) -> None:
        literals, distances = self.counts
        bits.put(DYNAMIC, 3)
        bits.put(literals - FIRST_LENGTH, 5)
        bits.put(distances - 1, 5)
        bits.put(self.code_count - FEWEST_CODES, 4)
        for symbol in CODE_ORDER[: self.code_count]:
            bits.put(self.codes.lengths[symbol], 3)
        for symbol, value in self.runs:
            self.codes.put(symbol, bits)
            bits.put(value, RUN_EXTRA.get(symbol, 0))

    def write(self, bits: Bits) -> None:
        for token in self.tokens:
            if token <= LAST_LITERAL:
                self.literals.put(token, bits)
            else:
                self._write_match(*length_and_distance(token), bits)
        self.literals.put(END_OF_BLOCK, bits)

    def _write_match(self, length: int, distance: int, bits: Bits) -> None:
        symbol = LENGTH_SYMBOL[length]
        self.literals.put(FIRST_LENGTH + symbol, bits)
        bits.put(length - LENGTH_BASE[symbol], LENGTH_EXTRA[symbol])
        symbol = DISTANCE_SYMBOL[distance]
        self.distances.put(symbol, bits)
        bits.put(distance - DISTANCE_BASE[symbol], DISTANCE_EXTRA[symbol])


def used_symbols(counts: Sequence[int]) -> int:
    """Return how many symbols there are up to the last one that is used."""
    return max(index for index, count in enumerate(counts) if count) + 1


def code_lengths(frequencies: Sequence[int], limit: int) -> list[int]:
    """Return the length in bits of each symbol's code word, at most `limit`; 0 for unused symbols.

    The algorithm is package-merge. A package comes before a leaf of equal weight: of several optimal codes,
    this chooses that of the original.
    """
    used = sorted((count, symbol) for symbol, count in enumerate(frequencies) if count)
    lengths = [0] * len(frequencies)
    if len(used) <= _TRIVIAL:
        for _, symbol in used:
            lengths[symbol] = 1
        return lengths
    leaves = [count for count, _ in used]
    merged = [[(count, False) for count in leaves]]
    while len(merged) < min(limit, len(used) - 1):
        merged.append(_merge(leaves, _packages(merged[-1])))
    taken = 2 * len(used) - 2
    for level in reversed(merged):
        packages = sum(is_package for _, is_package in level[:taken])
        for _, symbol in used[: taken - packages]:
            lengths[symbol] += 1
        taken = 2 * packages
    return lengths


def _packages(level: Sequence[tuple[int, bool]]) -> list[int]:
    return [first + second for (first, _), (second, _) in zip(level[::2], level[1::2], strict=False)]


def _merge(leaves: Sequence[int], packages: Sequence[int]) -> list[tuple[int, bool]]:
    both = [(weight, True) for weight in packages] + [(weight, False) for weight in leaves]
    # The sort is stable, so packages stay before leaves of equal weight.
    return sorted(both, key=lambda item: item[0])


def code_words(lengths: Sequence[int]) -> list[int]:
    """Return the canonical code words (RFC 1951 section 3.2.2), reversed: their high bit is written first."""
    words = [0] * len(lengths)
    following = 0
    for length in range(1, max(lengths) + 1):
        following <<= 1
        for symbol in [symbol for symbol, its in enumerate(lengths) if its == length]:
            words[symbol] = int(f"{following:0{length}b}"[::-1], 2)
            following += 1
    return words


def run_lengths(lengths: Sequence[int]) -> list[tuple[int, int]]:
    """Return `lengths` as symbols of the code-length alphabet, each with the value of its extra bits."""
    runs: list[tuple[int, int]] = []
    start = 0
    for end in range(1, len(lengths) + 1):
        if end == len(lengths) or lengths[end] != lengths[start]:
            runs += _run(lengths[start], end - start)
            start = end
    return runs


def _run(length: int, count: int) -> list[tuple[int, int]]:
    runs = []
    if length:
        runs.append((length, 0))
        count -= 1
        while count >= _SHORTEST_REPEAT:
            part = min(count, _LONGEST_REPEAT)
            runs.append((REPEAT, part - _SHORTEST_REPEAT))
            count -= part
    else:
        while count >= _FEWEST_MANY:
            part = min(count, _MOST_ZEROS)
            runs.append((MANY_ZEROS, part - _FEWEST_MANY))
            count -= part
        if count >= _SHORTEST_REPEAT:
            runs.append((ZEROS, count - _SHORTEST_REPEAT))
            count = 0
    return runs + [(length, 0)] * count

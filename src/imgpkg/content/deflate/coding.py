"""Huffman-coded blocks in few steps of the interpreter: the bits of `reference.py`, as texts of digits.

The text of each token is looked up, all texts are joined, and the whole is read as one number. The bit that
is written first is the last digit, so texts begin with what is written last.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from operator import add, itemgetter, mul
from typing import TYPE_CHECKING

from imgpkg.content.deflate.lz77 import REACH
from imgpkg.content.deflate.reference import (
    CODE_ORDER,
    DISTANCE_BASE,
    DISTANCE_EXTRA,
    DISTANCE_SYMBOL,
    DISTANCES,
    DYNAMIC,
    END_OF_BLOCK,
    FEWEST_CODES,
    FIRST_LENGTH,
    LENGTH_BASE,
    LENGTH_EXTRA,
    LENGTH_SYMBOL,
    LITERALS,
    MAX_CODE_LENGTH,
    MAX_LENGTH,
    RUN_EXTRA,
    run_lengths,
    used_symbols,
)
from imgpkg.dataclass import dataclass

if TYPE_CHECKING:
    from collections.abc import Sequence

    from imgpkg.content.deflate.search import BlockTokens

_SHORTEST, _LONGEST = 3, 258
# A weight, with the number of leaves below it, so that a package of packages is a sum.
_WEIGHT_SHIFT, _LEAF = 16, 0xFFFF
_TRIVIAL = 2


def _digits(value: int, count: int) -> str:
    return f"{value:0{count}b}" if count else ""


def _extra(value: int, symbols: Sequence[int], bases: Sequence[int], extra: Sequence[int]) -> str:
    symbol = symbols[value]
    return _digits(value - bases[symbol], extra[symbol])


# By length and by distance; the first ones do not exist.
_LENGTH_DIGITS = [
    _extra(max(length, _SHORTEST), LENGTH_SYMBOL, LENGTH_BASE, LENGTH_EXTRA) for length in range(_LONGEST + 1)
]
_DISTANCE_DIGITS = [
    _extra(max(distance, 1), DISTANCE_SYMBOL, DISTANCE_BASE, DISTANCE_EXTRA) for distance in range(REACH + 1)
]


@dataclass(frozen=True, slots=True)
class Coded:
    """A block with codes of its own: the first `bits` of `data`, from the low end of each byte."""

    bits: int
    data: bytes


def encode(block: bytes, tokens: BlockTokens | None) -> Coded | None:
    """Encode a block, without `tokens` byte by byte; return None if it has to be stored as it is."""
    literals, distances = (_DigitCode(counts, MAX_LENGTH) for counts in _frequencies(block, tokens))
    head = _head(literals, distances, is_plain=tokens is None)
    size = len(head) + literals.size + distances.size
    if (len(block) + 5) * 8 < size + (size >> 4):
        return None
    texts = literals.texts()
    end = texts[END_OF_BLOCK]
    if tokens is None:
        body = _joined(block, texts)
    else:
        body = _joined(tokens.order, texts[:END_OF_BLOCK] + _matches(tokens, texts, distances.texts()))
    text = f"{end}{body}{head}"
    return Coded(len(text), int(text, 2).to_bytes((len(text) + 7) // 8, "little"))


def _joined(order: Sequence[int], texts: Sequence[str]) -> str:
    return "".join(itemgetter(*order[::-1])(texts))


def _matches(tokens: BlockTokens, literals: Sequence[str], distances: Sequence[str]) -> list[str]:
    """Return the text of each match; a match of 258 bytes has a symbol of its own."""
    lengths = [
        digits + literals[FIRST_LENGTH + symbol]
        for digits, symbol in zip(_LENGTH_DIGITS, LENGTH_SYMBOL, strict=True)
    ]
    return [
        f"{_DISTANCE_DIGITS[distance]}{distances[DISTANCE_SYMBOL[distance]]}{lengths[length]}"
        for length, distance in zip(tokens.lengths, tokens.distances, strict=True)
    ]


def _frequencies(block: bytes, tokens: BlockTokens | None) -> tuple[list[int], list[int]]:
    literals, distances = [0] * LITERALS, [0] * DISTANCES
    for byte, count in Counter(block if tokens is None else tokens.literals).items():
        literals[byte] = count
    literals[END_OF_BLOCK] = 1
    if tokens is not None:
        for length, count in Counter(tokens.lengths).items():
            literals[FIRST_LENGTH + LENGTH_SYMBOL[length]] += count
        for symbol, count in Counter(map(DISTANCE_SYMBOL.__getitem__, tokens.distances)).items():
            distances[symbol] = count
    # A code must have at least one word, even if the block has no match.
    if not any(distances):
        distances[0] = 1
    return literals, distances


class _DigitCode:
    """A Huffman code for given frequencies of symbols."""

    def __init__(self, frequencies: Sequence[int], limit: int) -> None:
        self.used = used_symbols(frequencies)
        self.lengths = code_lengths(frequencies, limit)
        self.size = sum(map(mul, frequencies, self.lengths))

    def texts(self) -> list[str]:
        """Return the word of each symbol, "" for an unused one; its high bit is the last digit."""
        texts = [""] * len(self.lengths)
        following = 0
        ordered = sorted((length, symbol) for symbol, length in enumerate(self.lengths) if length)
        last = ordered[0][0]
        for length, symbol in ordered:
            # RFC 1951 section 3.2.2: the words of one length follow each other.
            following <<= length - last
            texts[symbol] = _digits(following, length)[::-1]
            following += 1
            last = length
        return texts


def _head(literals: _DigitCode, distances: _DigitCode, *, is_plain: bool) -> str:
    """Return the lengths of both codes, in a code of their own, and before them how many there are."""
    used = FIRST_LENGTH if is_plain else literals.used
    runs = run_lengths(literals.lengths[:used] + distances.lengths[: distances.used])
    counts = Counter(symbol for symbol, _ in runs)
    code = _DigitCode([counts[symbol] for symbol in range(len(CODE_ORDER))], MAX_CODE_LENGTH)
    count = max(FEWEST_CODES, used_symbols([code.lengths[symbol] for symbol in CODE_ORDER]))
    parts = [
        _digits(DYNAMIC, 3),
        _digits(used - FIRST_LENGTH, 5),
        _digits(distances.used - 1, 5),
        _digits(count - FEWEST_CODES, 4),
    ]
    parts += [_digits(code.lengths[symbol], 3) for symbol in CODE_ORDER[:count]]
    texts = code.texts()
    parts += [_digits(value, RUN_EXTRA.get(symbol, 0)) + texts[symbol] for symbol, value in runs]
    return "".join(reversed(parts))


def code_lengths(frequencies: Sequence[int], limit: int) -> list[int]:
    """Return what the function of the same name in `reference.py` does.

    The low bits of a weight count down the leaves in it, so that a package is smaller than a leaf of the same
    weight, and sorting by the number alone puts it first.
    """
    used = sorted((count, symbol) for symbol, count in enumerate(frequencies) if count)
    lengths = [0] * len(frequencies)
    if len(used) <= _TRIVIAL:
        for _, symbol in used:
            lengths[symbol] = 1
        return lengths
    leaves = [(count << _WEIGHT_SHIFT) - 1 for count, _ in used]
    level, packages = leaves, list[int]()
    levels = [(level, packages)]
    for _ in range(min(limit, len(used) - 1) - 1):
        packages = list(map(add, level[::2], level[1::2]))
        level = sorted(packages + leaves)
        levels.append((level, packages))
    taken = 2 * len(used) - 2
    for level, packages in reversed(levels):
        number = _packages_of(level[:taken], packages)
        for _, symbol in used[: taken - number]:
            lengths[symbol] += 1
        taken = 2 * number
    return lengths


def _packages_of(taken: Sequence[int], packages: Sequence[int]) -> int:
    """Return how many of the numbers in `taken`, the first of a level, are packages."""
    if not taken:
        return 0
    last = taken[-1]
    smaller = bisect_left(packages, last)
    return smaller if last & _LEAF == _LEAF else smaller + len(taken) - bisect_left(taken, last)

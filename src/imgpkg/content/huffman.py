"""Huffman codes for deflate: lengths with a limit, canonical words, and their run-length form (RFC 1951)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

# Symbols of the run-length form: repeat the length before, a few zeros, many zeros.
REPEAT, ZEROS, MANY_ZEROS = 16, 17, 18
_LONGEST_REPEAT, _SHORTEST_REPEAT = 6, 3
_MOST_ZEROS, _FEWEST_MANY = 138, 11
_TRIVIAL = 2


def code_lengths(frequencies: Sequence[int], limit: int) -> list[int]:
    """Return the length in bits of each symbol's word, 0 for unused symbols, none above `limit`.

    Package-merge; of a package and a leaf of equal weight the package comes first, which decides between
    codes that are equally good.
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
    # The sort is stable, so the packages stay before leaves of their weight.
    return sorted(both, key=lambda item: item[0])


def code_words(lengths: Sequence[int]) -> list[int]:
    """Return the canonical words of RFC 1951 section 3.2.2, each reversed for writing from the low end."""
    words = [0] * len(lengths)
    following = 0
    for length in range(1, max(lengths) + 1):
        following <<= 1
        for symbol in [symbol for symbol, its in enumerate(lengths) if its == length]:
            words[symbol] = int(f"{following:0{length}b}"[::-1], 2)
            following += 1
    return words


def run_lengths(lengths: Sequence[int]) -> list[tuple[int, int]]:
    """Return the symbols of the code-length alphabet for `lengths`, each with the value of its extra bits."""
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

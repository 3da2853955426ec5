"""The natural order of keys in files that imgpkg writes."""

from __future__ import annotations

from functools import cmp_to_key
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


_BITS, _SIGN = (1 << 64) - 1, 1 << 63


def natural_order(keys: Iterable[str]) -> list[str]:
    """Sort `keys` so that digits count as numbers and come before letters: `a1`, `a9`, `a10`, `b`."""
    return sorted(keys, key=cmp_to_key(_compare))


def _compare(one: str, other: str) -> int:
    for at, (a, b) in enumerate(zip(one, other, strict=False)):
        if a != b:
            return _compare_at(one, other, at)
    return len(one) - len(other)


def _compare_at(one: str, other: str, at: int) -> int:
    a, b = one[at], other[at]
    if a.isalpha() and b.isalpha():
        return ord(a) - ord(b)
    if a.isalpha() or b.isalpha():
        return -1 if b.isalpha() else 1
    # Inside a number a zero counts: 10 is more than 1.
    lead = "0" in (a, b) and _follows_a_number(one, at)
    (number, length), (other_number, other_length) = _run(one, at, lead), _run(other, at, lead)
    return number - other_number or length - other_length or ord(a) - ord(b)


def _follows_a_number(text: str, at: int) -> bool:
    run = at
    while run and text[run - 1].isdecimal():
        run -= 1
    return text[run:at].strip("0") != ""


def _run(text: str, at: int, lead: bool) -> tuple[int, int]:
    """Read the digits from `at` on: their value, after a 1 when they have a `lead`, and how many they are.

    Values have 64 bits with a sign and overflow, as in the original.
    """
    value, end = int(lead), at
    while end < len(text) and text[end].isdecimal():
        value = (value * 10 + ord(text[end]) - ord("0")) & _BITS
        end += 1
    return value - (value & _SIGN) * 2, end - at

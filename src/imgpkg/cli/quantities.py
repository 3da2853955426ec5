"""Sizes, rates and times as people read them."""

from __future__ import annotations

from imgpkg.dataclass import dataclass

_UNITS = ("kB", "MB", "GB", "TB", "PB", "EB")
_MINUTE, _HOUR, _DAY = 60, 3600, 86_400


@dataclass(frozen=True, slots=True)
class Unit:
    """A unit of sizes; amounts that are compared have the same one."""

    name: str
    size: int

    @classmethod
    def of(cls, size: int) -> Unit:
        """Return the largest unit of which there is at least one in `size` bytes."""
        # In powers of 1000, as docker prints sizes.
        found = 1000
        for name in _UNITS[:-1]:
            if size < found * 1000:
                return cls(name, found)
            found *= 1000
        return cls(_UNITS[-1], found)

    def number(self, size: int) -> str:
        """Return the number of units in `size` bytes, with one decimal."""
        return f"{size / self.size:,.1f}"


def readable(size: int) -> str:
    """Return a size in bytes for people, such as `12.3 MB`."""
    if size == 1:
        return "1 byte"
    if size < Unit.of(size).size:
        return f"{size} bytes"
    unit = Unit.of(size)
    return f"{unit.number(size)} {unit.name}"


def part_of(done: int, total: int) -> str:
    """Return `12.3 of 456.7 MB`, whose width changes only with `total`."""
    unit = Unit.of(total)
    whole = unit.number(total)
    return f"{unit.number(done):>{len(whole)}} of {whole} {unit.name}"


def rate(bytes_a_second: float) -> str:
    """Return a rate such as `12.3 MB/s`."""
    unit = Unit.of(int(bytes_a_second))
    return f"{unit.number(int(bytes_a_second))} {unit.name}/s"


def seconds(spent: float) -> str:
    """Return the time that something took: `0.4 s`, `12 s`, `3 min 5 s`, `2 h 7 min`."""
    if spent < 10:  # noqa: PLR2004 - below, tenths are worth reading
        return f"{spent:.1f} s"
    whole = round(spent)
    if whole < _MINUTE:
        return f"{whole} s"
    if whole < _HOUR:
        return f"{whole // _MINUTE} min {whole % _MINUTE} s"
    return f"{whole // _HOUR} h {whole % _HOUR // _MINUTE} min"


def time_left(left: float) -> str:
    """Return an estimate, rounded to what can be known: `8 s left`, `5 min left`, `3 h left`."""
    if left < _MINUTE:
        return f"{max(1, round(left))} s left"
    if left < _HOUR:
        return f"{round(left / _MINUTE)} min left"
    return f"{round(left / _HOUR)} h left" if left < _DAY else "over a day left"

"""Take argv apart as the original does, in every form that it takes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from imgpkg.cli import values
from imgpkg.cli.flags import Flag, Kind
from imgpkg.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass
class Parsed:
    """The values by flag key, which flags were given, and the words that are no flags."""

    values: dict[str, object]
    given: set[str] = field(default_factory=set)
    words: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def text(self, name: str) -> str:
        """Return the text of a flag."""
        return str(self.values[name])

    def is_on(self, name: str) -> bool:
        """Return whether a switch is on."""
        return self.values[name] is True

    def number(self, name: str) -> int:
        """Return the integer of a flag."""
        value = self.values[name]
        assert isinstance(value, int)  # noqa: S101 - the flag's kind says so
        return value

    def seconds(self, name: str) -> float:
        """Return the duration of a flag."""
        value = self.values[name]
        assert isinstance(value, float | int)  # noqa: S101 - likewise
        return value

    def texts(self, name: str) -> tuple[str, ...]:
        """Return the texts of a flag that may be repeated."""
        value = self.values[name]
        assert isinstance(value, tuple)  # noqa: S101 - likewise
        return value


class Parser:
    """Reads the flags of one command, wherever they stand between the words."""

    def __init__(self, flags: Sequence[Flag]) -> None:
        self._flags = flags
        self._long = {flag.name: flag for flag in flags}
        self._short = {flag.short: flag for flag in flags if flag.short}

    def parse(self, argv: Sequence[str]) -> Parsed:
        """Read `argv`; raise UsageError with the original's text for the first thing that is wrong."""
        parsed = Parsed({flag.key: flag.initial for flag in self._flags})
        rest = list(argv)
        while rest:
            word = rest.pop(0)
            if word == "--":
                parsed.words += rest
                break
            if word.startswith("--"):
                self._read_long(word[2:], rest, parsed)
            elif word.startswith("-") and word != "-":
                self._read_short(word[1:], rest, parsed)
            else:
                parsed.words.append(word)
        return parsed

    def _read_long(self, text: str, rest: list[str], parsed: Parsed) -> None:
        name, equals, value = text.partition("=")
        if not name or name.startswith("-"):
            raise UsageError(f"bad flag syntax: --{text}")
        flag = self._long.get(name)
        if flag is None:
            raise UsageError(f"unknown flag: --{name}")
        if not equals:
            if flag.kind is Kind.BOOL:
                value = "true"
            elif rest:
                value = rest.pop(0)
            else:
                raise UsageError(f"flag needs an argument: --{name}")
        _set(flag, value, parsed)

    def _read_short(self, letters: str, rest: list[str], parsed: Parsed) -> None:
        while letters:
            given, letter, letters = letters, letters[0], letters[1:]
            flag = self._short.get(letter)
            if flag is None:
                raise UsageError(f"unknown shorthand flag: '{letter}' in -{given}")
            if len(letters) > 1 and letters[0] == "=":
                value, letters = letters[1:], ""
            elif flag.kind is Kind.BOOL:
                value = "true"
            elif letters:
                value, letters = letters, ""
            elif rest:
                value = rest.pop(0)
            else:
                raise UsageError(f"flag needs an argument: '{letter}' in -{given}")
            _set(flag, value, parsed)


def _set(flag: Flag, value: str, parsed: Parsed) -> None:
    try:
        parsed.values[flag.key] = _read(flag, value, parsed)
    except values.BadValue as error:
        shown = "***" if flag.secret else value
        raise UsageError(
            f'invalid argument {values.quoted(shown)} for "{flag.shown}" flag: {error}'
        ) from error
    if flag.deprecated and flag.name not in parsed.given:
        parsed.notes.append(f"Flag --{flag.name} has been deprecated, {flag.deprecated}")
    parsed.given.add(flag.name)


def _read(flag: Flag, value: str, parsed: Parsed) -> object:
    is_first = flag.name not in parsed.given
    earlier = parsed.values[flag.key]
    match flag.kind:
        case Kind.BOOL:
            return values.boolean(value)
        case Kind.INT:
            return values.integer(value)
        case Kind.DURATION:
            return values.duration(value)
        case Kind.STRINGS:
            read = values.csv_record(value)
            return read if is_first or not isinstance(earlier, tuple) else (*earlier, *read)
        case Kind.LABELS:
            pairs = values.labels(value)
            return pairs if is_first or not isinstance(earlier, dict) else {**earlier, **pairs}
        case Kind.STRING:
            return value

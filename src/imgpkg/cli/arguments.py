"""The grammar of the command line: what a flag is, how `argv` is parsed, and how values are read.

Scripts depend on the forms that pflag accepts (`-f=a,b`, `--flag=false`, `-abc`) and on its error texts.
No parser for Python has them, so this one is our own.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from imgpkg.dataclass import dataclass, field
from imgpkg.errors import UsageError
from imgpkg.expression import expression

if TYPE_CHECKING:
    from collections.abc import Sequence

# The spellings of strconv.ParseBool: `--flag=yes` is an error, as in the original.
_TRUE = frozenset({"1", "t", "T", "TRUE", "true", "True"})
_FALSE = frozenset({"0", "f", "F", "FALSE", "false", "False"})
# The micro sign has two code points, U+00B5 and U+03BC, and Go accepts both.
_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_DIGITS = expression(r"[0-9a-zA-Z_]+")
# A leading zero means octal in Go; Python needs `0o` for it.
_OCTAL = expression(r"0[0-7_]+")
# More than 64 bits ever need. Python converts digits in quadratic time, so longer texts are refused first.
_MAX_DIGITS = 1000
_PART = expression(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)([^.0-9]*)")
# The escapes of strconv.Quote.
_ESCAPES = {letter: f"\\{name}" for letter, name in zip('"\\\a\b\f\n\r\t\v', '"\\abfnrtv', strict=True)}
# Go holds a duration as nanoseconds in 64 bits.
_LONGEST = (1 << 63) / 1e9


class ValueType(Enum):
    """The type of a flag's value; the text is the word in the help, as in pflag."""

    BOOL = ""
    STRING = "string"
    STRINGS = "strings"
    ARRAY = "stringArray"
    INT = "int"
    DURATION = "duration"
    LABELS = "stringToString"


@dataclass(frozen=True, slots=True)
class Flag:
    """One flag. `target` is the name of the value that it sets, when that is another flag's."""

    name: str
    value_type: ValueType
    usage: str
    short: str = ""
    default: object = None
    target: str = ""
    hidden: bool = False
    required: bool = False
    secret: bool = False
    deprecated: str = ""

    @property
    def key(self) -> str:
        """The name of the value that the flag sets."""
        return self.target or self.name

    @property
    def shown(self) -> str:
        """The name in errors: `-l, --labels`."""
        return f"-{self.short}, --{self.name}" if self.short else f"--{self.name}"

    @property
    def initial(self) -> object:
        """The value when the flag is not given."""
        # Parsing starts from these, so that a handler never meets a flag without a value.
        if self.default is not None:
            return self.default
        return {
            ValueType.BOOL: False,
            ValueType.STRINGS: (),
            ValueType.ARRAY: (),
            ValueType.INT: 0,
            ValueType.DURATION: 0.0,
            ValueType.LABELS: {},
        }.get(self.value_type, "")


def switch(name: str, usage: str, *, short: str = "", default: bool = False) -> Flag:
    """Return a flag that is on or off."""
    return Flag(name, ValueType.BOOL, usage, short, default)


def text(name: str, usage: str, *, short: str = "", default: str = "") -> Flag:
    """Return a flag whose value is any text."""
    return Flag(name, ValueType.STRING, usage, short, default)


def texts(name: str, usage: str, *, short: str = "") -> Flag:
    """Return a flag that may be repeated, each time with any text."""
    return Flag(name, ValueType.ARRAY, f"{usage} (may be repeated)", short)


@dataclass
class Parsed:
    """The result of parsing: values by flag key, names of given flags, other words, and notes to print."""

    values: dict[str, object]
    given: set[str] = field(default_factory=set)
    words: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def text(self, name: str) -> str:
        """Return the value of a text flag."""
        return str(self.values[name])

    def is_on(self, name: str) -> bool:
        """Return whether a switch is on."""
        return self.values[name] is True

    def number(self, name: str) -> int:
        """Return the value of an integer flag."""
        value = self.values[name]
        assert isinstance(value, int)  # noqa: S101 - by the flag's type
        return value

    def seconds(self, name: str) -> float:
        """Return the value of a duration flag."""
        value = self.values[name]
        assert isinstance(value, float | int)  # noqa: S101 - likewise
        return value

    def texts(self, name: str) -> tuple[str, ...]:
        """Return the values of a flag that may be repeated."""
        value = self.values[name]
        assert isinstance(value, tuple)  # noqa: S101 - likewise
        return value


class FlagMistake(UsageError):
    """A mistake in the flag that was typed as `named`; `flag` is None where there is no such flag."""

    def __init__(self, message: str, named: str, flag: Flag | None = None) -> None:
        super().__init__(message)
        self.named, self.flag = named, flag


class Parser:
    """The parser for the flags of one command, which may stand before, between and after other words."""

    def __init__(self, flags: Sequence[Flag]) -> None:
        self._flags = flags
        self._long = {flag.name: flag for flag in flags}
        self._short = {flag.short: flag for flag in flags if flag.short}

    def parse(self, argv: Sequence[str]) -> Parsed:
        """Parse `argv`; raise UsageError with pflag's text for the first mistake."""
        parsed = Parsed({flag.key: flag.initial for flag in self._flags})
        rest = list(argv)
        while rest:
            word = rest.pop(0)
            # Everything after `--` is a word, even with a dash in front: the convention of getopt.
            if word == "--":
                parsed.words += rest
                break
            if word.startswith("--"):
                self._read_long(word[2:], rest, parsed)
            # A dash alone is a word: by convention it stands for standard input.
            elif word.startswith("-") and word != "-":
                self._read_short(word[1:], rest, parsed)
            else:
                parsed.words.append(word)
        return parsed

    def _read_long(self, text: str, rest: list[str], parsed: Parsed) -> None:
        name, equals, value = text.partition("=")
        # `---flag` and `--=x` have an error of their own in pflag.
        if not name or name.startswith("-"):
            raise UsageError(f"bad flag syntax: --{text}")
        flag = self._long.get(name)
        if flag is None:
            raise FlagMistake(f"unknown flag: --{name}", f"--{name}")
        if not equals:
            if flag.value_type is ValueType.BOOL:
                value = "true"
            elif rest:
                value = rest.pop(0)
            else:
                raise FlagMistake(f"flag needs an argument: --{name}", f"--{name}", flag)
        _set(flag, value, parsed)

    def _read_short(self, letters: str, rest: list[str], parsed: Parsed) -> None:
        # Switches may share a dash, `-abc`; the first flag with a value takes the rest of the word.
        while letters:
            given, letter, letters = letters, letters[0], letters[1:]
            flag = self._short.get(letter)
            if flag is None:
                raise FlagMistake(f"unknown shorthand flag: '{letter}' in -{given}", f"-{letter}")
            # As in pflag, `-i=` alone sets the value `=`.
            if len(letters) > 1 and letters[0] == "=":
                value, letters = letters[1:], ""
            elif flag.value_type is ValueType.BOOL:
                value = "true"
            elif letters:
                value, letters = letters, ""
            elif rest:
                value = rest.pop(0)
            else:
                raise FlagMistake(f"flag needs an argument: '{letter}' in -{given}", f"-{letter}", flag)
            _set(flag, value, parsed)


def _set(flag: Flag, value: str, parsed: Parsed) -> None:
    try:
        parsed.values[flag.key] = _read(flag, value, parsed)
    except BadValue as error:
        # Errors end up in logs of CI, where a password must not stand.
        shown = "***" if flag.secret else value
        text = f'invalid argument {quoted(shown)} for "{flag.shown}" flag: {error}'
        raise FlagMistake(text, f"--{flag.name}", flag) from error
    # Once for each flag, however often it is given.
    if flag.deprecated and flag.name not in parsed.given:
        parsed.notes.append(f"Flag --{flag.name} has been deprecated, {flag.deprecated}")
    # Several flags can set one value, so which of them was given is recorded by its own name.
    parsed.given.add(flag.name)


def _read(flag: Flag, value: str, parsed: Parsed) -> object:
    is_first = flag.name not in parsed.given
    earlier = parsed.values[flag.key]
    match flag.value_type:
        case ValueType.BOOL:
            return boolean(value)
        case ValueType.INT:
            return integer(value)
        case ValueType.DURATION:
            return duration(value)
        case ValueType.STRINGS | ValueType.ARRAY:
            # The first use replaces the default, each further use adds to it.
            read = csv_record(value) if flag.value_type is ValueType.STRINGS else (value,)
            return read if is_first or not isinstance(earlier, tuple) else (*earlier, *read)
        case ValueType.LABELS:
            pairs = labels(value)
            return pairs if is_first or not isinstance(earlier, dict) else {**earlier, **pairs}
        case ValueType.STRING:
            return value


class BadValue(ValueError):
    """A value that cannot be read, with the error text of Go."""


def quoted(text: str) -> str:
    """Quote `text` as `%q` of Go."""
    return '"' + "".join(_ESCAPES.get(c, c if c.isprintable() else _escaped(c)) for c in text) + '"'


def _escaped(letter: str) -> str:
    number = ord(letter)
    if number < 0x80:  # noqa: PLR2004 - ASCII
        return f"\\x{number:02x}"
    # Python decodes such bytes of `argv` as surrogates.
    if 0xDC80 <= number <= 0xDCFF:  # noqa: PLR2004 - bytes that are not UTF-8 (PEP 383)
        return f"\\x{number - 0xDC00:02x}"
    return f"\\u{number:04x}" if number < 1 << 16 else f"\\U{number:08x}"


def boolean(value: str) -> bool:
    """Read a boolean in one of the spellings of Go's strconv.ParseBool."""
    if value in _TRUE:
        return True
    if value in _FALSE:
        return False
    raise BadValue(f"strconv.ParseBool: parsing {quoted(value)}: invalid syntax")


def integer(value: str) -> int:
    """Read an integer with Go's prefixes: 0x, 0b, 0o, a leading 0 for octal, and _ between digits."""
    digits = value[1:] if value[:1] in ("+", "-") else value
    # int() also accepts spaces, inner signs and digits of other scripts, which Go refuses.
    if not _DIGITS.fullmatch(digits):
        raise BadValue(f"strconv.ParseInt: parsing {quoted(value)}: invalid syntax")
    if len(digits) > _MAX_DIGITS:
        raise BadValue(f"strconv.ParseInt: parsing {quoted(value)}: value out of range")
    try:
        number = int(digits, 8 if _OCTAL.fullmatch(digits) else 0)
    except ValueError as error:
        raise BadValue(f"strconv.ParseInt: parsing {quoted(value)}: invalid syntax") from error
    number = -number if value.startswith("-") else number
    # Go reads flags of this type as int64, and scripts see its error.
    if not -(1 << 63) <= number < 1 << 63:
        raise BadValue(f"strconv.ParseInt: parsing {quoted(value)}: value out of range")
    return number


def duration(value: str) -> float:
    """Read a Go duration, such as `1.5h` or `2h45m`, in seconds."""
    rest = value[1:] if value[:1] in ("+", "-") else value
    sign = -1.0 if value.startswith("-") else 1.0
    # The only number without a unit that Go accepts.
    if rest == "0":
        return 0.0
    if not rest:
        raise BadValue(f"time: invalid duration {_in_ascii(value)}")
    seconds, at = 0.0, 0
    while at < len(rest):
        part = _PART.match(rest, at)
        if part is None:
            raise BadValue(f"time: invalid duration {_in_ascii(value)}")
        number, unit = part.groups()
        if not unit:
            raise BadValue(f"time: missing unit in duration {_in_ascii(value)}")
        if unit not in _UNITS:
            raise BadValue(f"time: unknown unit {_in_ascii(unit)} in duration {_in_ascii(value)}")
        # A duration is a sum of parts: `1h30m`.
        seconds += float(number) * _UNITS[unit]
        at = part.end()
    if seconds >= _LONGEST:
        raise BadValue(f"time: invalid duration {_in_ascii(value)}")
    return sign * seconds


def _in_ascii(text: str) -> str:
    """Quote `text` as the errors of Go's time.ParseDuration: byte by byte."""
    data = text.encode("utf-8", "surrogateescape")
    return '"' + "".join(_ascii(byte) for byte in data) + '"'


def _ascii(byte: int) -> str:
    if byte in b'"\\':
        return f"\\{byte:c}"
    return f"{byte:c}" if ord(" ") <= byte < 0x80 else f"\\x{byte:02x}"  # noqa: PLR2004 - ASCII


def csv_record(value: str) -> tuple[str, ...]:
    """Read one CSV record (RFC 4180); an empty value is an empty record."""
    if not value:
        return ()
    items, at = [], 0
    while True:
        if value.startswith('"', at):
            item, at = _quoted_field(value, at)
        else:
            end = value.find(",", at)
            end = len(value) if end < 0 else end
            item = value[at:end]
            if '"' in item:
                column = _column(value, at + item.index('"'))
                raise BadValue(f'parse error on line 1, column {column}: bare " in non-quoted-field')
            at = end
        items.append(item)
        if at >= len(value):
            return tuple(items)
        at += 1
        # A comma at the end is followed by one more, empty field.
        if at == len(value):
            return (*items, "")


def _quoted_field(value: str, start: int) -> tuple[str, int]:
    """Return the item whose opening quote is at `start`, and the position after its closing quote."""
    pieces, at = [], start + 1
    while True:
        end = value.find('"', at)
        if end < 0:
            column = _column(value, len(value))
            raise BadValue(f'parse error on line 1, column {column}: extraneous or missing " in quoted-field')
        pieces.append(value[at:end])
        # Two quotes within a quoted field are one quote (RFC 4180 section 2.7).
        if value.startswith('""', end):
            pieces.append('"')
            at = end + 2
            continue
        if end + 1 == len(value) or value[end + 1] == ",":
            return "".join(pieces), end + 1
        column = _column(value, end)
        raise BadValue(f'parse error on line 1, column {column}: extraneous or missing " in quoted-field')


def _column(value: str, at: int) -> int:
    """Return the column of the character at `at` as Go counts it: in bytes, from 1."""
    return len(value[:at].encode("utf-8", "surrogateescape")) + 1


def labels(value: str) -> dict[str, str]:
    """Read `key=value`, or a CSV record of them when there is more than one `=`."""
    count = value.count("=")
    if not count:
        raise BadValue(f"{value} must be formatted as key=value")
    # As pflag's stringToString: one pair is not read as CSV, so its value may hold commas.
    pairs = (value.strip('"'),) if count == 1 else csv_record(value)
    read = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals:
            raise BadValue(f"{pair} must be formatted as key=value")
        read[key] = text
    return read

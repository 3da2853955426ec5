"""WWW-Authenticate headers: challenges as RFC 9110 section 11 writes them, and as servers do."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_BLANKS_AND_COMMAS = re.compile(r"[ \t,]*")
_EQUALS = re.compile(r"[ \t]*=[ \t]*")
_TOKEN68 = re.compile(r"[ \t]+([A-Za-z0-9._~+/-]+=*)[ \t]*(?=,|$)")
# The closing quote may be missing at the end of the line.
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)(?:"|\\?$)')
_UNQUOTED = re.compile(r"[^ \t,]*")
_ESCAPED = re.compile(r"\\(.)")
_LONGEST_LINE = 64 << 10
_WITHOUT_TOKEN68 = frozenset({"basic", "bearer"})

_NONE: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Challenge:
    """One way in which a server wants to be answered; `scheme` and the names of parameters are lower case."""

    scheme: str
    parameters: Mapping[str, str] = field(default_factory=lambda: _NONE)
    token68: str = ""

    @property
    def realm(self) -> str:
        """The realm: for Bearer the URL of the token service; empty when there is none."""
        return self.parameters.get("realm", "")

    @property
    def service(self) -> str:
        """The service that a token is for; empty when there is none."""
        return self.parameters.get("service", "")

    @property
    def scope(self) -> str:
        """The scopes that the server wants, separated by blanks; empty when it does not say."""
        return self.parameters.get("scope", "")

    @property
    def can_be_answered(self) -> bool:
        """True for Basic, and for Bearer with a realm: the two schemes spoken here."""
        return self.scheme == "basic" or (self.scheme == "bearer" and bool(self.realm))

    @property
    def error(self) -> str:
        """Why the token shown was not enough, such as `insufficient_scope` (RFC 6750 section 3.1)."""
        return self.parameters.get("error", "")


def parse_challenges(lines: Iterable[str]) -> tuple[Challenge, ...]:
    """Read every challenge of every WWW-Authenticate line, in order; nothing is an error.

    Several challenges may share a line. Blanks around `=`, empty values, backslash escapes, unquoted values
    up to a blank or comma, and missing commas are understood; of a repeated parameter the first counts. A
    line of more than 64 KiB is passed over.
    """
    short = (line for line in lines if len(line) <= _LONGEST_LINE)
    return tuple(challenge for line in short for challenge in _parse_line(line))


def _parse_line(line: str) -> Iterator[Challenge]:
    scheme, token68, position = "", "", 0
    parameters: dict[str, str] = {}
    while position < len(line):
        position = _end(_BLANKS_AND_COMMAS, line, position)
        name = _TOKEN.match(line, position)
        if name is None:
            position = _skip_junk(line, position)
            continue
        position = name.end()
        equals = _EQUALS.match(line, position)
        if equals is not None:
            value, position = _value(line, equals.end())
            parameters.setdefault(name[0].lower(), value)
            continue
        if scheme:
            yield Challenge(scheme, MappingProxyType(parameters), token68)
        scheme, parameters = name[0].lower(), {}
        token68, position = _token68(scheme, line, position)
    if scheme:
        yield Challenge(scheme, MappingProxyType(parameters), token68)


def _end(pattern: re.Pattern[str], line: str, position: int) -> int:
    match = pattern.match(line, position)
    return position if match is None else match.end()


def _skip_junk(line: str, position: int) -> int:
    """Pass over a quoted string that belongs to nothing, or one character that cannot stand here."""
    return max(_end(_QUOTED, line, position), position + 1)


def _value(line: str, position: int) -> tuple[str, int]:
    quoted = _QUOTED.match(line, position)
    if quoted is not None:
        return _ESCAPED.sub(r"\1", quoted[1]), quoted.end()
    end = _end(_UNQUOTED, line, position)
    return line[position:end], end


def _token68(scheme: str, line: str, position: int) -> tuple[str, int]:
    """Read what Negotiate and its like send; for Basic and Bearer `realm=` is an empty realm."""
    match = None if scheme in _WITHOUT_TOKEN68 else _TOKEN68.match(line, position)
    return ("", position) if match is None else (match[1], match.end())

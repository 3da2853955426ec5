"""JSON as people keep it in files: trailing commas, a byte order mark, keys in any case (auth-spec 5.2)."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field

from imgpkg.errors import CredentialError

# A string, kept as it is, or a comma before a closing bracket; commas inside strings are thereby safe.
_STRING_OR_TRAILING_COMMA = re.compile(r'"(?:[^"\\]|\\.)*"|,(?=[ \t\r\n]*[}\]])', re.DOTALL)
_NOT_SPACE = re.compile(r"[^ \t\r\n]")


@dataclass(frozen=True, slots=True)
class Document:
    """A decoded JSON value; `comma` is where the first tolerated trailing comma stands, else empty."""

    value: object = field(repr=False)
    comma: str = ""


def decode(data: bytes) -> Document:
    """Decode the first JSON value in `data`; what follows it is ignored, nothing at all is None.

    Raises CredentialError with line and column, never with a piece of the text.
    """
    text = _text(data)
    if not _NOT_SPACE.search(text):
        return Document(None)
    try:
        return Document(_first_value(text))
    except CredentialError:
        repaired = _STRING_OR_TRAILING_COMMA.sub(_blank_comma, text)
    value = _first_value(repaired)
    # Only the value's own commas were replaced by blanks, so the first difference is the first comma.
    offset = next(i for i, pair in enumerate(zip(text, repaired, strict=True)) if pair[0] != pair[1])
    return Document(value, _place(text, offset))


def fold(value: object, what: str) -> dict[str, object]:
    """Take a JSON object with keys in any case, None as empty; the last of equal keys counts."""
    return {key.lower(): item for key, item in items(value, what)}


def items(value: object, what: str) -> list[tuple[str, object]]:
    """List the pairs of a JSON object as written, None as empty; raise CredentialError for anything else."""
    if value is None:
        return []
    if not isinstance(value, dict):
        raise CredentialError(f"{what} must be an object")
    return list(value.items())


def text(value: object, what: str) -> str:
    """Take a JSON string, None as empty; half surrogate pairs become U+FFFD as in the original."""
    if value is None:
        return ""
    if not isinstance(value, str):
        raise CredentialError(f"{what} must be a string")
    return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _text(data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = error.object[: error.start].decode()
    raise CredentialError(f"{_place(before, len(before))}: this is not UTF-8")


def _first_value(text: str) -> object:
    start = _NOT_SPACE.search(text)
    try:
        # Numbers mean nothing here, and a float cannot be too long to convert.
        value, _ = json.JSONDecoder(parse_int=float).raw_decode(text, start.start() if start else 0)
    except json.JSONDecodeError as error:
        problem = f"{_place(text, error.pos)}: {error.msg}"
    except RecursionError:
        problem = "nested too deeply"
    else:
        return value
    # Outside of the handlers: the cause would carry the whole text, secrets included.
    raise CredentialError(problem)


def _blank_comma(match: re.Match[str]) -> str:
    return " " if match[0] == "," else match[0]


def _place(text: str, offset: int) -> str:
    line = text.count("\n", 0, offset) + 1
    return f"line {line} column {offset - text.rfind(chr(10), 0, offset)}"

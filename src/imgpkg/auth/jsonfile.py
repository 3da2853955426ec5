"""JSON as people keep it in files: trailing commas, a byte order mark, keys in any case."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field

from imgpkg.errors import CredentialError

# The largest that a Kubernetes secret can hold, many times over; a helper's answer is far smaller.
MAX_SIZE = 16 << 20
_ESCAPE_OR_SYMBOL = re.compile(r"\\.|[^ \t\r\n]", re.DOTALL)
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
    if len(data) > MAX_SIZE:
        raise CredentialError(f"more than {MAX_SIZE >> 20} MiB, which is too large")
    text = _text(data)
    if not _NOT_SPACE.search(text):
        return Document(None)
    try:
        return Document(_first_value(text))
    except CredentialError:
        commas = _trailing_commas(text)
    value = _first_value(_with_blanks(text, commas))
    return Document(value, _place(text, commas[0]))


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


def _trailing_commas(text: str) -> list[int]:
    """Return where a comma outside of strings stands before a closing bracket."""
    found: list[int] = []
    is_string, comma = False, -1
    for match in _ESCAPE_OR_SYMBOL.finditer(text):
        symbol = match[0]
        if symbol == '"':
            is_string = not is_string
        elif symbol in "}]" and comma >= 0:
            found.append(comma)
        comma = match.start() if symbol == "," and not is_string else -1
    return found


def _with_blanks(text: str, places: list[int]) -> str:
    """Put a blank in each of these places."""
    starts = [0, *(place + 1 for place in places)]
    return " ".join(text[start:end] for start, end in zip(starts, [*places, len(text)], strict=True))


def _place(text: str, offset: int) -> str:
    line = text.count("\n", 0, offset) + 1
    return f"line {line} column {offset - text.rfind(chr(10), 0, offset)}"

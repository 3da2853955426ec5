"""JSON of unknown origin, read strictly: in a limited size and depth, and with one meaning only."""

from __future__ import annotations

import json
from base64 import b64decode
from typing import Any, NoReturn

from imgpkg.errors import VerificationError
from imgpkg.oci.descriptor import Digest

# Far more than the levels of an SBOM; Python's own limit depends on the caller.
MAX_DEPTH = 64
_URL_SAFE = bytes.maketrans(b"-_", b"+/")


def read_object(raw: bytes, what: str) -> dict[str, Any]:
    """Return the JSON object `raw`; `what` names it in errors.

    A repeated key is an error: two programs would read two documents. Raises VerificationError.
    """
    try:
        document = json.loads(raw, object_pairs_hook=_distinct, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        # A UnicodeDecodeError has the whole document in its text.
        reason = "not UTF-8" if isinstance(error, UnicodeError) else str(error) or "nested too deep"
        raise VerificationError(f"{what} is no valid JSON: {reason}") from error
    if not isinstance(document, dict):
        raise VerificationError(f"{what} is no JSON object")
    _check_depth(document, what)
    return document


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key is repeated")
    return found


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no number of JSON")


def _check_depth(document: dict[str, Any], what: str) -> None:
    level: list[Any] = [document]
    for _ in range(MAX_DEPTH):
        level = [inner for item in level for inner in _inside(item)]
        if not level:
            return
    raise VerificationError(f"{what} is nested more than {MAX_DEPTH} deep")


def _inside(item: Any) -> list[Any]:
    values = item.values() if isinstance(item, dict) else item
    return [value for value in values if isinstance(value, (dict, list))]


def value_in(document: dict[str, Any], key: str, what: str) -> Any:
    """Return the value of `key`, None without one; raise VerificationError for a second spelling of it."""
    # Go matches keys in any case: `Critical` could be read in place of `critical`.
    spellings = [name for name in document if name.casefold() == key.casefold()]
    if spellings not in ([], [key]):
        raise VerificationError(f"{what} has {' and '.join(spellings)} where {key} is expected")
    return document.get(key)


def object_in(document: dict[str, Any], key: str, what: str) -> dict[str, Any]:
    """Return the object `document[key]`; raise VerificationError for anything else."""
    value = value_in(document, key, what)
    if not isinstance(value, dict):
        raise VerificationError(f"{what} has no object {key}")
    return value


def text_in(document: dict[str, Any], key: str, what: str) -> str:
    """Return the text `document[key]`; raise VerificationError for anything else."""
    value = value_in(document, key, what)
    if not isinstance(value, str):
        raise VerificationError(f"{what} has no text {key}")
    return value


def list_in(document: dict[str, Any], key: str, what: str, *, most: int) -> list[dict[str, Any]]:
    """Return the list of at most `most` objects `document[key]`; raise VerificationError otherwise."""
    value = value_in(document, key, what)
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise VerificationError(f"{what} has no list of objects {key}")
    if len(value) > most:
        raise VerificationError(f"{what} has {len(value)} {key}; at most {most} are read")
    return value


def strings_in(document: dict[str, Any], key: str) -> dict[str, str]:
    """Return the texts among the values of the object `document[key]`; none where it is absent or null."""
    value = document.get(key)
    entries = value if isinstance(value, dict) else {}
    return {name: text for name, text in entries.items() if isinstance(text, str)}


def bytes_of(text: str, what: str) -> bytes:
    """Decode base64 in the standard or the URL-safe alphabet, as DSSE allows; raise VerificationError."""
    # Releases of Python differ in how much padding they take for too much.
    if len(text) % 4:
        raise VerificationError(f"{what} is no base64")
    try:
        return b64decode(text.encode("ascii").translate(_URL_SAFE), validate=True)
    except ValueError as error:
        raise VerificationError(f"{what} is no base64") from error


def digest_of(text: str, what: str) -> Digest:
    """Parse a digest; raise VerificationError for another text, and for algorithms that are not in use."""
    try:
        return Digest.parse(text)
    except ValueError as error:
        raise VerificationError(f"{what} names no digest: {text}") from error

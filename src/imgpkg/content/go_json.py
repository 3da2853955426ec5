"""JSON in the bytes that Go's encoder writes, on which digests depend."""

from __future__ import annotations

import json

# Go's encoder makes its output safe inside HTML and JavaScript, and shows what is no text.
_ESCAPES = {ord(character): f"\\u{ord(character):04x}" for character in "<>&\u2028\u2029"}
_ESCAPES |= dict.fromkeys(range(0xD800, 0xE000), "\\ufffd")


def encode(value: object, *, indent: int | None = None) -> bytes:
    """Encode plain dicts, lists, strings and numbers, keys in the order they have.

    Without `indent` there are no spaces; with it each entry has a line, indented by so many.
    """
    separators = (",", ":") if indent is None else (",", ": ")
    text = json.dumps(value, indent=indent, separators=separators, ensure_ascii=False)
    return text.translate(_ESCAPES).encode()

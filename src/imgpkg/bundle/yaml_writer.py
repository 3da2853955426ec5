"""The YAML normal form of the files that imgpkg writes, in the bytes of Go's yaml.v2.

Digests of locations images depend on these bytes. PyYAML's emitter quotes other texts, and sorts otherwise.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from enum import Enum
from functools import cmp_to_key
from typing import TYPE_CHECKING, TypeAlias

from imgpkg.bundle.yaml_value import reads_as_itself
from imgpkg.expression import expression

if TYPE_CHECKING:
    from collections.abc import Iterable

Node: TypeAlias = "Mapping[str, Node] | Sequence[Node] | str | bool | int | None"

_WIDTH = 80
_INDENT = 2
# libyaml writes a longer key, in bytes, in the explicit form `? key`.
_MAX_SIMPLE_KEY = 128

_BREAKS = "\n\u2028\u2029"
_MULTILINE = expression(f"[\r\x85{_BREAKS}]")
_BREAK = expression(f"[{_BREAKS}]")
_AFTER_BREAK = expression(f"(?<=[{_BREAKS}])")
# Characters that yaml.v2 escapes; small classes compile ten times as fast as one that is negated.
_UNPRINTABLE = "[\ud800-\udfff]|\ufeff|[\ufffe-\U0010ffff]"
_SPECIAL = expression(f"[\x00-\x09\x0b-\x1f\x7f-\x9f]|{_UNPRINTABLE}")
_SPACE_THEN_BREAK = expression(f" [{_BREAKS}]")
_BREAK_THEN_SPACE = expression(f"[{_BREAKS}] ")
_INDICATOR = expression(r"""---|\.\.\.|[#,\[\]{}&*!|>'"%@`]|[?:-](?:[ \t]|\Z)""")
_INDICATOR_INSIDE = expression(r":(?:[ \t]|\Z)| #")
_ESCAPED = expression(f'[\x00-\x1f"\\\\\x7f-\x9f\u2028\u2029]|{_UNPRINTABLE}')
_SHORT_ESCAPES = dict(zip('\0\a\b\t\n\v\f\r\x1b"\\\x85\u2028\u2029', '0abtnvfre"\\NLP', strict=True))
# Go's int, which overflows without an error.
_BITS, _SIGN = (1 << 64) - 1, 1 << 63


class _Style(Enum):
    PLAIN = "plain"
    SINGLE = "single"
    DOUBLE = "double"
    LITERAL = "literal"


def dump(document: Mapping[str, Node]) -> str:
    """Return `document` as YAML, with keys in natural order and a final newline, without a leading `---`."""
    return f"{_node(document, 0, _INDENT)}\n"


def _node(node: Node, column: int, indent: int) -> str:
    """Return the text of a value that begins at `column`.

    The lines of a mapping or sequence are indented by `column`, further lines of a scalar by `indent`.
    """
    if isinstance(node, str):
        return _text(node, _style(node), column, indent)
    if node is None:
        return "null"
    if isinstance(node, (bool, int)):
        return str(node).lower()
    if isinstance(node, Mapping):
        return _mapping(node, column) if node else "{}"
    return _sequence(node, column) if node else "[]"


def _mapping(mapping: Mapping[str, Node], indent: int) -> str:
    return f"\n{' ' * indent}".join(_entry(key, mapping[key], indent) for key in natural_order(mapping))


def _entry(key: str, value: Node, indent: int) -> str:
    inner = indent + _INDENT
    if _MULTILINE.search(key) or len(key.encode("utf-8", "surrogatepass")) > _MAX_SIMPLE_KEY:
        written = _text(key, _style(key), inner, inner)
        return f"? {written}\n{' ' * indent}: {_node(value, inner, inner)}"
    written = _unfolded(key, _style(key))
    if isinstance(value, Mapping) and value:
        return f"{written}:\n{' ' * inner}{_mapping(value, inner)}"
    if isinstance(value, Sequence) and not isinstance(value, str) and value:
        # The dashes of a sequence stand below its key, without indentation.
        return f"{written}:\n{' ' * indent}{_sequence(value, indent)}"
    return f"{written}: {_node(value, indent + len(written) + 2, inner)}"


def _sequence(items: Sequence[Node], indent: int) -> str:
    inner = indent + _INDENT
    return f"\n{' ' * indent}".join(f"- {_node(item, inner, inner)}" for item in items)


def _style(text: str) -> _Style:
    is_special = bool(_SPECIAL.search(text) or _SPACE_THEN_BREAK.search(text))
    if "\n" in text:
        # A literal ends in a newline; after a final space or another break its end would be ambiguous.
        is_literal = not is_special and not text.endswith((" ", "\u2028", "\u2029"))
        return _Style.LITERAL if is_literal else _Style.DOUBLE
    if is_special or _BREAK_THEN_SPACE.search(text) or not reads_as_itself(text):
        return _Style.DOUBLE
    if _BREAK.search(text) or text != text.strip(" ") or _has_indicators(text):
        return _Style.SINGLE
    return _Style.PLAIN


def _has_indicators(text: str) -> bool:
    return bool(_INDICATOR.match(text) or _INDICATOR_INSIDE.search(text))


def _text(text: str, style: _Style, column: int, indent: int) -> str:
    if style is _Style.LITERAL:
        return _literal(text, indent)
    return _folded(_unfolded(text, style), style, column, indent)


def _unfolded(text: str, style: _Style) -> str:
    if style is _Style.PLAIN:
        return text
    if style is _Style.SINGLE:
        return "'" + text.replace("'", "''") + "'"
    return '"' + _ESCAPED.sub(_escape, text) + '"'


def _escape(match: re.Match[str]) -> str:
    character = match[0]
    if character in _SHORT_ESCAPES:
        return f"\\{_SHORT_ESCAPES[character]}"
    code = ord(character)
    if code <= 0xFF:  # noqa: PLR2004 - what two digits hold
        return f"\\x{code:02X}"
    return f"\\u{code:04X}" if code <= 0xFFFF else f"\\U{code:08X}"  # noqa: PLR2004 - what four digits hold


def _literal(text: str, indent: int) -> str:
    # A first line that is empty or begins with a space hides the indentation, so the header names it.
    hint = str(_INDENT) if text[0] == " " or text[0] in _BREAKS else ""
    keep = "-" if text[-1] not in _BREAKS else "+" if len(text) == 1 or text[-2] in _BREAKS else ""
    lines = _AFTER_BREAK.split(text)
    pad = " " * indent
    body = "".join(line if not line or line[0] in _BREAKS else pad + line for line in lines)
    # The caller writes the break after the last line.
    return f"|{hint}{keep}\n{body.removesuffix(chr(10))}"


def _folded(written: str, style: _Style, column: int, indent: int) -> str:
    """Break each line at the first space after column 80, as libyaml does."""
    if column + len(written) <= _WIDTH and not _BREAK.search(written):
        return written
    edge = 0 if style is _Style.PLAIN else 1
    last = len(written) - 1 - edge
    pieces: list[str] = []
    previous = ""
    for at, character in enumerate(written):
        piece = character
        if character == " ":
            if previous != " " and column > _WIDTH and edge < at < last:
                piece = _fold(style, written[at + 1], indent)
        elif previous and previous in _BREAKS and character not in _BREAKS and at <= last:
            piece = " " * indent + character
        pieces.append(piece)
        column = _column_after(piece, column)
        previous = character
    return "".join(pieces)


def _fold(style: _Style, following: str, indent: int) -> str:
    """Return the line break that replaces a space; before a second space only double quotes allow one."""
    if following != " ":
        return f"\n{' ' * indent}"
    return f"\n{' ' * indent}\\" if style is _Style.DOUBLE else " "


def _column_after(piece: str, column: int) -> int:
    if piece in _BREAKS:
        return 0
    return len(piece) - 1 if piece[0] == "\n" else column + len(piece)


def natural_order(keys: Iterable[str]) -> list[str]:
    """Return `keys` sorted so that digits count as numbers and precede letters: `a1`, `a9`, `a10`, `b`."""
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
    # A zero inside a number has a value, and one in front of it has none: 10 is more than 1, 01 is not.
    lead = "0" in (a, b) and _follows_a_number(one, at)
    (number, length), (other_number, other_length) = _run(one, at, lead), _run(other, at, lead)
    return number - other_number or length - other_length or ord(a) - ord(b)


def _follows_a_number(text: str, at: int) -> bool:
    run = at
    while run and text[run - 1].isdecimal():
        run -= 1
    return text[run:at].strip("0") != ""


def _run(text: str, at: int, lead: bool) -> tuple[int, int]:
    """Return the value of the digits from `at` on and their number; with `lead`, a 1 is put in front."""
    value, end = int(lead), at
    while end < len(text) and text[end].isdecimal():
        value = (value * 10 + ord(text[end]) - ord("0")) & _BITS
        end += 1
    return value - (value & _SIGN) * 2, end - at

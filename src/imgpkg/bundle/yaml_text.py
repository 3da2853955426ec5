"""YAML and JSON text: its documents, with the place of every scalar, and the text with scalars replaced.

Every byte outside of the replaced scalars stays: comments, order, quotes, line ends and encoding. Other than
`yaml_reader`, this reads all documents of a text, and takes what Kubernetes and Helm take: repeated keys,
keys that are no scalars, and JSON documents one after the other.
"""

from __future__ import annotations

import codecs
import json
from bisect import bisect_right
from contextlib import suppress
from itertools import accumulate, islice
from typing import TYPE_CHECKING, Any, TypeAlias

from imgpkg.bundle.yaml_reader import MAX_DEPTH, MAX_SIZE
from imgpkg.bundle.yaml_value import ValueKind, reads_as_itself, resolve
from imgpkg.dataclass import dataclass, field
from imgpkg.errors import InvalidDocument
from imgpkg.expression import expression

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_ENCODINGS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_SPACE = expression(r"[ \t\r\n]*")
# Plain in every context, flow collections included; whatever else there is gets quotes.
_PLAIN = expression(r"[A-Za-z0-9](?:[A-Za-z0-9._/+@-]|:(?=[A-Za-z0-9._/+@-]))*")
# What YAML 1.1 does not have in any text (section 4.1.1).
_UNREADABLE = expression("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\ud800-\udfff\ufffe\uffff]")
_QUOTES = "'\""
# No number is used here; `int` refuses long ones, `float` takes any.
_DECODER = json.JSONDecoder(parse_int=float)
_JSON_KINDS = {"t": ValueKind.BOOL, "f": ValueKind.BOOL, "n": ValueKind.NULL, '"': ValueKind.STRING}
# How many mappings one lookup goes through: with aliases, few lines merge very many.
_MAX_MERGED = 100
_TOO_DEEP = f"nests more than {MAX_DEPTH} levels deep"


@dataclass(frozen=True, slots=True)
class Position:
    """Where something stands in a file; line and column count from 1, the column in characters."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True, slots=True)
class ScalarNode:
    """A scalar, or an alias of one: its text as it is written, its kind, and its range in the whole text.

    The range includes quotes, anchor and tag.
    """

    text: str
    kind: ValueKind
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class SequenceNode:
    """A sequence; an alias of it is the same object. `height` is the number of levels here and below."""

    # Aliases can make a short text very long.
    items: tuple[TextNode, ...] = field(repr=False)
    start: int
    height: int


@dataclass(frozen=True, slots=True)
class MappingNode:
    """The entries of a mapping as they are written, repeated keys included; otherwise as a sequence."""

    entries: tuple[tuple[TextNode, TextNode], ...] = field(repr=False)
    start: int
    height: int
    is_flow: bool

    def get(self, name: str) -> TextNode | None:
        """Return the value of a key: the last one, and where there is none, the first that is merged in."""
        waiting: list[MappingNode] = [self]
        for _ in range(_MAX_MERGED):
            if not waiting:
                break
            source = waiting.pop()
            for key, value in reversed(source.entries):
                if isinstance(key, ScalarNode) and key.text == name:
                    return value
            # Depth first, as each source has what is merged into it.
            waiting += reversed(tuple(islice(source._merged(), _MAX_MERGED)))  # noqa: SLF001 - the same class
        return None

    def scalar(self, name: str) -> ScalarNode | None:
        """Return the value of a key if it is a scalar."""
        value = self.get(name)
        return value if isinstance(value, ScalarNode) else None

    def key(self, name: str) -> ScalarNode | None:
        """Return the last key with this text."""
        keys = (key for key, _ in reversed(self.entries) if isinstance(key, ScalarNode) and key.text == name)
        return next(keys, None)

    def _merged(self) -> Iterator[MappingNode]:
        for key, value in self.entries:
            if isinstance(key, ScalarNode) and key.kind is ValueKind.MERGE:
                sources = value.items if isinstance(value, SequenceNode) else (value,)
                yield from (source for source in sources if isinstance(source, MappingNode))


TextNode: TypeAlias = ScalarNode | SequenceNode | MappingNode


@dataclass(frozen=True, slots=True, order=True)
class Edit:
    """Other characters for a range of a text."""

    start: int
    end: int
    new: str


class MarkedText:
    """The text of the file `name`; raises InvalidDocument for bytes that are no text.

    UTF-8, and UTF-16 with a byte order mark, as YAML 1.1 has it; at most 64 MiB.
    """

    def __init__(self, data: bytes, name: str) -> None:
        if len(data) > MAX_SIZE:
            raise InvalidDocument(f"{name} has {len(data)} bytes; at most {MAX_SIZE} are read")
        found = ((mark, encoding) for mark, encoding in _ENCODINGS if data.startswith(mark))
        self.name = name
        self._mark, self._encoding = next(found, (b"", "utf-8"))
        try:
            self.text = data[len(self._mark) :].decode(self._encoding)
        except UnicodeDecodeError as error:
            at = error.start + len(self._mark)
            raise InvalidDocument(f"{name} is no text in UTF-8 or UTF-16: look at byte {at}") from error
        self._lines: list[int] = []

    def documents(self) -> Iterator[TextNode]:
        """Yield the top node of each document; raise InvalidDocument, with the place of the mistake."""
        # JSON first: PyYAML knows YAML 1.1, which has neither its surrogate pairs nor all of its white space.
        if self.text.lstrip()[:1] in ("{", "["):
            # Flow collections of YAML, and mistakes, are for the parser of YAML, which describes them.
            with suppress(ValueError):
                return iter(tuple(_JSONScanner(self.text).documents()))
        # One after the other, so that not all of them are in memory.
        return self._yaml_documents()

    def place(self, at: int) -> Position:
        """Return the place of the character `at`."""
        if not self._lines:
            self._lines = [0, *accumulate(len(line) + 1 for line in self.text.split("\n"))]
        line = bisect_right(self._lines, at)
        return Position(self.name, line, at - self._lines[line - 1] + 1)

    def content(self, node: ScalarNode) -> tuple[int, int] | None:
        """Return the range of the text of a scalar within its quotes; None if it is written otherwise.

        It is for aliases, for what has escapes or line breaks in it, and for an empty scalar.
        """
        raw = self.text[node.start : node.end]
        # An anchor before it may have the same name; behind it are at most a quote and the end of a block.
        at = raw.rfind(node.text) if node.text else -1
        if at < 0 or raw[:1] == "*" or raw[at + len(node.text) :].strip().strip(_QUOTES):
            return None
        return node.start + at, node.start + at + len(node.text)

    def place_of(self, node: TextNode) -> Position:
        """Return the place of the text of a scalar, or of the beginning of a collection."""
        content = self.content(node) if isinstance(node, ScalarNode) else None
        return self.place(content[0] if content else node.start)

    def edit(self, node: ScalarNode, new: str) -> Edit:
        """Return the edit that gives a scalar the text `new`, and keeps its quotes where it has them."""
        written = scalar_text(new)
        if node.start == node.end:
            return self._filled(node.start, written)
        content = self.content(node)
        if content is None:
            return self._rewritten(node, written)
        start, end = content
        if self.text[start - 1 : start] in tuple(_QUOTES) and end < node.end:
            is_safe = not set(new) & {"'", '"', "\\"}
            return Edit(start, end, new) if is_safe else Edit(start - 1, end + 1, json.dumps(new))
        is_block = "\n" in self.text[node.start : start]
        return Edit(start, end, new if is_block else written)

    def _rewritten(self, node: ScalarNode, written: str) -> Edit:
        """Return the edit that replaces an alias, and what has escapes or nothing in its quotes."""
        raw = self.text[node.start : node.end].rstrip()
        quote = raw[-1:] if raw[-1:] in tuple(_QUOTES) else ""
        # An anchor and a tag stay in front of it.
        at = node.start + (raw.find(quote) if quote else 0)
        quoted = f'"{written}"' if quote and written[:1] != '"' else written
        return Edit(at, node.start + len(raw), quoted)

    def _filled(self, at: int, written: str) -> Edit:
        """Return the edit that writes a value where a key has none."""
        while self.text[at - 1] in " \t\r\n":
            at -= 1
        return Edit(at, at, f" {written}" if self.text[at - 1] == ":" else f": {written}")

    def replaced(self, edits: Iterable[Edit]) -> bytes:
        """Return the bytes of the file after `edits`; raise InvalidDocument where two of them differ."""
        pieces, at = [], 0
        # Equal ones are those of a scalar that two references share.
        for edit in sorted(set(edits)):
            if edit.start < at:
                raise self._invalid(edit.start, "is part of two images, which are different now")
            pieces += [self.text[at : edit.start], edit.new]
            at = edit.end
        return self._mark + "".join((*pieces, self.text[at:])).encode(self._encoding)

    def _yaml_documents(self) -> Iterator[TextNode]:
        import yaml

        events = iter(yaml.parse(self.text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)))
        try:
            yield from _NodeComposer(events).documents()
        except yaml.MarkedYAMLError as error:
            mark: Any = error.problem_mark or error.context_mark
            raise self._invalid(mark.index, str(error.problem)) from error
        except yaml.reader.ReaderError as error:
            found = _UNREADABLE.search(self.text)
            raise self._invalid(found.start() if found else 0, str(error.reason)) from error
        except _NodeError as error:
            raise self._invalid(error.at, error.text) from error
        except (ValueError, OverflowError) as error:
            # PyYAML's own scanner does not check the range of escape codes.
            raise InvalidDocument(f"{self.name}: a number that is out of range") from error

    def _invalid(self, at: int, problem: str) -> InvalidDocument:
        place = self.place(at)
        return InvalidDocument(f"{place}: {problem}", place=(place.line, place.column))


def scalar_text(text: str) -> str:
    """Return `text` as a plain scalar for any context, in double quotes if need be."""
    return text if _PLAIN.fullmatch(text) and reads_as_itself(text) else json.dumps(text)


class _NodeError(Exception):
    def __init__(self, text: str, at: int) -> None:
        super().__init__(text)
        self.text, self.at = text, at


def _height(nodes: Iterable[TextNode], at: int) -> int:
    height = 1 + max((0 if isinstance(node, ScalarNode) else node.height for node in nodes), default=0)
    # Aliases can nest deeper than the text does.
    if height > MAX_DEPTH:
        raise _NodeError(_TOO_DEEP, at)
    return height


class _NodeComposer:
    """Makes nodes of the events of PyYAML's parser; an alias costs nothing, however often it is repeated."""

    def __init__(self, events: Iterator[Any]) -> None:
        self._events = events
        self._anchors: dict[str, TextNode | None] = {}
        self._depth = 0

    def documents(self) -> Iterator[TextNode]:
        for event in self._events:
            # Classes of events are compared by name, because yaml is imported only to read a document.
            if type(event).__name__ == "DocumentStartEvent":
                self._anchors = {}
                yield self._node(next(self._events))

    def _node(self, event: Any) -> TextNode:
        name, start = type(event).__name__, event.start_mark.index
        if name == "AliasEvent":
            return self._alias(event)
        if event.anchor:
            # None while it is being read: an alias inside would make it contain itself.
            self._anchors[event.anchor] = None
        if name == "ScalarEvent":
            node: TextNode = ScalarNode(event.value, _kind(event), start, event.end_mark.index)
        else:
            self._depth += 1
            if self._depth > MAX_DEPTH:
                raise _NodeError(_TOO_DEEP, start)
            node = self._collection(event, start)
            self._depth -= 1
        if event.anchor:
            self._anchors[event.anchor] = node
        return node

    def _alias(self, event: Any) -> TextNode:
        node, start = self._anchors.get(event.anchor), event.start_mark.index
        if node is None:
            raise _NodeError(f"the alias *{event.anchor} has no anchor, or is inside of it", start)
        if isinstance(node, ScalarNode):
            # What is written here can be replaced without a change of what the anchor is on.
            return ScalarNode(node.text, node.kind, start, event.end_mark.index)
        return node

    def _collection(self, event: Any, start: int) -> TextNode:
        inside = tuple(self._inside())
        height = _height(inside, start)
        if type(event).__name__ == "SequenceStartEvent":
            return SequenceNode(inside, start, height)
        pairs = tuple(zip(inside[::2], inside[1::2], strict=True))
        return MappingNode(pairs, start, height, bool(event.flow_style))

    def _inside(self) -> Iterator[TextNode]:
        while not type(event := next(self._events)).__name__.endswith("EndEvent"):
            yield self._node(event)


def _kind(event: Any) -> ValueKind:
    return resolve(event.value)[0] if event.tag is None and event.implicit[0] else ValueKind.STRING


class _JSONScanner:
    """Makes nodes of JSON texts one after the other; raises ValueError where one is none."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._depth = 0

    def documents(self) -> Iterator[TextNode]:
        at = self._after_space(0)
        while at < len(self._text):
            node, at = self._value(at)
            yield node
            at = self._after_space(at)

    def _value(self, start: int) -> tuple[TextNode, int]:
        first = self._text[start : start + 1]
        if first not in ("{", "["):
            decoded, end = _DECODER.raw_decode(self._text, start)
            written = decoded if isinstance(decoded, str) else self._text[start:end]
            return ScalarNode(written, _JSON_KINDS.get(first, ValueKind.NUMBER), start, end), end
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise ValueError(_TOO_DEEP)
        inside, end = self._members(start, is_mapping=first == "{")
        self._depth -= 1
        height = _height(inside, start)
        if first == "[":
            return SequenceNode(inside, start, height), end
        return MappingNode(tuple(zip(inside[::2], inside[1::2], strict=True)), start, height, True), end

    def _members(self, start: int, *, is_mapping: bool) -> tuple[tuple[TextNode, ...], int]:
        """Return the values, or keys and values, and the position after the closing bracket."""
        inside: list[TextNode] = []
        closing, at = "}" if is_mapping else "]", self._after_space(start + 1)
        if self._text[at : at + 1] == closing:
            return (), at + 1
        while True:
            node, at = self._value(at)
            at = self._after_space(at)
            if is_mapping:
                if not (isinstance(node, ScalarNode) and node.kind is ValueKind.STRING):
                    raise ValueError("a key must be a string")
                value, at = self._value(self._expected(at, ":"))
                inside.append(node)
                node, at = value, self._after_space(at)
            inside.append(node)
            if self._text[at : at + 1] == closing:
                return tuple(inside), at + 1
            at = self._expected(at, ",")

    def _expected(self, at: int, letter: str) -> int:
        if self._text[at : at + 1] != letter:
            raise ValueError(f"expected {letter}")
        return self._after_space(at + 1)

    def _after_space(self, at: int) -> int:
        space = _SPACE.match(self._text, at)
        return space.end() if space else at

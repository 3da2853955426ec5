"""Read the form in which tools write lock files: block mappings and sequences of one-line scalars, in ASCII.

This is no parser of YAML: whatever is not plain here is left to `yaml_reader.py`, which reads all of it and
has the errors. What is accepted has the same values and lines there.
"""

from __future__ import annotations

from imgpkg.bundle.yaml_value import Value, ValueKind, resolve
from imgpkg.expression import expression

# Longer documents, and deeper ones, are worth loading the parser, which counts levels and takes less memory.
_MAX_SIZE = 1 << 20
_MAX_INDENT = 32
_PRINTABLE = expression(r"[ -~\n]*\n")
_ENTRY = expression(r"([A-Za-z][A-Za-z0-9_./-]{0,99}):(?: ([^ ].*))?")
_QUOTED = expression(r"'[^']*'|\"[^\"\\]*\"")
# No colon before a blank, no comment, no indicator of YAML at the start.
_PLAIN = expression(r"[A-Za-z0-9_/](?::?[A-Za-z0-9_./@+=-])*")


class _NotPlainError(Exception):
    """The document has something else; not about its validity."""


def read_block(data: bytes) -> Value | None:
    """Return the value of a document in the plain form, None for any other."""
    text = data.decode("latin-1") if len(data) <= _MAX_SIZE else ""
    if not _PRINTABLE.fullmatch(text):
        return None
    try:
        return _Block(text.split("\n")[:-1]).document()
    except _NotPlainError:
        return None


class _Block:
    """The lines of a document in block form, of which those before `at` have been read."""

    def __init__(self, lines: list[str]) -> None:
        self.lines = lines
        self.at = int(lines[0] == "---")

    @property
    def indent(self) -> int:
        """The indentation of the next line; -1 at the end."""
        if self.at == len(self.lines):
            return -1
        line = self.lines[self.at]
        return len(line) - len(line.lstrip(" "))

    def document(self) -> Value:
        value = self._node()
        # A line that is indented in another way, or no entry: nobody has read it.
        if self.at < len(self.lines):
            raise _NotPlainError
        return value

    def _node(self) -> Value:
        indent = self.indent
        if not 0 <= indent <= _MAX_INDENT:
            raise _NotPlainError
        if self._is_item(indent):
            return self._sequence(indent)
        text = self.lines[self.at][indent:]
        if _ENTRY.fullmatch(text):
            return self._mapping(indent)
        self.at += 1
        return _scalar(text, self.at, indent + 1)

    def _is_item(self, indent: int) -> bool:
        return self.indent == indent and self.lines[self.at].startswith("- ", indent)

    def _sequence(self, indent: int) -> Value:
        start, items = self.at, []
        while self._is_item(indent):
            # What follows the dash is at its own column, as if there were a blank in place of the dash.
            self.lines[self.at] = f"{' ' * indent} {self.lines[self.at][indent + 1 :]}"
            items.append(self._node())
        return Value(
            ValueKind.ARRAY, tuple(items), start + 1, 1 + sum(item.size for item in items), indent + 1
        )

    def _mapping(self, indent: int) -> Value:
        start, size = self.at, 1
        entries: dict[str, Value] = {}
        while self.indent == indent and (match := _ENTRY.fullmatch(self.lines[self.at][indent:])):
            key, text = match.groups()
            # A repeated key may be an error, and a key such as `on` is no string.
            if key in entries or resolve(key)[0] is not ValueKind.STRING:
                raise _NotPlainError
            self.at += 1
            entries[key] = value = (
                self._below(indent) if text is None else self._beside(text, indent, indent + len(key) + 3)
            )
            size += 1 + value.size
        return Value(ValueKind.OBJECT, entries, start + 1, size, indent + 1)

    def _below(self, indent: int) -> Value:
        # A sequence may be at the column of its key.
        if self.indent > indent or self._is_item(indent):
            return self._node()
        raise _NotPlainError

    def _beside(self, text: str, indent: int, column: int) -> Value:
        if text not in ("|", "|-"):
            return _scalar(text, self.at, column)
        line, inside, found = self.at, self.indent, []
        while self.indent >= inside > indent:
            found.append(self.lines[self.at][inside:])
            self.at += 1
        # Empty lines have rules of their own.
        if not found or not all(each.strip(" ") for each in found):
            raise _NotPlainError
        return Value(ValueKind.STRING, "\n".join(found) + ("\n" if text == "|" else ""), line, column=column)


def _scalar(text: str, line: int, column: int) -> Value:
    if _QUOTED.fullmatch(text):
        return Value(ValueKind.STRING, text[1:-1], line, column=column)
    if _PLAIN.fullmatch(text):
        return Value(*resolve(text), line, column=column)
    raise _NotPlainError

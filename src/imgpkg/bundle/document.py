"""Typed fields of a YAML document, and the header with which every document of imgpkg begins."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from imgpkg.bundle.yaml_reader import look_at
from imgpkg.bundle.yaml_value import Value, ValueKind
from imgpkg.dataclass import dataclass
from imgpkg.errors import InvalidLock

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

API_VERSION = "imgpkg.carvel.dev/v1alpha1"
HEADER = ("apiVersion", "kind")
# The words of the original, which scripts search for.
_PREFIX = "error unmarshaling JSON: while decoding JSON: json: "
_STRING = "string"
_OF_KUBERNETES = (
    "imgpkg lock -f FILE -o images.yml makes a lock of the images that Kubernetes documents name."
)


@dataclass(frozen=True, slots=True)
class Field:
    """A value of the file `name`; `path` is its field from the top, `owner` the type that has the field.

    Errors are those of Go's JSON decoder, with the names of the original's types, as `lockconfig.ImageRef`.
    """

    value: Value
    name: str
    owner: str = ""
    path: str = ""

    def fields(self, type_name: str, known: tuple[str, ...], *, strict: bool) -> Iterator[tuple[str, Field]]:
        """Yield the `known` fields of a structure, sorted by their names in the file; null has none.

        A name matches exactly, or else in any case, as in Go. With `strict`, an unknown field is an error.
        """
        # Go sorts keys when it converts YAML to JSON: of two spellings of a name the later one counts.
        for key, value in sorted(self._entries(type_name).items()):
            name = _match(key, known)
            if name is not None:
                path = f"{self.path}.{name}" if self.path else name
                yield name, Field(value, self.name, type_name.rpartition(".")[2], path)
            elif strict:
                hints = (look_at(self.name, value.line), f"Known here: {', '.join(known)}.")
                text = f"{_PREFIX}unknown field {json.dumps(key, ensure_ascii=False)}"
                raise InvalidLock(text, hints=hints, place=(value.line, value.column))

    def items(self, type_name: str) -> Iterator[Field]:
        """Yield the items of a list of `type_name`; null has none."""
        if self.value.kind is ValueKind.NULL:
            return
        if not isinstance(self.value.content, tuple):
            raise self._mismatch(f"[]{type_name}")
        for item in self.value.content:
            yield Field(item, self.name, self.owner, self.path)

    def strings(self) -> Mapping[str, str]:
        """Return a mapping of strings; null is an empty mapping."""
        entries = self._entries(f"map[{_STRING}]{_STRING}")
        return {
            key: Field(value, self.name, self.owner, self.path).string()
            for key, value in sorted(entries.items())
        }

    def string(self) -> str:
        """Return the text of a scalar of any kind; null is empty."""
        if not isinstance(self.value.content, str):
            raise self._mismatch(_STRING)
        return self.value.content

    def boolean(self) -> bool:
        """Return true or false; null is false."""
        if self.value.kind is ValueKind.NULL:
            return False
        if self.value.kind is not ValueKind.BOOL:
            raise self._mismatch("bool")
        return self.value.content == "true"

    def hint(self) -> str:
        """Return a hint that names the line of this value."""
        return look_at(self.name, self.value.line)

    def _entries(self, type_name: str) -> Mapping[str, Value]:
        if self.value.kind is ValueKind.NULL:
            return {}
        if not isinstance(self.value.content, dict):
            raise self._mismatch(type_name)
        return self.value.content

    def _mismatch(self, type_name: str) -> InvalidLock:
        # `<<` has a meaning only as a key; as a value it is text.
        kind = ValueKind.STRING if self.value.kind is ValueKind.MERGE else self.value.kind
        into = f"Go struct field {self.owner}.{self.path} of" if self.path else "Go value of"
        return InvalidLock(
            f"{_PREFIX}cannot unmarshal {kind.value} into {into} type {type_name}",
            hints=(self.hint(),),
            place=(self.value.line, self.value.column),
        )


def _match(key: str, known: tuple[str, ...]) -> str | None:
    if key in known:
        return key
    return next((name for name in known if name.casefold() == key.casefold()), None)


_OF_KUBERNETES = (
    "imgpkg lock -f FILE -o images.yml makes a lock of the images that Kubernetes documents name."
)


@dataclass(slots=True)
class Header:
    """The apiVersion and kind of a document, collected while its fields are read."""

    hint: str
    version: str = ""
    kind: str = ""
    line: int = 1
    column: int = 1

    def take(self, name: str, field: Field) -> None:
        """Store one of the two fields."""
        if name == "apiVersion":
            self.version = field.string()
        else:
            self.kind = field.string()
        self.hint, self.line, self.column = field.hint(), field.value.line, field.value.column

    def check(self, kind: str) -> None:
        """Raise InvalidLock unless the document is of `kind`, in the known version."""
        if self.version != API_VERSION:
            text = f"Validating apiVersion: Unknown version (known: {API_VERSION})"
            raise self._error(text, *((_OF_KUBERNETES,) if self.version else ()))
        if self.kind != kind:
            raise self._error(f"Validating kind: Unknown kind (known: {kind})")

    def _error(self, text: str, *more: str) -> InvalidLock:
        found = f"It has apiVersion '{self.version}' and kind '{self.kind}'."
        return InvalidLock(text, hints=(found, self.hint, *more), place=(self.line, self.column))

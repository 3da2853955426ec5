"""Typed fields of a YAML document, and the header with which every document of imgpkg begins."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from imgpkg.bundle.yaml_reader import Entries, Items, Scalar, look_at
from imgpkg.bundle.yaml_scalar import Kind
from imgpkg.errors import InvalidLock

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from imgpkg.bundle.yaml_reader import Value

_PREFIX = "error unmarshaling JSON: while decoding JSON: json: "
STRING = "string"
API_VERSION = "imgpkg.carvel.dev/v1alpha1"
HEADER = ("apiVersion", "kind")


@dataclass(frozen=True, slots=True)
class Found:
    """A value and the way to it: `owner` is the type that has the field, `path` the fields from the top.

    Types are named as the original names them, `lockconfig.ImageRef`.
    """

    value: Value
    name: str
    owner: str = ""
    path: str = ""

    def fields(self, type_name: str, known: tuple[str, ...], *, strict: bool) -> Iterator[tuple[str, Found]]:
        """Yield the fields of a structure by their proper names, in the order of their written names.

        Names match exactly first, then whatever their case. An unknown field is an error when `strict`.
        """
        for key, value in sorted(self._entries(type_name).items()):
            field = _match(key, known)
            if field is not None:
                path = f"{self.path}.{field}" if self.path else field
                yield field, Found(value, self.name, type_name.rpartition(".")[2], path)
            elif strict:
                hints = (look_at(self.name, value.line), f"Known here: {', '.join(known)}.")
                raise InvalidLock(
                    f"{_PREFIX}unknown field {json.dumps(key, ensure_ascii=False)}", hints=hints
                )

    def items(self, type_name: str) -> Iterator[Found]:
        """Yield the items of a list of `type_name`; null has none."""
        if _is_null(self.value):
            return
        if not isinstance(self.value, Items):
            raise self._mismatch(f"[]{type_name}")
        for item in self.value.items:
            yield Found(item, self.name, self.owner, self.path)

    def strings(self) -> Mapping[str, str]:
        """Return a mapping of strings; null is an empty one."""
        entries = self._entries(f"map[{STRING}]{STRING}")
        return {
            key: Found(value, self.name, self.owner, self.path).string()
            for key, value in sorted(entries.items())
        }

    def string(self) -> str:
        """Return text: other scalars are converted, null is empty."""
        if not isinstance(self.value, Scalar):
            raise self._mismatch(STRING)
        return self.value.text

    def boolean(self) -> bool:
        """Return true or false; null is false."""
        if _is_null(self.value):
            return False
        if not isinstance(self.value, Scalar) or self.value.kind is not Kind.BOOL:
            raise self._mismatch("bool")
        return self.value.text == "true"

    def hint(self) -> str:
        """Say where this value stands."""
        return look_at(self.name, self.value.line)

    def _entries(self, type_name: str) -> Mapping[str, Value]:
        if _is_null(self.value):
            return {}
        if not isinstance(self.value, Entries):
            raise self._mismatch(type_name)
        return self.value.entries

    def _mismatch(self, type_name: str) -> InvalidLock:
        kind = Kind.STRING if self.value.kind is Kind.MERGE else self.value.kind
        into = f"Go struct field {self.owner}.{self.path} of" if self.path else "Go value of"
        return InvalidLock(
            f"{_PREFIX}cannot unmarshal {kind.value} into {into} type {type_name}", hints=(self.hint(),)
        )


def _is_null(value: Value) -> bool:
    return value.kind is Kind.NULL


def _match(key: str, known: tuple[str, ...]) -> str | None:
    if key in known:
        return key
    return next((name for name in known if name.casefold() == key.casefold()), None)


@dataclass(slots=True)
class Header:
    """What a file says it is, gathered while its fields are read."""

    hint: str
    version: str = ""
    kind: str = ""

    def take(self, field: str, found: Found) -> None:
        """Take one of the two fields."""
        if field == "apiVersion":
            self.version = found.string()
        else:
            self.kind = found.string()
        self.hint = found.hint()

    def check(self, kind: str) -> None:
        """Raise InvalidLock unless the file is of `kind`, in the version that is known."""
        if self.version != API_VERSION:
            raise self._refusal(f"Validating apiVersion: Unknown version (known: {API_VERSION})")
        if self.kind != kind:
            raise self._refusal(f"Validating kind: Unknown kind (known: {kind})")

    def _refusal(self, text: str) -> InvalidLock:
        found = f"It has apiVersion '{self.version}' and kind '{self.kind}'."
        return InvalidLock(text, hints=(found, self.hint))

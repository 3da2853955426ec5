"""Files of settings in YAML, whose errors name the field, the line and the column."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from imgpkg.bundle.document import API_VERSION
from imgpkg.bundle.yaml_reader import look_at, read_document
from imgpkg.bundle.yaml_value import Value, ValueKind
from imgpkg.dataclass import dataclass
from imgpkg.errors import ImgpkgError, InvalidLock, InvalidSettings

if TYPE_CHECKING:
    from collections.abc import Iterator


def read_settings(data: bytes, name: str) -> SettingsValue:
    """Return the document in `data`, which was read from the file `name`; raise InvalidSettings."""
    try:
        value = read_document(data, name, strict=True)
    except InvalidLock as error:
        raise InvalidSettings(error.message, hints=error.hints, lines=error.lines) from error
    return SettingsValue(value, name, tuple(data.decode(errors="replace").splitlines()))


@dataclass(frozen=True, slots=True)
class SettingsValue:
    """A value of the file `name` with its `lines`, and its `path` from the top, for errors."""

    value: Value
    name: str
    lines: tuple[str, ...]
    path: str = ""

    def error(self, text: str) -> InvalidSettings:
        """Return an error about this value."""
        where = f"{self.name}: {self.path}: " if self.path else f"{self.name}: "
        return InvalidSettings(f"{where}{text}", hints=(self.hint,))

    @property
    def hint(self) -> str:
        """The hint that names its line and column."""
        line = self.lines[self.value.line - 1] if self.value.line <= len(self.lines) else ""
        text = self.value.content
        at = line.find(text) if isinstance(text, str) and text else -1
        # Of a mapping or list, and of a text that is written in another way, the line begins there.
        column = at if at >= 0 else len(line) - len(line.lstrip())
        return look_at(self.name, self.value.line, column + 1)

    def fields(self, *known: str) -> Mapping[str, SettingsValue]:
        """Return the fields of a mapping; another one than the `known` is an error."""
        content = self.value.content
        if not isinstance(content, dict):
            raise self.error(f"expected fields ({', '.join(known)})")
        below = {key: self._below(value, key) for key, value in content.items()}
        for key in below.keys() - {*known}:
            raise below[key].error(f"unknown field; known here: {', '.join(known)}")
        return below

    def check_header(self, fields: Mapping[str, SettingsValue], kind: str) -> None:
        """Raise InvalidSettings unless `fields`, those of the whole document, say that it is of `kind`."""
        for name, wanted in (("apiVersion", API_VERSION), ("kind", kind)):
            if name not in fields:
                raise self.error(f"{name} is missing: {wanted}")
            fields[name].choice(wanted)

    def items(self) -> Iterator[SettingsValue]:
        """Yield the items of a list."""
        if not isinstance(self.value.content, tuple):
            raise self.error("expected a list")
        for position, item in enumerate(self.value.content):
            yield SettingsValue(item, self.name, self.lines, f"{self.path}[{position}]")

    def text(self) -> str:
        """Return a text that is not empty."""
        content = self.value.content
        if not isinstance(content, str) or not content or self.value.kind is ValueKind.NULL:
            raise self.error("expected a text")
        return content

    def choice(self, *words: str) -> str:
        """Return one of `words`."""
        text = self.text()
        if text not in words:
            raise self.error(f"expected {' or '.join(words)}, but was {text}")
        return text

    def texts(self) -> Mapping[str, str]:
        """Return a mapping of texts."""
        if not isinstance(self.value.content, dict):
            raise self.error("expected fields with a text each")
        return {key: self._below(value, key).text() for key, value in self.value.content.items()}

    def _below(self, value: Value, key: str) -> SettingsValue:
        path = f"{self.path}.{key}" if self.path else key
        return SettingsValue(value, self.name, self.lines, path)


@contextmanager
def placed_at(node: SettingsValue) -> Iterator[None]:
    """Return a context whose errors of values name the place of `node`."""
    try:
        yield
    except ImgpkgError as error:
        # The innermost place is the one to look at.
        if not any(node.name in hint for hint in error.hints):
            error.add_context(node.name, node.path)
            error.hints = (*error.hints, node.hint)
        raise

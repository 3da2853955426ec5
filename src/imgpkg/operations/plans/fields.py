"""The fields of a line of a plan, which may come from anybody, as values."""

from __future__ import annotations

from functools import lru_cache
from sys import intern
from typing import TYPE_CHECKING, Any

from imgpkg.errors import InvalidDocument
from imgpkg.oci.descriptor import Digest
from imgpkg.oci.reference import Reference, Repository

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

# Characters of a name, tag or digest; errors name them.
_MAX_NAME = 1000
# JSON has no largest number; sizes of files have one.
_MAX_COUNT = 1 << 63
# Most blobs of an image name the same two repositories.
_KEPT_NAMES = 1 << 12


class PlanFields:
    """The fields of one JSON object; all methods raise InvalidDocument or InvalidReference."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._document = document

    def has(self, name: str) -> bool:
        """Return whether the field is there, and is not null."""
        return self._document.get(name) is not None

    def text(self, name: str, *, longest: int = _MAX_NAME) -> str:
        """Return a text of at most `longest` characters, empty if it is not there."""
        return _text(self._document.get(name, ""), name, longest)

    def media_type(self) -> str:
        """Return the media type, of which a plan with a million lines has few; empty if it is not there."""
        return intern(self.text("mediaType"))

    def texts(self, name: str, *, longest: int = _MAX_NAME) -> tuple[str, ...]:
        """Return a list of such texts, empty if it is not there."""
        return tuple(_text(item, name, longest) for item in self._list(name))

    def flag(self, name: str) -> bool:
        """Return true or false; false if it is not there."""
        value = self._document.get(name, False)
        if not isinstance(value, bool):
            raise InvalidDocument(f"{name} is neither true nor false")
        return value

    def count(self, name: str) -> int:
        """Return a number from 0."""
        value = self._document.get(name)
        # JSON has no integers of its own: `true` and `1.5` arrive here as well.
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < _MAX_COUNT:
            raise InvalidDocument(f"{name} is no count")
        return value

    def mapping(self, name: str) -> dict[str, str]:
        """Return an object of texts, empty if it is not there."""
        value = self._document.get(name, {})
        if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
            raise InvalidDocument(f"{name} is no object of texts")
        return value

    def object(self, name: str) -> PlanFields | None:
        """Return an object, None if it is not there."""
        value = self._document.get(name)
        if value is not None and not isinstance(value, dict):
            raise InvalidDocument(f"{name} is no object")
        return None if value is None else PlanFields(value)

    def objects(self, name: str) -> Iterator[PlanFields]:
        """Yield the objects of a list."""
        for item in self._list(name):
            if not isinstance(item, dict):
                raise InvalidDocument(f"{name} has something that is no object")
            yield PlanFields(item)

    def digest(self, name: str) -> Digest:
        """Return a digest."""
        return Digest.parse(self.text(name))

    def repository(self, name: str) -> Repository:
        """Return a repository."""
        return _repository(self.text(name))

    def repositories(self, name: str) -> tuple[Repository, ...]:
        """Return a list of repositories, empty if it is not there."""
        return tuple(map(_repository, self.texts(name)))

    def reference(self, name: str) -> Reference:
        """Return a reference with a digest."""
        return _reference(self.text(name), name)

    def references(self, name: str) -> tuple[Reference, ...]:
        """Return a list of references, each with a digest or with a tag."""
        return tuple(_reference(text, name) if "@" in text else _tagged(text) for text in self.texts(name))

    def _list(self, name: str) -> list[Any]:
        value = self._document.get(name, [])
        if not isinstance(value, list):
            raise InvalidDocument(f"{name} is no list")
        return value


def _text(value: Any, name: str, longest: int) -> str:
    if not isinstance(value, str):
        raise InvalidDocument(f"{name} is no text")
    if len(value) > longest:
        raise InvalidDocument(f"{name} has more than {longest} characters")
    return value


def _reference(text: str, name: str) -> Reference:
    # `Reference.parse_digest` has the grammar of the original, without SHA-512.
    place, at, digest = text.partition("@")
    if not at:
        raise InvalidDocument(f"{name} has no digest: {text}")
    return _repository(place).digest(Digest.parse(digest))


def _tagged(text: str) -> Reference:
    place, _, tag = text.rpartition(":")
    return _repository(place).tag(tag)


@lru_cache(_KEPT_NAMES)
def _repository(text: str) -> Repository:
    repository = Repository.parse(text)
    # The grammar of the original accepts them, and servers may take them for a way to somewhere else.
    if not {"", ".", ".."}.isdisjoint(repository.path.split("/")):
        raise InvalidDocument(f"{text} has parts that are no names")
    return repository

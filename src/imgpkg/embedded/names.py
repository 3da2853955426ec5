"""Names that may become paths and URLs: the strict grammar of the distribution specification."""

from __future__ import annotations

import re
from dataclasses import dataclass

from imgpkg.errors import InvalidReference

_PART = r"[a-z0-9]+(?:(?:\.|__?|-+)[a-z0-9]+)*"
_NAME = re.compile(rf"{_PART}(?:/{_PART})*")
_TAG = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}")
_MAX_NAME = 255


@dataclass(frozen=True, slots=True, order=True)
class RepositoryName:
    """A repository's name, such as `team/app`; no part is empty or starts with a dot or underscore."""

    text: str

    @classmethod
    def parse(cls, text: str) -> RepositoryName:
        """Read a name (distribution spec, "Pulling manifests"); raise InvalidReference."""
        if len(text) > _MAX_NAME or not _NAME.fullmatch(text):
            raise InvalidReference(f"invalid repository name: {text[:_MAX_NAME]!r}")
        return cls(text)

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True, order=True)
class TagName:
    """A tag, such as `v1.0`; it never starts with a dot."""

    text: str

    @classmethod
    def parse(cls, text: str) -> TagName:
        """Read a tag (distribution spec, "Pulling manifests"); raise InvalidReference."""
        if not _TAG.fullmatch(text):
            raise InvalidReference(f"invalid tag: {text[:_MAX_NAME]!r}")
        return cls(text)

    def __str__(self) -> str:
        return self.text

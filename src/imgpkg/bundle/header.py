"""The two fields that every file of imgpkg begins with: apiVersion and kind."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from imgpkg.errors import InvalidLock

if TYPE_CHECKING:
    from imgpkg.bundle.fields import Found

API_VERSION = "imgpkg.carvel.dev/v1alpha1"
HEADER = ("apiVersion", "kind")


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

"""An extension of griffe: the values of imgpkg are dataclasses by a decorator of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from griffe import Alias, Extension

if TYPE_CHECKING:
    from griffe import Module

_OWN, _STANDARD = "imgpkg.dataclass.", "dataclasses."


class Dataclasses(Extension):
    """Gives the decorator and its functions the names by which griffe knows those of the standard library."""

    def on_module_members(self, *, mod: Module, **_: object) -> None:
        """Rename what a module imports from `imgpkg.dataclass`."""
        for name in ("dataclass", "field", "KW_ONLY"):
            member = mod.members.get(name)
            if isinstance(member, Alias) and member.target_path == f"{_OWN}{name}":
                member.target_path = f"{_STANDARD}{name}"
                mod.imports[name] = f"{_STANDARD}{name}"

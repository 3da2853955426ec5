"""Names and parameters that a later version will not have: what a program is told that uses one.

A name moves from `_HOMES` of its package to the table `_DEPRECATED`, where its row is

    "find_tag": ("imgpkg.operations.tag.resolve", "2.0.0", "use imgpkg.resolve")

and stays in the block for type checkers. A function whose parameter goes calls `warn_of` with it.

Python shows a warning of this kind once for each line that causes it, and only if that line is in the program
itself; `python -W default`, and pytest, show those of the libraries that it uses too.
"""

from __future__ import annotations

import sys
import warnings
from importlib import import_module

# Where `from imgpkg import name` looks before it looks once more, for the line of the program.
_IMPORT_SYSTEM = "importlib._bootstrap"
# The function that warns, the deprecated one or `__getattr__`, and the line of the program.
_DEPTH = 3


class ImgpkgDeprecationWarning(DeprecationWarning):
    """A name, parameter or field was used that a later version of imgpkg does not have.

    `name` is what was used, such as `imgpkg.find_tag`, `removal` the first version without it, and `instead`
    says what to do now. Turn it into an error with
    `warnings.simplefilter("error", imgpkg.ImgpkgDeprecationWarning)`.
    """

    def __init__(self, name: str, removal: str, instead: str) -> None:
        super().__init__(name, removal, instead)
        self.name = name
        self.removal = removal
        self.instead = instead

    def __str__(self) -> str:
        return f"{self.name} is deprecated, and imgpkg {self.removal} will not have it: {self.instead}"


def value_of(name: str, home: str, removal: str, instead: str) -> object:
    """Return the value of a deprecated name, which is at `home`, for the `__getattr__` of a package."""
    if sys._getframe(2).f_globals.get("__name__") != _IMPORT_SYSTEM:  # noqa: SLF001 - as warnings does it
        warn_of(name, removal, instead, depth=_DEPTH + 1)
    module, _, attribute = home.rpartition(".")
    return getattr(import_module(module), attribute)


def warn_of(name: str, removal: str, instead: str, *, depth: int = _DEPTH) -> None:
    """Warn the caller of the function that calls this one; `name` is what it has used."""
    warnings.warn(ImgpkgDeprecationWarning(name, removal, instead), stacklevel=depth)

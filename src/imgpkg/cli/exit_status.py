"""The exit code of the process: that of the failure, or the one of the original for all of them.

IMGPKG_EXIT_CODES=original asks for the latter. It is a variable and no flag: a script that compares with 1
stays as it is, and runs with the original too.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from imgpkg.errors import UsageError
from imgpkg.errors.exit_codes import exit_code

if TYPE_CHECKING:
    from imgpkg.errors import ImgpkgError

_ORIGINAL = "original"


def status_of(error: ImgpkgError) -> int:
    """Return the exit code of a command that ends with `error`."""
    return 1 if _wanted() == _ORIGINAL else exit_code(error)


def check_variable() -> None:
    """Raise UsageError for a value of the variable that has no meaning."""
    # A script that is about to read the code must not read another one than it expects.
    if _wanted() not in ("", _ORIGINAL):
        raise UsageError(f"IMGPKG_EXIT_CODES can only be {_ORIGINAL!r}, and not {_wanted()!r}")


def _wanted() -> str:
    return os.environ.get("IMGPKG_EXIT_CODES", "")

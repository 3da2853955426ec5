"""What is lost where a new folder takes the place of another one."""

from __future__ import annotations

import os
from itertools import islice
from typing import TYPE_CHECKING

from imgpkg.content.temporary import is_made_for

if TYPE_CHECKING:
    from collections.abc import Iterator

# A folder may be a whole disk: as much is looked at as takes no time.
_MOST_FILES, _MOST_SHOWN = 10_000, 3
_LOST_FOUND = "lost+found"


def removed_by(old: str, new: str) -> str:
    """Return in words which files at `old` have no file of the same name at `new`; empty for none.

    Only names are compared: files of the same name are expected to differ.
    """
    if not os.path.isdir(old) or os.path.islink(old):
        return "what was there: it is no folder"
    names = list(islice(_files(old), _MOST_FILES))
    gone = [name for name in names if not os.path.lexists(os.path.join(new, name))]
    if not gone:
        return ""
    shown = ", ".join(gone[:_MOST_SHOWN])
    more = len(gone) - _MOST_SHOWN
    if more <= 0:
        return shown
    least = "at least " if len(names) == _MOST_FILES else ""
    return f"{shown} and {least}{more} more {'file' if more == 1 else 'files'}"


def _files(top: str) -> Iterator[str]:
    """Yield the paths of all files below `top`, relative to it, in a fixed order; links are not followed."""
    for folder, folders, names in os.walk(top):
        # What other commands that write here are working on, and what belongs to a mount point, stays.
        folders[:] = sorted(name for name in folders if not is_made_for("", name) and name != _LOST_FOUND)
        links = [name for name in folders if os.path.islink(os.path.join(folder, name))]
        for name in sorted([*names, *links]):
            yield os.path.relpath(os.path.join(folder, name), top)

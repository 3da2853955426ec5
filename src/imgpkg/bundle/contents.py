"""Find the bundle in files that are to be pushed."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from imgpkg.content.pack import walk_sorted
from imgpkg.errors import UsageError, local_io

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    Paths = Sequence[str | os.PathLike[str]]

FOLDER, IMAGES = ".imgpkg", "images.yml"

_NONE = "This directory is not a bundle. It is missing .imgpkg/images.yml"


def find_bundle(files: Paths, exclusions: Collection[str]) -> str:
    """Return the absolute path of the one `.imgpkg` folder that `files` hold, directly below one of them.

    `exclusions` may not leave out what makes a bundle one. Raises UsageError saying what is wrong, and
    LocalIOError for a path that cannot be read.
    """
    inputs = [os.fspath(file) for file in files]
    found = [os.path.abspath(path) for item in inputs for path in _walk(item)]
    if not found or not {FOLDER, f"{FOLDER}/{IMAGES}", "."}.isdisjoint(exclusions):
        raise UsageError(_NONE)
    if len(found) > 1:
        raise UsageError(
            "This directory contains multiple bundle definitions. Only a single instance of "
            f".imgpkg/images.yml can be provided and instead these were provided {', '.join(found)}"
        )
    (folder,) = found
    if os.path.dirname(folder) not in {os.path.abspath(item) for item in inputs}:
        raise UsageError(
            f"Expected '.imgpkg' directory, to be a direct child of one of: {', '.join(inputs)}; was {folder}"
        )
    if not os.path.isfile(os.path.join(folder, IMAGES)):
        raise UsageError(
            "The bundle expected .imgpkg/images.yml to exist, but it wasn't found in the path "
            f"{os.path.join(folder, IMAGES)}"
        )
    return folder


def holds_bundle(files: Paths) -> bool:
    """Return whether `files` hold a valid bundle; raise LocalIOError for a path that cannot be read."""
    try:
        find_bundle(files, ())
    except UsageError:
        return False
    return True


def _walk(path: str) -> Iterator[str]:
    """Yield what is called `.imgpkg`, `path` itself included; a folder comes before what is in it."""
    with local_io("lstat", path):
        is_folder = stat.S_ISDIR(os.lstat(path).st_mode)
    if os.path.basename(path.rstrip("/")) == FOLDER:
        yield path
    if is_folder:
        yield from (entry.path for _, entry in walk_sorted(path) if entry.name == FOLDER)

"""Find the bundle folder in files that are to be pushed."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from imgpkg.content.pack import walk_sorted
from imgpkg.errors import UsageError, local_io

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from imgpkg.values import StrPath

FOLDER, IMAGES = ".imgpkg", "images.yml"

_MAKE_ONE = (
    "imgpkg lock -f FOLDER -o FOLDER/.imgpkg/images.yml makes one of the images that its documents name; "
    "without it, push the files as an image with -i."
)
_NONE = "This directory is not a bundle. It is missing .imgpkg/images.yml"
# Exclusions are compared with paths relative to an input, so "." excludes the whole input.
_REQUIRED = frozenset({".", FOLDER, f"{FOLDER}/{IMAGES}"})


def find_bundle(files: Sequence[StrPath], exclusions: Collection[str]) -> str:
    """Return the absolute path of the only `.imgpkg` folder in `files`, which is directly below one of them.

    Raises UsageError when there is none, more than one, or one elsewhere, and when `exclusions` contain the
    folder or its images.yml. Raises LocalIOError for a path that cannot be read.
    """
    inputs = [os.fspath(file) for file in files]
    found = [os.path.abspath(path) for item in inputs for path in _bundle_folders(item)]
    if not found or not _REQUIRED.isdisjoint(exclusions):
        raise UsageError(_NONE, hints=(_MAKE_ONE,))
    if len(found) > 1:
        raise UsageError(
            "This directory contains multiple bundle definitions. Only a single instance of "
            f".imgpkg/images.yml can be provided and instead these were provided {', '.join(found)}"
        )
    (folder,) = found
    # A deeper folder would be packed as `sub/.imgpkg`, where no reader looks for the lock.
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


def holds_bundle(files: Sequence[StrPath]) -> bool:
    """Return whether `files` contain a valid bundle; raise LocalIOError for a path that cannot be read."""
    try:
        find_bundle(files, ())
    except UsageError:
        return False
    return True


def _bundle_folders(path: str) -> Iterator[str]:
    """Yield every entry with the name `.imgpkg`, `path` itself included; parents come first."""
    # A link to a folder is not followed, here as in packing.
    with local_io("lstat", path):
        is_folder = stat.S_ISDIR(os.lstat(path).st_mode)
    if os.path.basename(path.rstrip("/")) == FOLDER:
        yield path
    if is_folder:
        yield from (entry.path for _, entry in walk_sorted(path) if entry.name == FOLDER)

"""What to do about an error of the operating system: the folder that is missing, the disk that is full."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from difflib import get_close_matches
from itertools import islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_IMAGES_FILE = os.path.join(".imgpkg", "images.yml")
# How alike two names have to be, from 0 to 1, and how many are compared.
_ALIKE, _MOST_NAMES = 0.6, 1000


def remedies(error: OSError, path: str) -> Iterator[str]:
    """Yield what to do about `error` at `path`, in whole sentences; nothing where its reason is enough."""
    match error.errno:
        case errno.ENOENT:
            yield _absent(path)
        case errno.EACCES | errno.EPERM:
            yield from _forbidden(path)
        case errno.ENOTDIR:
            yield from _file_in_the_way(path)
        case errno.EISDIR:
            yield _folder_in_the_way(path)
        case errno.ENOSPC:
            yield f"The disk with {path} is full: free some space on it, or name a place on another one."
        case errno.EDQUOT:
            yield f"Your quota on the disk with {path} is used up: remove files, or name a place elsewhere."
        case errno.EROFS:
            yield f"The file system with {path} can only be read: name a place on another one."
        case errno.EADDRINUSE:
            yield f"Another program listens at {path}: stop it, or choose another port; port 0 is a free one."
        case _:
            pass


def _absent(path: str) -> str:
    parent, name = os.path.split(path.rstrip("/"))
    if parent and not os.path.isdir(parent):
        if path.endswith(_IMAGES_FILE):
            bundle = path.removesuffix(_IMAGES_FILE).rstrip("/") or "."
            return (
                f"There is no folder {parent}{_below(path)}: imgpkg pull -b BUNDLE -o {bundle} writes it, "
                "with this file in it."
            )
        missing = _first_missing(parent)
        return f"There is no folder {missing}{_below(path)}: create it, or correct the path."
    near: list[str] = []
    with suppress(OSError), os.scandir(parent or ".") as entries:
        near = get_close_matches(name, [entry.name for entry in islice(entries, _MOST_NAMES)], 3, _ALIKE)
    if near:
        return f"There is {' and '.join(os.path.join(parent, other) for other in near)}: is that meant?"
    return f"There is nothing of this name or one like it{_below(path)}: check the path."


def _first_missing(folder: str) -> str:
    while (parent := os.path.dirname(folder)) and not os.path.isdir(parent):
        folder = parent
    return folder


def _below(path: str) -> str:
    """Return where a relative path is looked for."""
    if os.path.isabs(path):
        return ""
    try:
        return f" (in {os.getcwd()})"
    except OSError:
        return " (the working directory was removed)"


def _forbidden(path: str) -> Iterator[str]:
    """Yield whose the file or its nearest folder is, and who this process is."""
    place = path
    while not os.path.lexists(place) and os.path.dirname(place) not in ("", place):
        place = os.path.dirname(place)
    with suppress(OSError):
        found = os.lstat(place)
        mode = stat.filemode(found.st_mode)
        yield (
            f"{place} ({mode}) belongs to user {found.st_uid} and group {found.st_gid}, "
            f"and this process runs as user {os.geteuid()}: change the permissions, or name another place."
        )


def _folder_in_the_way(path: str) -> str:
    if os.path.isfile(os.path.join(path, "oci-layout")):
        return f"{path} is an OCI image layout: name it with --from-oci-layout or --to-oci-layout."
    return f"{path} is a folder, and a file is needed here: name a file."


def _file_in_the_way(path: str) -> Iterator[str]:
    place = os.path.dirname(path)
    while place and place != os.path.dirname(place):
        if os.path.lexists(place) and not os.path.isdir(place):
            yield f"{place} is a file, and a folder is needed there: remove it, or name another place."
            return
        place = os.path.dirname(place)

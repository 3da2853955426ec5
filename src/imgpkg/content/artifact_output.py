"""The files of an artifact go into a folder with others: complete, all together, and nowhere else.

They are written into a folder of their own inside of the output, so that each can be renamed to its place.
Names come from whoever pushed the artifact: none leads out of the output, also not by a link that is there.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import contextmanager, suppress
from itertools import pairwise
from typing import TYPE_CHECKING

from imgpkg.content.output import remove_tree
from imgpkg.content.temporary import left_behind, new_folder
from imgpkg.content.unpack import Folder, write_all
from imgpkg.errors import UnpackError, local_io
from imgpkg.oci.descriptor import BLOCK

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from imgpkg.content.unpack import Parts
    from imgpkg.oci.descriptor import ByteStream

_ALL, _ALL_FILE = 0o777, 0o666
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def path_parts(name: bytes) -> Parts:
    """Return the parts of a relative path with slashes, without `.`; none for the folder itself.

    Raises UnpackError for a path that is absolute, has `..` in it, or a NUL.
    """
    parts = name.split(b"/")
    if not parts[0] or b".." in parts or b"\0" in name:
        shown = name.decode("utf-8", "backslashreplace")
        raise UnpackError(f"Expected entry '{shown}' to stay within output directory")
    return tuple(part for part in parts if part not in (b"", b"."))


def title_parts(title: str) -> Parts:
    """Return the parts of the title of a file; raise UnpackError as `path_parts`, and for what is no text."""
    try:
        return path_parts(title.encode())
    except UnicodeEncodeError as error:
        raise UnpackError("Expected the title of a file to be text") from error


def in_each_other(places: Iterable[Parts]) -> tuple[Parts, Parts] | None:
    """Return two places that are the same, or of which the second is below the first; None without such."""
    ordered = sorted(places)
    # What is below a place follows it in this order.
    for above, below in pairwise(ordered):
        if below[: len(above)] == above:
            return above, below
    return None


@contextmanager
def adding_to(output: str, *, overwrite: bool) -> Iterator[str]:
    """Yield the path of a new folder, whose content is moved into `output` when the block ends.

    A file replaces a file or link of its name if `overwrite` is true; folders are merged. Nothing is moved if
    anything is in the way, or if the block fails. Raises LocalIOError.
    """
    with local_io("mkdir", output):
        is_new = not os.path.lexists(output)
        os.makedirs(output, exist_ok=True)
        holder, descriptor = _new_holder(output)
    try:
        fresh = os.path.join(holder, b"new")
        with local_io("mkdir", output):
            os.mkdir(fresh, _ALL)
        yield os.fsdecode(fresh)
        _move(fresh, os.fsencode(output), overwrite=overwrite)
    except BaseException:
        _discard(holder)
        if is_new:
            with suppress(OSError):
                os.rmdir(output)
        raise
    finally:
        _discard(holder)
        os.close(descriptor)


def _new_holder(output: str) -> tuple[bytes, int]:
    base = os.path.basename(output) or "."
    # What killed processes have left.
    for path in left_behind(output, base):
        _discard(os.fsencode(path))
    holder, descriptor = new_folder(output, base)
    return os.fsencode(holder), descriptor


def _discard(holder: bytes) -> None:
    with suppress(OSError):
        remove_tree(os.fsdecode(holder))


def write_file(stream: ByteStream, place: Parts, directory: str) -> None:
    """Write a stream to `place` in the folder `directory`, with all permissions that the umask leaves."""
    with Folder(directory) as folder, local_io("write", folder.shown(place)):
        descriptor = folder.create(place, _ALL_FILE)
        try:
            block = memoryview(bytearray(BLOCK))
            while count := stream.readinto(block):
                write_all(descriptor, block[:count])
        finally:
            os.close(descriptor)


def _move(fresh: bytes, output: bytes, *, overwrite: bool) -> None:
    """Move all below `fresh` into `output`, after a look at what is there."""
    folders = dict(_folders(fresh))
    for folder, names in folders.items():
        path = os.path.join(output, *folder)
        # The output itself may be a link, which its user has named.
        if folder:
            _check(path, is_folder=True, overwrite=True)
        for name in names:
            _check(os.path.join(path, name), is_folder=False, overwrite=overwrite)
    with local_io("open", os.fsdecode(output)):
        root = os.open(output, _DIRECTORY & ~os.O_NOFOLLOW)
    try:
        for folder, names in folders.items():
            _move_files(os.path.join(fresh, *folder), root, folder, names)
    finally:
        os.close(root)


def _folders(fresh: bytes) -> Iterator[tuple[Parts, list[bytes]]]:
    """Yield each folder below `fresh`, those above it first, with the names of its files and links."""
    waiting: list[Parts] = [()]
    for folder in waiting:
        names = []
        with os.scandir(os.path.join(fresh, *folder)) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    waiting.append((*folder, entry.name))
                else:
                    names.append(entry.name)
        yield folder, sorted(names)


def _check(path: bytes, *, is_folder: bool, overwrite: bool) -> None:
    """Raise LocalIOError if what is at `path` is in the way of a folder or of a file."""
    with local_io("mkdir" if is_folder else "open", os.fsdecode(path)):
        try:
            mode = os.lstat(path).st_mode
        except FileNotFoundError:
            return
        # Also a link to a folder is in the way: what is behind it may be outside.
        if is_folder and not stat.S_ISDIR(mode):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        if not is_folder and stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if not is_folder and not overwrite:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))


def _move_files(source: bytes, root: int, folder: Parts, names: list[bytes]) -> None:
    shown = os.fsdecode(b"/".join(folder)) or "."
    with local_io("rename", shown):
        descriptor = _opened(root, folder)
        try:
            for name in names:
                os.rename(os.path.join(source, name), name, dst_dir_fd=descriptor)
        finally:
            os.close(descriptor)


def _opened(root: int, folder: Parts) -> int:
    """Open a folder below `root` step by step, made where it is missing; no link is followed."""
    descriptor = os.dup(root)
    for name in folder:
        parent = descriptor
        try:
            with suppress(FileExistsError):
                os.mkdir(name, _ALL, dir_fd=parent)
            descriptor = os.open(name, _DIRECTORY, dir_fd=parent)
        finally:
            os.close(parent)
    return descriptor

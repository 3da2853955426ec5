"""A folder that is filled through directory descriptors, so that no link can lead out of it (openat(2))."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from typing import TYPE_CHECKING, TypeAlias

from imgpkg.errors import local_io

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterator

    from typing_extensions import Self

Parts: TypeAlias = "tuple[bytes, ...]"

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_ALL = 0o777


class Folder:
    """The folder `path`, which must exist; places in it are named by their parts, none of them `..`.

    What stands in the way of something new is removed, but no file for which `keeps` is true: a folder in its
    place is an error. Methods raise OSError.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.keeps: Callable[[Parts], bool] = lambda _: False
        with local_io("open", path):
            self._root = os.open(path, _DIRECTORY & ~os.O_NOFOLLOW)
        # Archives list files folder by folder, so the last folder is nearly always the next.
        self._current: Parts = ()
        self._descriptor = self._root

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._leave()
        os.close(self._root)

    def shown(self, parts: Parts) -> str:
        """Return the path of a place, for messages."""
        return os.path.join(self.path, os.fsdecode(b"/".join(parts)))

    def create(self, parts: Parts, mode: int) -> int:
        """Return a descriptor of a new, empty file; the umask applies to `mode`."""
        parent = self.enter(parts[:-1])
        try:
            return os.open(parts[-1], _NEW_FILE, mode, dir_fd=parent)
        except FileExistsError:
            self.remove(parts)
            return os.open(parts[-1], _NEW_FILE, mode, dir_fd=self.enter(parts[:-1]))

    def enter(self, parts: Parts) -> int:
        """Return a descriptor of the directory, made with its parents where missing; do not close it."""
        if parts != self._current:
            self._leave()
            self._descriptor = self._walk(parts)
            self._current = parts
        return self._descriptor

    def remove(self, parts: Parts, keep: Container[Parts] = ()) -> None:
        """Remove the file or directory and all below it, if it is there; files in `keep` stay."""
        if parts in keep:
            return
        if self.is_directory(parts):
            self.clear(parts, keep)
            with suppress(OSError):
                os.rmdir(self._absolute(parts))
        else:
            with suppress(FileNotFoundError, NotADirectoryError):
                os.unlink(self._absolute(parts))

    def clear(self, parts: Parts, keep: Container[Parts] = ()) -> None:
        """Remove all below the directory, if it is one; files in `keep` stay, and so do their directories."""
        self._leave()
        if not self.is_directory(parts):
            return
        directories = [parts]
        for directory in directories:
            for name, is_directory in _children(self._absolute(directory)):
                child = (*directory, name)
                if is_directory:
                    directories.append(child)
                elif child not in keep:
                    os.unlink(self._absolute(child))
        for directory in reversed(directories[1:]):
            # Not empty: something is kept in it.
            with suppress(OSError):
                os.rmdir(self._absolute(directory))

    def is_directory(self, parts: Parts) -> bool:
        """Tell whether a directory is at the place."""
        try:
            return stat.S_ISDIR(os.lstat(self._absolute(parts)).st_mode)
        except (FileNotFoundError, NotADirectoryError):
            return False

    def _absolute(self, parts: Parts) -> bytes:
        return os.path.join(os.fsencode(self.path), *parts)

    def _walk(self, parts: Parts) -> int:
        descriptor = os.dup(self._root)
        for depth, name in enumerate(parts, 1):
            parent = descriptor
            try:
                descriptor = self._step(parent, parts[:depth], name)
            finally:
                os.close(parent)
        return descriptor

    def _step(self, parent: int, parts: Parts, name: bytes) -> int:
        try:
            return os.open(name, _DIRECTORY, dir_fd=parent)
        except FileNotFoundError:
            pass
        except OSError:
            if self.is_directory(parts):
                raise
            self._give_way(parts)
        with suppress(FileExistsError):
            os.mkdir(name, _ALL, dir_fd=parent)
        return os.open(name, _DIRECTORY, dir_fd=parent)

    def _give_way(self, parts: Parts) -> None:
        if self.keeps(parts) and stat.S_ISREG(os.lstat(self._absolute(parts)).st_mode):
            with local_io("mkdir", self.shown(parts)):
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        self.remove(parts)

    def _leave(self) -> None:
        if self._descriptor != self._root:
            os.close(self._descriptor)
        self._current, self._descriptor = (), self._root


def remove_tree(path: str) -> None:
    """Remove the file, link or directory tree at `path`, however deep; raise OSError.

    Directories that do not allow it are opened up first, as far as they are the user's own.
    """
    encoded = os.fsencode(path)
    if os.path.islink(encoded) or not os.path.isdir(encoded):
        os.unlink(encoded)
        return
    directories = [encoded]
    for directory in directories:
        for name, is_directory in _opened_children(directory):
            child = os.path.join(directory, name)
            if is_directory:
                directories.append(child)
            else:
                os.unlink(child)
    for directory in reversed(directories):
        os.rmdir(directory)


def _opened_children(directory: bytes) -> Iterator[tuple[bytes, bool]]:
    if not os.access(directory, os.R_OK | os.W_OK | os.X_OK):
        os.chmod(directory, stat.S_IRWXU)
    return _children(directory)


def _children(directory: bytes) -> Iterator[tuple[bytes, bool]]:
    with os.scandir(directory) as entries:
        return iter([(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries])

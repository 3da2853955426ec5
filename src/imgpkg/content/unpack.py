"""Unpack the layers of an image into a folder; nothing can appear outside of it."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from typing import TYPE_CHECKING, TypeAlias

from imgpkg.content.inflate import decompressed
from imgpkg.content.tar import reader as tar
from imgpkg.content.tar.reader import PIECE, Pieces
from imgpkg.errors import UnpackError, local_io

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Iterator

    from typing_extensions import Self

    from imgpkg.content.tar.reader import TarEntry
    from imgpkg.oci.descriptor import Descriptor, Readable

Parts: TypeAlias = "tuple[bytes, ...]"

_WHITEOUT = b".wh."
_WHITEOUT_META = b".wh..wh."
_OPAQUE = b".wh..wh..opq"
_ALL, _OWNER = 0o777, 0o700
_SPECIAL = stat.S_ISGID | stat.S_ISVTX
_NOT_MADE = frozenset(
    {
        tar.HARD_LINK,
        tar.SYMBOLIC_LINK,
        tar.CHARACTER,
        tar.BLOCK_DEVICE,
        tar.FIFO,
    }
)
# Linux's PATH_MAX, less the room that renaming beside the output folder may need.
_LONGEST_PATH = 4096 - 64
_LARGEST_ID = (1 << 32) - 2
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def unpack_layers(layers: Iterable[tuple[Descriptor, Readable]], directory: str) -> None:
    """Unpack `layers`, base to top, into the existing empty folder `directory`.

    Each stream is read to its end, so that a verifying one has verified all of it; the folder may not be
    shown to anybody before this returns. Upper layers win, OCI whiteouts hide what lower layers brought.
    Links, devices and empty directories are not made, but what they are in is; files get the mode and times
    of their headers, and the owner when that is allowed to this user. Raises UnpackError, LocalIOError, or
    what a stream raises.
    """
    try:
        with Folder(directory) as folder:
            for number, (_, stream) in enumerate(layers):
                _unpack(stream, _Layer(folder, is_base=number == 0))
    finally:
        # A generator of open streams closes them now, not when somebody collects it.
        close = getattr(layers, "close", None)
        if close is not None:
            close()


def _unpack(stream: Readable, layer: _Layer) -> None:
    content = Pieces(decompressed(stream))
    for entry in tar.read_entries(content):
        layer.apply(entry, content)
    # What follows the archive's end has a digest too.
    while stream.read(PIECE):
        pass


class _Layer:
    """One layer on its way into the folder; knows which files are its own, which no whiteout hides."""

    def __init__(self, folder: Folder, *, is_base: bool) -> None:
        self._folder = folder
        self._is_base = is_base
        self._own: set[Parts] = set()
        folder.keeps = self._is_own
        self._longest_name = _LONGEST_PATH - len(os.fsencode(os.path.abspath(folder.path)))
        self._is_root = os.geteuid() == 0

    def _is_own(self, parts: Parts) -> bool:
        return self._is_base or parts in self._own

    def apply(self, entry: TarEntry, content: Pieces) -> None:
        """Do what one entry says; its content is next in `content`."""
        parts = _parts(entry)
        if parts and parts[-1].startswith(_WHITEOUT):
            self._hide(parts, entry)
            return
        if not parts:
            _check_top(entry)
            return
        with local_io("open", self._folder.shown(parts)):
            if len(entry.name) > self._longest_name:
                raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))
            self._place(parts, entry, content)

    def _place(self, parts: Parts, entry: TarEntry, content: Pieces) -> None:
        match entry.kind:
            case tar.REGULAR:
                self._write(parts, entry, content)
            case tar.DIRECTORY:
                self._folder.enter(parts[:-1])
                if not self._folder.is_directory(parts):
                    self._folder.remove(parts)
            case kind if kind in _NOT_MADE:
                self._folder.enter(parts[:-1])
                self._folder.remove(parts)
            case kind:
                raise UnpackError(
                    f"Unsupported tar entry type '{_shown(kind)}' for file '{_shown(entry.name)}'"
                )

    def _write(self, parts: Parts, entry: TarEntry, content: Pieces) -> None:
        descriptor = self._folder.create(parts, _file_mode(entry.mode))
        try:
            for piece in content.content(entry.size):
                _write_all(descriptor, piece)
            if self._is_root:
                _change_owner(descriptor, entry)
            os.utime(descriptor, ns=(max(entry.atime, entry.mtime), entry.mtime))
        finally:
            os.close(descriptor)
        if not self._is_base:
            self._own.add(parts)

    def _hide(self, parts: Parts, entry: TarEntry) -> None:
        """Remove what the whiteout names of lower layers (OCI image spec, layer.md)."""
        *directory, name = parts
        hidden = name[len(_WHITEOUT) :]
        if hidden in (b"", b".", b".."):
            raise _escape(entry)
        if self._is_base or (name.startswith(_WHITEOUT_META) and name != _OPAQUE):
            return
        with local_io("remove", self._folder.shown(parts)):
            if name == _OPAQUE:
                self._folder.clear(tuple(directory), self._own)
            else:
                self._folder.remove((*directory, hidden), self._own)


def _parts(entry: TarEntry) -> Parts:
    """Split the name at slashes and backslashes, `.` and `..` resolved; raise UnpackError if it escapes."""
    parts: list[bytes] = []
    for part in entry.name.replace(b"\\", b"/").split(b"/"):
        if part == b"..":
            if not parts:
                raise _escape(entry)
            parts.pop()
        elif part not in (b"", b"."):
            parts.append(part)
    return tuple(parts)


def _check_top(entry: TarEntry) -> None:
    if entry.kind != tar.DIRECTORY and entry.name != b".":
        raise _escape(entry)


def _escape(entry: TarEntry) -> UnpackError:
    return UnpackError(f"Expected entry '{_shown(entry.name)}' to stay within output directory")


def _shown(name: bytes) -> str:
    return name.decode("utf-8", "backslashreplace")


def _file_mode(mode: int) -> int:
    """Give group and others what the owner may, when the header gives them nothing; the umask then takes.

    Of the other bits, setgid and sticky are asked for when the file is opened; writing to it and changing its
    owner take setgid again from a file that its group may execute (inode(7), chown(2)).
    """
    bits = mode & _ALL
    owner = bits & _OWNER
    return bits | mode & _SPECIAL if bits & ~_OWNER else owner | owner >> 3 | owner >> 6


def _write_all(descriptor: int, piece: memoryview) -> None:
    while piece:
        piece = piece[os.write(descriptor, piece) :]


def _change_owner(descriptor: int, entry: TarEntry) -> None:
    if not (0 <= entry.uid <= _LARGEST_ID and 0 <= entry.gid <= _LARGEST_ID):
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
    os.fchown(descriptor, entry.uid, entry.gid)


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


def _children(directory: bytes) -> Iterator[tuple[bytes, bool]]:
    with os.scandir(directory) as entries:
        return iter([(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries])

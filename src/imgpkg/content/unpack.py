"""Unpack the layers of an image into a folder, and write nothing outside of it (OCI image spec, layer.md)."""

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
    from imgpkg.oci.descriptor import ByteReader, Descriptor

Parts: TypeAlias = "tuple[bytes, ...]"

_WHITEOUT = b".wh."
_WHITEOUT_META = b".wh..wh."
_OPAQUE = b".wh..wh..opq"
_ALL, _OWNER = 0o777, 0o700
_SPECIAL = stat.S_ISGID | stat.S_ISVTX
# Entries that are skipped, as the original does: a bundle or file image has only files and folders.
_SKIPPED = frozenset(
    {
        tar.HARD_LINK,
        tar.SYMBOLIC_LINK,
        tar.CHARACTER,
        tar.BLOCK_DEVICE,
        tar.FIFO,
    }
)
# Linux's PATH_MAX, less what a path is longer by while the folder is exchanged with the output.
LONGEST_PATH = 4096 - 64
_LARGEST_ID = (1 << 32) - 2
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def unpack_layers(layers: Iterable[tuple[Descriptor, ByteReader]], directory: str) -> None:
    """Unpack `layers`, base to top, into the existing empty folder `directory`.

    Each stream is read to its end, so that a verifying stream checks its digest; do not use the folder before
    this returns. Files of upper layers replace those of lower layers, and OCI whiteouts remove them. Links,
    devices and empty directories are skipped, but their parent directories are created. Files get the mode
    and the times of their headers and, when the process runs as root, the owner. Raise UnpackError,
    LocalIOError, or what a stream raises.
    """
    try:
        with Folder(directory) as folder:
            for number, (_, stream) in enumerate(layers):
                _unpack(stream, _Unpacker(folder, is_base=number == 0))
    finally:
        # Close a generator of open streams at once: it holds a connection until then.
        close = getattr(layers, "close", None)
        if close is not None:
            close()


def _unpack(stream: ByteReader, unpacker: _Unpacker) -> None:
    content = Pieces(decompressed(stream))
    for entry in tar.read_entries(content):
        unpacker.apply(entry, content)
    # The digest covers the bytes after the end of the archive, too.
    while stream.read(PIECE):
        pass


class _Unpacker:
    """Apply the entries of one layer to the folder.

    Whiteouts apply to lower layers only, so the files that this layer has written are kept.
    """

    def __init__(self, folder: Folder, *, is_base: bool) -> None:
        self._folder = folder
        self._is_base = is_base
        # Stays empty in the base layer, whose files are all its own: there is nothing below to remove.
        self._own: set[Parts] = set()
        folder.keeps = self._is_own
        self._longest_name = LONGEST_PATH - len(os.fsencode(os.path.abspath(folder.path)))
        self._is_root = os.geteuid() == 0

    def _is_own(self, parts: Parts) -> bool:
        return self._is_base or parts in self._own

    def apply(self, entry: TarEntry, content: Pieces) -> None:
        """Apply one entry, whose content comes next in `content`."""
        parts = _parts(entry)
        if parts and parts[-1].startswith(_WHITEOUT):
            self._hide(parts, entry)
            return
        if not parts:
            _check_top(entry)
            return
        with local_io("open", self._folder.shown(parts)):
            # openat(2) would create a file whose whole path is too long for any other program.
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
            case kind if kind in _SKIPPED:
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
                write_all(descriptor, piece)
            if self._is_root:
                _change_owner(descriptor, entry)
            # Last, because writing changes the time.
            os.utime(descriptor, ns=(max(entry.atime, entry.mtime), entry.mtime))
        finally:
            os.close(descriptor)
        if not self._is_base:
            self._own.add(parts)

    def _hide(self, parts: Parts, entry: TarEntry) -> None:
        """Remove the file that a whiteout names, or with an opaque whiteout all files, of lower layers."""
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
    """Split the name at slashes and backslashes and resolve `.` and `..`; raise UnpackError if it escapes."""
    parts: list[bytes] = []
    # A backslash separates names, too, on every platform, as in the original.
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
    """Return the mode for open(2), from which the kernel takes the umask.

    A header without permissions for group and others gets those of the owner, as the original does it.
    Setgid and sticky are passed to open(2), too; writing and chown(2) clear setgid again on a file that its
    group may execute (inode(7)).
    """
    bits = mode & _ALL
    owner = bits & _OWNER
    return bits | mode & _SPECIAL if bits & ~_OWNER else owner | owner >> 3 | owner >> 6


def write_all(descriptor: int, piece: memoryview) -> None:
    """Write all of `piece` to an open file; raise OSError."""
    while piece:
        # A write can be partial, for example when the disk is nearly full.
        piece = piece[os.write(descriptor, piece) :]


def _change_owner(descriptor: int, entry: TarEntry) -> None:
    # fchown(2) takes -1, which is also the largest unsigned ID, as "do not change".
    if not (0 <= entry.uid <= _LARGEST_ID and 0 <= entry.gid <= _LARGEST_ID):
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
    os.fchown(descriptor, entry.uid, entry.gid)


class Folder:
    """The existing folder `path`, changed only through directory descriptors: no link leads out (openat(2)).

    Paths are tuples of names, none of them `..`. A file or link in the place of a new entry is removed; if
    `keeps` is true for a file, a folder in its place is an error. Methods raise OSError.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.keeps: Callable[[Parts], bool] = lambda _: False
        with local_io("open", path):
            self._root = os.open(path, _DIRECTORY & ~os.O_NOFOLLOW)
        # Keep the last directory open: archives list files folder by folder, so it is nearly always the next.
        self._current: Parts = ()
        self._descriptor = self._root

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._leave()
        os.close(self._root)

    def shown(self, parts: Parts) -> str:
        """Return the path for messages."""
        return os.path.join(self.path, os.fsdecode(b"/".join(parts)))

    def create(self, parts: Parts, mode: int) -> int:
        """Create an empty file, replacing what is there, and return its descriptor; the umask applies."""
        parent = self.enter(parts[:-1])
        try:
            return os.open(parts[-1], _NEW_FILE, mode, dir_fd=parent)
        except FileExistsError:
            self.remove(parts)
            # `remove` closes the directory, so it is opened again.
            return os.open(parts[-1], _NEW_FILE, mode, dir_fd=self.enter(parts[:-1]))

    def enter(self, parts: Parts) -> int:
        """Return a descriptor of the directory, created with its parents if missing; do not close it."""
        if parts != self._current:
            self._leave()
            self._descriptor = self._walk(parts)
            self._current = parts
        return self._descriptor

    def remove(self, parts: Parts, keep: Container[Parts] = ()) -> None:
        """Remove the file, or the directory and all below it, if it exists; files in `keep` stay."""
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
        """Remove all below the path if it is a directory; files in `keep` and their directories stay."""
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
            # A directory with a kept file is not empty.
            with suppress(OSError):
                os.rmdir(self._absolute(directory))

    def is_directory(self, parts: Parts) -> bool:
        """Return whether the path is a directory; links are not followed."""
        try:
            return stat.S_ISDIR(os.lstat(self._absolute(parts)).st_mode)
        except (FileNotFoundError, NotADirectoryError):
            return False

    def _absolute(self, parts: Parts) -> bytes:
        return os.path.join(os.fsencode(self.path), *parts)

    def _walk(self, parts: Parts) -> int:
        # Step by step: O_NOFOLLOW applies only to the last name of a path.
        descriptor = os.dup(self._root)
        for depth, name in enumerate(parts, 1):
            parent = descriptor
            try:
                descriptor = self._step(parent, parts[:depth], name)
            finally:
                os.close(parent)
        return descriptor

    def _step(self, parent: int, parts: Parts, name: bytes) -> int:
        """Open the directory `name`, or create it; O_NOFOLLOW makes a link an error, and it is removed."""
        try:
            return os.open(name, _DIRECTORY, dir_fd=parent)
        except FileNotFoundError:
            pass
        except OSError:
            if self.is_directory(parts):
                raise
            self._make_room(parts)
        with suppress(FileExistsError):
            os.mkdir(name, _ALL, dir_fd=parent)
        return os.open(name, _DIRECTORY, dir_fd=parent)

    def _make_room(self, parts: Parts) -> None:
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

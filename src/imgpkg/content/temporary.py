"""Temporary files and folders beside an output: names, locks, and the removal of what killed processes left.

A name contains a hash of the output's name. The process that creates a file keeps it locked (flock(2)) while
it runs, so a file that can be locked was left by a killed process. On a file system without locks no file is
ever removed.
"""

from __future__ import annotations

import fcntl
import os
import time
from contextlib import contextmanager, suppress
from hashlib import sha256
from typing import TYPE_CHECKING, BinaryIO

from imgpkg.cancellation import sleep
from imgpkg.expression import expression

if TYPE_CHECKING:
    from collections.abc import Iterator

_ALL, _OWNER = 0o666, 0o700
_PATIENCE, _PAUSE = 5.0, 0.02
# O_NOFOLLOW and O_EXCL: another user may have put a link there.
_NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_FOUND = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_NAME = expression(r"\.imgpkg-([0-9a-f]{16})-[0-9a-f]{16}")


def is_made_for(base: str, name: str) -> bool:
    """Return whether `name` is a temporary name for the output `base`; "" means any output."""
    match = _NAME.fullmatch(name)
    return match is not None and (not base or match[1] == _mark(base))


def new_folder(parent: str, base: str) -> tuple[str, int]:
    """Create a folder in `parent` for `base`; return its path and a descriptor that keeps it locked.

    Raise OSError.
    """
    while True:
        path = _new_path(parent, base)
        os.mkdir(path, _OWNER)
        try:
            descriptor = os.open(path, _FOUND)
        except FileNotFoundError:
            # Another process may remove the folder before it is locked.
            continue
        except OSError:
            os.rmdir(path)
            raise
        if hold(descriptor, path):
            return path, descriptor
        os.close(descriptor)


def new_file(target: str, mode: int) -> tuple[str, int]:
    """Create a file beside `target`; return its path and a descriptor that keeps it locked; raise OSError."""
    parent, base = os.path.split(target)
    while True:
        path = _new_path(parent, base)
        descriptor = os.open(path, _NEW, mode)
        if hold(descriptor, path):
            return path, descriptor
        os.close(descriptor)


@contextmanager
def replacing_file(target: str, mode: int = _ALL) -> Iterator[BinaryIO]:
    """Yield a new file, which replaces `target` when the block ends, and is removed if the block fails.

    The umask applies to `mode`. Raise OSError.
    """
    path, descriptor = new_file(target, mode)
    try:
        with open(descriptor, "wb") as file:
            yield file
            # The error of the last write must come before the rename.
            file.flush()
            os.rename(path, target)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(path)
        raise


@contextmanager
def written_file(target: str) -> Iterator[BinaryIO]:
    """Yield a file for the new content of `target`: one that replaces it, as `replacing_file` does.

    A pipe or device, such as /dev/stderr, is itself written to. Raise OSError.
    """
    if os.path.exists(target) and not os.path.isfile(target):
        with open(target, "wb") as stream:
            yield stream
        return
    remove_left_files(*os.path.split(target))
    with replacing_file(target) as file:
        yield file


def left_behind(parent: str, base: str = "") -> Iterator[str]:
    """Yield the temporary paths in `parent`, for `base` or for any output, that no process has locked.

    Each is locked while the caller handles it. Paths of other users are skipped.
    """
    for name in _names(parent):
        if not is_made_for(base, name):
            continue
        path = os.path.join(parent, name)
        with suppress(OSError):
            descriptor = os.open(path, _FOUND)
            try:
                # In a folder like /tmp every user can create a file with such a name.
                if os.fstat(descriptor).st_uid == os.geteuid() and lock(descriptor, path):
                    yield path
            finally:
                os.close(descriptor)


def remove_left_files(parent: str, base: str = "") -> None:
    """Remove the files that killed processes left in `parent`; ignore what cannot be removed."""
    for path in left_behind(parent, base):
        with suppress(OSError):
            os.unlink(path)


def lock(descriptor: int, path: str) -> bool:
    """Lock the open file at `path`; return False if it is locked, or if `path` is another file by now.

    Raise OSError if the file system has no locks.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Before the lock was taken, another process may have removed or replaced the file.
        return os.path.samestat(os.fstat(descriptor), os.lstat(path))
    except (BlockingIOError, FileNotFoundError):
        return False


def hold(descriptor: int, path: str) -> bool:
    """Lock like `lock`, but return True if the file system has no locks."""
    try:
        return lock(descriptor, path)
    except OSError:
        return True


@contextmanager
def locked(path: str, patience: float = _PATIENCE) -> Iterator[None]:
    """Hold the lock of the file or folder `path` during the block; raise OSError if `path` is missing.

    After `patience` seconds the block runs without the lock: ours are held for milliseconds, so the lock has
    another purpose, as in `flock DIRECTORY imgpkg ...`. The block also runs without it on a file system
    without locks, or without locks of folders, as NFS.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        end = time.monotonic() + patience
        while not _is_free(descriptor) and time.monotonic() < end:
            sleep(_PAUSE)
        yield
    finally:
        os.close(descriptor)


def _is_free(descriptor: int) -> bool:
    with suppress(OSError):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def _new_path(parent: str, base: str) -> str:
    return os.path.join(parent, f".imgpkg-{_mark(base)}-{os.urandom(8).hex()}")


def _mark(base: str) -> str:
    """Return a short hash, because a name may have any length and any bytes."""
    return sha256(os.fsencode(base)).hexdigest()[:16]


def _names(parent: str) -> list[str]:
    try:
        return os.listdir(parent)
    except OSError:
        return []

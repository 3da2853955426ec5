"""What is written beside an output until it is whole: its name, its lock, and what a killed process left.

A name tells for which output something was made. The process that made it keeps it locked (flock) for as long
as it lives, so whatever can be locked was left behind. On a file system without locks nothing ever counts as
left behind.
"""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import time
from contextlib import contextmanager, suppress
from hashlib import sha256
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from collections.abc import Iterator

_ALL, _OWNER = 0o666, 0o700
_PATIENCE, _PAUSE = 5.0, 0.02
_NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_FOUND = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_NAME = re.compile(r"\.imgpkg-([0-9a-f]{16})-[0-9a-f]{16}")


def is_made_for(base: str, name: str) -> bool:
    """Tell whether `name` is one that is given to what is written beside `base`; "" is any output."""
    match = _NAME.fullmatch(name)
    return match is not None and (not base or match[1] == _mark(base))


def new_folder(parent: str, base: str) -> tuple[str, int]:
    """Make a folder in `parent` for `base`; return its path and a descriptor that keeps it locked.

    Raises OSError.
    """
    while True:
        path = _new_path(parent, base)
        os.mkdir(path, _OWNER)
        try:
            descriptor = os.open(path, _FOUND)
        except FileNotFoundError:
            # Whoever clears up may have taken it for a left-over before it was locked.
            continue
        except OSError:
            os.rmdir(path)
            raise
        if hold(descriptor, path):
            return path, descriptor
        os.close(descriptor)


def new_file(target: str, mode: int) -> tuple[str, int]:
    """Make a file beside `target`; return its path and a descriptor that keeps it locked. Raises OSError."""
    parent, base = os.path.split(target)
    while True:
        path = _new_path(parent, base)
        descriptor = os.open(path, _NEW, mode)
        if hold(descriptor, path):
            return path, descriptor
        os.close(descriptor)


@contextmanager
def replacing_file(target: str, mode: int = _ALL) -> Iterator[BinaryIO]:
    """Yield a new file beside `target`, which takes its place when the block ends and is gone when it fails.

    The umask applies to `mode`. Raises OSError.
    """
    path, descriptor = new_file(target, mode)
    try:
        with open(descriptor, "wb") as file:
            yield file
            file.flush()
            os.rename(path, target)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(path)
        raise


def left_behind(parent: str, base: str = "") -> Iterator[str]:
    """Yield the paths in `parent`, made for `base` or for any output, that no living process holds.

    Each is locked while the caller deals with it. What belongs to another user is left alone.
    """
    for name in _names(parent):
        if not is_made_for(base, name):
            continue
        path = os.path.join(parent, name)
        with suppress(OSError):
            descriptor = os.open(path, _FOUND)
            try:
                if os.fstat(descriptor).st_uid == os.geteuid() and lock(descriptor, path):
                    yield path
            finally:
                os.close(descriptor)


def remove_left_files(parent: str, base: str = "") -> None:
    """Remove the files that killed processes left in `parent`, as far as that is possible."""
    for path in left_behind(parent, base):
        with suppress(OSError):
            os.unlink(path)


def lock(descriptor: int, path: str) -> bool:
    """Lock the open file at `path`; False when somebody else holds it, or it is at `path` no more.

    Raises OSError where the file system has no locks.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.path.samestat(os.fstat(descriptor), os.lstat(path))
    except (BlockingIOError, FileNotFoundError):
        return False


def hold(descriptor: int, path: str) -> bool:
    """Do what `lock` does; True also where the file system has no locks."""
    try:
        return lock(descriptor, path)
    except OSError:
        return True


@contextmanager
def locked(path: str, patience: float = _PATIENCE) -> Iterator[None]:
    """Keep other threads and processes that ask for the same file or folder out; raise OSError without one.

    What is done meanwhile takes milliseconds. So whoever holds the lock for `patience` seconds has it for
    another reason, as `flock DIRECTORY imgpkg ...` has, and is not waited for. A file system without locks,
    or one that locks no folders, as NFS, lets everybody in.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        end = time.monotonic() + patience
        while not _is_free(descriptor) and time.monotonic() < end:
            time.sleep(_PAUSE)
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
    return os.path.join(parent, f".imgpkg-{_mark(base)}-{secrets.token_hex(8)}")


def _mark(base: str) -> str:
    """Stand for a name of any length and any bytes."""
    return sha256(os.fsencode(base)).hexdigest()[:16]


def _names(parent: str) -> list[str]:
    try:
        return os.listdir(parent)
    except OSError:
        return []

"""Read a lock file, and put one in place whole (imgpkg-spec 7.1)."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from typing import TypeAlias

from imgpkg.bundle.yaml_reader import MAX_SIZE
from imgpkg.errors import doing, local_io

Path: TypeAlias = str | os.PathLike[str]

_MODE = 0o600
# A folder that takes no new file, and a file that is a mount point, can still be written through.
_IN_PLACE = frozenset({errno.EACCES, errno.EPERM, errno.EROFS, errno.EBUSY})


def read_file(path: Path, shown: Path | None = None) -> bytes:
    """Read the file `path`, named `shown` in errors; raise LocalIOError.

    At most a byte more than any document may have is read, so that whoever decodes it can refuse it.
    """
    name = os.fspath(path if shown is None else shown)
    with doing(f"Reading path {name}"), local_io("open", name), open(path, "rb") as file:
        return file.read(MAX_SIZE + 1)


def write_file(path: Path, data: bytes) -> None:
    """Write `data` beside `path` and rename, so that nobody sees half of it; raise LocalIOError.

    A new file is for its owner alone; an existing one keeps its mode and, where possible, its owner. Links
    are followed; a device or pipe is written to.
    """
    with local_io("open", path):
        target = os.path.realpath(path)
        try:
            status = os.stat(target)
        except FileNotFoundError:
            _replace(target, data, None)
            return
        if not stat.S_ISREG(status.st_mode):
            _overwrite(target, data)
            return
        # Nobody may replace what he may not write.
        with open(target, "r+b"):
            pass
        try:
            _replace(target, data, status)
        except OSError as error:
            if error.errno not in _IN_PLACE:
                raise
            _overwrite(target, data)


def _overwrite(target: str, data: bytes) -> None:
    with open(target, "wb") as file:
        file.write(data)


def _replace(target: str, data: bytes, status: os.stat_result | None) -> None:
    temporary = os.path.join(os.path.dirname(target), f".imgpkg-{os.urandom(8).hex()}.partial")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _MODE)
    try:
        with open(descriptor, "wb") as file:
            file.write(data)
            if status is not None:
                _keep(file.fileno(), status)
        os.replace(temporary, target)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(temporary)
        raise


def _keep(descriptor: int, status: os.stat_result) -> None:
    with suppress(PermissionError):
        os.fchown(descriptor, status.st_uid, status.st_gid)
    os.fchmod(descriptor, stat.S_IMODE(status.st_mode))

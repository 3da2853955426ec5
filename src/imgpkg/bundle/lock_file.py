"""Read a lock file, and put one in place whole."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from typing import TYPE_CHECKING, TypeAlias

from imgpkg.bundle.yaml_reader import MAX_SIZE
from imgpkg.content.output import output_file
from imgpkg.content.temporary import remove_left_files, replacing_file
from imgpkg.errors import doing, local_io

if TYPE_CHECKING:
    from io import FileIO

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


def write_file(path: Path, data: bytes, shown: Path | None = None) -> None:
    """Write `data` beside `path`, named `shown` in errors, and rename, so that nobody sees half of it.

    A new file is for its owner alone; an existing one keeps its mode and, where possible, its owner. Links
    are followed; a device or pipe is written to. Where no file can be renamed, the old one is overwritten,
    and written again when that fails. Raises LocalIOError.
    """
    with local_io("open", path if shown is None else shown):
        target = output_file(path)
        remove_left_files(*os.path.split(target))
        try:
            status = os.stat(target)
        except FileNotFoundError:
            _replace(target, data, None)
            return
        if not stat.S_ISREG(status.st_mode):
            with open(target, "wb") as file:
                file.write(data)
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
    with open(target, "r+b", buffering=0) as file:
        old = file.read()
        try:
            _fill(file, data)
        except BaseException:
            # The blocks of the old content are still the file's own, so there is room for it.
            _fill(file, old)
            raise


def _fill(file: FileIO, data: bytes) -> None:
    file.seek(0)
    left = memoryview(data)
    while left:
        left = left[file.write(left) :]
    file.truncate()


def _replace(target: str, data: bytes, status: os.stat_result | None) -> None:
    with replacing_file(target, _MODE) as file:
        file.write(data)
        if status is not None:
            _keep(file.fileno(), status)


def _keep(descriptor: int, status: os.stat_result) -> None:
    with suppress(PermissionError):
        os.fchown(descriptor, status.st_uid, status.st_gid)
    os.fchmod(descriptor, stat.S_IMODE(status.st_mode))

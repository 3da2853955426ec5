"""Where an output is, decided once; and a folder that is replaced as a whole, or not at all."""

from __future__ import annotations

import errno
import os
import re
import stat
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from imgpkg.content.folder import remove_tree
from imgpkg.content.swap import discard, put_back, recover, swap, swap_entries
from imgpkg.content.temporary import new_folder
from imgpkg.errors import ImgpkgError, LocalIOError, UsageError, local_io

if TYPE_CHECKING:
    from collections.abc import Iterator

_ALL = 0o777
_SPECIAL = ("", ".", "..")
_MOUNTS = "/proc/self/mountinfo"
_OCTAL = re.compile(rb"\\([0-7]{3})")


def output_folder(named: str) -> str:
    """Return the absolute path of the folder that would be replaced: a link itself, not where it leads to.

    Raises UsageError for the root, the current directory, the home directory and whatever one of these lies
    in, however it is written, and LocalIOError for a folder with a mount point below it: all of them would
    be emptied.
    """
    if not named:
        raise UsageError("Expected --output to be none empty")
    path = _resolved(named)
    precious = [os.path.realpath(os.path.expanduser("~"))]
    with suppress(OSError):
        precious.append(os.path.realpath(os.getcwd()))
    if any(os.path.commonpath((path, kept)) == path for kept in precious):
        raise UsageError("Disallowed output directory (trying to avoid accidental deletion)")
    below = [mount for mount in _mounts() if mount.startswith(f"{path}/")]
    if below:
        raise LocalIOError(
            f"Removing output directory: {below[0]} is a mount point below {named}",
            hints=("Unmount it, or pull into another folder: what is mounted there would be removed too.",),
        )
    return path


def output_file(named: str | os.PathLike[str]) -> str:
    """Return the absolute path of the file that would be written, links followed; raise LocalIOError.

    A device or pipe keeps the name that it is given. A folder is an error, and so is a missing parent.
    """
    text = os.fspath(named)
    with local_io("open", text):
        path = absolute(text)
        try:
            mode = os.stat(path).st_mode
        except FileNotFoundError:
            path = os.path.realpath(path)
            os.stat(os.path.dirname(path))
            mode = stat.S_IFREG
        if stat.S_ISDIR(mode) or text.endswith("/"):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    return os.path.realpath(path) if stat.S_ISREG(mode) else path


def absolute(named: str) -> str:
    """Return the path with the working directory before it; raise LocalIOError when that was removed."""
    if os.path.isabs(named):
        return named
    try:
        return os.path.join(os.getcwd(), named)
    except FileNotFoundError as error:
        raise LocalIOError(
            "getwd: no such file or directory",
            hints=("The working directory was removed: change to another, or give an absolute path.",),
        ) from error


def _resolved(named: str) -> str:
    path = absolute(named).rstrip("/")
    parent, base = os.path.split(path)
    if base in _SPECIAL:
        return os.path.realpath(path or "/")
    return os.path.join(os.path.realpath(parent), base)


def _mounts() -> list[str]:
    """List where something is mounted (proc(5)); empty on systems that do not tell."""
    places: list[bytes] = []
    with suppress(OSError), open(_MOUNTS, "rb") as file:
        places = [line.split(b" ")[4] for line in file]
    return [os.fsdecode(_OCTAL.sub(lambda match: bytes((int(match[1], 8),)), place)) for place in places]


@contextmanager
def replacing(output: str, shown: str = "") -> Iterator[str]:
    """Yield the path of a fresh, empty folder, whose content takes the place of `output` when the block ends.

    The folder has mode 0777 less the umask; it is beside `output`, where it is renamed to. A mount point
    stays, and its mode: the fresh folder is in it, and the entries are exchanged. When the block fails,
    whatever was at `output` is as it was, and the fresh folder is gone. A link at `output` is replaced, not
    followed. What killed processes left there is cleared first. Errors name the folder `shown`. Raises
    LocalIOError.
    """
    shown = (shown or output).rstrip("/") or "/"
    path = _resolved(output)
    is_mount = os.path.isdir(path) and (os.path.ismount(path) or path in _mounts())
    parent = path if is_mount else os.path.dirname(path)
    with local_io("Creating output directory: mkdir", shown):
        with suppress(FileExistsError):
            os.makedirs(parent)
        recover(path, parent, os.path.basename(path))
        holder, descriptor = new_folder(parent, os.path.basename(path))
    fresh = os.path.join(holder, "new")
    try:
        with local_io("Creating output directory: mkdir", shown):
            os.mkdir(fresh, _ALL)
        yield fresh
        _remove_old((swap_entries if is_mount else swap)(path, holder, shown), shown)
        discard(holder)
    except BaseException as error:
        hints = _give_up(path, holder)
        if isinstance(error, ImgpkgError):
            error.message = error.message.replace(fresh, shown)
            error.hints += hints
        raise
    finally:
        os.close(descriptor)


def _remove_old(old: str, shown: str) -> None:
    if not old:
        return
    try:
        with local_io("Removing output directory: remove", old):
            remove_tree(old)
    except LocalIOError as error:
        error.hints += (
            f"the new files are in place at {shown}; remove what is left of the old ones at {old}",
        )
        raise


def _give_up(path: str, holder: str) -> tuple[str, ...]:
    """Restore what was at `path`, and leave nothing; return hints when that fails."""
    try:
        put_back(path, holder)
    except OSError as error:
        return (f"what was at {path} could not be put back ({error.strerror}): it is in or beside {holder}",)
    discard(holder)
    return ()

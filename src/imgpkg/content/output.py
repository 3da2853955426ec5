"""Paths of outputs, and the replacement of an output folder: as a whole, or not at all.

A new folder is built as `new` in the folder `holder` beside the output. It replaces the output in one of two
ways. Usually both are renamed; the old folder is at `holder` + `.old` for a moment. Where a folder cannot be
renamed, as a mount point, its entries are moved one by one: the old entries to `old` in the holder, which is
renamed to `replaced` when it has all of them, and to `done` when the new entries are in place. These names
record how far a killed process came, and `put_back` restores the old content from each of these states.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from imgpkg.content.temporary import is_made_for, left_behind, locked, new_folder
from imgpkg.errors import ImgpkgError, LocalIOError, UsageError, local_io
from imgpkg.expression import expression

if TYPE_CHECKING:
    from collections.abc import Iterator

_ALL = 0o777
_OWN_FOLDER = (
    "A pull replaces its whole folder, and this one is, or has in it, the working directory or your home: "
    "name a folder of its own, such as -o ./pulled."
)
_SPECIAL = ("", ".", "..")
_MOUNTS = "/proc/self/mountinfo"
_OCTAL = expression(rb"\\([0-7]{3})")
_LOST_FOUND = "lost+found"
# Errors of renaming a folder after which its entries can still be moved: overlay file systems, as in
# containers, do not rename folders of lower layers (EXDEV); a folder that is not empty is merged.
_MERGED = frozenset({errno.EXDEV, errno.ENOTEMPTY, errno.EEXIST})


def output_folder(named: str) -> str:
    """Return the absolute path of the folder to replace; a link is replaced itself, not its target.

    Raise UsageError for the root, the current directory, the home directory and their parents, and
    LocalIOError for a folder with a mount point below it, because replacing a folder deletes its content.
    """
    if not named:
        raise UsageError("Expected --output to be none empty")
    path = _resolved(named)
    # Replacing one of these would delete far more than an earlier output.
    precious = [os.path.realpath(os.path.expanduser("~"))]
    with suppress(OSError):
        precious.append(os.path.realpath(os.getcwd()))
    if any(os.path.commonpath((path, kept)) == path for kept in precious):
        raise UsageError(
            "Disallowed output directory (trying to avoid accidental deletion)",
            hints=(_OWN_FOLDER,),
        )
    below = [mount for mount in _mounts() if mount.startswith(f"{path}/")]
    if below:
        raise LocalIOError(
            f"Removing output directory: {below[0]} is a mount point below {named}",
            hints=("Unmount it, or pull into another folder: what is mounted there would be removed too.",),
        )
    return path


def output_file(named: str | os.PathLike[str]) -> str:
    """Return the absolute path of the file to write, with links resolved; raise LocalIOError.

    The path of a device or pipe is not resolved. A folder or a missing parent folder is an error.
    """
    text = os.fspath(named)
    with local_io("open", text):
        path = absolute(text)
        try:
            mode = os.stat(path).st_mode
        except FileNotFoundError:
            # A link to a missing file: the file is created where the link points.
            path = os.path.realpath(path)
            os.stat(os.path.dirname(path))
            mode = stat.S_IFREG
        # open(2) fails for a name with a slash at its end, too.
        if stat.S_ISDIR(mode) or text.endswith("/"):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    return os.path.realpath(path) if stat.S_ISREG(mode) else path


def absolute(named: str) -> str:
    """Return the absolute path; raise LocalIOError if the working directory was removed."""
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
    """Return all mount points (proc(5)); none on systems without /proc."""
    places: list[bytes] = []
    with suppress(OSError), open(_MOUNTS, "rb") as file:
        # The fifth field; spaces and backslashes in it are octal escapes.
        places = [line.split(b" ")[4] for line in file]
    return [os.fsdecode(_OCTAL.sub(lambda match: bytes((int(match[1], 8),)), place)) for place in places]


@contextmanager
def replacing(output: str, shown: str = "") -> Iterator[str]:
    """Yield the path of a new, empty folder, which replaces `output` when the block ends.

    The folder has mode 0777 less the umask and is beside `output`, so that it can be renamed. If `output` is
    a mount point, the folder is inside of it and the entries are exchanged; the mount point and its mode
    stay. If the block fails, `output` is unchanged and the new folder is removed. A link at `output` is
    replaced, not followed. What killed processes left is removed first. Errors name the folder `shown`.
    Raise LocalIOError.
    """
    shown = (shown or output).rstrip("/") or "/"
    path = _resolved(output)
    is_mount = os.path.isdir(path) and (os.path.ismount(path) or path in _mounts())
    parent = path if is_mount else os.path.dirname(path)
    with local_io("Creating output directory: mkdir", shown):
        with suppress(FileExistsError):
            os.makedirs(parent)
        # First, because the old output may have to be moved back to its place.
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
            # The user knows the output folder, not the temporary one.
            error.message = error.message.replace(fresh, shown)
            error.hints += hints
        raise
    finally:
        # This also releases the lock, which shows other pulls that the holder is in use.
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
    """Restore what was at `path` and remove the new folder; return hints if restoring fails."""
    try:
        put_back(path, holder)
    except OSError as error:
        return (f"what was at {path} could not be put back ({error.strerror}): it is in or beside {holder}",)
    discard(holder)
    return ()


def swap(output: str, holder: str, shown: str) -> str:
    """Rename `holder`/new to `output`; return the path of the old content, "" if there was none.

    Raise LocalIOError, which names `output` `shown`; then `put_back` must be called.
    """
    aside = f"{holder}.old"
    while True:
        with local_io("Removing output directory: rename", shown):
            try:
                os.rename(output, aside)
            except FileNotFoundError:
                pass
            except OSError as error:
                if error.errno != errno.EXDEV:
                    raise
                return swap_entries(output, holder, shown)
        with local_io("Creating output directory: rename", shown):
            if _renamed_new(output, holder):
                return aside if os.path.lexists(aside) else ""
            # Another pull has replaced the old content since: nothing will restore it.
            if os.path.lexists(aside):
                remove_tree(aside)


def _renamed_new(output: str, holder: str) -> bool:
    """Rename the new folder; return False if another pull has put its own there since."""
    try:
        os.rename(os.path.join(holder, "new"), output)
    except OSError as error:
        # ENOTDIR: another program has created a file there.
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
            raise
        return False
    return True


def swap_entries(output: str, holder: str, shown: str) -> str:
    """Exchange the entries of `output` with those of `holder`/new, as `swap` does with the folders."""
    new, old, replaced = _parts(holder)
    with local_io("Removing output directory: rename", shown), locked(output):
        os.mkdir(old)
        for name in _content(output, new):
            _move(os.path.join(output, name), os.path.join(old, name))
        # From here on the output may have new entries, which `put_back` has to move out first.
        os.rename(old, replaced)
        with local_io("Creating output directory: rename", shown):
            for name in os.listdir(new):
                _move(os.path.join(new, name), os.path.join(output, name))
        done = os.path.join(holder, "done")
        os.rename(replaced, done)
    return done


def put_back(output: str, holder: str) -> None:
    """Restore the old content of `output` after an incomplete swap; raise OSError."""
    new, old, replaced = _parts(holder)
    aside = f"{holder}.old"
    # Renamed, but killed before the new folder came: without an output the old one returns.
    if os.path.lexists(aside) and not os.path.lexists(output):
        os.rename(aside, output)
    if not os.path.lexists(old) and not os.path.lexists(replaced):
        return
    with locked(output):
        if os.path.lexists(replaced):
            os.makedirs(new, exist_ok=True)
            for name in _content(output, replaced):
                _move(os.path.join(output, name), os.path.join(new, name))
            os.rename(replaced, old)
        for name in os.listdir(old):
            _move(os.path.join(old, name), os.path.join(output, name))
        os.rmdir(old)


def discard(holder: str) -> None:
    """Remove the holder and the old folder; ignore what cannot be removed."""
    for path in (f"{holder}.old", holder):
        with suppress(OSError):
            remove_tree(path)


def recover(output: str, parent: str, base: str) -> None:
    """Restore the output after killed processes, and remove their holders in `parent`; ignore errors."""
    for holder in left_behind(parent, base):
        with suppress(OSError):
            put_back(output, holder)
            discard(holder)


def _parts(holder: str) -> tuple[str, str, str]:
    return os.path.join(holder, "new"), os.path.join(holder, "old"), os.path.join(holder, "replaced")


def _content(output: str, other: str) -> list[str]:
    """Return the entries to move: without the holders of pulls and the `lost+found` of a file system."""
    base = os.path.basename(output)
    names = [name for name in os.listdir(output) if not is_made_for(base, name)]
    if os.path.ismount(output) and not os.path.lexists(os.path.join(other, _LOST_FOUND)):
        return [name for name in names if name != _LOST_FOUND]
    return names


def _move(source: str, target: str) -> None:
    """Rename; if a folder cannot be renamed, create it or use the existing one, and move its content."""
    # A list instead of recursion: folders can be nested deeper than the interpreter's stack.
    steps = [(source, target)]
    emptied = []
    for here, there in steps:
        if not _renamed(here, there):
            emptied.append((here, there, _made(there)))
            steps += [(os.path.join(here, name), os.path.join(there, name)) for name in os.listdir(here)]
    for here, there, is_new in reversed(emptied):
        # A folder that existed keeps its own mode and times.
        if is_new:
            status = os.stat(here)
            # Only root can give a folder to its old owner.
            with suppress(PermissionError):
                os.chown(there, status.st_uid, status.st_gid)
            from shutil import copystat

            copystat(here, there)
        os.rmdir(here)


def _made(folder: str) -> bool:
    try:
        os.mkdir(folder)
    except FileExistsError:
        return False
    return True


def _renamed(here: str, there: str) -> bool:
    """Rename; return False for a folder whose content must be moved instead."""
    try:
        os.rename(here, there)
    except PermissionError:
        _rename_closed(here, there)
    except OSError as error:
        if error.errno not in _MERGED or os.path.islink(here) or not os.path.isdir(here):
            raise
        return False
    return True


def _rename_closed(here: str, there: str) -> None:
    """Rename a folder without write permission, which is needed because `..` in it changes (rename(2))."""
    mode = os.lstat(here).st_mode
    if not stat.S_ISDIR(mode) or mode & stat.S_IWUSR:
        os.rename(here, there)
        return
    os.chmod(here, stat.S_IMODE(mode) | stat.S_IRWXU)
    try:
        os.rename(here, there)
    except BaseException:
        os.chmod(here, stat.S_IMODE(mode))
        raise
    os.chmod(there, stat.S_IMODE(mode))


def remove_tree(path: str) -> None:
    """Remove the file, link or directory tree at `path`, however deep; raise OSError.

    The owner gets all permissions of a directory first, if the user is its owner.
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
    # Parents come before their children in the list.
    for directory in reversed(directories):
        os.rmdir(directory)


def _opened_children(directory: bytes) -> Iterator[tuple[bytes, bool]]:
    if not os.access(directory, os.R_OK | os.W_OK | os.X_OK):
        os.chmod(directory, stat.S_IRWXU)
    return _children(directory)


def _children(directory: bytes) -> Iterator[tuple[bytes, bool]]:
    with os.scandir(directory) as entries:
        return iter([(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries])

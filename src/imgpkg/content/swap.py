"""Put a finished folder in the place of another: by renaming it, or, where that cannot be, entry by entry.

All that is under way is in the folder `holder`: `new` is the finished folder. By renaming, the old folder is
for a moment at `holder` + `.old`. Entry by entry, the old entries go to `old` in the holder, whose name
becomes `replaced` when all of them are there and `done` when the new ones have come. So what is there tells
how far a process came that was killed, and `put_back` restores the old content from every such state.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
from contextlib import suppress

from imgpkg.content.folder import remove_tree
from imgpkg.content.temporary import is_made_for, left_behind, locked
from imgpkg.errors import local_io

_LOST_FOUND = "lost+found"
# What stands in the way of renaming a folder, but not of moving what is in it: overlay file systems, as in
# containers, do not rename folders of an image's lower layers; a folder may be merged into an older one.
_MERGED = frozenset({errno.EXDEV, errno.ENOTEMPTY, errno.EEXIST})


def swap(output: str, holder: str, shown: str) -> str:
    """Put `holder`/new in the place of `output`; return where the old content is, "" when there was none.

    Raises LocalIOError, which names `output` `shown`; `put_back` must be called then.
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
            if _took_place(output, holder):
                return aside if os.path.lexists(aside) else ""
            # What was there before another pull came is of no use any more.
            if os.path.lexists(aside):
                remove_tree(aside)


def _took_place(output: str, holder: str) -> bool:
    """Rename the new folder; False when another pull has just put its own there."""
    try:
        os.rename(os.path.join(holder, "new"), output)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
            raise
        return False
    return True


def swap_entries(output: str, holder: str, shown: str) -> str:
    """Do what `swap` does to the content of the folder `output`, which stays the folder that it is."""
    new, old, replaced = _parts(holder)
    with local_io("Removing output directory: rename", shown), locked(output):
        os.mkdir(old)
        for name in _content(output, new):
            _move(os.path.join(output, name), os.path.join(old, name))
        os.rename(old, replaced)
        with local_io("Creating output directory: rename", shown):
            for name in os.listdir(new):
                _move(os.path.join(new, name), os.path.join(output, name))
        done = os.path.join(holder, "done")
        os.rename(replaced, done)
    return done


def put_back(output: str, holder: str) -> None:
    """Restore the old content of `output` after a swap that did not come to its end; raise OSError."""
    new, old, replaced = _parts(holder)
    aside = f"{holder}.old"
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
    """Remove all that is under way or done; what cannot be removed stays."""
    for path in (f"{holder}.old", holder):
        with suppress(OSError):
            remove_tree(path)


def recover(output: str, parent: str, base: str) -> None:
    """Put back, then remove, what killed processes left in `parent`, as far as that is possible."""
    for holder in left_behind(parent, base):
        with suppress(OSError):
            put_back(output, holder)
            discard(holder)


def _parts(holder: str) -> tuple[str, str, str]:
    return os.path.join(holder, "new"), os.path.join(holder, "old"), os.path.join(holder, "replaced")


def _content(output: str, other: str) -> list[str]:
    """List what is to be moved: not what pulls work in, and not what a file system keeps for itself."""
    base = os.path.basename(output)
    names = [name for name in os.listdir(output) if not is_made_for(base, name)]
    if os.path.ismount(output) and not os.path.lexists(os.path.join(other, _LOST_FOUND)):
        return [name for name in names if name != _LOST_FOUND]
    return names


def _move(source: str, target: str) -> None:
    """Rename; a folder that cannot be renamed is made again, or merged, and its content moved."""
    steps = [(source, target)]
    emptied = []
    for here, there in steps:
        if not _renamed(here, there):
            emptied.append((here, there, _made(there)))
            steps += [(os.path.join(here, name), os.path.join(there, name)) for name in os.listdir(here)]
    for here, there, is_new in reversed(emptied):
        if is_new:
            status = os.stat(here)
            with suppress(PermissionError):
                os.chown(there, status.st_uid, status.st_gid)
            shutil.copystat(here, there)
        os.rmdir(here)


def _made(folder: str) -> bool:
    try:
        os.mkdir(folder)
    except FileExistsError:
        return False
    return True


def _renamed(here: str, there: str) -> bool:
    """Rename; False for a folder whose content is to be moved instead."""
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
    """Rename a folder that its owner may not write to: as it is, it cannot change its parent."""
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

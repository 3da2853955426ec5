"""Put a whole folder in the place of another, or nothing at all (imgpkg-spec 4.1, 4.3)."""

from __future__ import annotations

import errno
import os
import secrets
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from imgpkg.content.folder import remove_tree
from imgpkg.errors import ImgpkgError, LocalIOError, UsageError, local_io

if TYPE_CHECKING:
    from collections.abc import Iterator

_ALL = 0o777
_SPECIAL = ("", ".", "..")


def check_output(output: str) -> None:
    """Refuse an output folder whose removal would be an accident; raise UsageError.

    Refused are the root, the current directory, the home directory, and whatever one of these lies in,
    however the path is written.
    """
    if not output:
        raise UsageError("Expected --output to be none empty")
    target = _resolved(output)
    with local_io("getwd", "."):
        precious = (os.path.realpath(os.getcwd()), os.path.realpath(os.path.expanduser("~")))
    if any(os.path.commonpath((target, kept)) == target for kept in precious):
        raise UsageError("Disallowed output directory (trying to avoid accidental deletion)")


def _resolved(output: str) -> str:
    """Return the absolute path of what would be replaced: a link itself, not where it leads to."""
    stripped = output.rstrip("/")
    parent, base = os.path.split(stripped)
    if base in _SPECIAL:
        return os.path.realpath(output)
    return os.path.join(os.path.realpath(parent), base)


@contextmanager
def replacing(output: str) -> Iterator[str]:
    """Yield the path of a fresh, empty folder beside `output`, which takes its place when the block ends.

    The folder has mode 0777 less the umask. When the block fails, whatever was at `output` is as it was, and
    the fresh folder is gone. A link at `output` is replaced, not followed. Raises LocalIOError.
    """
    output = output.rstrip("/") or "/"
    fresh = _beside(output)
    with local_io("Creating output directory: mkdir", output):
        with suppress(FileExistsError):
            os.makedirs(os.path.dirname(fresh) or ".")
        os.mkdir(fresh, _ALL)
    try:
        yield fresh
        _swap(fresh, output)
    except BaseException as error:
        with suppress(OSError):
            remove_tree(fresh)
        if isinstance(error, ImgpkgError):
            error.message = error.message.replace(fresh, output)
        raise


def _beside(output: str) -> str:
    return os.path.join(os.path.dirname(output), f".imgpkg-{secrets.token_hex(8)}")


def _swap(fresh: str, output: str) -> None:
    old = _beside(output)
    with local_io("Removing output directory: rename", output):
        is_aside = _move_aside(output, old)
    try:
        with local_io("Creating output directory: rename", output):
            os.rename(fresh, output)
    except BaseException:
        if is_aside:
            os.rename(old, output)
        raise
    if is_aside:
        _remove_old(old, output)


def _remove_old(old: str, output: str) -> None:
    try:
        with local_io("Removing output directory: remove", old):
            remove_tree(old)
    except LocalIOError as error:
        error.hints += (
            f"the new files are in place at {output}; remove what is left of the old ones at {old}",
        )
        raise


def _move_aside(output: str, old: str) -> bool:
    """Rename what is at `output`, if anything; tell whether it can be put back."""
    try:
        os.rename(output, old)
    except FileNotFoundError:
        return False
    except OSError as error:
        # Overlay file systems, as in containers, do not rename folders of an image's lower layers.
        if error.errno != errno.EXDEV:
            raise
        remove_tree(output)
        return False
    return True

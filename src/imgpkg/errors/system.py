"""What to do about an error of the operating system."""

from __future__ import annotations

import errno

_WHAT_NEXT = {
    errno.ENOSPC: "The disk is full: free some space on it, or name a place on another one.",
    errno.EDQUOT: "The quota of disk space is used up: remove files, or name a place on another disk.",
    errno.EROFS: "The file system is mounted read-only: name a place on another one.",
}


def hints(error: OSError) -> tuple[str, ...]:
    """Return what to do about `error`; nothing where its reason is enough."""
    return tuple(filter(None, (_WHAT_NEXT.get(error.errno or 0),)))

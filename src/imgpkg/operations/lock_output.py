"""The lock file that a copy leaves behind."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from imgpkg.bundle.lock import BundleLock, ImagesLock, LockedImage
from imgpkg.errors import UsageError

if TYPE_CHECKING:
    from imgpkg.bundle.lock_file import Path
    from imgpkg.operations.collect import Collected
    from imgpkg.operations.copy_values import CopyResult


def write_lock(path: str, collected: Collected, result: CopyResult, *, shown: Path) -> None:
    """Write a BundleLock for the root bundle, or an ImagesLock of everything copied.

    Errors name the file `shown`. Raises UsageError when bundles were copied and none of them is known to be
    the root.
    """
    if result.bundle is not None:
        BundleLock(result.bundle.destination, result.bundle.tag).write(path, shown)
    elif collected.has_other_bundles:
        raise UsageError(
            "Unable to determine correct root bundle to use for lock-output. "
            "hint: if copying from a tarball, try re-generating the tarball"
        )
    elif collected.images_lock is not None:
        _relocated(collected.images_lock, result).write(path, shown)
    else:
        ImagesLock(tuple(LockedImage(copied.destination) for copied in result.images)).write(path, shown)


def _relocated(lock: ImagesLock, result: CopyResult) -> ImagesLock:
    places = {copied.destination.digest: copied.destination for copied in result.images}
    return ImagesLock(tuple(replace(image, reference=places[image.digest]) for image in lock.images))

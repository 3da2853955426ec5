"""The lock file of a copy: where everything is now that was copied."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from imgpkg.bundle.lock import BundleLock, ImagesLock, LockedImage
from imgpkg.content.output import output_file
from imgpkg.dataclass import dataclass
from imgpkg.errors import UsageError, doing

if TYPE_CHECKING:
    from collections.abc import Mapping

    from imgpkg.operations.copy.collection import Collected
    from imgpkg.operations.copy.values import Copied, CopyResult, CopySource
    from imgpkg.values import StrPath

# Annotations in a lock, of an index that was copied with some of its platforms.
CUT_FROM_ANNOTATION = "dev.carvel.imgpkg.cut-from"
PLATFORMS_ANNOTATION = "dev.carvel.imgpkg.platforms"


@dataclass(frozen=True, slots=True)
class LockOutput:
    """The file for the lock of a copy; `path` is absolute, and errors name it `shown`."""

    path: str
    shown: StrPath

    @classmethod
    def checked(cls, source: CopySource, path: StrPath) -> LockOutput:
        """Return the file `path`; raise LocalIOError, or UsageError if it is the source."""
        first = source.parts[0]
        names_images = bool(first.lock or first.image) or len(source.parts) > 1
        with doing("Writing images config" if names_images else "Writing bundle config"):
            place = output_file(path)
        if source.tar and os.path.exists(source.tar) and os.path.realpath(source.tar) == place:
            raise UsageError("Expected --lock-output to be another file than --tar")
        return cls(place, path)

    def write(self, collected: Collected, result: CopyResult) -> None:
        """Write a BundleLock for the root bundle, or else an ImagesLock.

        Raises LocalIOError, and UsageError if there are bundles and it is unknown which of them is the root.
        """
        if result.bundle is not None:
            BundleLock(result.bundle.destination, result.bundle.tag).write(self.path, self.shown)
        elif collected.has_other_bundles:
            raise UsageError(
                "Unable to determine correct root bundle to use for lock-output. "
                "hint: if copying from a tarball, try re-generating the tarball"
            )
        elif collected.images_lock is not None:
            _relocated(collected.images_lock, result).write(self.path, self.shown)
        else:
            # An image with several tags is there once.
            places = {copied.destination: _notes(copied) for copied in result.images if _is_locked(copied)}
            lock = ImagesLock(tuple(LockedImage(place, notes) for place, notes in places.items()))
            lock.write(self.path, self.shown)


def _is_locked(copied: Copied) -> bool:
    # The Go version lists signatures, too, and knows nothing else that is attached.
    return copied.attached is None or copied.tag.endswith(".sig")


def _relocated(lock: ImagesLock, result: CopyResult) -> ImagesLock:
    # In the order of the lock, with its annotations.
    by_digest = {copied.source.digest: copied for copied in result.images}
    by_source = {copied.source: copied for copied in result.images}
    found = [(image, by_source.get(image.reference) or by_digest[image.digest]) for image in lock.images]
    return ImagesLock(
        tuple(
            LockedImage(copied.destination, {**image.annotations, **_notes(copied)})
            for image, copied in found
        )
    )


def _notes(copied: Copied) -> Mapping[str, str]:
    """Return the annotations that say from which index an image was cut, whose digest it does not have."""
    if copied.cut is None:
        return {}
    platforms = ",".join(map(str, copied.cut.platforms))
    return {CUT_FROM_ANNOTATION: str(copied.source), PLATFORMS_ANNOTATION: platforms}

"""The `.partial` file of a tar file: its bytes are planned first, then blobs are written in any order."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from typing import TYPE_CHECKING

from imgpkg.content.archive.manifest import MANIFEST, encode
from imgpkg.content.archive.reader import member_name
from imgpkg.content.store import Extent, FileRange, Transfers
from imgpkg.content.tar.writer import END, member_header, padded, padding
from imgpkg.content.temporary import hold, new_file
from imgpkg.dataclass import dataclass, field
from imgpkg.errors import LocalIOError, VerificationError, doing, local_io
from imgpkg.oci.descriptor import BLOCK, VerifiedReader, verified

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from imgpkg.content.archive.manifest import ArchiveItem
    from imgpkg.oci.descriptor import ByteStream, Descriptor, Digest

_PERMISSIONS = 0o666
# O_NONBLOCK: opening a FIFO must not wait for another process.
_FOUND = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
# Name and mode of the first member: every partial file that is not empty begins with them.
_START = member_header(MANIFEST.encode(), 0)[:108]
# hashlib releases the interpreter's lock, so threads use several processors.
_JOBS = 4


@dataclass(frozen=True, slots=True)
class ArchivePlan:
    """The bytes between the blobs by offset, the places of the blobs, and the size of the file."""

    fixed: tuple[tuple[int, bytes], ...] = field(repr=False)
    places: Mapping[Digest, Extent]
    size: int


def plan_archive(items: Iterable[ArchiveItem], blobs: Iterable[Descriptor]) -> ArchivePlan:
    """Plan a file with manifest.json for `items`, then `blobs`, each digest once, in the order of digests."""
    manifest = encode(items)
    start = member_header(MANIFEST.encode(), len(manifest)) + padded(manifest)
    fixed = [(0, start)]
    places: dict[Digest, Extent] = {}
    at = len(start)
    distinct = {blob.digest: blob for blob in blobs}
    # The order of digests, so that the file does not depend on the order of the images.
    for digest in sorted(distinct, key=str):
        size = distinct[digest].size
        header = member_header(member_name(digest).encode(), size)
        fixed.append((at, header))
        places[digest] = Extent(at + len(header), size)
        end = at + len(header) + size
        # Members are padded to whole blocks of 512 bytes (POSIX pax).
        fixed.append((end, padding(size)))
        at = end + len(padding(size))
    fixed.append((at, END))
    return ArchivePlan(tuple(fixed), places, at + len(END))


class PartialFile:
    """The open file `descriptor` at `path`, locked against other processes; close it after use.

    `held` are the blobs of `plan` that the file has. Methods raise LocalIOError.
    """

    def __init__(self, path: str, descriptor: int, plan: ArchivePlan) -> None:
        self.path = path
        self.descriptor = descriptor
        self.held: set[Digest] = set()
        self._plan = plan
        self._transfers = Transfers()

    @classmethod
    def at(cls, path: str, plan: ArchivePlan, shown: str) -> PartialFile:
        """Open or create the file at `path`; errors name `shown`, the final file.

        An existing file must come from an earlier copy; links are not followed.
        """
        with doing(f"Creating file '{shown}'"):
            descriptor = _open(path, shown)
            try:
                _check(descriptor, path, shown)
            except BaseException:
                os.close(descriptor)
                raise
        return cls(path, descriptor, plan)

    @classmethod
    def beside(cls, path: str, plan: ArchivePlan) -> PartialFile:
        """Create a temporary file that can replace the one at `path`."""
        with local_io("open", path):
            return cls(*new_file(path, _PERMISSIONS), plan)

    @property
    def is_own(self) -> bool:
        """Whether the file belongs to this user; the owner of another file could change it meanwhile."""
        return os.fstat(self.descriptor).st_uid == os.geteuid()

    @property
    def is_empty(self) -> bool:
        """Whether the file has no bytes."""
        return os.fstat(self.descriptor).st_size == 0

    @property
    def is_laid_out(self) -> bool:
        """Whether the size and all bytes but those of the blobs are as in the plan."""
        with local_io("read", self.path):
            return os.fstat(self.descriptor).st_size == self._plan.size and all(
                os.pread(self.descriptor, len(data), at) == data for at, data in self._plan.fixed
            )

    def lay_out(self) -> None:
        """Write the fixed parts from the start, with zeros in the places of the blobs."""
        with local_io("write", self.path):
            # Remove old bytes: the places of the blobs must read as zeros.
            os.ftruncate(self.descriptor, 0)
            # The file begins like a partial file at any moment, so that a killed copy can be resumed.
            for at, data in self._plan.fixed:
                self._write(at, data)
            os.ftruncate(self.descriptor, self._plan.size)

    def fill(self, digest: Digest, stream: ByteStream) -> None:
        """Write the blob in its place; raise VerificationError if the bytes do not have its digest."""
        place = self._plan.places[digest]
        # If it does not verify, the bytes stay in the file, but the digest does not get into `held`.
        at = place.offset

        def write(block: memoryview) -> None:
            nonlocal at
            with local_io("write", self.path):
                self._write(at, block)
            at += len(block)

        self._transfers.write(verified(stream, digest, place.size), write)
        self.held.add(digest)

    def keep_own(self) -> None:
        """Add the blobs that are complete in this file to `held`."""

        def check(digest: Digest) -> None:
            place = self._plan.places[digest]
            stream = VerifiedReader(FileRange(self.descriptor, self.path, place), digest, place.size)
            block = bytearray(BLOCK)
            try:
                while stream.readinto(block):
                    pass
            except VerificationError:
                return
            self.held.add(digest)

        self._for_missing(check)

    def copy_from(self, descriptor: int, path: str, members: Mapping[str, Extent]) -> None:
        """Copy the missing blobs that are complete in another tar file."""

        def copy(digest: Digest) -> None:
            member = members.get(member_name(digest))
            # A blob of another size cannot have this digest, and would be written beyond its place.
            if member is None or member.size != self._plan.places[digest].size:
                return
            try:
                self.fill(digest, FileRange(descriptor, path, member))
            except VerificationError:
                return

        self._for_missing(copy)

    def close(self) -> None:
        """Close the file, which unlocks it; do nothing if it is closed."""
        descriptor, self.descriptor = self.descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def _for_missing(self, act: Callable[[Digest], None]) -> None:
        from concurrent.futures import ThreadPoolExecutor

        missing = [digest for digest in self._plan.places if digest not in self.held]
        with ThreadPoolExecutor(_JOBS) as workers:
            for _ in workers.map(act, missing):
                pass

    def _write(self, at: int, data: bytes | memoryview) -> None:
        rest = memoryview(data)
        while rest:
            count = os.pwrite(self.descriptor, rest, at)
            rest, at = rest[count:], at + count


def _open(path: str, shown: str) -> int:
    with local_io("open", shown):
        while True:
            with suppress(FileExistsError):
                return os.open(path, _NEW, _PERMISSIONS)
            try:
                return os.open(path, _FOUND)
            except FileNotFoundError:
                # Between the two calls another copy has renamed it to its final name.
                continue
            except OSError as error:
                # A link, a folder, and a socket or FIFO.
                if error.errno in (errno.ELOOP, errno.EISDIR, errno.ENXIO):
                    raise _foreign(path) from error
                raise


def _check(descriptor: int, path: str, shown: str) -> None:
    """Raise LocalIOError for a file that another process writes, or that is not from an earlier copy."""
    status = os.fstat(descriptor)
    # Writing to a file with two hard links would change the other one, too.
    if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1:
        raise _foreign(path)
    with local_io("open", shown):
        if not hold(descriptor, path):
            raise LocalIOError(f"open {shown}: another copy is writing it")
        if not _START.startswith(os.pread(descriptor, len(_START), 0)):
            raise _foreign(path)


def _foreign(path: str) -> LocalIOError:
    return LocalIOError(
        f"open {path}: not a partial tar file of imgpkg, which this copy would write",
        hints=("Move it away, or copy to a file of another name.",),
    )

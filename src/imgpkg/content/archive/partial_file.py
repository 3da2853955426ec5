"""The `.partial` file of a tar file, or those of its pieces.

All bytes are planned first, then blobs are written in any order.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from typing import TYPE_CHECKING

from imgpkg.content.archive.manifest import MANIFEST, encode
from imgpkg.content.archive.pieces import PieceFiles, PieceMap, close_all
from imgpkg.content.archive.reader import member_name
from imgpkg.content.store import Extent, Transfers
from imgpkg.content.tar.writer import END, member_header, padded, padding
from imgpkg.content.temporary import hold, new_file
from imgpkg.dataclass import dataclass, field
from imgpkg.errors import LocalIOError, VerificationError, doing, local_io
from imgpkg.oci.descriptor import BLOCK, VerifiedReader, verified

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

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

    def in_order(self) -> Iterator[bytes | Digest]:
        """Yield the parts of the file from start to end: bytes, and the digests of the blobs in between."""
        blobs = iter(self.places.items())
        at = 0
        for offset, data in self.fixed:
            # What is between two fixed parts is one blob, in the order of the places.
            if offset > at:
                digest, place = next((blob, place) for blob, place in blobs if place.size)
                at = place.offset + place.size
                yield digest
            yield data
            at += len(data)


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
    """The open `files`, one or one for each piece, locked against other processes; close them after use.

    `held` are the blobs of `plan` that the files have. Methods raise LocalIOError.
    """

    def __init__(self, files: PieceFiles, plan: ArchivePlan) -> None:
        self.files = files
        self.held: set[Digest] = set()
        self._plan = plan
        self._transfers = Transfers()

    @classmethod
    def at(cls, paths: Sequence[str], places: PieceMap, plan: ArchivePlan, shown: str) -> PartialFile:
        """Open or create the files at `paths`; errors name `shown`, the final file.

        Existing files must come from an earlier copy; links are not followed.
        """
        descriptors: list[int] = []
        with doing(f"Creating file '{shown}'"):
            try:
                for path in paths:
                    descriptors.append(_open(path, shown))
                    # Only the first piece has a beginning that tells what it is.
                    start = _START if len(descriptors) == 1 else None
                    _check(descriptors[-1], path, shown, start)
            except BaseException:
                close_all(descriptors)
                raise
        return cls(PieceFiles(paths, descriptors, places), plan)

    @classmethod
    def beside(cls, paths: Sequence[str], places: PieceMap, plan: ArchivePlan) -> PartialFile:
        """Create temporary files that can replace those at `paths`."""
        made: list[tuple[str, int]] = []
        try:
            for path in paths:
                with local_io("open", path):
                    made.append(new_file(path, _PERMISSIONS))
        except BaseException:
            close_all(descriptor for _, descriptor in made)
            for temporary, _ in made:
                os.unlink(temporary)
            raise
        return cls(PieceFiles([path for path, _ in made], [number for _, number in made], places), plan)

    @property
    def path(self) -> str:
        """The path of the file, or of its first piece."""
        return self.files.path

    @property
    def is_own(self) -> bool:
        """Whether the files belong to this user; the owner of another file could change it meanwhile."""
        return all(os.fstat(number).st_uid == os.geteuid() for number in self.files.descriptors)

    @property
    def is_empty(self) -> bool:
        """Whether the files have no bytes."""
        return not any(os.fstat(number).st_size for number in self.files.descriptors)

    @property
    def is_laid_out(self) -> bool:
        """Whether the sizes and all bytes but those of the blobs are as in the plan."""
        sizes = tuple(os.fstat(number).st_size for number in self.files.descriptors)
        return sizes == self.files.places.sizes and all(
            self.files.read(at, len(data)) == data for at, data in self._plan.fixed
        )

    def lay_out(self) -> None:
        """Write the fixed parts from the start, with zeros in the places of the blobs."""
        # Remove old bytes: the places of the blobs must read as zeros.
        self.files.empty()
        # The file begins like a partial file at any moment, so that a killed copy can be resumed.
        for at, data in self._plan.fixed:
            self.files.write(at, data)
        self.files.extend()

    def remove(self) -> None:
        """Unlink the files, as far as that is possible, and close them."""
        for path in self.files.paths:
            with suppress(OSError):
                os.unlink(path)
        self.close()

    def fill(self, digest: Digest, stream: ByteStream) -> None:
        """Write the blob in its place; raise VerificationError if the bytes do not have its digest."""
        place = self._plan.places[digest]
        # If it does not verify, the bytes stay in the file, but the digest does not get into `held`.
        at = place.offset

        def write(block: memoryview) -> None:
            nonlocal at
            self.files.write(at, block)
            at += len(block)

        self._transfers.write(verified(stream, digest, place.size), write)
        self.held.add(digest)

    def keep_own(self) -> None:
        """Add the blobs that are complete in this file to `held`."""

        def check(digest: Digest) -> None:
            place = self._plan.places[digest]
            stream = VerifiedReader(self.files.range(place), digest, place.size)
            block = bytearray(BLOCK)
            try:
                while stream.readinto(block):
                    pass
            except VerificationError:
                return
            self.held.add(digest)

        self._for_missing(check)

    def copy_from(self, files: PieceFiles, members: Mapping[str, Extent]) -> None:
        """Copy the missing blobs that are complete in another tar file."""

        def copy(digest: Digest) -> None:
            member = members.get(member_name(digest))
            # A blob of another size cannot have this digest, and would be written beyond its place.
            if member is None or member.size != self._plan.places[digest].size:
                return
            try:
                self.fill(digest, files.range(member))
            except VerificationError:
                return

        self._for_missing(copy)

    def close(self) -> None:
        """Close the files, which unlocks them; do nothing if they are closed."""
        self.files.close()

    def _for_missing(self, act: Callable[[Digest], None]) -> None:
        from concurrent.futures import ThreadPoolExecutor

        missing = [digest for digest in self._plan.places if digest not in self.held]
        with ThreadPoolExecutor(_JOBS) as workers:
            for _ in workers.map(act, missing):
                pass


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


def _check(descriptor: int, path: str, shown: str, start: bytes | None) -> None:
    """Raise LocalIOError for a file that another process writes, or that is not from an earlier copy."""
    status = os.fstat(descriptor)
    # Writing to a file with two hard links would change the other one, too.
    if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1:
        raise _foreign(path)
    with local_io("open", shown):
        if not hold(descriptor, path):
            raise LocalIOError(f"open {shown}: another copy is writing it")
        if start is not None and not start.startswith(os.pread(descriptor, len(start), 0)):
            raise _foreign(path)


def _foreign(path: str) -> LocalIOError:
    return LocalIOError(
        f"open {path}: not a partial tar file of imgpkg, which this copy would write",
        hints=("Move it away, or copy to a file of another name.",),
    )

"""A tar file on its way: laid out at its full size, its blobs filled in anywhere and in any order."""

from __future__ import annotations

import fcntl
import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from imgpkg.content.archive_index import FileRange, Member, member_name
from imgpkg.errors import LocalIOError, VerificationError, doing, local_io
from imgpkg.oci.digest import VerifiedReader

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from imgpkg.content.archive_plan import ArchivePlan
    from imgpkg.oci.digest import Digest, Readable

_PIECE = 1 << 20
_PERMISSIONS = 0o666
# Hashing runs beside the interpreter, so several processors help.
_JOBS = 4


class PartialFile:
    """The file at `path`, opened or created, and locked against another process; close it.

    Errors of opening name `shown`, the file that it will be. `held` are the blobs of `plan` that are in it.
    Methods raise LocalIOError.
    """

    def __init__(self, path: str, plan: ArchivePlan, shown: str) -> None:
        self.path = path
        self.held: set[Digest] = set()
        self._plan = plan
        with doing(f"Creating file '{shown}'"), local_io("open", shown):
            self.descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _PERMISSIONS)
        try:
            self._lock()
        except OSError as error:
            os.close(self.descriptor)
            raise LocalIOError(f"open {shown}: another copy is writing it") from error

    @property
    def is_empty(self) -> bool:
        """True for a file without a byte."""
        return os.fstat(self.descriptor).st_size == 0

    @property
    def is_laid_out(self) -> bool:
        """True when everything but the blobs is as the plan says."""
        with local_io("read", self.path):
            return os.fstat(self.descriptor).st_size == self._plan.size and all(
                os.pread(self.descriptor, len(data), at) == data for at, data in self._plan.fixed
            )

    def lay_out(self) -> None:
        """Begin anew: the fixed parts, with zeros where the blobs will be."""
        with local_io("write", self.path):
            os.ftruncate(self.descriptor, 0)
            os.ftruncate(self.descriptor, self._plan.size)
            for at, data in self._plan.fixed:
                self._write(at, data)

    def fill(self, digest: Digest, stream: Readable) -> None:
        """Write the blob in its place; raise VerificationError when `stream` gives other bytes."""
        place = self._plan.places[digest]
        verified = VerifiedReader(stream, digest, place.size)
        at = place.offset
        while data := verified.read(_PIECE):
            with local_io("write", self.path):
                self._write(at, data)
            at += len(data)
        self.held.add(digest)

    def keep_own(self) -> None:
        """Find the blobs that are whole in this file already."""

        def check(digest: Digest) -> None:
            place = self._plan.places[digest]
            stream = VerifiedReader(FileRange(self.descriptor, self.path, place), digest, place.size)
            try:
                while stream.read(_PIECE):
                    pass
            except VerificationError:
                return
            self.held.add(digest)

        self._for_missing(check)

    def copy_from(self, descriptor: int, path: str, members: Mapping[str, Member]) -> None:
        """Take the missing blobs that are whole in another tar file."""

        def copy(digest: Digest) -> None:
            member = members.get(member_name(digest))
            if member is None or member.size != self._plan.places[digest].size:
                return
            try:
                self.fill(digest, FileRange(descriptor, path, member))
            except VerificationError:
                return

        self._for_missing(copy)

    def close(self) -> None:
        """Close the file, which unlocks it; closing again does nothing."""
        descriptor, self.descriptor = self.descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def _lock(self) -> None:
        fcntl.flock(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Between opening and locking another process may have finished the file and renamed it.
        if not os.path.samestat(os.fstat(self.descriptor), os.stat(self.path)):
            raise BlockingIOError

    def _for_missing(self, act: Callable[[Digest], None]) -> None:
        missing = [digest for digest in self._plan.places if digest not in self.held]
        with ThreadPoolExecutor(_JOBS) as workers:
            for _ in workers.map(act, missing):
                pass

    def _write(self, at: int, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            count = os.pwrite(self.descriptor, rest, at)
            rest, at = rest[count:], at + count

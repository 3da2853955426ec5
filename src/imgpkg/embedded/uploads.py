"""Uploads that are on their way: bytes on disk that nobody can see yet, and their running hash."""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
import time
import uuid
from typing import TYPE_CHECKING

from imgpkg.errors import ImgpkgError
from imgpkg.oci.descriptor import Digest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from io import FileIO

    from imgpkg.embedded.storage import RepositoryName
    from imgpkg.oci.descriptor import Readable

_PIECE = 1 << 20
_FORGOTTEN_AFTER = 24 * 3600.0


class UploadIsBusy(ImgpkgError):
    """Another request is writing to this upload."""


class UploadSession:
    """One upload to a repository; `offset` is the count of bytes that have arrived."""

    def __init__(
        self, identifier: str, repository: RepositoryName, path: str, started: float, patience: float
    ) -> None:
        self.identifier = identifier
        self.repository = repository
        self.path = path
        self.started = started
        self.offset = 0
        self._patience = patience
        self._hash = hashlib.sha256()
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def exclusive(self) -> Iterator[None]:
        """Be the only one who writes; raise UploadIsBusy when another does not finish in time."""
        if not self._lock.acquire(timeout=self._patience):
            raise UploadIsBusy("another request is writing to this upload")
        try:
            yield
        finally:
            self._lock.release()

    def append(self, source: Readable) -> None:
        """Take everything from `source`; what came before it failed is kept, and counted in `offset`.

        Raise FileNotFoundError when the upload has ended.
        """
        # Only what is on disk may count, and an upload that has ended must not come into being again.
        with open(self.path, "r+b", buffering=0, opener=_no_link) as file:
            file.seek(self.offset)
            file.truncate()
            while data := source.read(_PIECE):
                _write_all(file, data)
                self._hash.update(data)
                self.offset += len(data)

    def digest(self, algorithm: str) -> Digest:
        """Return the digest of what has arrived."""
        if algorithm == "sha256":
            return Digest(algorithm, self._hash.hexdigest())
        other = hashlib.new(algorithm)
        with open(self.path, "rb", opener=_no_link) as file:
            while data := file.read(_PIECE):
                other.update(data)
        return Digest(algorithm, other.hexdigest())


class UploadSessions:
    """The uploads of one running registry; they end with it, or a day after they began.

    A second writer to one upload waits for the first, `patience` seconds long.
    """

    def __init__(self, folder: str, *, patience: float) -> None:
        self._patience = patience
        self._folder = folder
        self._uploads: dict[str, UploadSession] = {}
        self._lock = threading.Lock()
        os.makedirs(folder, exist_ok=True)
        self._sweep(time.time() - _FORGOTTEN_AFTER)

    def start(self, repository: RepositoryName) -> UploadSession:
        """Begin an upload of nothing yet."""
        now = time.time()
        identifier = uuid.uuid4().hex
        path = os.path.join(self._folder, identifier)
        upload = UploadSession(identifier, repository, path, now, self._patience)
        with open(upload.path, "xb"):
            pass
        with self._lock:
            old = [known for known in self._uploads.values() if known.started < now - _FORGOTTEN_AFTER]
            self._uploads[identifier] = upload
        for forgotten in old:
            self.end(forgotten)
        return upload

    def find(self, repository: RepositoryName, identifier: str) -> UploadSession | None:
        """Return an upload of this repository that has not ended."""
        with self._lock:
            upload = self._uploads.get(identifier)
        return upload if upload is not None and upload.repository == repository else None

    def end(self, upload: UploadSession) -> None:
        """Forget an upload, and the bytes that are still its own."""
        with self._lock:
            self._uploads.pop(upload.identifier, None)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(upload.path)

    def _sweep(self, before: float) -> None:
        # What another running registry writes in the same folder is younger.
        for entry in os.scandir(self._folder):
            with contextlib.suppress(FileNotFoundError):
                if entry.stat().st_mtime < before:
                    os.unlink(entry.path)


def _no_link(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC)


def _write_all(file: FileIO, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[file.write(rest) :]

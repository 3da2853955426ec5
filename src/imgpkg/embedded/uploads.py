"""Sessions of blob uploads: a file for the bytes that were received, and their hash so far."""

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

    from imgpkg.embedded.message import RequestContent
    from imgpkg.embedded.storage import RepositoryName

_PIECE = 1 << 20
_FORGOTTEN_AFTER = 24 * 3600.0


class UploadIsBusy(ImgpkgError):
    """Another request writes to this upload."""


class UploadSession:
    """One upload to a repository; `offset` is the number of bytes that were received."""

    def __init__(
        self, identifier: str, repository: RepositoryName, path: str, started: float, patience: float
    ) -> None:
        self.identifier = identifier
        self.repository = repository
        self.path = path
        self.started = started
        self.offset = 0
        self._patience = patience
        # Hashed while it is received: to read a large file once more takes seconds.
        self._hash = hashlib.sha256()
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def exclusive(self) -> Iterator[None]:
        """Exclude other writers during the block; raise UploadIsBusy if one does not finish in time."""
        # A client whose connection broke may try again before its first request has failed here.
        if not self._lock.acquire(timeout=self._patience):
            raise UploadIsBusy("another request is writing to this upload")
        try:
            yield
        finally:
            self._lock.release()

    def append(self, source: RequestContent) -> None:
        """Append all bytes of `source`, or those before it fails; `offset` counts what was written.

        Raise FileNotFoundError if the upload has ended.
        """
        # Unbuffered, because `offset` must not count bytes that are not in the file. Without O_CREAT, because
        # an upload that was cancelled must not get a file again.
        with open(self.path, "r+b", buffering=0, opener=_no_link) as file:
            file.seek(self.offset)
            # A write that failed may have left bytes after those that are counted and hashed.
            file.truncate()
            while data := source.read(_PIECE):
                _write_all(file, data)
                self._hash.update(data)
                self.offset += len(data)

    def digest(self, algorithm: str) -> Digest:
        """Return the digest of what was received."""
        if algorithm == "sha256":
            return Digest(algorithm, self._hash.hexdigest())
        # sha512 is rare, so that it is computed only when it is asked for.
        other = hashlib.new(algorithm)
        with open(self.path, "rb", opener=_no_link) as file:
            while data := file.read(_PIECE):
                other.update(data)
        return Digest(algorithm, other.hexdigest())


class UploadSessions:
    """The uploads of one running registry; they end with the process, or a day after they began.

    A second writer to one upload waits `patience` seconds for the first.
    """

    def __init__(self, folder: str, *, patience: float) -> None:
        self._patience = patience
        self._folder = folder
        self._uploads: dict[str, UploadSession] = {}
        self._lock = threading.Lock()
        os.makedirs(folder, exist_ok=True)
        self._sweep(time.time() - _FORGOTTEN_AFTER)

    def start(self, repository: RepositoryName) -> UploadSession:
        """Begin an empty upload, and end those that are older than a day."""
        now = time.time()
        # Random, because a client that has the identifier of an upload can write to it.
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
        """Return an upload of this repository; None if it does not exist or has ended."""
        with self._lock:
            upload = self._uploads.get(identifier)
        # An identifier is valid in its own repository only: permissions are per repository.
        return upload if upload is not None and upload.repository == repository else None

    def end(self, upload: UploadSession) -> None:
        """End an upload, and remove its file unless that has become a blob."""
        with self._lock:
            self._uploads.pop(upload.identifier, None)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(upload.path)

    def _sweep(self, before: float) -> None:
        # Files of an earlier process. Another one that serves the same folder now has younger files.
        for entry in os.scandir(self._folder):
            with contextlib.suppress(FileNotFoundError):
                if entry.stat().st_mtime < before:
                    os.unlink(entry.path)


def _no_link(path: str, flags: int) -> int:
    # Another user of the folder could otherwise direct the upload to a file elsewhere.
    return os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC)


def _write_all(file: FileIO, data: bytes) -> None:
    # An unbuffered file may write less than it is given.
    rest = memoryview(data)
    while rest:
        rest = rest[file.write(rest) :]

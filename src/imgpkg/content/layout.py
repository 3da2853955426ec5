"""An OCI image layout folder as a source and a target (OCI image spec, image-layout.md)."""

from __future__ import annotations

import os
from contextlib import contextmanager
from glob import escape, glob
from io import BytesIO
from typing import TYPE_CHECKING

from imgpkg.content.archive_index import FileRange, Member
from imgpkg.content.layout_index import LayoutIndex, check_content, check_marker, write_marker
from imgpkg.content.output import absolute
from imgpkg.content.temporary import remove_left_files, replacing_file
from imgpkg.errors import ArchiveError, local_io
from imgpkg.oci.descriptor import EMPTY, VerifiedReader, verify
from imgpkg.oci.manifest import Manifest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from imgpkg.content.store import Opener
    from imgpkg.oci.descriptor import Descriptor, Digest, Readable

_PIECE = 1 << 20
_LARGEST_MANIFEST = 100 << 20


class Layout:
    """The layout folder `path`; safe from many threads and processes.

    `Layout(path)` is for one that exists and raises ArchiveError for a folder that is none;
    `Layout.create(path)` makes it where missing. Files appear in it whole, by renaming; what killed processes
    left in it is removed when it is created again. Methods raise LocalIOError besides what they name.
    """

    def __init__(self, path: str) -> None:
        check_marker(path)
        self._path = path
        self._index = LayoutIndex(path)

    @classmethod
    def create(cls, path: str, shown: str = "") -> Layout:
        """Make `path`, which errors name `shown`, an empty layout unless it is one; parents are made too.

        Raises ArchiveError for a folder with other content.
        """
        write_marker(path, shown or path)
        for folder in glob(os.path.join(escape(path), "blobs", "*")):
            remove_left_files(folder)
        return cls(path)

    def roots(self) -> tuple[Descriptor, ...]:
        """List what index.json names, in its order; tags are in `org.opencontainers.image.ref.name`."""
        return self._index.read()

    def manifest(self, digest: Digest) -> Manifest:
        """Return the manifest, verified; raise ArchiveError when there is none, VerificationError."""
        with self._open(digest) as (descriptor, size):
            if size > _LARGEST_MANIFEST:
                raise ArchiveError(f"manifest {digest} in {self._path} is too large")
            stream = FileRange(descriptor, self._file(digest), Member(0, size))
            raw = b"".join(iter(lambda: stream.read(_PIECE), b""))
        verify(raw, digest)
        return Manifest.parse(raw, self._index.media_type(digest), digest)

    @contextmanager
    def blob(self, blob: Descriptor) -> Iterator[Readable]:
        """Open the blob, verified while it is read; raise ArchiveError when it is missing."""
        with self._open(blob.digest) as (descriptor, size):
            stream = FileRange(descriptor, self._file(blob.digest), Member(0, size))
            yield VerifiedReader(stream, blob.digest, blob.size)

    def has(self, blob: Descriptor) -> bool:
        """Tell whether a file of the right name and size is there; files get their names when whole."""
        try:
            return os.stat(self._file(blob.digest)).st_size == blob.size
        except OSError:
            return False

    def write(self, blob: Descriptor, open: Opener) -> None:  # noqa: A002 - it is what it does
        """Take the blob, unless it is there; raise VerificationError when the bytes are others."""
        if not self.has(blob):
            with open() as stream:
                self._store(blob.digest, VerifiedReader(stream, blob.digest, blob.size))

    def publish(
        self, manifest: Manifest, tags: Iterable[str], *, annotations: Mapping[str, str] = EMPTY
    ) -> None:
        """Store the manifest, and name it in index.json by each of `tags`, which leave what they named.

        Without tags it is stored alone, as what an index lists. `annotations` go beside the tags.
        """
        if not self.has(manifest.descriptor):
            self._store(manifest.digest, BytesIO(manifest.raw))
        self._index.name(manifest.descriptor, tuple(tags), annotations)

    def _file(self, digest: Digest) -> str:
        return os.path.join(self._path, "blobs", digest.algorithm, digest.hex)

    @contextmanager
    def _open(self, digest: Digest) -> Iterator[tuple[int, int]]:
        path = self._file(digest)
        if not os.path.exists(path):
            raise ArchiveError(f"blob {digest} not found in {self._path}")
        with local_io("open", path):
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            yield descriptor, os.fstat(descriptor).st_size
        finally:
            os.close(descriptor)

    def _store(self, digest: Digest, stream: Readable) -> None:
        path = self._file(digest)
        with local_io("mkdir", os.path.dirname(path)):
            os.makedirs(os.path.dirname(path), exist_ok=True)
        with local_io("write", path), replacing_file(path) as file:
            while data := stream.read(_PIECE):
                file.write(data)


def output_layout(named: str) -> str:
    """Return the absolute path of the folder that would be a layout, links followed.

    Raises ArchiveError for one with other content, LocalIOError for what is no folder.
    """
    path = os.path.realpath(absolute(named))
    check_content(path, named)
    return path

"""An OCI image layout (OCI image spec, image-layout.md) as a source and a target of copies."""

from __future__ import annotations

import json
import os
from contextlib import ExitStack, contextmanager, suppress
from io import BytesIO
from typing import TYPE_CHECKING, Any

from imgpkg.content.output import absolute
from imgpkg.content.store import Extent, FileRange, Transfers
from imgpkg.content.temporary import is_made_for, locked, remove_left_files, replacing_file
from imgpkg.errors import ArchiveError, ImgpkgError, LocalIOError, local_io
from imgpkg.oci import media
from imgpkg.oci.descriptor import EMPTY, Descriptor, Digest, VerifiedReader, verified, verify
from imgpkg.oci.manifest import Manifest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from imgpkg.content.store import Opener
    from imgpkg.oci.descriptor import ByteReader, ByteStream

REFERENCE_NAME = "org.opencontainers.image.ref.name"

_PIECE = 1 << 20
_LARGEST_MANIFEST = 100 << 20
_MARKER = "oci-layout"
_NO_LAYOUT = (
    "{} is no OCI image layout, which is a folder with the file oci-layout: copy --to-oci-layout writes one; "
    "for a tar file, write --tar."
)
_VERSION = "1.0.0"
_INDEX = "index.json"
_MAX_SIZE = 100 << 20
_EMPTY_INDEX = {"schemaVersion": 2, "mediaType": media.OCI_INDEX, "manifests": []}


class Layout:
    """The layout folder `path`; safe for many threads and processes.

    `Layout(path)` opens an existing layout, and raises ArchiveError for any other folder;
    `Layout.create(path)` also creates it. Files are renamed when they are complete; temporary files of killed
    processes are removed by `create`. All methods can raise LocalIOError.
    """

    def __init__(self, path: str) -> None:
        check_marker(path)
        self._path = path
        self._index = LayoutIndex(path)
        self._transfers = Transfers()

    @classmethod
    def create(cls, path: str, shown: str = "") -> Layout:
        """Open the layout at `path`, or create an empty one with its parent folders; errors name it `shown`.

        Raise ArchiveError for a folder with other content.
        """
        from glob import escape, glob

        write_marker(path, shown or path)
        # blobs/ has a folder for each digest algorithm.
        for folder in glob(os.path.join(escape(path), "blobs", "*")):
            remove_left_files(folder)
        return cls(path)

    def roots(self) -> tuple[Descriptor, ...]:
        """Return the descriptors of index.json; a tag is in `org.opencontainers.image.ref.name`."""
        return self._index.read()

    def manifest(self, digest: Digest) -> Manifest:
        """Return the verified manifest; raise ArchiveError if it is missing, VerificationError."""
        with self._open(digest) as (descriptor, size):
            if size > _LARGEST_MANIFEST:
                raise ArchiveError(f"manifest {digest} in {self._path} is too large")
            stream = FileRange(descriptor, self._file(digest), Extent(0, size))
            raw = b"".join(iter(lambda: stream.read(_PIECE), b""))
        verify(raw, digest)
        # A manifest may lack the field mediaType; then only the index has it.
        return Manifest.parse(raw, self._index.media_type(digest), digest)

    @contextmanager
    def blob(self, blob: Descriptor) -> Iterator[ByteReader]:
        """Open the blob, which is verified while it is read; raise ArchiveError if it is missing."""
        with self._open(blob.digest) as (descriptor, size):
            stream = FileRange(descriptor, self._file(blob.digest), Extent(0, size))
            yield VerifiedReader(stream, blob.digest, blob.size)

    def extents(self, blob: Descriptor) -> tuple[tuple[str, Extent], ...]:
        """Return the file and the place in it where the blob is; raise ArchiveError if it is missing."""
        if not self.has(blob):
            raise ArchiveError(f"blob {blob.digest} of {blob.size} bytes not found in {self._path}")
        return ((self._file(blob.digest), Extent(0, blob.size)),)

    def check_pieces(self) -> None:
        """Do nothing: a layout is not in pieces."""

    def held(self) -> Iterator[Descriptor]:
        """Yield all blobs, manifests among them, whether or not anything names them, with their sizes."""
        from glob import escape, glob

        for path in sorted(glob(os.path.join(escape(self._path), "blobs", "*", "*"))):
            folder, name = os.path.split(path)
            # Temporary files of a copy at the same time have other names.
            with suppress(ImgpkgError), local_io("stat", path):
                digest = Digest.parse(f"{os.path.basename(folder)}:{name}")
                yield Descriptor("", digest, os.stat(path).st_size)

    def has(self, blob: Descriptor) -> bool:
        """Return whether the file exists with the right size; only complete files get their names."""
        try:
            # Reading it to check the digest would cost as much as copying it again.
            return os.stat(self._file(blob.digest)).st_size == blob.size
        except OSError:
            return False

    def write(self, blob: Descriptor, open: Opener) -> None:  # noqa: A002 - it is what it does
        """Write the blob unless it exists; raise VerificationError if the bytes do not have its digest."""
        if not self.has(blob):
            with open() as stream:
                self._store(blob.digest, verified(stream, blob.digest, blob.size))

    def publish(
        self, manifest: Manifest, tags: Iterable[str], *, annotations: Mapping[str, str] = EMPTY
    ) -> None:
        """Write the manifest, and for each of `tags` an entry in index.json, which replaces its old entry.

        Without tags, as for a manifest that an index lists, index.json is unchanged. Each entry has the
        `annotations`, too.
        """
        if not self.has(manifest.descriptor):
            self._store(manifest.digest, BytesIO(manifest.raw))
        # The index is written last: an entry must not name a missing manifest.
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

    def _store(self, digest: Digest, stream: ByteStream) -> None:
        path = self._file(digest)
        with local_io("mkdir", os.path.dirname(path)):
            os.makedirs(os.path.dirname(path), exist_ok=True)
        with local_io("write", path), replacing_file(path) as file:
            self._transfers.write(stream, file.write)


def output_layout(named: str) -> str:
    """Return the absolute path of the layout to write, with links resolved.

    Raise ArchiveError for a folder with other content, LocalIOError for a file.
    """
    path = os.path.realpath(absolute(named))
    check_content(path, named)
    return path


def check_content(path: str, shown: str) -> None:
    """Raise ArchiveError for a folder with other content than a layout; accept a missing folder."""
    with local_io("mkdir", shown), suppress(FileNotFoundError):
        # Two copies may create the layout at the same time; their temporary files are not other content.
        names = [name for name in os.listdir(path) if not is_made_for("", name)]
        if names and _MARKER not in names:
            raise ArchiveError(f"{shown} is neither empty nor an OCI image layout")


def check_marker(path: str) -> None:
    """Raise ArchiveError unless `path` is a layout of major version 1; raise LocalIOError."""
    try:
        document = _read(os.path.join(path, _MARKER))
    except LocalIOError as error:
        error.hints = (_NO_LAYOUT.format(path),)
        raise
    version = str(document.get("imageLayoutVersion"))
    # A minor version adds fields only.
    if version.split(".", maxsplit=1)[0] != _VERSION.split(".", maxsplit=1)[0]:
        raise ArchiveError(f"{path} is an image layout of version {version}, which is unknown")


def write_marker(path: str, shown: str) -> None:
    """Create a layout at `path` unless it is one; raise ArchiveError for a folder with other content."""
    with local_io("mkdir", shown):
        os.makedirs(path, exist_ok=True)
    with _locked(path):
        remove_left_files(path)
        check_content(path, shown)
        # The marker is written first: only a folder with it can be completed if the process is killed.
        for name, document in ((_MARKER, {"imageLayoutVersion": _VERSION}), (_INDEX, _EMPTY_INDEX)):
            if not os.path.exists(os.path.join(path, name)):
                _replace(os.path.join(path, name), document)


class LayoutIndex:
    """`index.json` of the layout folder `path`; entries of other programs are kept unchanged."""

    def __init__(self, path: str) -> None:
        self._folder = path
        self._path = os.path.join(path, _INDEX)

    def read(self) -> tuple[Descriptor, ...]:
        """Return the descriptors in their order; raise ArchiveError if the file is not an image index."""
        raw = _content(self._path)
        try:
            return Manifest.parse(raw, media.OCI_INDEX).manifests
        except ImgpkgError as error:
            raise ArchiveError(f"{self._path} is damaged: {error}") from error

    def media_type(self, digest: Digest) -> str:
        """Return the media type of `digest` in the index; "" if it has no entry."""
        return next((found.media_type for found in self.read() if found.digest == digest), "")

    def name(self, manifest: Descriptor, tags: tuple[str, ...], annotations: Mapping[str, str]) -> None:
        """Add an entry of `manifest` for each of `tags`, and remove the other entries of these tags."""
        if not tags:
            return
        with _locked(os.path.join(self._folder, _MARKER)):
            # Read the raw document, so that unknown fields of other programs are written back.
            document = _read(self._path)
            kept = [entry for entry in document.get("manifests") or () if _tag(entry) not in tags]
            new = [_entry(manifest, {**annotations, REFERENCE_NAME: tag}) for tag in tags]
            _replace(self._path, {**document, "manifests": [*kept, *new]})


def _entry(manifest: Descriptor, annotations: Mapping[str, str]) -> dict[str, Any]:
    return {
        "mediaType": manifest.media_type,
        "digest": str(manifest.digest),
        "size": manifest.size,
        "annotations": dict(annotations),
    }


def _tag(entry: dict[str, Any]) -> str:
    return str((entry.get("annotations") or {}).get(REFERENCE_NAME, ""))


def _read(path: str) -> dict[str, Any]:
    raw = _content(path)
    try:
        document = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise ArchiveError(f"{path} is damaged: {error}") from error
    if not isinstance(document, dict):
        raise ArchiveError(f"{path} is damaged: not a JSON object")
    return document


def _content(path: str) -> bytes:
    with local_io("open", path), open(path, "rb") as file:
        raw = file.read(_MAX_SIZE + 1)
    if len(raw) > _MAX_SIZE:
        raise ArchiveError(f"{path} has more than {_MAX_SIZE >> 20} MiB, which is too large")
    return raw


def _replace(path: str, document: Mapping[str, Any]) -> None:
    with local_io("write", path), replacing_file(path) as file:
        file.write(json.dumps(document, separators=(",", ":")).encode())


@contextmanager
def _locked(path: str) -> Iterator[None]:
    with ExitStack() as stack:
        with local_io("lock", path):
            # Only taking the lock is in local_io: an error of the block has its own text.
            stack.enter_context(locked(path))
        yield

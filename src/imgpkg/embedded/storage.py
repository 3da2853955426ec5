"""The content of a registry on disk: files by digest, and for each repository the digests that it has.

    ROOT/blobs/ALGORITHM/HEX                            bytes, verified before the file gets this name
    ROOT/repositories/NAME/_blobs/ALGORITHM/HEX         empty: the repository has this blob
    ROOT/repositories/NAME/_manifests/ALGORITHM/HEX     the media type: the repository has this manifest
    ROOT/repositories/NAME/_tags/TAG                    a digest
    ROOT/repositories/NAME/_referrers/ALGORITHM/HEX/... descriptors of manifests with this subject
    ROOT/uploads/                                       uploads that are not complete

No part of a repository's name starts with an underscore, so that its folders cannot be those of another one.
A blob or manifest is deleted from one repository. Its bytes stay, because other repositories may have it too.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import tempfile
import threading
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from imgpkg.embedded.message import FilePart, cut_parts
from imgpkg.embedded.uploads import UploadSession, UploadSessions
from imgpkg.errors import InvalidManifest, InvalidReference, VerificationError, local_io
from imgpkg.oci.descriptor import Digest
from imgpkg.oci.manifest import Manifest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_PATIENCE = 5.0
_PART = r"[a-z0-9]+(?:(?:\.|__?|-+)[a-z0-9]+)*"
_NAME = re.compile(rf"{_PART}(?:/{_PART})*")
_TAG = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}")
_MAX_NAME = 255


@dataclass(frozen=True, slots=True, order=True)
class RepositoryName:
    """A repository's name, such as `team/app`; no part is empty or starts with a dot or underscore.

    The strict grammar makes it safe as a path on disk.
    """

    text: str

    @classmethod
    def parse(cls, text: str) -> RepositoryName:
        """Parse a name (distribution-spec, "Pulling manifests"); raise InvalidReference."""
        if len(text) > _MAX_NAME or not _NAME.fullmatch(text):
            raise InvalidReference(f"invalid repository name: {text[:_MAX_NAME]!r}")
        return cls(text)

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True, order=True)
class TagName:
    """A tag, such as `v1.0`; it never starts with a dot, and contains no slash."""

    text: str

    @classmethod
    def parse(cls, text: str) -> TagName:
        """Parse a tag (distribution-spec, "Pulling manifests"); raise InvalidReference."""
        if not _TAG.fullmatch(text):
            raise InvalidReference(f"invalid tag: {text[:_MAX_NAME]!r}")
        return cls(text)

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class StoredContent:
    """A blob or manifest of `size` bytes: the file `path`, `parts` of files in order, or `data`.

    `media_type` is empty for a blob.
    """

    digest: Digest
    path: str
    size: int
    media_type: str = ""
    parts: tuple[FilePart, ...] = ()
    data: bytes | None = field(default=None, repr=False)

    def part(self, start: int, count: int) -> tuple[FilePart, ...] | bytes:
        """Return `count` bytes from `start` on, as the body of a response."""
        if self.data is not None:
            return self.data[start : start + count]
        return tuple(cut_parts(self.parts or (FilePart(self.path, 0, self.size),), start, count))


class Contents(Protocol):
    """The content of a registry, to read; safe to use from many threads."""

    def blob(self, repository: RepositoryName, digest: Digest) -> StoredContent | None:
        """Return a blob of this repository; None if it has no such blob."""
        ...

    def manifest(self, repository: RepositoryName, wanted: TagName | Digest) -> StoredContent | None:
        """Return a manifest of this repository by its tag or digest; None if there is none."""
        ...

    def tags(self, repository: RepositoryName) -> tuple[TagName, ...] | None:
        """Return the tags in lexical order; None if the repository is not known."""
        ...

    def repositories(self) -> tuple[RepositoryName, ...]:
        """Return every repository, in lexical order."""
        ...

    def referrers(self, repository: RepositoryName, subject: Digest) -> tuple[Mapping[str, object], ...]:
        """Return the descriptors, as JSON objects, of the manifests with this subject."""
        ...


class Storage:
    """The content of a registry in a folder; safe to use from many threads.

    With `durable` each write is on the disk before it returns. A second writer to one upload waits `patience`
    seconds for the first. Raise LocalIOError if the folder cannot be created.
    """

    def __init__(
        self, root: str | os.PathLike[str], *, durable: bool = True, patience: float = _PATIENCE
    ) -> None:
        self.root = os.fspath(root)
        with local_io("mkdir", self.root):
            self.uploads = UploadSessions(os.path.join(self.root, "uploads"), patience=patience)
        self._writer = FileWriter(os.path.join(self.root, "uploads"), durable=durable)
        self._lock = threading.Lock()

    @classmethod
    @contextlib.contextmanager
    def temporary(cls) -> Iterator[Storage]:
        """Yield a storage in a temporary folder, and remove that after the block."""
        folder = tempfile.mkdtemp(prefix="imgpkg-registry-")
        try:
            # Nothing is to survive a power failure here, and waiting for the disk is slow.
            yield cls(folder, durable=False)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def blob(self, repository: RepositoryName, digest: Digest) -> StoredContent | None:
        """Return a blob of this repository; None if it has no such blob."""
        # The content may be there for another repository: a digest alone must not give access to it.
        if not os.path.exists(self._own(repository, "_blobs", digest)):
            return None
        return self._stored(digest)

    def mount(self, repository: RepositoryName, digest: Digest, source: RepositoryName) -> bool:
        """Add a blob of `source` to `repository`; return False if `source` has no such blob."""
        if self.blob(source, digest) is None:
            return False
        self._writer.write(self._own(repository, "_blobs", digest), b"")
        return True

    def finish(self, upload: UploadSession, digest: Digest) -> None:
        """Make an upload a blob of its repository; end it and raise VerificationError on another digest."""
        got = upload.digest(digest.algorithm)
        if got != digest:
            self.uploads.end(upload)
            raise VerificationError(f'the digest of the upload is "{got}", not "{digest}"')
        # First the content, then the mark that the repository has it: never a mark without content.
        self._writer.publish(upload.path, self._content(digest))
        self._writer.write(self._own(upload.repository, "_blobs", digest), b"")
        self.uploads.end(upload)

    def delete_blob(self, repository: RepositoryName, digest: Digest) -> bool:
        """Remove a blob from this repository; return False if it has no such blob."""
        return _remove(self._own(repository, "_blobs", digest))

    def manifest(self, repository: RepositoryName, wanted: TagName | Digest) -> StoredContent | None:
        """Return a manifest of this repository by its tag or digest; None if there is none."""
        digest = wanted if isinstance(wanted, Digest) else self._tagged(repository, wanted)
        media_type = None if digest is None else _read(self._own(repository, "_manifests", digest))
        if digest is None or media_type is None:
            return None
        return self._stored(digest, media_type)

    def put_manifest(self, repository: RepositoryName, manifest: Manifest, tag: TagName | None) -> None:
        """Store a verified manifest, and then its tag."""
        digest = manifest.digest
        # Under the lock of delete_manifest: it must not remove the manifest before the tag is written.
        with self._lock:
            # Content, then the referrer, then the mark, then the tag: each names what is there already.
            self._writer.write(self._content(digest), manifest.raw)
            if manifest.subject is not None:
                path = self._referrer(repository, manifest.subject.digest, digest)
                self._writer.write(path, json.dumps(referrer(manifest)).encode())
            self._writer.write(self._own(repository, "_manifests", digest), manifest.media_type.encode())
            if tag is not None:
                self._writer.write(self._tag(repository, tag), str(digest).encode())

    def delete_manifest(self, repository: RepositoryName, digest: Digest) -> bool:
        """Remove a manifest and all its tags from this repository; return False if there is none."""
        with self._lock:
            stored = self.manifest(repository, digest)
            if stored is None:
                return False
            for tag in self.tags(repository) or ():
                if self._tagged(repository, tag) == digest:
                    _remove(self._tag(repository, tag))
            with open(stored.path, "rb") as file, contextlib.suppress(InvalidManifest):
                # A folder may hold a manifest that an earlier version accepted and this one would refuse.
                subject = Manifest.parse(file.read(), stored.media_type, digest).subject
                if subject is not None:
                    _remove(self._referrer(repository, subject.digest, digest))
            return _remove(self._own(repository, "_manifests", digest))

    def delete_tag(self, repository: RepositoryName, tag: TagName) -> bool:
        """Remove a tag, but not its manifest; return False if there is no such tag."""
        return _remove(self._tag(repository, tag))

    def tags(self, repository: RepositoryName) -> tuple[TagName, ...] | None:
        """Return the tags in lexical order; None if the repository never had a manifest."""
        folder = self._folder(repository)
        # An empty list and an unknown repository are different answers (distribution-spec, "Listing Tags").
        if not os.path.isdir(os.path.join(folder, "_manifests")):
            return None
        return tuple(sorted(map(TagName, _list(os.path.join(folder, "_tags")))))

    def repositories(self) -> tuple[RepositoryName, ...]:
        """Return every repository that ever had a manifest, in lexical order."""
        root = os.path.join(self.root, "repositories")
        found = []
        for folder, inner, _ in os.walk(root):
            if "_manifests" in inner:
                found.append(RepositoryName(os.path.relpath(folder, root).replace(os.sep, "/")))
            # Not walked into: these folders hold digests and tags.
            inner[:] = [name for name in inner if not name.startswith("_")]
        return tuple(sorted(found))

    def referrers(self, repository: RepositoryName, subject: Digest) -> tuple[Mapping[str, object], ...]:
        """Return the descriptors, as JSON objects, of the manifests with this subject."""
        folder = self._own(repository, "_referrers", subject)
        texts = (_read(os.path.join(folder, name)) for name in sorted(_list(folder)))
        return tuple(json.loads(text) for text in texts if text is not None)

    def _stored(self, digest: Digest, media_type: str = "") -> StoredContent | None:
        path = self._content(digest)
        try:
            return StoredContent(digest, path, os.stat(path).st_size, media_type)
        except FileNotFoundError:
            return None

    def _tagged(self, repository: RepositoryName, tag: TagName) -> Digest | None:
        text = _read(self._tag(repository, tag))
        return None if text is None else Digest.parse(text)

    def _content(self, digest: Digest) -> str:
        return os.path.join(self.root, "blobs", digest.algorithm, digest.hex)

    def _folder(self, repository: RepositoryName) -> str:
        return os.path.join(self.root, "repositories", *repository.text.split("/"))

    def _own(self, repository: RepositoryName, kind: str, digest: Digest) -> str:
        return os.path.join(self._folder(repository), kind, digest.algorithm, digest.hex)

    def _tag(self, repository: RepositoryName, tag: TagName) -> str:
        return os.path.join(self._folder(repository), "_tags", tag.text)

    def _referrer(self, repository: RepositoryName, subject: Digest, digest: Digest) -> str:
        return os.path.join(self._own(repository, "_referrers", subject), f"{digest.algorithm}-{digest.hex}")


def referrer(manifest: Manifest) -> dict[str, object]:
    """Return the descriptor, as a JSON object, with which a list of referrers names `manifest`."""
    descriptor: dict[str, object] = {
        "mediaType": manifest.media_type,
        "digest": str(manifest.digest),
        "size": len(manifest.raw),
    }
    if manifest.referrer_type:
        descriptor["artifactType"] = manifest.referrer_type
    if manifest.annotations:
        descriptor["annotations"] = dict(manifest.annotations)
    return descriptor


def _read(path: str) -> str | None:
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except FileNotFoundError:
        return None


def _list(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except FileNotFoundError:
        return []


class FileWriter:
    """Writes files that are visible only when they are complete.

    They are written in `folder`, which must be on the same file system, and renamed. With `durable` a visible
    file survives a power failure.
    """

    def __init__(self, folder: str, *, durable: bool) -> None:
        self._folder = folder
        self._durable = durable

    def write(self, path: str, data: bytes) -> None:
        """Write a file; readers see the older one or the new one, whole."""
        temporary = os.path.join(self._folder, uuid.uuid4().hex)
        try:
            with open(temporary, "xb") as file:
                file.write(data)
            self.publish(temporary, path)
        except BaseException:
            _remove(temporary)
            raise

    def publish(self, temporary: str, path: str) -> None:
        """Rename a complete file to its final path."""
        if self._durable:
            # First the bytes, then the name: some file systems would write them in the other order.
            _sync(temporary)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        # Atomic on one file system, which is why the temporary file is in the same root.
        os.replace(temporary, path)
        if self._durable:
            _sync(os.path.dirname(path))


def _remove(path: str) -> bool:
    """Remove a file; return whether there was one."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        return False
    return True


def _sync(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

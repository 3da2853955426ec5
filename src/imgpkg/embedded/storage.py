"""Where a registry keeps what it was given: content-addressed files, and per repository who may see which.

    ROOT/blobs/ALGORITHM/HEX                            bytes, verified before they got this name
    ROOT/repositories/NAME/_blobs/ALGORITHM/HEX         empty: the repository has this blob
    ROOT/repositories/NAME/_manifests/ALGORITHM/HEX     the media type: the repository has this manifest
    ROOT/repositories/NAME/_tags/TAG                    a digest
    ROOT/repositories/NAME/_referrers/ALGORITHM/HEX/... descriptors of what names this digest as its subject
    ROOT/uploads/                                       what is not finished

No part of a name starts with an underscore, so that repositories and their own folders cannot collide.
Deleting takes things out of a repository; the bytes stay, as other repositories may have them too.
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
from dataclasses import dataclass
from typing import TYPE_CHECKING

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
    """A repository's name, such as `team/app`; no part is empty or starts with a dot or underscore."""

    text: str

    @classmethod
    def parse(cls, text: str) -> RepositoryName:
        """Read a name (distribution spec, "Pulling manifests"); raise InvalidReference."""
        if len(text) > _MAX_NAME or not _NAME.fullmatch(text):
            raise InvalidReference(f"invalid repository name: {text[:_MAX_NAME]!r}")
        return cls(text)

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True, order=True)
class TagName:
    """A tag, such as `v1.0`; it never starts with a dot."""

    text: str

    @classmethod
    def parse(cls, text: str) -> TagName:
        """Read a tag (distribution spec, "Pulling manifests"); raise InvalidReference."""
        if not _TAG.fullmatch(text):
            raise InvalidReference(f"invalid tag: {text[:_MAX_NAME]!r}")
        return cls(text)

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class StoredContent:
    """Bytes in the storage: where they are and how many; `media_type` is empty for a blob."""

    digest: Digest
    path: str
    size: int
    media_type: str = ""


class Storage:
    """The content of a registry in a folder; safe to use from many threads, a context manager.

    `durable` writes reach the disk before they are answered. A second writer to one upload waits `patience`
    seconds for the first. Raise LocalIOError when the folder cannot be made.
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
        """Keep everything in a temporary folder, which is removed at the end."""
        folder = tempfile.mkdtemp(prefix="imgpkg-registry-")
        try:
            yield cls(folder, durable=False)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def blob(self, repository: RepositoryName, digest: Digest) -> StoredContent | None:
        """Return a blob of this repository."""
        if not os.path.exists(self._own(repository, "_blobs", digest)):
            return None
        return self._stored(digest)

    def mount(self, repository: RepositoryName, digest: Digest, source: RepositoryName) -> bool:
        """Give `repository` a blob of `source`; False when that has none."""
        if self.blob(source, digest) is None:
            return False
        self._writer.write(self._own(repository, "_blobs", digest), b"")
        return True

    def finish(self, upload: UploadSession, digest: Digest) -> None:
        """Make an upload a blob of its repository; drop it and raise VerificationError if it is another."""
        got = upload.digest(digest.algorithm)
        if got != digest:
            self.uploads.end(upload)
            raise VerificationError(f'the digest of the upload is "{got}", not "{digest}"')
        self._writer.publish(upload.path, self._content(digest))
        self._writer.write(self._own(upload.repository, "_blobs", digest), b"")
        self.uploads.end(upload)

    def delete_blob(self, repository: RepositoryName, digest: Digest) -> bool:
        """Take a blob out of this repository; False when it has none."""
        return _remove(self._own(repository, "_blobs", digest))

    def manifest(self, repository: RepositoryName, wanted: TagName | Digest) -> StoredContent | None:
        """Return a manifest of this repository by its tag or digest."""
        digest = wanted if isinstance(wanted, Digest) else self._tagged(repository, wanted)
        media_type = None if digest is None else _read(self._own(repository, "_manifests", digest))
        if digest is None or media_type is None:
            return None
        return self._stored(digest, media_type)

    def put_manifest(self, repository: RepositoryName, manifest: Manifest, tag: TagName | None) -> None:
        """Keep a verified manifest, then its tag."""
        digest = manifest.digest
        with self._lock:
            self._writer.write(self._content(digest), manifest.raw)
            if manifest.subject is not None:
                path = self._referrer(repository, manifest.subject.digest, digest)
                self._writer.write(path, json.dumps(_descriptor(manifest)).encode())
            self._writer.write(self._own(repository, "_manifests", digest), manifest.media_type.encode())
            if tag is not None:
                self._writer.write(self._tag(repository, tag), str(digest).encode())

    def delete_manifest(self, repository: RepositoryName, digest: Digest) -> bool:
        """Take a manifest, and every tag of it, out of this repository; False when it has none."""
        with self._lock:
            stored = self.manifest(repository, digest)
            if stored is None:
                return False
            for tag in self.tags(repository) or ():
                if self._tagged(repository, tag) == digest:
                    _remove(self._tag(repository, tag))
            with open(stored.path, "rb") as file, contextlib.suppress(InvalidManifest):
                # What is refused today may have been taken by an earlier version.
                subject = Manifest.parse(file.read(), stored.media_type, digest).subject
                if subject is not None:
                    _remove(self._referrer(repository, subject.digest, digest))
            return _remove(self._own(repository, "_manifests", digest))

    def delete_tag(self, repository: RepositoryName, tag: TagName) -> bool:
        """Remove a tag and leave its manifest; False when there is none."""
        return _remove(self._tag(repository, tag))

    def tags(self, repository: RepositoryName) -> tuple[TagName, ...] | None:
        """Return the tags in lexical order; None for a repository that never had a manifest."""
        folder = self._folder(repository)
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
            inner[:] = [name for name in inner if not name.startswith("_")]
        return tuple(sorted(found))

    def referrers(self, repository: RepositoryName, subject: Digest) -> tuple[Mapping[str, object], ...]:
        """Return the descriptors, as JSON objects, of the manifests that name this subject."""
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


def _descriptor(manifest: Manifest) -> dict[str, object]:
    kind = manifest.artifact_type or (manifest.config.media_type if manifest.config is not None else "")
    descriptor: dict[str, object] = {
        "mediaType": manifest.media_type,
        "digest": str(manifest.digest),
        "size": len(manifest.raw),
    }
    if kind:
        descriptor["artifactType"] = kind
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
    """Writes small files by way of `folder`, which must be on the same file system as they are.

    `durable` files survive a power failure once they are visible.
    """

    def __init__(self, folder: str, *, durable: bool) -> None:
        self._folder = folder
        self._durable = durable

    def write(self, path: str, data: bytes) -> None:
        """Make `path` a file with this content, replacing an older one at once."""
        temporary = os.path.join(self._folder, uuid.uuid4().hex)
        try:
            with open(temporary, "xb") as file:
                file.write(data)
            self.publish(temporary, path)
        except BaseException:
            _remove(temporary)
            raise

    def publish(self, temporary: str, path: str) -> None:
        """Give a finished file its final name."""
        if self._durable:
            _sync(temporary)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        os.replace(temporary, path)
        if self._durable:
            _sync(os.path.dirname(path))


def _remove(path: str) -> bool:
    """Remove a file; tell whether there was one."""
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

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
import shutil
import tempfile
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from imgpkg.embedded.files import FileWriter, remove
from imgpkg.embedded.names import RepositoryName, TagName
from imgpkg.embedded.uploads import Upload, Uploads
from imgpkg.errors import InvalidManifest, VerificationError, local_io
from imgpkg.oci.descriptor import Digest
from imgpkg.oci.manifest import Manifest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_PATIENCE = 5.0


@dataclass(frozen=True, slots=True)
class Stored:
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
            self.uploads = Uploads(os.path.join(self.root, "uploads"), patience=patience)
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

    def blob(self, repository: RepositoryName, digest: Digest) -> Stored | None:
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

    def finish(self, upload: Upload, digest: Digest) -> None:
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
        return remove(self._own(repository, "_blobs", digest))

    def manifest(self, repository: RepositoryName, wanted: TagName | Digest) -> Stored | None:
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
                    remove(self._tag(repository, tag))
            with open(stored.path, "rb") as file, contextlib.suppress(InvalidManifest):
                # What is refused today may have been taken by an earlier version.
                subject = Manifest.parse(file.read(), stored.media_type, digest).subject
                if subject is not None:
                    remove(self._referrer(repository, subject.digest, digest))
            return remove(self._own(repository, "_manifests", digest))

    def delete_tag(self, repository: RepositoryName, tag: TagName) -> bool:
        """Remove a tag and leave its manifest; False when there is none."""
        return remove(self._tag(repository, tag))

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

    def _stored(self, digest: Digest, media_type: str = "") -> Stored | None:
        path = self._content(digest)
        try:
            return Stored(digest, path, os.stat(path).st_size, media_type)
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

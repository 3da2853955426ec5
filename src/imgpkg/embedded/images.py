"""Given images as the content of a registry that can only be read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from imgpkg.embedded.storage import StoredContent, TagName, referrer
from imgpkg.oci.descriptor import Digest

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from imgpkg.embedded.storage import RepositoryName
    from imgpkg.oci.manifest import Manifest


class GivenImages:
    """The content of a registry that serves given images and never changes.

    `tags` are the repositories with the digests that their tags name. By digest, every repository has all of
    `manifests` and `blobs`: a bundle is then found together with the images that it names, as in a repository
    that it was copied to.
    """

    def __init__(
        self,
        tags: Mapping[RepositoryName, Mapping[TagName, Digest]],
        manifests: Iterable[Manifest],
        blobs: Iterable[StoredContent],
    ) -> None:
        self._tags = tags
        self._manifests: dict[Digest, StoredContent] = {}
        self._referrers: dict[Digest, list[Mapping[str, object]]] = {}
        for manifest in manifests:
            raw, digest = manifest.raw, manifest.digest
            if digest in self._manifests:
                continue
            self._manifests[digest] = StoredContent(digest, "", len(raw), manifest.media_type, data=raw)
            if manifest.subject is not None:
                self._referrers.setdefault(manifest.subject.digest, []).append(referrer(manifest))
        self._blobs = {blob.digest: blob for blob in blobs}

    def blob(self, repository: RepositoryName, digest: Digest) -> StoredContent | None:
        """Return the blob; None if there is none, or no such repository."""
        return self._blobs.get(digest) if repository in self._tags else None

    def manifest(self, repository: RepositoryName, wanted: TagName | Digest) -> StoredContent | None:
        """Return a manifest by a tag of the repository, or by its digest; None if there is none."""
        if repository not in self._tags:
            return None
        digest = wanted if isinstance(wanted, Digest) else self._tags[repository].get(wanted)
        return None if digest is None else self._manifests.get(digest)

    def tags(self, repository: RepositoryName) -> tuple[TagName, ...] | None:
        """Return the tags in lexical order; None if there is no such repository."""
        return tuple(sorted(self._tags[repository])) if repository in self._tags else None

    def repositories(self) -> tuple[RepositoryName, ...]:
        """Return the repositories, in lexical order."""
        return tuple(sorted(self._tags))

    def referrers(self, repository: RepositoryName, subject: Digest) -> tuple[Mapping[str, object], ...]:
        """Return the descriptors, as JSON objects, of the manifests with this subject."""
        return tuple(self._referrers.get(subject, ())) if repository in self._tags else ()

"""Referrers of a manifest: the API, or the index under the referrers tag (distribution-spec 1.1)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from imgpkg.errors import Forbidden, InvalidManifest, NotFound, RegistryError, Unauthorized, doing
from imgpkg.locks import KeyedLocks
from imgpkg.oci import media
from imgpkg.oci.manifest import Manifest
from imgpkg.registry.auth.challenge import Access
from imgpkg.registry.failure import decides_nothing, misses_a_blob
from imgpkg.transport.message import redact_url

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from imgpkg.oci.descriptor import Descriptor, Digest
    from imgpkg.oci.reference import Reference, Repository
    from imgpkg.registry.client import Manifests
    from imgpkg.registry.exchange import Exchange

_OK = 200
# What registries answer that do not have the endpoint (distribution-spec, "Unavailable Referrers API").
_NO_API = frozenset({400, 404, 405, 406, 501})
_ACCEPT = {"Accept": media.OCI_INDEX}


class Referrers:
    """The endpoint `/v2/<name>/referrers/<digest>`, and the tag schema for registries without it.

    `warn` gets a sentence where neither of them keeps a list.
    """

    def __init__(self, exchange: Exchange, manifests: Manifests, warn: Callable[[str], None]) -> None:
        self._exchange = exchange
        self._manifests = manifests
        self._warn = warn
        self._locks = KeyedLocks()
        self._without_api: set[str] = set()
        self._warned: set[Reference] = set()

    def find(
        self, repository: Repository, digest: Digest, *, tag_scheme: bool = True, artifact_type: str = ""
    ) -> tuple[Descriptor, ...]:
        """See `RegistryClient.referrers`."""
        found = self._ask(repository, digest, artifact_type)
        if found is None:
            index = self._index(repository, digest, neighbour=digest) if tag_scheme else None
            found = () if index is None or index.digest == digest else index.manifests
        # Registries may ignore the filter, and an index under a tag has all.
        return tuple(entry for entry in found if artifact_type in ("", entry.artifact_type))

    def record(self, repository: Repository, manifest: Manifest, headers: Mapping[str, str]) -> None:
        """Add a manifest that was written to the referrers of its subject.

        A registry with the API does so itself, and sends OCI-Subject in `headers`, those of the response to
        the write. Otherwise the index under the referrers tag gets an entry, from one thread at a time.
        """
        subject = manifest.subject
        if subject is None:
            return
        if headers.get("OCI-Subject"):
            self._without_api.discard(repository.registry)
        elif not self._has_api(repository, subject.digest):
            tag = _tag(repository, subject.digest)
            # The index is read and written again: two threads at once would lose an entry.
            with self._locks.of(tag):
                self._add(tag, subject.digest, manifest)

    def remove(
        self,
        repository: Repository,
        digest: Digest,
        subject: Digest,
        delete: Callable[[Reference], bool],
    ) -> None:
        """Remove the manifest `digest` from the referrers of its subject, before it is deleted.

        A registry with the API does so itself. An index that would be empty is deleted, by `delete`.
        """
        if self._has_api(repository, subject):
            return
        tag = _tag(repository, subject)
        with self._locks.of(tag):
            index = self._index(repository, subject, neighbour=digest)
            # Some registries take the tag for the digest of the subject, and keep no list.
            if index is None or index.digest == subject:
                return
            left = _without(index, (digest,))
            if not left.manifests:
                delete(repository.digest(index.digest))
            elif left.digest != index.digest:
                self._write(tag, left)

    def _has_api(self, repository: Repository, digest: Digest) -> bool:
        try:
            return self._ask(repository, digest) is not None
        except RegistryError as error:
            if not decides_nothing(error):
                raise
            # A registry with the API would have sent OCI-Subject.
            return False

    def _add(self, tag: Reference, subject: Digest, manifest: Manifest) -> None:
        index = self._index(tag.repository, subject, neighbour=manifest.digest)
        if index is not None and index.digest == subject:
            self._lost(manifest, tag)
        # The entry may be there from an earlier push.
        elif index is None or all(entry.digest != manifest.digest for entry in index.manifests):
            try:
                self._write(tag, _with_entry(index, manifest))
            except RegistryError as error:
                # The registry takes the tag for a digest, which is not that of the index.
                if "DIGEST_INVALID" not in error.codes:
                    raise
                self._lost(manifest, tag)

    def _write(self, tag: Reference, index: Manifest) -> None:
        """Write a list, without what is not there any more where the registry refuses it for that."""
        try:
            self._manifests.write(tag, index)
        except RegistryError as error:
            if not misses_a_blob(error):
                raise
            listed = {entry.digest for entry in index.manifests}
            gone = [one for one in listed if self._manifests.exists(tag.repository.digest(one)) is None]
            if not gone:
                raise
            # Other programs delete an artifact and leave it in the list.
            self._manifests.write(tag, _without(index, gone))

    def _lost(self, manifest: Manifest, tag: Reference) -> None:
        written = tag.repository.digest(manifest.digest)
        # A manifest is written several times, under each of its tags.
        if written in self._warned:
            return
        self._warned.add(written)
        self._warn(
            f"{tag.repository.registry} takes the tag {tag.tag} for a digest and keeps no list there: "
            f"{written} was written, and is found by its digest only"
        )

    def _ask(
        self, repository: Repository, digest: Digest, artifact_type: str = ""
    ) -> tuple[Descriptor, ...] | None:
        """Return the referrers from the API; None for a registry without it, which is kept."""
        # Whether a registry has the API is known only from an earlier request.
        if repository.registry in self._without_api:
            return None
        from imgpkg.registry.listing import pages

        path = f"/v2/{repository.path}/referrers/{digest}"
        if artifact_type:
            path = f"{path}?artifactType={quote(artifact_type, safe='/')}"
        found: list[Descriptor] = []
        access = Access.read(repository)
        for answer, body in pages(self._exchange, path, access, headers=_ACCEPT, also_accept=_NO_API):
            kind = answer.response.headers.get("Content-Type", "").partition(";")[0].strip()
            if answer.response.status != _OK or kind != media.OCI_INDEX:
                # Registries with the API, too, answer NAME_UNKNOWN while the repository does not exist.
                if b"NAME_UNKNOWN" not in body:
                    self._without_api.add(repository.registry)
                return None
            with doing(f"{answer.request.method} {redact_url(answer.request.url)}"):
                found.extend(_entries(Manifest.parse(body, kind)))
        return tuple(found)

    def _index(self, repository: Repository, digest: Digest, *, neighbour: Digest) -> Manifest | None:
        """Return what is under the referrers tag of `digest`: an index, or `digest` itself; None for nothing.

        Some registries resolve such a tag as the digest that it is made of, and some answer 403 where nothing
        is found. A refusal means None when `neighbour`, a manifest of the same repository, is not refused.
        """
        tag = _tag(repository, digest)
        with doing(f"The list of referrers at {tag}"):
            try:
                index = self._manifests.read(tag)
            except NotFound:
                return None
            except (Unauthorized, Forbidden):
                if not self._manifests.names(repository.digest(neighbour), neighbour):
                    raise
                return None
            if index.digest != digest:
                _entries(index)
        return index


def _tag(repository: Repository, digest: Digest) -> Reference:
    return repository.tag(f"{digest.algorithm}-{digest.hex}")


def _entries(index: Manifest) -> tuple[Descriptor, ...]:
    """Return the entries of an index of referrers; raise InvalidManifest for another document.

    `null` is an empty list, which programs in Go write. A missing list is an error.
    """
    if not index.is_index:
        raise InvalidManifest(f"should be an index of referrers, but is {index.media_type}")
    # `Manifest.parse` accepts an index without the list.
    if "manifests" not in json.loads(index.raw):
        raise InvalidManifest(f"the index {index.digest} has no list `manifests`")
    return index.manifests


def _with_entry(index: Manifest | None, manifest: Manifest) -> Manifest:
    """Return the index with an entry for `manifest`, sorted by digest; other entries are kept unchanged."""
    document: dict[str, Any] = {"schemaVersion": 2, "mediaType": media.OCI_INDEX}
    if index is not None:
        document = json.loads(index.raw)
    entries = [*(document.get("manifests") or ()), _entry(manifest)]
    document["manifests"] = sorted(entries, key=lambda entry: str(entry["digest"]))
    # Other fields of the document are kept: other programs may have written them.
    raw = json.dumps(document, separators=(",", ":")).encode()
    return Manifest.parse(raw, index.media_type if index is not None else media.OCI_INDEX)


def _without(index: Manifest, digests: Iterable[Digest]) -> Manifest:
    """Return the index without its entries for `digests`; the index itself if it has none."""
    document: dict[str, Any] = json.loads(index.raw)
    entries, names = document.get("manifests") or [], set(map(str, digests))
    left = [entry for entry in entries if entry["digest"] not in names]
    if len(left) == len(entries):
        return index
    raw = json.dumps({**document, "manifests": left}, separators=(",", ":")).encode()
    return Manifest.parse(raw, index.media_type)


def _entry(manifest: Manifest) -> dict[str, Any]:
    optional = {
        "artifactType": manifest.referrer_type,
        "annotations": dict(manifest.annotations),
    }
    return {
        "mediaType": manifest.media_type,
        "size": manifest.descriptor.size,
        "digest": str(manifest.digest),
        **{key: value for key, value in optional.items() if value},
    }

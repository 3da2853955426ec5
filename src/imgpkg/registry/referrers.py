"""What refers to a manifest: the API, or an index under a tag in its stead (distribution spec 1.1)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from imgpkg.errors import InvalidManifest, NotFound
from imgpkg.oci import media
from imgpkg.oci.manifest import Descriptor, Manifest
from imgpkg.registry.once import KeyedLocks
from imgpkg.registry.paging import pages
from imgpkg.registry.scope import Access

if TYPE_CHECKING:
    from collections.abc import Mapping

    from imgpkg.oci.digest import Digest
    from imgpkg.oci.reference import Reference, Repository
    from imgpkg.registry.exchange import Exchange
    from imgpkg.registry.manifests import Manifests

_OK = 200
_NO_API = frozenset({400, 404, 405, 406, 501})
_ACCEPT = {"Accept": media.OCI_INDEX}


class Referrers:
    """The referrers endpoint, and the tag scheme that stands in for it."""

    def __init__(self, exchange: Exchange, manifests: Manifests) -> None:
        self._exchange = exchange
        self._manifests = manifests
        self._locks = KeyedLocks()
        self._without_api: set[str] = set()

    def find(self, repository: Repository, digest: Digest) -> tuple[Descriptor, ...]:
        """See `RegistryClient.referrers`."""
        found = self._ask(repository, digest)
        if found is not None:
            return found
        index = self._index(_tag(repository, digest))
        return () if index is None else index.manifests

    def record(self, repository: Repository, manifest: Manifest, headers: Mapping[str, str]) -> None:
        """Make a manifest that was written be found from its subject; `headers` are of the answer to that.

        A registry with the API does so itself. For another the index under the subject's tag gets an entry;
        in this process one writer at a time.
        """
        subject = manifest.subject
        if subject is None or headers.get("OCI-Subject"):
            return
        if self._ask(repository, subject.digest) is not None:
            return
        tag = _tag(repository, subject.digest)
        with self._locks.of(tag):
            index = self._index(tag)
            known = () if index is None else index.manifests
            if all(entry.digest != manifest.digest for entry in known):
                self._manifests.write(tag, _with_entry(index, manifest))

    def _ask(self, repository: Repository, digest: Digest) -> tuple[Descriptor, ...] | None:
        """Return what the API says, None when there is none; that is remembered for the registry."""
        if repository.registry in self._without_api:
            return None
        path = f"/v2/{repository.path}/referrers/{digest}"
        found: list[Descriptor] = []
        access = Access.read(repository)
        for answer, body in pages(self._exchange, path, access, headers=_ACCEPT, also_accept=_NO_API):
            kind = answer.response.headers.get("Content-Type", "").partition(";")[0].strip()
            if answer.response.status != _OK or kind != media.OCI_INDEX:
                self._without_api.add(repository.registry)
                return None
            found.extend(Manifest.parse(body, kind).manifests)
        return tuple(found)

    def _index(self, tag: Reference) -> Manifest | None:
        try:
            index = self._manifests.read(tag)
        except NotFound:
            return None
        if not index.is_index:
            raise InvalidManifest(f"{tag} should be an index of referrers, but is {index.media_type}")
        return index


def _tag(repository: Repository, digest: Digest) -> Reference:
    return repository.tag(f"{digest.algorithm}-{digest.hex}")


def _with_entry(index: Manifest | None, manifest: Manifest) -> Manifest:
    """Return the index with an entry for `manifest`, sorted by digest; other entries stay as they were."""
    document: dict[str, Any] = {"schemaVersion": 2, "mediaType": media.OCI_INDEX, "manifests": []}
    if index is not None:
        document = json.loads(index.raw)
    entries = [*document["manifests"], _entry(manifest)]
    document["manifests"] = sorted(entries, key=lambda entry: str(entry["digest"]))
    raw = json.dumps(document, separators=(",", ":")).encode()
    return Manifest.parse(raw, index.media_type if index is not None else media.OCI_INDEX)


def _entry(manifest: Manifest) -> dict[str, Any]:
    config_type = manifest.config.media_type if manifest.config is not None else ""
    optional = {
        "artifactType": manifest.artifact_type or config_type,
        "annotations": dict(manifest.annotations),
    }
    return {
        "mediaType": manifest.media_type,
        "size": manifest.descriptor.size,
        "digest": str(manifest.digest),
        **{key: value for key, value in optional.items() if value},
    }

"""Endpoints of manifests, tags, referrers and the catalog (distribution-spec, end-3, 7, 8, 9, 12)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from imgpkg.embedded.blobs import parse_digest
from imgpkg.embedded.message import RequestRefused, ServerResponse, json_response
from imgpkg.embedded.storage import TagName
from imgpkg.errors import InvalidManifest, InvalidReference, VerificationError
from imgpkg.oci import media
from imgpkg.oci.descriptor import Digest, verify
from imgpkg.oci.manifest import Manifest

if TYPE_CHECKING:
    from imgpkg.embedded.message import Pairs, ServerRequest
    from imgpkg.embedded.routes import Features
    from imgpkg.embedded.storage import Contents, RepositoryName, Storage

# The least that registries should accept (distribution-spec, "Pushing Manifests"), and what docker-registry
# does.
_MAX_MANIFEST = 4 << 20
_COUNT = re.compile(r"[0-9]{1,18}")


class ManifestReads:
    """The endpoints that read manifests and lists."""

    def __init__(self, contents: Contents, features: Features) -> None:
        self._contents = contents
        self._features = features

    def get(self, _request: ServerRequest, name: RepositoryName, reference: str) -> ServerResponse:
        """Return a manifest, byte for byte as it was pushed: `Accept` converts nothing."""
        try:
            wanted = parse_reference(reference)
        except InvalidReference as error:
            raise _unknown(name, reference) from error
        stored = self._contents.manifest(name, wanted)
        if stored is None:
            raise _unknown(name, reference)
        headers = (
            ("Content-Type", stored.media_type),
            ("Docker-Content-Digest", str(stored.digest)),
            ("ETag", f'"{stored.digest}"'),
        )
        return ServerResponse(200, headers, stored.part(0, stored.size))

    def tags(self, request: ServerRequest, name: RepositoryName) -> ServerResponse:
        """Return the tags of a repository, or one page of them."""
        tags = self._contents.tags(name)
        if tags is None:
            raise RequestRefused(
                404, "NAME_UNKNOWN", "repository name not known to registry", detail={"name": str(name)}
            )
        page, link = self._page(request, [str(tag) for tag in tags])
        return json_response({"name": str(name), "tags": page}, headers=link)

    def catalog(self, request: ServerRequest) -> ServerResponse:
        """Return the repositories, or one page of them: an endpoint of docker-registry only."""
        if not self._features.catalog:
            raise RequestRefused(404, "UNSUPPORTED", "this registry has no catalog")
        page, link = self._page(request, [str(name) for name in self._contents.repositories()])
        return json_response({"repositories": page}, headers=link)

    def referrers(self, request: ServerRequest, name: RepositoryName, digest: str) -> ServerResponse:
        """Return an index of the manifests with this subject."""
        if not self._features.referrers:
            raise RequestRefused(404, "UNSUPPORTED", "this registry has no referrers API")
        found = self._contents.referrers(name, parse_digest(digest))
        kind = request.parameter("artifactType")
        applied: Pairs = ()
        if kind is not None:
            found = tuple(descriptor for descriptor in found if descriptor.get("artifactType") == kind)
            # Without this header a client would filter the list itself.
            applied = (("OCI-Filters-Applied", "artifactType"),)
        index = {"schemaVersion": 2, "mediaType": media.OCI_INDEX, "manifests": found}
        return json_response(index, headers=applied, media_type=media.OCI_INDEX)

    def _page(self, request: ServerRequest, names: list[str]) -> tuple[list[str], Pairs]:
        last = request.parameter("last")
        # `last` need not exist: its tag may have been deleted since the page before was read.
        rest = names if last is None else [name for name in names if name > last]
        count = _count(request, self._features.page_size)
        if count is None or count >= len(rest):
            return rest, ()
        # n=0 asks for an empty list; a link to the next page would have no name to start from.
        page = rest[:count]
        if not page:
            return page, ()
        query = urlencode({"last": page[-1], "n": count})
        return page, (("Link", f'<{request.path}?{query}>; rel="next"'),)


class ManifestRoutes(ManifestReads):
    """All endpoints of the manifests of one storage."""

    def __init__(self, storage: Storage, features: Features) -> None:
        super().__init__(storage, features)
        self._storage = storage

    def put(self, request: ServerRequest, name: RepositoryName, reference: str) -> ServerResponse:
        """Store a manifest. Its blobs and manifests must be in the repository; its subject need not be."""
        try:
            wanted = parse_reference(reference)
        except InvalidReference as error:
            raise RequestRefused(400, "TAG_INVALID", str(error)) from error
        manifest = _parse(request, wanted)
        self._check_parts(name, manifest)
        self._storage.put_manifest(name, manifest, wanted if isinstance(wanted, TagName) else None)
        headers: Pairs = (
            ("Location", f"/v2/{name}/manifests/{manifest.digest}"),
            ("Docker-Content-Digest", str(manifest.digest)),
        )
        # The header shows clients that they need not update the referrers tag (distribution-spec, "Pushing
        # Manifests with Subject").
        if manifest.subject is not None and self._features.referrers:
            headers = (*headers, ("OCI-Subject", str(manifest.subject.digest)))
        return ServerResponse(201, headers)

    def delete(self, _request: ServerRequest, name: RepositoryName, reference: str) -> ServerResponse:
        """Remove a tag, or a manifest with all its tags."""
        if not self._features.delete:
            raise RequestRefused(405, "UNSUPPORTED", "this registry deletes nothing")
        try:
            wanted = parse_reference(reference)
        except InvalidReference as error:
            raise _unknown(name, reference) from error
        if isinstance(wanted, TagName) and not self._features.delete_tags:
            raise RequestRefused(400, "UNSUPPORTED", "this registry deletes manifests by their digest only")
        if not self._delete(name, wanted):
            raise _unknown(name, reference)
        return ServerResponse(202)

    def _delete(self, name: RepositoryName, wanted: TagName | Digest) -> bool:
        if isinstance(wanted, TagName):
            return self._storage.delete_tag(name, wanted)
        return self._storage.delete_manifest(name, wanted)

    def _check_parts(self, name: RepositoryName, manifest: Manifest) -> None:
        for part in manifest.parts():
            # Layers with URLs, and foreign ones, may be kept outside of registries.
            if part.is_distributable and not part.urls and self._storage.blob(name, part.digest) is None:
                raise _missing_part(part.digest)
        for child in manifest.children:
            if self._storage.manifest(name, child.digest) is None:
                raise _missing_part(child.digest)


def parse_reference(text: str) -> TagName | Digest:
    """Parse the last part of a manifest's path, a tag or a digest; raise InvalidReference."""
    return Digest.parse(text) if ":" in text else TagName.parse(text)


def _parse(request: ServerRequest, wanted: TagName | Digest) -> Manifest:
    raw = request.read_all(_MAX_MANIFEST)
    # A reference by digest is verified; a tag accepts any content.
    digest = wanted if isinstance(wanted, Digest) else Digest.of(raw)
    content_type = request.headers.get("content-type", "").partition(";")[0].strip()
    try:
        verify(raw, digest)
        return Manifest.parse(raw, content_type, digest)
    except VerificationError as error:
        raise RequestRefused(
            400, "DIGEST_INVALID", "provided digest did not match uploaded content"
        ) from error
    except InvalidManifest as error:
        raise RequestRefused(400, "MANIFEST_INVALID", str(error)) from error


def _unknown(name: RepositoryName, reference: str) -> RequestRefused:
    detail = {"name": str(name), "reference": reference}
    return RequestRefused(404, "MANIFEST_UNKNOWN", "manifest unknown", detail=detail)


def _missing_part(digest: Digest) -> RequestRefused:
    detail = {"digest": str(digest)}
    return RequestRefused(404, "MANIFEST_BLOB_UNKNOWN", "blob unknown to registry", detail=detail)


def _count(request: ServerRequest, limit: int | None) -> int | None:
    text = request.parameter("n")
    if text is None:
        return limit
    if not _COUNT.fullmatch(text):
        raise RequestRefused(400, "PAGINATION_NUMBER_INVALID", "invalid number of results requested")
    # A registry may return fewer entries than asked for (distribution-spec, "Listing Tags").
    return int(text) if limit is None else min(int(text), limit)

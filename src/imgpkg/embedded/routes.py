"""The paths and methods of the distribution specification, and the permissions that each of them needs."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from imgpkg.embedded.access import Permission
from imgpkg.embedded.blobs import BlobReads, BlobRoutes, mount_source, parse_digest
from imgpkg.embedded.manifests import ManifestReads, ManifestRoutes
from imgpkg.embedded.message import RequestRefused, ServerResponse, json_response
from imgpkg.embedded.storage import RepositoryName, Storage
from imgpkg.errors import InvalidReference

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from imgpkg.embedded.access import AccessController
    from imgpkg.embedded.message import ServerRequest
    from imgpkg.embedded.storage import Contents

    Endpoint: TypeAlias = Callable[[ServerRequest, RepositoryName, str], ServerResponse]

_PULL = frozenset({"pull"})
# Clients ask for both, since a push also looks for what is there.
_PUSH = frozenset({"pull", "push"})
_DELETE = frozenset({"delete"})
_UNSUPPORTED = "the operation is unsupported"
_ONLY_READ = "this registry serves given images and can only be read"
# A name may contain slashes and a part "blobs": the last "/blobs/" of a path ends it. These patterns accept
# any name, so that an invalid one, which RepositoryName.parse finds, is answered with NAME_INVALID.
_UPLOADS = re.compile(r"/v2/(?P<name>.+)/blobs/uploads/?", re.DOTALL)
_UPLOAD = re.compile(r"/v2/(?P<name>.+)/blobs/uploads/(?P<last>[^/]+)", re.DOTALL)
_BLOB = re.compile(r"/v2/(?P<name>.+)/blobs/(?P<last>[^/]+)", re.DOTALL)
_MANIFEST = re.compile(r"/v2/(?P<name>.+)/manifests/(?P<last>[^/]+)", re.DOTALL)
_TAGS = re.compile(r"/v2/(?P<name>.+)/tags/list", re.DOTALL)
_REFERRERS = re.compile(r"/v2/(?P<name>.+)/referrers/(?P<last>[^/]+)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Features:
    """Which optional parts the registry offers; clients must be able to work without each of them.

    Without `delete_tags` a tag goes only with its manifest, as at docker-registry until version 2.
    `page_size` is the highest number of entries in one response with a list, None for all of them.
    """

    mount: bool = True
    referrers: bool = True
    delete: bool = True
    delete_tags: bool = True
    catalog: bool = True
    page_size: int | None = None


ALL_FEATURES = Features()


@dataclass(frozen=True, slots=True)
class _Resource:
    """Paths of one form, and for each method the actions that it needs and its endpoint.

    The groups of a match are `name` and, in most forms, `last`.
    """

    match: Callable[[str], re.Match[str] | None]
    endpoints: Mapping[str, tuple[frozenset[str], Endpoint]]


class Routes:
    """Answers every request: those of the registry if `access` allows them, and those of `access` itself.

    Contents that are no Storage can only be read: every other method is answered with 405.
    """

    def __init__(self, contents: Contents, access: AccessController, features: Features) -> None:
        self._access = access
        manifests = ManifestReads(contents, features)
        self._catalog = manifests.catalog
        self._refusal = _UNSUPPORTED
        if isinstance(contents, Storage):
            blobs = BlobRoutes(contents, features)
            written = ManifestRoutes(contents, features)
            self._resources = (*_blob_routes(blobs), *_manifest_routes(written))
        else:
            self._refusal = _ONLY_READ
            self._resources = (*_blob_reads(BlobReads(contents)), *_manifest_reads(manifests))

    def respond(self, request: ServerRequest) -> ServerResponse:
        """Return the response, also to a refused request; raise Disconnected, or OSError from the storage."""
        try:
            return self._access.endpoint(request) or self._answer(request)
        except RequestRefused as refused:
            return refused.response()

    def _answer(self, request: ServerRequest) -> ServerResponse:
        # Some clients leave out the slash.
        if request.path in ("/v2/", "/v2"):
            return self._ping(request)
        if request.path == "/v2/_catalog":
            self._access.check(request, (Permission("registry", "catalog", frozenset({"*"})),))
            _allow(request, ("GET", "HEAD"))
            return self._catalog(request)
        for resource in self._resources:
            found = resource.match(request.path)
            if found is not None:
                return self._at(resource, request, found["name"], found.groupdict().get("last") or "")
        raise RequestRefused(404, "NAME_UNKNOWN", "no such endpoint")

    def _ping(self, request: ServerRequest) -> ServerResponse:
        self._access.check(request, ())
        _allow(request, ("GET", "HEAD"))
        return json_response({})

    def _at(self, resource: _Resource, request: ServerRequest, name: str, last: str) -> ServerResponse:
        try:
            repository = RepositoryName.parse(name)
        except InvalidReference as error:
            raise RequestRefused(400, "NAME_INVALID", str(error)) from error
        # Before the permissions: 405 reveals nothing about the repository.
        _allow(request, resource.endpoints, self._refusal)
        actions, endpoint = resource.endpoints[request.method]
        self._access.check(request, _needs(request, repository, actions))
        return endpoint(request, repository, last)


def _needs(
    request: ServerRequest, repository: RepositoryName, actions: frozenset[str]
) -> tuple[Permission, ...]:
    needs = (Permission("repository", str(repository), actions),)
    # A mount reads the other repository, and must not be a way around its permissions.
    source = mount_source(request) if request.method == "POST" else None
    return needs if source is None else (*needs, Permission("repository", str(source), _PULL))


def _allow(
    request: ServerRequest, methods: Mapping[str, object] | tuple[str, ...], refusal: str = _UNSUPPORTED
) -> None:
    if request.method not in methods:
        headers = (("Allow", ", ".join(sorted(methods))),)
        raise RequestRefused(405, "UNSUPPORTED", refusal, headers=headers)


def _blob_reads(blobs: BlobReads) -> tuple[_Resource, ...]:
    def get(request: ServerRequest, name: RepositoryName, digest: str) -> ServerResponse:
        return blobs.get(request, name, parse_digest(digest))

    # The paths of uploads are known, and allow no method: they are answered with 405, and not with 404.
    return (
        _Resource(_UPLOADS.fullmatch, {}),
        _Resource(_UPLOAD.fullmatch, {}),
        _Resource(_BLOB.fullmatch, {"GET": (_PULL, get), "HEAD": (_PULL, get)}),
    )


def _blob_routes(blobs: BlobRoutes) -> tuple[_Resource, ...]:
    def delete(request: ServerRequest, name: RepositoryName, digest: str) -> ServerResponse:
        return blobs.delete(request, name, parse_digest(digest))

    def start(request: ServerRequest, name: RepositoryName, _last: str) -> ServerResponse:
        return blobs.start(request, name)

    upload = {
        "GET": (_PUSH, blobs.status),
        "PATCH": (_PUSH, blobs.append),
        "PUT": (_PUSH, blobs.finish),
        "DELETE": (_PUSH, blobs.cancel),
    }
    writes = (
        _Resource(_UPLOADS.fullmatch, {"POST": (_PUSH, start)}),
        _Resource(_UPLOAD.fullmatch, upload),
        _Resource(_BLOB.fullmatch, {"DELETE": (_DELETE, delete)}),
    )
    return _merged(_blob_reads(blobs), writes)


def _manifest_reads(manifests: ManifestReads) -> tuple[_Resource, ...]:
    def tags(request: ServerRequest, name: RepositoryName, _last: str) -> ServerResponse:
        return manifests.tags(request, name)

    return (
        _Resource(_MANIFEST.fullmatch, {"GET": (_PULL, manifests.get), "HEAD": (_PULL, manifests.get)}),
        _Resource(_TAGS.fullmatch, {"GET": (_PULL, tags), "HEAD": (_PULL, tags)}),
        _Resource(_REFERRERS.fullmatch, {"GET": (_PULL, manifests.referrers)}),
    )


def _manifest_routes(manifests: ManifestRoutes) -> tuple[_Resource, ...]:
    one = {"PUT": (_PUSH, manifests.put), "DELETE": (_DELETE, manifests.delete)}
    manifest, *lists = _manifest_reads(manifests)
    return (*_merged((manifest,), (_Resource(_MANIFEST.fullmatch, one),)), *lists)


def _merged(reads: tuple[_Resource, ...], writes: tuple[_Resource, ...]) -> tuple[_Resource, ...]:
    """Return resources with the methods of both, which have the same paths in the same order."""
    return tuple(
        _Resource(read.match, {**read.endpoints, **write.endpoints})
        for read, write in zip(reads, writes, strict=True)
    )

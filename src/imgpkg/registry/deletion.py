"""Deletion of tags, manifests and blobs (distribution-spec, "Content Management"); registries may lack it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from imgpkg.errors import ImmutableTag, RegistryError, Unsupported, UsageError
from imgpkg.registry.auth.challenge import Access
from imgpkg.transport.message import Request

if TYPE_CHECKING:
    from collections.abc import Callable

    from imgpkg.oci.descriptor import Digest
    from imgpkg.oci.reference import Reference, Repository
    from imgpkg.registry.blobs import Blobs
    from imgpkg.registry.client import Manifests
    from imgpkg.registry.exchange import Exchange
    from imgpkg.registry.referrers import Referrers

# The specification asks for 202.
_DELETED = frozenset({200, 202, 204})
_BAD_REQUEST, _NOT_FOUND = 400, 404
_NO_SUCH_METHOD = frozenset({405, 501})
_UNSUPPORTED = "UNSUPPORTED"
_SWITCH = (
    "Its operator may have to switch deletion on: in docker-registry with storage.delete.enabled, or "
    "REGISTRY_STORAGE_DELETE_ENABLED=true. Other registries delete on their web page, with a program or an "
    "API of their own, or by rules for what is kept."
)
_BY_DIGEST = "A registry without this deletes an image by its digest only, and all tags of the image with it."


class Deletion:
    """DELETE for what is below `/v2/<name>/`; each method returns False for what is not there."""

    def __init__(self, exchange: Exchange, manifests: Manifests, referrers: Referrers, blobs: Blobs) -> None:
        self._exchange = exchange
        self._manifests = manifests
        self._referrers = referrers
        self._blobs = blobs

    def tag(self, reference: Reference) -> bool:
        """See `RegistryClient.delete_tag`; raise UsageError for a digest reference."""
        if reference.tag is None:
            raise UsageError(f"{reference} names no tag")
        registry = reference.repository.registry
        try:
            return self._manifest(reference)
        except RegistryError as error:
            # A registry that takes every reference for a digest finds this one malformed.
            is_refused = isinstance(error, ImmutableTag)
            if is_refused or (error.status != _BAD_REQUEST and not _is_unsupported(error)):
                raise
            what = f"the registry {registry} did not delete the tag {reference.tag} of {reference.repository}"
            raise _unsupported(error, what, (_BY_DIGEST, _SWITCH)) from error

    def manifest(self, repository: Repository, digest: Digest, subject: Digest | None) -> bool:
        """See `RegistryClient.delete_manifest`."""
        # Before the manifest: an index must not list what does not exist.
        if subject is not None:
            self._referrers.remove(repository, digest, subject, self._by_digest)
        return self._by_digest(repository.digest(digest))

    def blob(self, repository: Repository, digest: Digest) -> bool:
        """See `RegistryClient.delete_blob`."""
        path = f"/v2/{repository.path}/blobs/{digest}"
        what = f"the registry {repository.registry} did not delete the blob {digest}"
        return self._supported(
            lambda: self._delete(path, repository, lambda: self._blobs.has(repository, digest)), what
        )

    def _by_digest(self, reference: Reference) -> bool:
        what = f"the registry {reference.repository.registry} did not delete {reference}"
        return self._supported(lambda: self._manifest(reference), what)

    def _supported(self, delete: Callable[[], bool], what: str) -> bool:
        try:
            return delete()
        except RegistryError as error:
            if not _is_unsupported(error):
                raise
            raise _unsupported(error, what, (_SWITCH,)) from error

    def _manifest(self, reference: Reference) -> bool:
        repository = reference.repository
        path = f"/v2/{repository.path}/manifests/{reference.identifier}"
        return self._delete(path, repository, lambda: self._manifests.exists(reference) is not None)

    def _delete(self, path: str, repository: Repository, is_there: Callable[[], bool]) -> bool:
        return self._exchange.repeat(lambda: self._send(path, repository, is_there))

    def _send(self, path: str, repository: Repository, is_there: Callable[[], bool]) -> bool:
        access = Access.delete(repository)
        answer = self._exchange.send(Request("DELETE", path), access)
        if answer.response.status in _DELETED:
            answer.response.close()
            return True
        error = self._exchange.failure(answer, access)
        # A server without this method may answer 404 as well.
        if error.status != _NOT_FOUND or is_there():
            raise error
        return False


def _is_unsupported(error: RegistryError) -> bool:
    # A 400 without a code is the other answer of a registry that deletes nothing (distribution-spec,
    # "Deleting manifests"); with a code it is about this request. A 404 has come from what exists.
    return not isinstance(error, ImmutableTag) and (
        error.status in _NO_SUCH_METHOD
        or error.status == _NOT_FOUND
        or _UNSUPPORTED in error.codes
        or (error.status == _BAD_REQUEST and not error.codes)
    )


def _unsupported(error: RegistryError, what: str, hints: tuple[str, ...]) -> Unsupported:
    return Unsupported(
        f"{what}: {error.message} (status {error.status})",
        method=error.method,
        url=error.url,
        status=error.status,
        diagnostics=error.diagnostics,
        hints=(*hints, *error.hints),
        retry_after=error.retry_after,
    )

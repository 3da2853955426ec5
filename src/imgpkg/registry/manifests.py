"""Manifests of a registry: ask whether they are there, read them verified, write them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from imgpkg.errors import InvalidManifest, InvalidReference, NotFound, RegistryError, VerificationError, doing
from imgpkg.oci import media
from imgpkg.oci.descriptor import Descriptor, Digest
from imgpkg.oci.manifest import Manifest
from imgpkg.registry.auth.scope import Access
from imgpkg.registry.body import said_length
from imgpkg.registry.failure import decides_nothing
from imgpkg.transport.message import Request, bytes_body, read_at_most, redact_url

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from imgpkg.oci.reference import Reference
    from imgpkg.registry.auth.authorizer import Answer
    from imgpkg.registry.exchange import Exchange
    from imgpkg.transport.message import Response

MAX_MANIFEST = 100 << 20

_ACCEPT = {"Accept": ",".join(media.MANIFEST_ACCEPT)}
_OK, _NOT_FOUND = 200, 404
# Other answers to HEAD are asked for again with GET, which can say why.
_FINAL_FOR_HEAD = frozenset({404, 408, 429})
# Nobody is told why, and a login that is not enough is not shown more often than need be.
_FINAL_FOR_A_QUESTION = _FINAL_FOR_HEAD | {401, 403}
_WRITTEN = frozenset({200, 201, 202})


class Manifests:
    """The manifest endpoints of every registry."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    def resolve(self, reference: Reference) -> Descriptor:
        """See `RegistryClient.resolve`."""
        try:
            return self._look(reference)
        except NotFound:
            # Only a GET tells which code the registry has for it.
            return self.read(reference).descriptor

    def exists(self, reference: Reference) -> Descriptor | None:
        """See `RegistryClient.exists`."""
        try:
            return self._look(reference)
        except NotFound:
            return None

    def names(self, reference: Reference, digest: Digest) -> bool:
        """See `RegistryClient.names`."""
        try:
            found = self._exchange.repeat(lambda: self._head(reference, _FINAL_FOR_A_QUESTION))
        except RegistryError as error:
            if error.status != _NOT_FOUND and not decides_nothing(error):
                raise
            return False
        return found.digest == digest

    def read(self, reference: Reference) -> Manifest:
        """See `RegistryClient.manifest`."""
        return self._exchange.repeat(lambda: self._read(reference))

    def write(self, reference: Reference, manifest: Manifest) -> Mapping[str, str]:
        """Put `manifest` and return the headers of the answer; raise VerificationError for another digest."""
        return self._exchange.repeat(lambda: self._write(reference, manifest))

    def _look(self, reference: Reference) -> Descriptor:
        return self._exchange.repeat(lambda: self._head(reference, _FINAL_FOR_HEAD))

    def _head(self, reference: Reference, final: Collection[int]) -> Descriptor:
        access = Access.read(reference.repository)
        answer = self._exchange.send(Request("HEAD", _path(reference), _ACCEPT), access)
        response = answer.response
        if response.status in final:
            raise self._exchange.failure(answer, access)
        response.close()
        found = _described(response) if response.status == _OK else None
        if found is None:
            return self._read(reference).descriptor
        _check(found.digest, reference)
        return found

    def _read(self, reference: Reference) -> Manifest:
        access = Access.read(reference.repository)
        answer = self._exchange.call(Request("GET", _path(reference), _ACCEPT), access, (_OK,))
        with answer.response as response:
            raw = read_at_most(response, MAX_MANIFEST + 1)
        if len(raw) > MAX_MANIFEST:
            raise InvalidManifest(f"manifest {reference} is larger than {MAX_MANIFEST >> 20} MiB")
        kind = response.headers.get("Content-Type", "").partition(";")[0].strip()
        digest = _digest(raw, kind, response)
        _check(digest, reference)
        with doing(f"{answer.request.method} {redact_url(answer.request.url)}"):
            return Manifest.parse(raw, kind if kind in media.MANIFEST_ACCEPT else "", digest)

    def _write(self, reference: Reference, manifest: Manifest) -> Mapping[str, str]:
        request = Request(
            "PUT", _path(reference), {"Content-Type": manifest.media_type}, bytes_body(manifest.raw)
        )
        answer = self._exchange.call(request, Access.write(reference.repository), _WRITTEN)
        answer.response.close()
        if manifest.media_type != media.DOCKER_SCHEMA_1_SIGNED:
            check_stored(answer, manifest.digest)
        return answer.response.headers


def misses_a_blob(error: RegistryError) -> bool:
    """Tell whether a manifest was refused because a blob of it is not in the repository."""
    return error.status == _NOT_FOUND or any(code.endswith("BLOB_UNKNOWN") for code in error.codes)


def check_stored(answer: Answer, digest: Digest) -> None:
    """Raise VerificationError when the registry says that it stored something else than `digest`."""
    said = content_digest(answer.response)
    if said is not None and said.algorithm == digest.algorithm and said != digest:
        raise VerificationError(f'the registry stored digest "{said}" in place of "{digest}"')


def content_digest(response: Response) -> Digest | None:
    """Return what Docker-Content-Digest says, None when it says nothing that is a digest."""
    try:
        return Digest.parse(response.headers.get("Docker-Content-Digest", ""))
    except InvalidReference:
        return None


def _path(reference: Reference) -> str:
    return f"/v2/{reference.repository.path}/manifests/{reference.identifier}"


def _described(response: Response) -> Descriptor | None:
    digest, headers = content_digest(response), response.headers
    kind = headers.get("Content-Type", "").partition(";")[0].strip()
    length = said_length(headers)
    if digest is None or not kind or length is None:
        return None
    return Descriptor(kind, digest, length)


def _digest(raw: bytes, kind: str, response: Response) -> Digest:
    """Compute the digest; for signed schema 1 it is of the payload only, so the registry's is taken."""
    if kind == media.DOCKER_SCHEMA_1_SIGNED:
        return content_digest(response) or Digest.of(raw)
    return Digest.of(raw)


def _check(digest: Digest, reference: Reference) -> None:
    wanted = reference.digest
    if wanted is not None and digest != wanted:
        raise VerificationError(
            f'manifest digest: "{digest}" does not match requested digest: "{wanted}" for "{reference}"'
        )

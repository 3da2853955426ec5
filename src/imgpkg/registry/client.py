"""The client of every registry: the distribution specification, one method for each endpoint."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from copy import copy
from typing import TYPE_CHECKING, Protocol, TypeVar

from imgpkg import cancellation
from imgpkg.auth.keychain import Decision, Keychain
from imgpkg.errors import InvalidManifest, NotFound, RegistryError
from imgpkg.events import BlobOutcome, Hook, silent
from imgpkg.oci import media
from imgpkg.oci.descriptor import Descriptor, Digest, Readable
from imgpkg.oci.manifest import Manifest
from imgpkg.oci.reference import Reference, Repository
from imgpkg.registry.auth.authorizer import Authorizer
from imgpkg.registry.auth.challenge import Access
from imgpkg.registry.auth.token import BearerToken
from imgpkg.registry.blobs import Blobs, Readers
from imgpkg.registry.exchange import (
    Exchange,
    Repetition,
    Retry,
    check_named,
    check_stored,
    described,
    random_fraction,
    received_manifest,
)
from imgpkg.registry.failure import decides_nothing, misses_a_blob
from imgpkg.registry.referrers import Referrers
from imgpkg.registry.uploads import Uploads
from imgpkg.transport.message import OpenBody, Request, Transport, bytes_body, read_at_most

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from imgpkg.registry.base import BaseEndpoint
    from imgpkg.registry.deletion import Deletion

# Far more than the 4 MB that clients should push at most (distribution-spec, "Pushing Manifests").
MAX_MANIFEST = 100 << 20

_ACCEPT = {"Accept": ",".join(media.MANIFEST_ACCEPT)}
_OK, _NOT_FOUND = 200, 404
# After any other response to HEAD, GET is sent: its body has the reason.
_FINAL_FOR_HEAD = frozenset({404, 408, 429})
# For `names` the reason does not matter, and a login that is refused should be sent as rarely as possible.
_FINAL_FOR_A_QUESTION = _FINAL_FOR_HEAD | {401, 403}
_WRITTEN = frozenset({200, 201, 202})


Result = TypeVar("Result")


class _ImageReads(Protocol):
    """What `MirroredReads` does; a program may look up the type without loading that module."""

    def sources(self, reference: Reference) -> tuple[Reference, ...]: ...

    def read(
        self,
        client: RegistryClient,
        reference: Reference,
        act: Callable[[RegistryClient, Reference], Result],
        is_found: Callable[[Result], bool] = ...,
    ) -> Result: ...

    def open_blob(
        self, client: RegistryClient, repository: Repository, blob: Descriptor, *, use_urls: bool
    ) -> AbstractContextManager[Readable]: ...


class RegistryClient:
    """Send requests to any number of registries; safe from many threads.

    How a registry is reached (http or https, challenges, tokens) is kept and shared by the threads. Its
    content is requested each time, because it may be deleted at any time. `retry_count` is the number of
    attempts, at least one is made. `clock` returns the Unix time, `sleep` gets seconds, `random` returns a
    fraction in [0, 1). `warn` gets a sentence about a registry that contradicts itself, and before each
    repetition unless `on_repeat` gets those. What is read of an image is read from `mirrors`, if there are
    any; `primary` has none. A large blob is read over several connections; at most `concurrency` read blobs
    of the same registry. Blobs of more than `chunk_size` bytes are sent in pieces; 0 is without a limit.

    Programs may use the client of a session: all keeps its meaning within a major version, but for
    `exchange`, `watched`, `accepts` and `token`.

    Every method raises TransportError when there is no response, Unauthorized, Forbidden, NotFound or
    RegistryError for an unexpected one, ChallengeError for a challenge that must not be answered, and
    CredentialError. Those that delete raise Unsupported where the registry does not.
    """

    def __init__(
        self,
        transport: Transport,
        keychain: Keychain,
        *,
        insecure: bool = False,
        retry_count: int = 5,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = cancellation.sleep,
        random: Callable[[], float] = random_fraction,
        warn: Callable[[str], None] = cancellation.ignore,
        on_repeat: Callable[[Repetition], None] | None = None,
        mirrors: _ImageReads | None = None,
        concurrency: int = 1,
        chunk_size: int = 0,
    ) -> None:
        self._warn = warn
        self._mirrors = mirrors
        authorizer = Authorizer(keychain, insecure=insecure, clock=clock)
        retry = Retry(retry_count, sleep, random, on_repeat or self._on_repeat)
        self._exchange = Exchange(transport, authorizer, retry, clock=clock)
        self._manifests = Manifests(self._exchange)
        self._referrers = Referrers(self._exchange, self._manifests, warn)
        self._blobs = Blobs(self._exchange, Readers(concurrency))
        self._uploads = Uploads(self._exchange, self._blobs, concurrency, chunk_size)

    @property
    def exchange(self) -> Exchange:
        """The exchange, which sends the requests and holds the state of each registry."""
        return self._exchange

    def resolve(self, reference: Reference) -> Descriptor:
        """Return the descriptor of the manifest, which is read only where HEAD is not enough."""
        if self._mirrors is not None:
            return self._mirrors.read(self.primary, reference, RegistryClient.resolve)
        return self._manifests.resolve(reference)

    def exists(self, reference: Reference) -> Descriptor | None:
        """Return the descriptor of the manifest, or None, which takes one request."""
        if self._mirrors is not None:
            return self._mirrors.read(self.primary, reference, RegistryClient.exists, bool)
        return self._manifests.exists(reference)

    def names(self, reference: Reference, digest: Digest) -> bool:
        """Return True when `reference` names `digest`, so that it need not be written.

        A refusal (401, 403 and the like, after the login was tried) counts as False: the write decides.
        """
        if self._mirrors is not None:
            return self._mirrors.read(
                self.primary, reference, lambda client, place: client.names(place, digest), bool
            )
        return self._manifests.names(reference, digest)

    def manifest(self, reference: Reference) -> Manifest:
        """Return the manifest, verified when `reference` is a digest; at most 100 MiB.

        Raises VerificationError for bytes of another digest, InvalidManifest for bytes that are no manifest.
        """
        if self._mirrors is not None:
            return self._mirrors.read(self.primary, reference, RegistryClient.manifest)
        return self._manifests.read(reference)

    def has_blob(self, repository: Repository, digest: Digest) -> bool:
        """Return True when the blob is in `repository`, so that it need not be sent.

        A refusal counts as False, as in `names`.
        """
        return self._blobs.has(repository, digest)

    def blob(
        self, repository: Repository, blob: Descriptor, *, use_urls: bool = False
    ) -> AbstractContextManager[Readable]:
        """Open the blob: a context manager whose bytes are verified before the last of them is returned.

        Data in the descriptor itself is used if it has the right digest. After a broken connection the rest
        is requested. With `use_urls`, a blob that the registry does not return is requested from the URLs of
        its descriptor, without a credential. Raises VerificationError while reading.
        """
        if self._mirrors is not None:
            return self._mirrors.open_blob(self.primary, repository, blob, use_urls=use_urls)
        return self._blobs.open(repository, blob, use_urls=use_urls)

    def push_blob(
        self,
        repository: Repository,
        blob: Descriptor,
        open: Callable[[], OpenBody],  # noqa: A002 - it is what it does
        *,
        mount_from: Repository | None = None,
        check: bool = True,
        on_event: Hook = silent,
    ) -> BlobOutcome:
        """Put the blob into `repository`: mount it from another repository, or send it, if it is not there.

        `open` returns the bytes from their start, each time that it is called. Without `check` the blob is
        sent although it may be there. Raises VerificationError when the registry reports another digest.
        """
        return self._uploads.push(
            repository, blob, open, mount_from=mount_from, check=check, on_event=on_event
        )

    def claim(self, repository: Repository, blob: Descriptor, open: Callable[[], OpenBody]) -> None:  # noqa: A002
        """Note that another process saw the blob there; `push_manifest` sends it where that was wrong."""
        self._uploads.claim(repository, blob, open)

    def push_manifest(self, reference: Reference, manifest: Manifest) -> None:
        """Write `manifest` under `reference`.

        When the registry misses a blob that it reported to have during `push_blob`, the blob is sent and the
        manifest written once more. A manifest with a subject is added to the referrers of the subject, where
        the registry does not do so itself. Raises VerificationError when the registry reports another digest.
        """
        repository = reference.repository
        try:
            headers = self._manifests.write(reference, manifest)
        except RegistryError as error:
            # Some registries answer HEAD from a cache that still has deleted blobs.
            if not misses_a_blob(error):
                raise
            if self._uploads.send_claimed(repository, manifest.blobs()):
                said = f"{repository} said that it has blobs of {manifest.digest}"
                self._warn(f"{said}, and then missed them: sent again")
            elif not self._uploads.wait_for_sent(repository, manifest.blobs()):
                raise
            headers = self._manifests.write(reference, manifest)
        # From now on the manifest protects its blobs from garbage collection.
        self._uploads.settle(repository, manifest.blobs())
        # After the manifest: an index must not list what does not exist.
        self._referrers.record(repository, manifest, headers)

    def tags(self, repository: Repository) -> Iterator[str]:
        """Yield the tags in the order of the registry; pages are requested while the tags are read."""
        from imgpkg.registry.listing import list_tags

        return list_tags(self._exchange, repository)

    def catalog(self, registry: str) -> Iterator[str]:
        """Yield the paths of the repositories of `registry`, `host[:port]`, requested page by page.

        Raises Unsupported for a registry without the endpoint, which only docker-registry has promised.
        """
        from imgpkg.registry.catalog import list_catalog

        return list_catalog(self._exchange, registry)

    def referrers(
        self, repository: Repository, digest: Digest, *, tag_scheme: bool = True, artifact_type: str = ""
    ) -> tuple[Descriptor, ...]:
        """Return the descriptors of what refers to the manifest: from the API, or the index under its tag.

        Without `tag_scheme` only the API is asked: for a caller who reads all tags anyway. `artifact_type`
        leaves out all others. See the distribution-spec, "Listing Referrers".
        """
        if self._mirrors is not None:
            return self._mirrors.read(
                self.primary,
                repository.digest(digest),
                lambda client, place: client.referrers(
                    place.repository, digest, tag_scheme=tag_scheme, artifact_type=artifact_type
                ),
                bool,
            )
        return self._referrers.find(repository, digest, tag_scheme=tag_scheme, artifact_type=artifact_type)

    def delete_tag(self, reference: Reference) -> bool:
        """Delete a tag and nothing else, where the registry can do that; return False if there is none."""
        return self._deletion().tag(reference)

    def delete_manifest(self, repository: Repository, digest: Digest, subject: Digest | None = None) -> bool:
        """Delete a manifest, and with it all its tags; return False if there is none.

        Where the registry lists no referrers, the index of those of `subject` loses its entry.
        """
        return self._deletion().manifest(repository, digest, subject)

    def delete_blob(self, repository: Repository, digest: Digest) -> bool:
        """Delete a blob, although manifests may need it; return False if there is none."""
        return self._deletion().blob(repository, digest)

    def sources(self, reference: Reference) -> tuple[Reference, ...]:
        """Return where `reference` is read from, in order, without a request; see `Mirrors.sources`."""
        return (reference,) if self._mirrors is None else self._mirrors.sources(reference)

    @property
    def primary(self) -> RegistryClient:
        """The same client without mirrors: for what is written, and for what is compared with it."""
        if self._mirrors is None:
            return self
        primary = copy(self)
        primary._mirrors = None  # noqa: SLF001 - a copy of this object
        return primary

    def decision(self, repository: Repository) -> Decision:
        """Return the credential that is used for `repository`, and why, without a request."""
        return self._exchange.authorizer.decision(repository)

    def watched(self, watch: Callable[[Transport], Transport]) -> Exchange:
        """Return an exchange with the credentials, tokens and refusals of this client; `watch` sees it."""
        return self._exchange.watched(watch)

    def accepts(self, access: Access) -> bool:
        """Return True when the registry accepted the credential for `access`, False when it requires none."""
        return self._base().accepts(access)

    def token(self, access: Access) -> BearerToken:
        """Return a bearer token for `access`; raise ChallengeError where the registry takes none."""
        return self._base().token(access)

    def _base(self) -> BaseEndpoint:
        from imgpkg.registry.base import BaseEndpoint

        return BaseEndpoint(self._exchange)

    def _deletion(self) -> Deletion:
        from imgpkg.registry.deletion import Deletion

        return Deletion(self._exchange, self._manifests, self._referrers, self._blobs)

    def _on_repeat(self, repetition: Repetition) -> None:
        self._warn(str(repetition))


class Manifests:
    """The endpoint `/v2/<name>/manifests/<reference>`."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    def resolve(self, reference: Reference) -> Descriptor:
        """See `RegistryClient.resolve`."""
        # A response to HEAD has no body: only GET returns the error code of the registry. Its error is raised
        # alone, without that of HEAD before it.
        found = self.exists(reference)
        return self.read(reference).descriptor if found is None else found

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
        """Send `manifest`, return the headers of the response; raise VerificationError for another digest."""
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
        found = described(response) if response.status == _OK else None
        if found is None:
            return self._read(reference).descriptor
        check_named(found.digest, reference)
        return found

    def _read(self, reference: Reference) -> Manifest:
        access = Access.read(reference.repository)
        answer = self._exchange.call(Request("GET", _path(reference), _ACCEPT), access, (_OK,))
        with answer.response as response:
            raw = read_at_most(response, MAX_MANIFEST + 1)
        # One byte more than the limit is read to notice the excess.
        if len(raw) > MAX_MANIFEST:
            raise InvalidManifest(f"manifest {reference} is larger than {MAX_MANIFEST >> 20} MiB")
        return received_manifest(answer, raw, reference)

    def _write(self, reference: Reference, manifest: Manifest) -> Mapping[str, str]:
        request = Request(
            "PUT", _path(reference), {"Content-Type": manifest.media_type}, bytes_body(manifest.raw)
        )
        answer = self._exchange.call(request, Access.write(reference.repository), _WRITTEN)
        answer.response.close()
        # Registries report the digest of the payload of schema 1, without its signatures.
        if manifest.media_type != media.DOCKER_SCHEMA_1_SIGNED:
            check_stored(answer, manifest.digest)
        return answer.response.headers


def _path(reference: Reference) -> str:
    return f"/v2/{reference.repository.path}/manifests/{reference.identifier}"

"""The distribution specification, one method per endpoint family."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

from imgpkg import cancellation
from imgpkg.auth.keychain import Decision, Keychain
from imgpkg.errors import RegistryError
from imgpkg.events import BlobOutcome, Hook, silent
from imgpkg.oci.descriptor import Descriptor, Digest, Readable
from imgpkg.oci.manifest import Manifest
from imgpkg.oci.reference import Reference, Repository
from imgpkg.registry.auth.authorizer import Authorizer
from imgpkg.registry.blobs import Blobs
from imgpkg.registry.exchange import Exchange
from imgpkg.registry.listing import list_tags
from imgpkg.registry.manifests import Manifests, misses_a_blob
from imgpkg.registry.referrers import Referrers
from imgpkg.registry.uploads import Uploads
from imgpkg.transport.message import OpenBody, Transport
from imgpkg.transport.retry import Repetition, Retry


class RegistryClient:
    """Speaks with every registry that a run meets; safe from many threads, which share what is learnt.

    How a registry wants to be spoken to is learnt once; what is in it is asked for each time, because it may
    be deleted at any time. `retry_count` is the number of attempts, at least one is made. `clock` says the
    Unix time, `sleep` gets seconds, `random` returns a fraction in [0, 1), and `warn` gets a sentence before
    each repetition, and about a registry that contradicts itself.

    Every method raises TransportError without an answer, Unauthorized, Forbidden, NotFound or RegistryError
    for a wrong one, ChallengeError when a registry wants what must not be given, and CredentialError.
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
        random: Callable[[], float] = random.random,
        warn: Callable[[str], None] = cancellation.unheard,
    ) -> None:
        self._warn = warn
        self._authorizer = Authorizer(keychain, insecure=insecure, clock=clock)
        retry = Retry(retry_count, sleep, random, self._on_repeat)
        self._exchange = Exchange(transport, self._authorizer, retry, clock=clock)
        self._manifests = Manifests(self._exchange)
        self._referrers = Referrers(self._exchange, self._manifests, warn)
        self._blobs = Blobs(self._exchange)
        self._uploads = Uploads(self._exchange, self._blobs)

    def resolve(self, reference: Reference) -> Descriptor:
        """Return the descriptor that `reference` names, without reading the manifest where HEAD suffices."""
        return self._manifests.resolve(reference)

    def exists(self, reference: Reference) -> Descriptor | None:
        """Return the descriptor that `reference` names; None when there is none, after one request."""
        return self._manifests.exists(reference)

    def names(self, reference: Reference, digest: Digest) -> bool:
        """Tell whether `reference` is known to name `digest`, to save a write.

        A registry that refuses to say so (401, 403 and the like, after the login was tried) counts as one
        that does not have it: the write decides.
        """
        return self._manifests.names(reference, digest)

    def manifest(self, reference: Reference) -> Manifest:
        """Return the manifest, verified when `reference` is a digest; at most 100 MiB.

        Raises VerificationError for other bytes than asked for, InvalidManifest for bytes that are none.
        """
        return self._manifests.read(reference)

    def has_blob(self, repository: Repository, digest: Digest) -> bool:
        """Tell whether the blob is known to be in `repository`, to save sending it.

        A registry that refuses to say so counts as one that does not have it, as in `names`.
        """
        return self._blobs.has(repository, digest)

    def blob(
        self, repository: Repository, blob: Descriptor, *, use_urls: bool = False
    ) -> AbstractContextManager[Readable]:
        """Open the blob: a context manager whose bytes are verified before the last of them is handed out.

        Data in the descriptor itself is used if it verifies. A broken connection is replaced in the middle.
        With `use_urls` a blob that the registry will not give is sought at the URLs of its descriptor, which
        see no credential. Raises VerificationError while reading.
        """
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
        """Make the blob be in `repository`: it is there, is mounted from another, or is sent.

        `open` returns the bytes from their start, each time that it is called. `check` asks first whether the
        blob is there. Raises VerificationError when the registry says that it stored other bytes.
        """
        return self._uploads.push(
            repository, blob, open, mount_from=mount_from, check=check, on_event=on_event
        )

    def push_manifest(self, reference: Reference, manifest: Manifest) -> None:
        """Make `reference` name `manifest`.

        When the registry misses a blob that it said to have while `push_blob` asked, that is sent and the
        manifest written once more. A manifest with a subject is found by `referrers` afterwards, also where
        the registry does not see to it. Raises VerificationError when the registry says that it stored other
        bytes.
        """
        repository = reference.repository
        try:
            headers = self._manifests.write(reference, manifest)
        except RegistryError as error:
            if not misses_a_blob(error) or not self._uploads.send_claimed(repository, manifest.blobs()):
                raise
            self._warn(
                f"{repository} said that it has blobs of {manifest.digest}, and then missed them: sent again"
            )
            headers = self._manifests.write(reference, manifest)
        self._uploads.settle(repository, manifest.blobs())
        self._referrers.record(repository, manifest, headers)

    def tags(self, repository: Repository) -> Iterator[str]:
        """Yield the tags in the registry's order, page by page."""
        return list_tags(self._exchange, repository)

    def referrers(self, repository: Repository, digest: Digest) -> tuple[Descriptor, ...]:
        """Return what refers to the manifest: from the API, else from the index under its tag."""
        return self._referrers.find(repository, digest)

    def decision(self, repository: Repository) -> Decision:
        """Return which credential it would use for `repository`, and why, without a request."""
        return self._authorizer.decision(repository)

    def _on_repeat(self, repetition: Repetition) -> None:
        self._warn(str(repetition))

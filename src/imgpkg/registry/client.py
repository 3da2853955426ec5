"""The distribution specification, one method per endpoint family."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from imgpkg.auth.keychain import Decision, Keychain
from imgpkg.events import BlobOutcome, Hook, silent
from imgpkg.oci.digest import Digest, Readable
from imgpkg.oci.manifest import Descriptor, Manifest
from imgpkg.oci.reference import Reference, Repository
from imgpkg.registry.authorizer import Authorizer
from imgpkg.registry.blobs import Blobs
from imgpkg.registry.exchange import Exchange
from imgpkg.registry.manifests import Manifests
from imgpkg.registry.present import Present
from imgpkg.registry.referrers import Referrers
from imgpkg.registry.tags import list_tags
from imgpkg.registry.uploads import Uploads
from imgpkg.transport.message import OpenBody, Transport
from imgpkg.transport.retry import Retry

if TYPE_CHECKING:
    from imgpkg.errors import ImgpkgError

_LONG_PAUSE = 5.0


def _unheard(text: str) -> None:
    """Warn nobody."""


class RegistryClient:
    """Speaks with every registry that a run meets; safe from many threads, which share what is learnt.

    A blob or manifest digest that was found in a repository is not asked for again. `retry_count` is the
    number of attempts, at least one is made. `clock` says the Unix time, `sleep` gets seconds, `random`
    returns a fraction in [0, 1), and `warn` hears of long pauses that a registry asks for.

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
        sleep: Callable[[float], None] = time.sleep,
        random: Callable[[], float] = random.random,
        warn: Callable[[str], None] = _unheard,
    ) -> None:
        self._warn = warn
        self._authorizer = Authorizer(keychain, insecure=insecure, clock=clock)
        retry = Retry(retry_count, sleep, random, self._on_repeat)
        self._exchange = Exchange(transport, self._authorizer, retry, clock=clock)
        present = Present()
        self._manifests = Manifests(self._exchange, present)
        self._present = present
        self._referrers = Referrers(self._exchange, self._manifests)
        self._blobs = Blobs(self._exchange, present)
        self._uploads = Uploads(self._exchange, self._blobs, present)

    def resolve(self, reference: Reference) -> Descriptor:
        """Return the descriptor that `reference` names, without reading the manifest where HEAD suffices."""
        return self._manifests.resolve(reference)

    def exists(self, reference: Reference) -> Descriptor | None:
        """Return the descriptor that `reference` names; None when there is none, after one request."""
        return self._manifests.exists(reference)

    def manifest(self, reference: Reference) -> Manifest:
        """Return the manifest, verified when `reference` is a digest; at most 100 MiB.

        Raises VerificationError for other bytes than asked for, InvalidManifest for bytes that are none.
        """
        return self._manifests.read(reference)

    def has_blob(self, repository: Repository, digest: Digest) -> bool:
        """Tell whether the blob is in `repository`."""
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
        """Make `reference` name `manifest`; a digest that is known to be there is not written again.

        A manifest with a subject is found by `referrers` afterwards, also where the registry does not see to
        it. Raises VerificationError when the registry says that it stored other bytes.
        """
        if self._present.manifest(reference) is not None:
            return
        headers = self._manifests.write(reference, manifest)
        self._referrers.record(reference.repository, manifest, headers)

    def tags(self, repository: Repository) -> Iterator[str]:
        """Yield the tags in the registry's order, page by page."""
        return list_tags(self._exchange, repository)

    def referrers(self, repository: Repository, digest: Digest) -> tuple[Descriptor, ...]:
        """Return what refers to the manifest: from the API, else from the index under its tag."""
        return self._referrers.find(repository, digest)

    def decision(self, repository: Repository) -> Decision:
        """Return which credential it would use for `repository`, and why, without a request."""
        return self._authorizer.decision(repository)

    def _on_repeat(self, error: ImgpkgError, pause: float) -> None:
        if pause >= _LONG_PAUSE:
            self._warn(f"{error}; trying again in {pause:.0f} s")

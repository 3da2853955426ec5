"""The registry client for coroutines.

Made by tools/coroutines.py.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING

import imgpkg
from imgpkg.aio.calls import call, iterate, opened
from imgpkg.aio.streams import Readable
from imgpkg.events import silent

if TYPE_CHECKING:
    from imgpkg.aio.session import Session
    from imgpkg.transport.message import OpenBody


class RegistryClient:
    """The methods of `imgpkg.RegistryClient` as coroutines; see `Session.client`.

    `blocking` returns the blocking client; it is called in threads.
    """

    def __init__(self, session: Session, blocking: Callable[[], imgpkg.RegistryClient]) -> None:
        self._session = session
        self._blocking = blocking

    @property
    def primary(self) -> RegistryClient:
        """The same client without mirrors: for what is written, and for what is compared with it."""
        return RegistryClient(self._session, lambda: self._blocking().primary)

    def blob(
        self, repository: imgpkg.Repository, blob: imgpkg.Descriptor, *, use_urls: bool = False
    ) -> AbstractAsyncContextManager[Readable]:
        """Open the blob: a context manager whose bytes are verified before the last of them is returned.

        The coroutine of `imgpkg.RegistryClient.blob`, whose contract it has.
        """
        return opened(
            self._session, lambda _: self._blocking().blob(repository, blob, use_urls=use_urls), Readable
        )

    def catalog(self, registry: str) -> AsyncGenerator[str, None]:
        """Yield the paths of the repositories of `registry`, `host[:port]`, requested page by page.

        The coroutine of `imgpkg.RegistryClient.catalog`, whose contract it has.
        """
        return iterate(self._session, lambda _: self._blocking().catalog(registry))

    async def decision(self, repository: imgpkg.Repository) -> imgpkg.Decision:
        """Return the credential that is used for `repository`, and why, without a request.

        The coroutine of `imgpkg.RegistryClient.decision`, whose contract it has.
        """
        return await call(self._session, lambda _: self._blocking().decision(repository))

    async def delete_blob(self, repository: imgpkg.Repository, digest: imgpkg.Digest) -> bool:
        """Delete a blob, although manifests may need it; return False if there is none.

        The coroutine of `imgpkg.RegistryClient.delete_blob`, whose contract it has.
        """
        return await call(self._session, lambda _: self._blocking().delete_blob(repository, digest))

    async def delete_manifest(
        self, repository: imgpkg.Repository, digest: imgpkg.Digest, subject: imgpkg.Digest | None = None
    ) -> bool:
        """Delete a manifest, and with it all its tags; return False if there is none.

        The coroutine of `imgpkg.RegistryClient.delete_manifest`, whose contract it has.
        """
        return await call(
            self._session, lambda _: self._blocking().delete_manifest(repository, digest, subject)
        )

    async def delete_tag(self, reference: imgpkg.Reference) -> bool:
        """Delete a tag and nothing else, where the registry can do that; return False if there is none.

        The coroutine of `imgpkg.RegistryClient.delete_tag`, whose contract it has.
        """
        return await call(self._session, lambda _: self._blocking().delete_tag(reference))

    async def exists(self, reference: imgpkg.Reference) -> imgpkg.Descriptor | None:
        """Return the descriptor of the manifest, or None, which takes one request.

        The coroutine of `imgpkg.RegistryClient.exists`, whose contract it has.
        """
        return await call(self._session, lambda _: self._blocking().exists(reference))

    async def has_blob(self, repository: imgpkg.Repository, digest: imgpkg.Digest) -> bool:
        """Return True when the blob is in `repository`, so that it need not be sent.

        The coroutine of `imgpkg.RegistryClient.has_blob`, whose contract it has.
        """
        return await call(self._session, lambda _: self._blocking().has_blob(repository, digest))

    async def manifest(self, reference: imgpkg.Reference) -> imgpkg.Manifest:
        """Return the manifest, verified when `reference` is a digest; at most 100 MiB.

        The coroutine of `imgpkg.RegistryClient.manifest`, whose contract it has.
        """
        return await call(self._session, lambda _: self._blocking().manifest(reference))

    async def names(self, reference: imgpkg.Reference, digest: imgpkg.Digest) -> bool:
        """Return True when `reference` names `digest`, so that it need not be written.

        The coroutine of `imgpkg.RegistryClient.names`, whose contract it has.
        """
        return await call(self._session, lambda _: self._blocking().names(reference, digest))

    async def push_blob(
        self,
        repository: imgpkg.Repository,
        blob: imgpkg.Descriptor,
        open: Callable[[], OpenBody],
        *,
        mount_from: imgpkg.Repository | None = None,
        check: bool = True,
        on_event: imgpkg.Hook = silent,
    ) -> imgpkg.BlobOutcome:
        """Put the blob into `repository`: mount it from another repository, or send it, if it is not there.

        The coroutine of `imgpkg.RegistryClient.push_blob`, whose contract it has.
        """
        return await call(
            self._session,
            lambda at: self._blocking().push_blob(
                repository, blob, open, mount_from=mount_from, check=check, on_event=at.hook(on_event)
            ),
        )

    async def push_manifest(self, reference: imgpkg.Reference, manifest: imgpkg.Manifest) -> None:
        """Write `manifest` under `reference`.

        The coroutine of `imgpkg.RegistryClient.push_manifest`, whose contract it has.
        """
        return await call(self._session, lambda _: self._blocking().push_manifest(reference, manifest))

    async def referrers(
        self,
        repository: imgpkg.Repository,
        digest: imgpkg.Digest,
        *,
        tag_scheme: bool = True,
        artifact_type: str = "",
    ) -> tuple[imgpkg.Descriptor, ...]:
        """Return the descriptors of what refers to the manifest: from the API, or the index under its tag.

        The coroutine of `imgpkg.RegistryClient.referrers`, whose contract it has.
        """
        return await call(
            self._session,
            lambda _: self._blocking().referrers(
                repository, digest, tag_scheme=tag_scheme, artifact_type=artifact_type
            ),
        )

    async def resolve(self, reference: imgpkg.Reference) -> imgpkg.Descriptor:
        """Return the descriptor of the manifest, which is read only where HEAD is not enough.

        The coroutine of `imgpkg.RegistryClient.resolve`, whose contract it has.
        """
        return await call(self._session, lambda _: self._blocking().resolve(reference))

    async def sources(self, reference: imgpkg.Reference) -> tuple[imgpkg.Reference, ...]:
        """Return where `reference` is read from, in order, without a request; see `Mirrors.sources`.

        The coroutine of `imgpkg.RegistryClient.sources`, whose contract it has.
        """
        return await call(self._session, lambda _: self._blocking().sources(reference))

    def tags(self, repository: imgpkg.Repository) -> AsyncGenerator[str, None]:
        """Yield the tags in the order of the registry; pages are requested while the tags are read.

        The coroutine of `imgpkg.RegistryClient.tags`, whose contract it has.
        """
        return iterate(self._session, lambda _: self._blocking().tags(repository))

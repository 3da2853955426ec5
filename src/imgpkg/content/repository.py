"""One repository of a registry, as a source and a target."""

from __future__ import annotations

from typing import TYPE_CHECKING

from imgpkg.content.store import OpenedBlob
from imgpkg.events import silent

if TYPE_CHECKING:
    from collections.abc import Iterable
    from contextlib import AbstractContextManager

    from imgpkg.content.store import Opener
    from imgpkg.events import Hook
    from imgpkg.oci.digest import Digest, Readable
    from imgpkg.oci.manifest import Descriptor, Manifest
    from imgpkg.oci.reference import Repository
    from imgpkg.registry.client import RegistryClient


class RepositoryStore:
    """Reads and writes `repository` through `client`; `on_event` watches blobs being sent.

    With `use_urls` a blob that the registry will not give is sought at the URLs of its descriptor. Methods
    raise what the client raises.
    """

    def __init__(
        self,
        client: RegistryClient,
        repository: Repository,
        *,
        use_urls: bool = False,
        on_event: Hook = silent,
    ) -> None:
        self._client = client
        self._repository = repository
        self._use_urls = use_urls
        self._on_event = on_event

    def manifest(self, digest: Digest) -> Manifest:
        """Return the manifest, verified."""
        return self._client.manifest(self._repository.digest(digest))

    def blob(self, blob: Descriptor) -> AbstractContextManager[Readable]:
        """Open the blob, verified while it is read."""
        return self._client.blob(self._repository, blob, use_urls=self._use_urls)

    def has(self, blob: Descriptor) -> bool:
        """Ask whether the blob is there."""
        return self._client.has_blob(self._repository, blob.digest)

    def write(self, blob: Descriptor, open: Opener) -> None:  # noqa: A002 - it is what it does
        """Send the blob, unless it is there."""
        self._client.push_blob(self._repository, blob, lambda: OpenedBlob(open()), on_event=self._on_event)

    def publish(self, manifest: Manifest, tags: Iterable[str]) -> None:
        """Send the manifest under each of `tags`, or by its digest when there are none."""
        references = [self._repository.tag(tag) for tag in tags]
        for reference in references or [self._repository.digest(manifest.digest)]:
            self._client.push_manifest(reference, manifest)

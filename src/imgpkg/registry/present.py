"""What one run has seen in repositories: nothing that was found there is asked for again."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from imgpkg.oci.digest import Digest
    from imgpkg.oci.manifest import Descriptor
    from imgpkg.oci.reference import Reference, Repository


@dataclass
class Present:
    """Blobs and manifests found or written; what was absent may come and is not remembered. Thread-safe."""

    _blobs: set[tuple[Repository, Digest]] = field(default_factory=set)
    _manifests: dict[tuple[Repository, Digest], Descriptor] = field(default_factory=dict)

    def add_blob(self, repository: Repository, digest: Digest) -> None:
        """Remember a blob."""
        self._blobs.add((repository, digest))

    def has_blob(self, repository: Repository, digest: Digest) -> bool:
        """Tell whether the blob was seen."""
        return (repository, digest) in self._blobs

    def add_manifest(self, repository: Repository, descriptor: Descriptor) -> None:
        """Remember a manifest, by its digest only: tags move."""
        self._manifests[repository, descriptor.digest] = descriptor

    def manifest(self, reference: Reference) -> Descriptor | None:
        """Return what is known of a digest reference; None for tags."""
        if reference.digest is None:
            return None
        return self._manifests.get((reference.repository, reference.digest))

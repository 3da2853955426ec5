"""Which blobs the parts of a bundle have in common, and how much of it is theirs alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from imgpkg.dataclass import dataclass

if TYPE_CHECKING:
    from collections.abc import Mapping

    from imgpkg.oci.descriptor import Descriptor, Digest
    from imgpkg.operations.breakdown import BundlePart


@dataclass(frozen=True, slots=True)
class SharedBlob:
    """A blob, and the parts that have it: each image once, however often it is named."""

    descriptor: Descriptor
    parts: tuple[BundlePart, ...]

    @property
    def is_shared(self) -> bool:
        """True when more than one image has the blob."""
        return len(self.parts) > 1

    @property
    def saved(self) -> int:
        """The bytes that need not be stored or moved again because the blob is shared."""
        return self.descriptor.size * (len(self.parts) - 1)


class Sharing:
    """The blobs of `root`, and those of them that several parts have.

    Two parts with the same digest are one image. `largest_shared` are the shared layers, those that save most
    first. Documents such as configurations are counted in the sizes, and are no layers.
    """

    def __init__(self, root: BundlePart) -> None:
        self.root = root
        self.blobs = _blobs(root)
        layers = {layer.digest for part, _ in root.walk() for layer in part.layers}
        self.layers = [blob for digest, blob in self.blobs.items() if digest in layers]
        shared = (blob for blob in self.layers if blob.is_shared)
        self.largest_shared = sorted(shared, key=lambda blob: (-blob.saved, str(blob.descriptor.digest)))

    @property
    def size(self) -> int:
        """The bytes of everything, each blob once."""
        return sum(blob.descriptor.size for blob in self.blobs.values())

    @property
    def saved(self) -> int:
        """The bytes that sharing saves."""
        return sum(blob.saved for blob in self.blobs.values())

    def size_below(self, part: BundlePart) -> int:
        """Return the bytes of a part and all below it, each blob once."""
        blobs = {blob.digest: blob.size for below, _ in part.walk() for blob in below.blobs()}
        return sum(blobs.values())


def _blobs(root: BundlePart) -> Mapping[Digest, SharedBlob]:
    sizes: dict[Digest, Descriptor] = {}
    owners: dict[Digest, dict[Digest | None, BundlePart]] = {}
    for part, _ in root.walk():
        for blob in part.blobs():
            sizes.setdefault(blob.digest, blob)
            owners.setdefault(blob.digest, {}).setdefault(part.digest, part)
    return {digest: SharedBlob(blob, tuple(owners[digest].values())) for digest, blob in sizes.items()}

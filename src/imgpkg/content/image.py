"""The image around one packed layer: configuration and manifest, in the bytes of Go's JSON encoder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from imgpkg.dataclass import dataclass, field
from imgpkg.oci import media
from imgpkg.oci.descriptor import Descriptor
from imgpkg.oci.encoding import encode_json, sorted_strings
from imgpkg.oci.manifest import Manifest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from imgpkg.oci.descriptor import Digest

# Go's zero time: the original writes no date, so that the digest depends on the content only.
_EPOCH = "0001-01-01T00:00:00Z"
_HISTORY = ({"author": "imgpkg", "created": _EPOCH, "created_by": "imgpkg"},)


class Layer(Protocol):
    """The digests of a layer, which its image refers to."""

    @property
    def diff_id(self) -> Digest:
        """The digest of the uncompressed bytes."""

    @property
    def descriptor(self) -> Descriptor:
        """Media type, digest and size of the compressed bytes."""


@dataclass(frozen=True, slots=True)
class BuiltImage:
    """A manifest, and the exact bytes of the configuration to which it refers."""

    manifest: Manifest
    config: bytes = field(repr=False)
    config_descriptor: Descriptor


def build_image(layer: Layer, labels: Mapping[str, str]) -> BuiltImage:
    """Return the image of one layer; the same layer and labels give the same digest on every machine."""
    config = encode_json(
        {
            "architecture": "",
            "created": _EPOCH,
            "history": _HISTORY,
            "os": "",
            "rootfs": {"type": "layers", "diff_ids": [str(layer.diff_id)]},
            # Go omits the labels when there are none, but not the configuration around them.
            "config": {"Labels": sorted_strings(labels)} if labels else {},
        }
    )
    descriptor = Descriptor.of(config, media.DOCKER_CONFIG)
    manifest = Manifest.build(descriptor, (layer.descriptor,), media_type=media.DOCKER_MANIFEST)
    return BuiltImage(manifest, config, descriptor)

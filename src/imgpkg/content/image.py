"""The image around one packed layer: configuration and manifest, in the bytes of Go's JSON encoder."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Protocol

from imgpkg.dataclass import dataclass, field
from imgpkg.expression import expression
from imgpkg.oci import media
from imgpkg.oci.descriptor import Descriptor, Digest
from imgpkg.oci.manifest import Manifest

if TYPE_CHECKING:
    from collections.abc import Mapping

# Go's zero time: the original writes no date, so that the digest depends on the content only.
_EPOCH = "0001-01-01T00:00:00Z"
# Surrogates that do not stand for a byte (PEP 383); Go has U+FFFD for them.
_NO_BYTE = expression("[\ud800-\udc7f\udd00-\udfff]")
_HISTORY = ({"author": "imgpkg", "created": _EPOCH, "created_by": "imgpkg"},)
# Go escapes characters that are special in HTML and JavaScript, and replaces bytes that are not UTF-8.
_ESCAPES = {ord(character): f"\\u{ord(character):04x}" for character in "<>&\u2028\u2029"}
_ESCAPES |= dict.fromkeys(range(0xD800, 0xE000), "\\ufffd")


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
            "config": {"Labels": dict(sorted(labels.items(), key=_in_bytes))} if labels else {},
        }
    )
    descriptor = Descriptor(media.DOCKER_CONFIG, Digest.of(config), len(config))
    manifest = encode_json(
        {
            "schemaVersion": 2,
            "mediaType": media.DOCKER_MANIFEST,
            "config": _fields(descriptor),
            "layers": [_fields(layer.descriptor)],
        }
    )
    return BuiltImage(Manifest.parse(manifest), config, descriptor)


def _in_bytes(label: tuple[str, str]) -> bytes:
    """Return the sort key of Go: the bytes of the label's key, even if they are not UTF-8."""
    return _NO_BYTE.sub("\ufffd", label[0]).encode("utf-8", "surrogateescape")


def _fields(blob: Descriptor) -> dict[str, object]:
    return {"mediaType": blob.media_type, "size": blob.size, "digest": str(blob.digest)}


def encode_json(value: object, *, indent: int | None = None) -> bytes:
    """Return the JSON that Go writes for dicts, lists, strings and numbers; keep the order of keys.

    Without `indent` there are no spaces; with it each entry is on its own line, indented by so many spaces.
    """
    separators = (",", ":") if indent is None else (",", ": ")
    text = json.dumps(value, indent=indent, separators=separators, ensure_ascii=False)
    return text.translate(_ESCAPES).encode()

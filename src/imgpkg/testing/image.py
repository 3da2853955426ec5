"""Small images of given files, as the bytes that a registry has of them (OCI image-spec)."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
import zlib
from typing import TYPE_CHECKING

from imgpkg.dataclass import dataclass, field
from imgpkg.oci import media
from imgpkg.oci.descriptor import Digest

if TYPE_CHECKING:
    from collections.abc import Mapping

_PLATFORM = "linux/amd64"
# Where the header of a member has the name of the format (POSIX.1 pax).
_TAR_MAGIC = 257


@dataclass(frozen=True)
class SampleImage:
    """An image or an index: the exact bytes of its manifest and blobs, and the images that an index has.

    `platform` is that of an image, in the form `os/architecture` or `os/architecture/variant`.
    """

    manifest: bytes = field(repr=False)
    media_type: str
    config: bytes = field(default=b"", repr=False)
    layers: tuple[bytes, ...] = field(default=(), repr=False)
    images: tuple[SampleImage, ...] = ()
    platform: str = ""

    @property
    def digest(self) -> str:
        """The digest of the manifest, as text."""
        return _digest(self.manifest)

    @property
    def blobs(self) -> tuple[bytes, ...]:
        """The configuration and the layers; an index has none of its own."""
        return () if self.media_type == media.OCI_INDEX else (self.config, *self.layers)

    def descriptor(self, **more: object) -> dict[str, object]:
        """Return the descriptor of the manifest as a JSON object, with these fields in addition."""
        return {"mediaType": self.media_type, "digest": self.digest, "size": len(self.manifest), **more}


def make_image(
    *layers: Mapping[str, bytes] | bytes,
    labels: Mapping[str, str] | None = None,
    platform: str = _PLATFORM,
    config: Mapping[str, object] | None = None,
    **fields: object,
) -> SampleImage:
    """Make an image of these layers, bottom first; the same arguments make the same bytes.

    A layer is a mapping of paths to contents, or the bytes of a tar file, plain or compressed with gzip.
    `platform` is `os/architecture`, perhaps with a variant. `config` has more for the part `config` of the
    configuration, such as `Env`; `fields` are set in the manifest as they are, such as `annotations`,
    `subject` or `artifactType`.
    """
    packed = tuple(data if isinstance(data, bytes) else tar_layer(data) for data in layers)
    settings = _json(
        {
            **_platform_fields(platform),
            "config": {"Labels": dict(labels or {}), **(config or {})},
            "rootfs": {"type": "layers", "diff_ids": [_digest(_inflated(data)) for data in packed]},
        }
    )
    manifest = {
        "schemaVersion": 2,
        "mediaType": media.OCI_MANIFEST,
        "config": _descriptor(media.OCI_CONFIG, settings),
        "layers": [_descriptor(_layer_type(data), data) for data in packed],
        **fields,
    }
    return SampleImage(_json(manifest), media.OCI_MANIFEST, settings, packed, platform=platform)


def make_index(*images: SampleImage, **fields: object) -> SampleImage:
    """Make an index of these images, each for its platform; `fields` are set in the index as they are."""
    manifests = [
        image.descriptor(**({"platform": _platform_fields(image.platform)} if image.platform else {}))
        for image in images
    ]
    document = {"schemaVersion": 2, "mediaType": media.OCI_INDEX, "manifests": manifests, **fields}
    return SampleImage(_json(document), media.OCI_INDEX, images=images)


def tar_layer(files: Mapping[str, bytes]) -> bytes:
    """Return a tar file of these paths and contents, compressed with gzip; the same bytes each time."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for path, content in files.items():
            member = tarfile.TarInfo(path)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return gzip.compress(buffer.getvalue(), mtime=0)


def _platform_fields(platform: str) -> dict[str, str]:
    system, architecture, *variant = platform.split("/")
    named = {"architecture": architecture, "os": system}
    return {**named, "variant": "/".join(variant)} if variant else named


def _layer_type(data: bytes) -> str:
    return media.OCI_LAYER if data[_TAR_MAGIC:].startswith(b"ustar") else media.OCI_LAYER_GZIP


def _descriptor(media_type: str, data: bytes) -> dict[str, object]:
    return {"mediaType": media_type, "digest": _digest(data), "size": len(data)}


def _digest(data: bytes) -> str:
    return str(Digest.of(data))


def _inflated(layer: bytes) -> bytes:
    try:
        return gzip.decompress(layer)
    except (OSError, EOFError, zlib.error):
        return layer


def _json(document: Mapping[str, object]) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()

"""Manifests and indexes, and the labels of images (OCI image-spec, manifest.md, image-index.md, config.md).

The raw bytes are kept, since the digest is computed from them; all fields are derived from the bytes.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from typing import Any

from imgpkg.dataclass import dataclass, field
from imgpkg.errors import ImgpkgError, InvalidManifest
from imgpkg.oci import media
from imgpkg.oci.descriptor import EMPTY, Descriptor, Digest, list_of, strings_of
from imgpkg.values import FrozenDict


@dataclass(frozen=True, slots=True)
class Manifest:
    """An image manifest or an image index, with the exact bytes in which it was received; never both.

    `descriptor` has the digest and the size of `raw`. `config` and `layers` are set for images, `manifests`
    for indexes. All of them are empty for other media types, such as Docker's schema 1.
    """

    descriptor: Descriptor
    raw: bytes
    config: Descriptor | None = None
    layers: tuple[Descriptor, ...] = ()
    manifests: tuple[Descriptor, ...] = ()
    subject: Descriptor | None = None
    annotations: Mapping[str, str] = field(default_factory=FrozenDict)
    artifact_type: str = ""

    def __post_init__(self) -> None:
        if not isinstance(self.annotations, FrozenDict):
            object.__setattr__(self, "annotations", FrozenDict(self.annotations))

    @classmethod
    def parse(cls, raw: bytes, media_type: str = "", digest: Digest | None = None) -> Manifest:
        """Parse a manifest of `media_type`, by default the type that its `mediaType` field names.

        The caller has verified `digest` against `raw`; without it, SHA-256 is computed. Raises
        InvalidManifest, also for a document whose `mediaType` field names another type, and for one that can
        be read both as an image and as an index: two programs would then see different content under one
        digest (CVE-2021-41190).
        """
        document = json_object(raw)
        kind = media_type.partition(";")[0].strip() or _guess(document)
        # Many manifests have one type, and each header has a text of its own.
        descriptor = Descriptor(sys.intern(str(kind)), digest or Digest.of(raw), len(raw), EMPTY)
        try:
            return cls._derive(descriptor, raw, document)
        # Its text is the key alone, which needs words around it.
        except KeyError as error:
            raise InvalidManifest(f"malformed manifest {descriptor.digest}: no {error.args[0]}") from error
        except (ImgpkgError, TypeError, ValueError, AttributeError) as error:
            raise InvalidManifest(f"malformed manifest {descriptor.digest}: {error}") from error

    @classmethod
    def build(
        cls,
        config: Descriptor | None = None,
        layers: Iterable[Descriptor] = (),
        *,
        artifact_type: str = "",
        subject: Descriptor | None = None,
        annotations: Mapping[str, str] = EMPTY,
        media_type: str = media.OCI_MANIFEST,
    ) -> Manifest:
        """Return an image manifest of these parts, which has the same bytes on every machine.

        The bytes are those of programs in Go: no spaces, the fields in the order of the specification, maps
        sorted. Without `config` the empty descriptor takes its place, and without layers theirs too; its
        content is `{}`, and has to be pushed like every other blob. `media_type` may be that of Docker.

        Raises InvalidManifest for another media type, for an empty configuration without `artifact_type`, for
        what Docker's manifests do not have, and for media types and platforms that are none. See the OCI
        image-spec, manifest.md, "Guidelines for Artifact Usage".
        """
        from imgpkg.oci.encoding import image_bytes

        raw = image_bytes(
            media_type,
            config,
            layers,
            artifact_type=artifact_type,
            subject=subject,
            annotations=annotations,
        )
        return cls.parse(raw, media_type)

    @classmethod
    def build_index(
        cls,
        manifests: Iterable[Descriptor],
        *,
        artifact_type: str = "",
        subject: Descriptor | None = None,
        annotations: Mapping[str, str] = EMPTY,
        media_type: str = media.OCI_INDEX,
    ) -> Manifest:
        """Return an index of `manifests`, in their order, in the same form as `build`.

        A descriptor that is to be listed for a platform has it in its `platform`. `media_type` may be that of
        Docker's manifest lists. Raises InvalidManifest as `build` does. See the OCI image-spec,
        image-index.md.
        """
        from imgpkg.oci.encoding import index_bytes

        raw = index_bytes(
            media_type, manifests, artifact_type=artifact_type, subject=subject, annotations=annotations
        )
        return cls.parse(raw, media_type)

    @classmethod
    def _derive(cls, descriptor: Descriptor, raw: bytes, document: dict[str, Any]) -> Manifest:
        _check_kind(descriptor.media_type, document)
        common = (_optional(document.get("subject")), strings_of(document.get("annotations")))
        artifact_type = str(document.get("artifactType") or "")
        if descriptor.media_type in media.INDEXES:
            manifests = _list(document, "manifests")
            return cls(descriptor, raw, None, (), manifests, *common, artifact_type)
        if descriptor.media_type in media.IMAGES:
            config = Descriptor.read(document["config"])
            return cls(descriptor, raw, config, _list(document, "layers"), (), *common, artifact_type)
        # Other types are kept as bytes, so that they can be copied or named in an error.
        return cls(descriptor, raw)

    @property
    def digest(self) -> Digest:
        """The digest of `raw`."""
        return self.descriptor.digest

    @property
    def media_type(self) -> str:
        """The media type under which the manifest was received."""
        return self.descriptor.media_type

    @property
    def referrer_type(self) -> str:
        """The type in lists of referrers: without `artifactType` that of the configuration, or empty.

        See the distribution-spec, "Listing Referrers".
        """
        return self.artifact_type or (self.config.media_type if self.config is not None else "")

    @property
    def is_image(self) -> bool:
        """True for an image manifest of Docker or OCI."""
        return self.media_type in media.IMAGES

    @property
    def is_index(self) -> bool:
        """True for an OCI index or a Docker manifest list."""
        return self.media_type in media.INDEXES

    @property
    def children(self) -> tuple[Descriptor, ...]:
        """The manifests that an index lists."""
        return tuple(entry for entry in self.manifests if entry.is_manifest)

    def blobs(self) -> tuple[Descriptor, ...]:
        """Return the configuration and the layers of an image; an index has none."""
        return () if self.config is None else (self.config, *self.layers)

    def parts(self) -> tuple[Descriptor, ...]:
        """Return all blobs of the manifest: those of an image, and what an index lists besides manifests.

        BuildKit's cache export lists its layers directly in an index.
        """
        return (*self.blobs(), *(entry for entry in self.manifests if not entry.is_manifest))


def labels_of(config: dict[str, Any] | bytes) -> Mapping[str, str]:
    """Return the labels of an image configuration, given as a document or as its bytes.

    A document of another form has none: artifacts such as Helm charts have a configuration of their own.
    """
    labels = _section(config, "config").get("Labels")
    return strings_of(labels) if isinstance(labels, dict) else EMPTY


def diff_ids_of(config: dict[str, Any] | bytes) -> tuple[str, ...]:
    """Return the digests of the uncompressed layers in an image configuration, as `labels_of`."""
    diff_ids = _section(config, "rootfs").get("diff_ids")
    # All of them, whatever they are: their places are those of the layers.
    return tuple(map(str, diff_ids)) if isinstance(diff_ids, list) else ()


def _section(config: dict[str, Any] | bytes, name: str) -> dict[str, Any]:
    try:
        document = json_object(config) if isinstance(config, bytes) else config
    except InvalidManifest:
        return {}
    found = document.get(name)
    return found if isinstance(found, dict) else {}


def json_object(raw: bytes) -> dict[str, Any]:
    """Return the JSON object that `raw` is; raise InvalidManifest for anything else."""
    try:
        document = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise InvalidManifest(f"not JSON: {error}") from error
    if not isinstance(document, dict):
        raise InvalidManifest("not a JSON object")
    return document


def _guess(document: dict[str, Any]) -> str:
    named = document.get("mediaType")
    if isinstance(named, str) and named:
        return named
    # Schema 1 has no mediaType field.
    if document.get("schemaVersion") == 1:
        return media.DOCKER_SCHEMA_1_SIGNED
    # `mediaType` is optional in OCI documents (image-spec, manifest.md), so that the fields decide.
    lists_manifests = "manifests" in document and document.get("config") is None
    return media.OCI_INDEX if lists_manifests else media.OCI_MANIFEST


def _check_kind(kind: str, document: dict[str, Any]) -> None:
    named = document.get("mediaType")
    if isinstance(named, str) and named not in ("", kind):
        raise InvalidManifest(f"it was received as {kind}, but its mediaType is {named}")
    # Go's encoding/json matches keys in any case, so `Layers` is as good as `layers` to most other tools.
    keys = {key.lower() for key, value in document.items() if value is not None}
    is_image = not keys.isdisjoint(("config", "layers")) or kind in media.IMAGES
    is_index = "manifests" in keys or kind in media.INDEXES
    if is_image and is_index:
        raise InvalidManifest("it can be read as an image and as an index")


def _list(document: dict[str, Any], key: str) -> tuple[Descriptor, ...]:
    return tuple(Descriptor.read(item) for item in list_of(document, key))


def _optional(item: Any) -> Descriptor | None:
    return None if item is None else Descriptor.read(item)

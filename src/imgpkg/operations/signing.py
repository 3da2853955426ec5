"""Sign images: under cosign's tag, or by a sigstore bundle that refers to the image."""

from __future__ import annotations

import io
import json
from base64 import b64encode
from functools import partial
from typing import TYPE_CHECKING, Any

from imgpkg.bundle.image import signature_tag
from imgpkg.dataclass import dataclass, field, replace
from imgpkg.errors import InvalidManifest, NotFound
from imgpkg.oci import media
from imgpkg.oci.descriptor import Descriptor, Digest
from imgpkg.oci.manifest import Manifest
from imgpkg.operations.tag import confirm_tag
from imgpkg.operations.verification import has_signed
from imgpkg.trust.attachment import SIGNATURE, SIMPLE_SIGNING
from imgpkg.trust.format import (
    BUNDLE_TYPE,
    BUNDLE_TYPE_PREFIX,
    CONTENT_NOTE,
    PAYLOAD_TYPE,
    PREDICATE_TYPE_NOTE,
    SIGNED,
    Envelope,
    SimpleSigning,
    Statement,
    bundle_bytes,
    key_hint,
)

if TYPE_CHECKING:
    from imgpkg.oci.reference import Reference
    from imgpkg.registry.client import RegistryClient
    from imgpkg.trust.key import SigningKey

_EMPTY = "application/vnd.oci.empty.v1+json"
_CONFIG = "application/vnd.oci.image.config.v1+json"
# Signatures have no time: the same image has the same bytes on every machine.
_NO_TIME = "0001-01-01T00:00:00Z"


@dataclass(frozen=True, slots=True)
class SignatureImage:
    """A manifest that holds signatures, with the bytes of the blobs that are new in it.

    `tag` is cosign's tag for it, empty for one that refers to the image by its subject.
    """

    manifest: Manifest
    blobs: tuple[tuple[Descriptor, bytes], ...] = field(repr=False)
    tag: str = ""

    @property
    def config_raw(self) -> bytes:
        """The bytes of its configuration."""
        return next(data for blob, data in self.blobs if blob == self.manifest.config)


def sign_tag(client: RegistryClient, image: Reference, manifest: Manifest, key: SigningKey) -> Reference:
    """Sign the image under cosign's tag, and return the reference of the manifest there.

    Signatures by other keys stay. Two programs that sign one image at the same time may lose one of the
    signatures, as with cosign: the tag is read and written again. Raises InvalidManifest for a tag that names
    something else, and the errors of the registry.
    """
    repository = image.repository
    tag = repository.tag(signature_tag(manifest.digest))
    found = _read(client, tag)
    if found is not None:
        if not found.is_image:
            raise InvalidManifest(f"{tag} holds no signatures, but {found.media_type}")
        if has_signed(client, image, [(str(tag), found)], key.public):
            return repository.digest(found.digest)
    signed = tag_signature(image, manifest, key, found)
    _push(client, tag, signed)
    confirm_tag(client, tag, signed.manifest.digest)
    return repository.digest(signed.manifest.digest)


def sign_bundle(client: RegistryClient, image: Reference, manifest: Manifest, key: SigningKey) -> Reference:
    """Sign the image with a sigstore bundle that refers to it, and return the reference of its manifest.

    Raises the errors of the registry.
    """
    repository = image.repository
    for referrer in client.referrers(repository, manifest.digest):
        if referrer.artifact_type.startswith(BUNDLE_TYPE_PREFIX):
            place = repository.digest(referrer.digest)
            # A list that clients keep may still name what was deleted.
            found = _read(client, place)
            if found is not None and has_signed(client, image, [(str(place), found)], key.public):
                return place
    signed = bundle_signature(manifest, key)
    place = repository.digest(signed.manifest.digest)
    _push(client, place, signed)
    return place


def _read(client: RegistryClient, place: Reference) -> Manifest | None:
    try:
        return client.manifest(place)
    except NotFound:
        return None


def tag_signature(
    image: Reference, manifest: Manifest, key: SigningKey, found: Manifest | None = None
) -> SignatureImage:
    """Return what cosign's tag should name: the signatures of `found`, and one more by `key`."""
    payload = SimpleSigning(manifest.digest, str(image.repository)).to_bytes()
    blob = Descriptor(SIMPLE_SIGNING, Digest.of(payload), len(payload))
    note = {SIGNATURE: b64encode(key.sign(payload)).decode()}
    document: dict[str, Any] = json.loads(found.raw) if found is not None else {"schemaVersion": 2}
    # Raw layers: what another program has written beside them stays.
    layers: list[dict[str, Any]] = [
        *(document.get("layers") or []),
        {**_entry(blob), "annotations": note},
    ]
    config = _config(layers)
    described = Descriptor(_CONFIG, Digest.of(config), len(config))
    document |= {"mediaType": media.OCI_MANIFEST, "config": _entry(described), "layers": layers}
    blobs = ((blob, payload), (described, config))
    return SignatureImage(_manifest(document), blobs, signature_tag(manifest.digest))


def bundle_signature(manifest: Manifest, key: SigningKey) -> SignatureImage:
    """Return a manifest that refers to `manifest`, with a sigstore bundle in which `key` signs it."""
    statement = Statement(SIGNED, (manifest.digest,)).to_bytes()
    unsigned = Envelope(PAYLOAD_TYPE, statement)
    envelope = replace(unsigned, signatures=(key.sign(unsigned.message, of_curve=True),))
    content = bundle_bytes(envelope, key_hint(key.public.der))
    blob = Descriptor(BUNDLE_TYPE, Digest.of(content), len(content))
    config = Descriptor(_EMPTY, Digest.of(b"{}"), len(b"{}"))
    document = {
        "schemaVersion": 2,
        "mediaType": media.OCI_MANIFEST,
        "artifactType": BUNDLE_TYPE,
        "config": _entry(config),
        "layers": [_entry(blob)],
        "subject": _entry(manifest.descriptor),
        "annotations": {CONTENT_NOTE: "dsse-envelope", PREDICATE_TYPE_NOTE: SIGNED},
    }
    return SignatureImage(_manifest(document), ((blob, content), (config, b"{}")))


def _push(client: RegistryClient, place: Reference, signed: SignatureImage) -> None:
    for blob, data in signed.blobs:
        # A partial and no lambda: the loop goes on before the body is read again.
        client.push_blob(place.repository, blob, partial(io.BytesIO, data), check=False)
    client.push_manifest(place, signed.manifest)


def _config(layers: list[dict[str, Any]]) -> bytes:
    """Return the configuration that cosign writes: each layer is its own diff."""
    document = {
        "architecture": "",
        "created": _NO_TIME,
        "history": [{"created": _NO_TIME} for _ in layers],
        "os": "",
        "rootfs": {"type": "layers", "diff_ids": [layer["digest"] for layer in layers]},
        "config": {},
    }
    return _json(document)


def _entry(descriptor: Descriptor) -> dict[str, Any]:
    return {
        "mediaType": descriptor.media_type,
        "size": descriptor.size,
        "digest": str(descriptor.digest),
    }


def _manifest(document: dict[str, Any]) -> Manifest:
    return Manifest.parse(_json(document), media.OCI_MANIFEST)


def _json(document: dict[str, Any]) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()

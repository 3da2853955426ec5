"""Signatures and attestations in the public formats of cosign and sigstore, made by `cryptography` alone.

Nothing of the code under test makes them: the JSON is written here as the specifications have it.
"""

from __future__ import annotations

import base64
import hashlib
import json

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from tests.operations.making import put_blob, put_manifest

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
SIMPLE_SIGNING = "application/vnd.dev.cosign.simplesigning.v1+json"
ENVELOPE = "application/vnd.dsse.envelope.v1+json"
BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json"
SIGN = "https://sigstore.dev/cosign/sign/v1"
PROVENANCE = "https://slsa.dev/provenance/v1"

MAKERS = {
    "p256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "p384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "p521": lambda: ec.generate_private_key(ec.SECP521R1()),
    "ed25519": ed25519.Ed25519PrivateKey.generate,
    "rsa": lambda: rsa.generate_private_key(65537, 2048),
}


def public_pem(private):
    return private.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def private_pem(private, password=None):
    encryption = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    return private.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)


def signature_of(private, message, kind=hashes.SHA256):
    if isinstance(private, ec.EllipticCurvePrivateKey):
        return private.sign(message, ec.ECDSA(kind()))
    if isinstance(private, rsa.RSAPrivateKey):
        return private.sign(message, padding.PKCS1v15(), kind())
    return private.sign(message)


def base64_of(data):
    return base64.b64encode(data).decode()


def payload(digest, reference="registry.example.com/team/app", optional=None, kind=None):
    """Return a simple signing payload, as cosign writes it."""
    document = {
        "critical": {
            "identity": {"docker-reference": reference},
            "image": {"docker-manifest-digest": str(digest)},
            "type": kind or "cosign container image signature",
        },
        "optional": optional,
    }
    return json.dumps(document, separators=(",", ":")).encode()


def pae(kind, body):
    return b" ".join([b"DSSEv1", str(len(kind)).encode(), kind.encode(), str(len(body)).encode(), body])


def statement(digest, predicate_type, *, predicate=None, kind="https://in-toto.io/Statement/v1", **more):
    document = {
        "_type": kind,
        "subject": [{"digest": {digest.algorithm: digest.hex}, **more}],
        "predicateType": predicate_type,
        "predicate": predicate or {},
    }
    return json.dumps(document).encode()


def envelope(private, body, *, kind="application/vnd.in-toto+json", signer=signature_of):
    signature = signer(private, pae(kind, body))
    return {
        "payload": base64_of(body),
        "payloadType": kind,
        "signatures": [{"sig": base64_of(signature), "keyid": ""}],
    }


def bundle(private, body, *, media_type=BUNDLE, signer=signature_of):
    der = private.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return {
        "mediaType": media_type,
        "verificationMaterial": {"publicKey": {"hint": base64_of(hashlib.sha256(der).digest())}},
        "dsseEnvelope": envelope(private, body, signer=signer),
    }


def put_layers(session, image, layers, suffix="sig"):
    """Put a manifest with `layers`, (bytes, media type, annotations), under cosign's tag of `image`."""
    repository = image.repository
    document = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": put_blob(session, repository, b"{}", OCI_CONFIG),
        "layers": [
            {**put_blob(session, repository, data, media_type), "annotations": notes}
            for data, media_type, notes in layers
        ],
    }
    return put_manifest(session, repository, document, f"sha256-{image.digest.hex}.{suffix}")


def signed_layer(private, body, signature=None):
    signature = signature_of(private, body) if signature is None else signature
    return body, SIMPLE_SIGNING, {"dev.cosignproject.cosign/signature": base64_of(signature)}


def put_signature(session, image, private, **claims):
    """Sign `image` as `cosign sign --key` of version 1 and 2."""
    return put_layers(session, image, [signed_layer(private, payload(image.digest, **claims))])


def put_attestation(session, image, private, predicate_type=PROVENANCE, **claims):
    """Attest `image` as `cosign attest --key` of version 1 and 2."""
    body = statement(image.digest, predicate_type, kind="https://in-toto.io/Statement/v0.1", **claims)
    data = json.dumps(envelope(private, body)).encode()
    notes = {"dev.cosignproject.cosign/signature": "", "predicateType": predicate_type}
    return put_layers(session, image, [(data, ENVELOPE, notes)], "att")


def put_referrer(session, image, data, *, media_type=BUNDLE, **annotations):
    """Put a manifest with one layer that refers to `image`."""
    subject = session.client.manifest(image)
    document = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "artifactType": media_type,
        "config": put_blob(session, image.repository, b"{}", "application/vnd.oci.empty.v1+json"),
        "layers": [put_blob(session, image.repository, data, media_type)],
        "subject": {
            "mediaType": subject.media_type,
            "digest": str(subject.digest),
            "size": len(subject.raw),
        },
        "annotations": annotations,
    }
    return put_manifest(session, image.repository, document)


def put_bundle(session, image, private, predicate_type=SIGN, **claims):
    """Sign or attest `image` as cosign 3 does with a key."""
    body = statement(image.digest, predicate_type, **claims)
    data = json.dumps(bundle(private, body)).encode()
    notes = {
        "dev.sigstore.bundle.content": "dsse-envelope",
        "dev.sigstore.bundle.predicateType": predicate_type,
    }
    return put_referrer(session, image, data, **notes)

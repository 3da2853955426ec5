"""The three forms of a signature: simple signing, envelopes with statements, and sigstore bundles.

Simple signing is the payload under cosign's tag (sigstore/cosign, SIGNATURE_SPEC.md). An envelope (DSSE,
secure-systems-lab/dsse) holds a statement (in-toto/attestation). A bundle holds an envelope and what verifies
it (sigstore/protobuf-specs, sigstore_bundle.proto). Nothing here is verified.
"""

from __future__ import annotations

import json
from base64 import b64encode
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from imgpkg.dataclass import dataclass, field
from imgpkg.errors import VerificationError
from imgpkg.trust.document import bytes_of, digest_of, list_in, object_in, read_object, strings_in, text_in
from imgpkg.values import FrozenDict

if TYPE_CHECKING:
    from collections.abc import Mapping

    from imgpkg.oci.descriptor import Digest

SIMPLE_SIGNING_TYPE = "cosign container image signature"
PAYLOAD_TYPE = "application/vnd.in-toto+json"
# Cosign 3 signs with a statement of this type, whose predicate is empty.
SIGNED = "https://sigstore.dev/cosign/sign/v1"
_STATEMENT = "https://in-toto.io/Statement/v1"
_STATEMENTS = frozenset({_STATEMENT, "https://in-toto.io/Statement/v0.1"})
_MOST_SIGNATURES = 32
_MOST_SUBJECTS = 10_000
# The only algorithms of the digests of images.
_ALGORITHMS = ("sha256", "sha512")
BUNDLE_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
# Cosign takes every layer whose media type begins so for a bundle.
BUNDLE_TYPE_PREFIX = "application/vnd.dev.sigstore.bundle"
# The annotation of a referrer that says which predicate its bundle has.
PREDICATE_TYPE_NOTE = "dev.sigstore.bundle.predicateType"
CONTENT_NOTE = "dev.sigstore.bundle.content"
_BUNDLE_TYPES = frozenset(
    {
        BUNDLE_TYPE,
        *(f"application/vnd.dev.sigstore.bundle+json;version=0.{minor}" for minor in (1, 2, 3)),
    }
)


@dataclass(frozen=True, slots=True)
class SimpleSigning:
    """What a signature says: the digest of an image, and the name that it had when it was signed.

    `reference` is a repository without tag and digest, as the signer wrote it. `annotations` are the claims
    of the signer that are texts.
    """

    digest: Digest
    reference: str
    annotations: Mapping[str, str] = field(default_factory=FrozenDict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "annotations", FrozenDict(self.annotations))

    @classmethod
    def parse(cls, raw: bytes) -> SimpleSigning:
        """Parse a payload; raise VerificationError for one that is not of cosign's type."""
        what = "the payload"
        document = read_object(raw, what)
        critical = object_in(document, "critical", what)
        kind = text_in(critical, "type", what)
        if kind != SIMPLE_SIGNING_TYPE:
            raise VerificationError(f"{what} is of the type {kind!r}, not {SIMPLE_SIGNING_TYPE!r}")
        image = object_in(critical, "image", what)
        named = text_in(image, "docker-manifest-digest", what)
        identity = object_in(critical, "identity", what)
        reference = text_in(identity, "docker-reference", what)
        return cls(digest_of(named, what), reference, strings_in(document, "optional"))

    def to_bytes(self) -> bytes:
        """Return the payload with the keys in the order in which cosign writes them."""
        document = {
            "critical": {
                "identity": {"docker-reference": self.reference},
                "image": {"docker-manifest-digest": str(self.digest)},
                "type": SIMPLE_SIGNING_TYPE,
            },
            "optional": dict(self.annotations) or None,
        }
        return json.dumps(document, separators=(",", ":")).encode()


def pae(payload_type: str, payload: bytes) -> bytes:
    """Return the bytes that are signed for a payload: its pre-authentication encoding (DSSE, protocol.md)."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


@dataclass(frozen=True, slots=True)
class Envelope:
    """A payload, and signatures of its pre-authentication encoding. The payload is not trusted yet."""

    payload_type: str
    payload: bytes = field(repr=False)
    signatures: tuple[bytes, ...] = field(default=(), repr=False)

    @classmethod
    def parse(cls, raw: bytes) -> Envelope:
        """Parse the JSON form; raise VerificationError."""
        return cls.of(read_object(raw, "the envelope"))

    @classmethod
    def of(cls, document: dict[str, Any]) -> Envelope:
        """Return the envelope of a JSON object; raise VerificationError."""
        what = "the envelope"
        # Go reads a list of one signature where v0.1 bundles write `payload_type`.
        kind = text_in(document, "payload_type" if "payload_type" in document else "payloadType", what)
        listed = list_in(document, "signatures", what, most=_MOST_SIGNATURES)
        signatures = tuple(bytes_of(text_in(item, "sig", what), "a signature") for item in listed)
        return cls(kind, bytes_of(text_in(document, "payload", what), "the payload"), signatures)

    @property
    def message(self) -> bytes:
        """The bytes that the signatures are of."""
        return pae(self.payload_type, self.payload)

    def document(self, key_id: str = "") -> dict[str, Any]:
        """Return the JSON object of the envelope; `key_id` is a hint for its readers."""
        return {
            "payload": b64encode(self.payload).decode(),
            "payloadType": self.payload_type,
            "signatures": [{"sig": b64encode(sig).decode(), "keyid": key_id} for sig in self.signatures],
        }


@dataclass(frozen=True, slots=True)
class Statement:
    """What an attestation says, and of which digests. `annotations` are those of the subjects, as texts."""

    predicate_type: str
    digests: tuple[Digest, ...]
    annotations: Mapping[str, str] = field(default_factory=FrozenDict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "annotations", FrozenDict(self.annotations))

    @classmethod
    def parse(cls, raw: bytes) -> Statement:
        """Parse a statement of version 0.1 or 1; raise VerificationError."""
        what = "the statement"
        document = read_object(raw, what)
        kind = text_in(document, "_type", what)
        if kind not in _STATEMENTS:
            raise VerificationError(f"{what} has the unknown type {kind}")
        subjects = list_in(document, "subject", what, most=_MOST_SUBJECTS)
        if not subjects:
            raise VerificationError(f"{what} has no subject")
        found = tuple(digest for subject in subjects for digest in _digests(subject, what))
        # With several subjects it would be unclear which of them an annotation is about.
        notes = strings_in(subjects[0], "annotations") if len(subjects) == 1 else {}
        return cls(text_in(document, "predicateType", what), found, notes)

    def to_bytes(self) -> bytes:
        """Return the form of version 1, with an empty predicate."""
        document = {
            "_type": _STATEMENT,
            "subject": [{"digest": {digest.algorithm: digest.hex}} for digest in self.digests],
            "predicateType": self.predicate_type,
            "predicate": {},
        }
        return json.dumps(document, separators=(",", ":")).encode()


def _digests(subject: dict[str, Any], what: str) -> list[Digest]:
    named = object_in(subject, "digest", what)
    return [
        digest_of(f"{algorithm}:{text_in(named, algorithm, what)}", what)
        for algorithm in _ALGORITHMS
        if algorithm in named
    ]


@dataclass(frozen=True, slots=True)
class SigstoreBundle:
    """The envelope of a bundle; `is_keyless` is true if a certificate, and no key, belongs to it."""

    envelope: Envelope
    is_keyless: bool

    @classmethod
    def parse(cls, raw: bytes) -> SigstoreBundle:
        """Parse a bundle with one envelope and one signature; raise VerificationError."""
        what = "the bundle"
        document = read_object(raw, what)
        kind = text_in(document, _spelled(document, "mediaType", "media_type"), what)
        if kind not in _BUNDLE_TYPES:
            raise VerificationError(f"{what} is of the unknown type {kind}")
        key = _spelled(document, "dsseEnvelope", "dsse_envelope")
        if key not in document:
            raise VerificationError(f"{what} has no envelope, so it is about no image")
        material = object_in(
            document, _spelled(document, "verificationMaterial", "verification_material"), what
        )
        envelope = Envelope.of(object_in(document, key, what))
        # A second signature would be read by some programs, and the first one by others.
        if len(envelope.signatures) != 1:
            raise VerificationError(f"{what} has {len(envelope.signatures)} signatures, not one")
        return cls(envelope, is_keyless=_is_keyless(material, what))


def _spelled(document: dict[str, Any], name: str, other: str) -> str:
    """Return the spelling that the document has: names in JSON, or those of the protocol buffers."""
    if name in document and other in document:
        raise VerificationError(f"the bundle has {name} and {other}")
    return other if other in document else name


def _is_keyless(material: dict[str, Any], what: str) -> bool:
    has_key = _spelled(material, "publicKey", "public_key") in material
    chain = _spelled(material, "x509CertificateChain", "x509_certificate_chain")
    has_certificate = "certificate" in material or chain in material
    if has_key == has_certificate:
        raise VerificationError(f"{what} has neither a key nor a certificate, or both")
    return has_certificate


def key_hint(der: bytes) -> str:
    """Return the hint that names the public key `der`: its RFC 6962 key id."""
    return b64encode(sha256(der).digest()).decode()


def bundle_bytes(envelope: Envelope, hint: str) -> bytes:
    """Return the bundle of an envelope that was signed with the key `hint`, without a log entry."""
    document = {
        "mediaType": BUNDLE_TYPE,
        "verificationMaterial": {"publicKey": {"hint": hint}},
        "dsseEnvelope": envelope.document(hint),
    }
    return json.dumps(document, separators=(",", ":")).encode()

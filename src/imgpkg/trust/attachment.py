"""What is attached to an image and may be a signature of it: the layers of cosign's tags and of referrers."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from imgpkg.dataclass import dataclass, field
from imgpkg.errors import VerificationError
from imgpkg.trust.document import bytes_of
from imgpkg.trust.format import (
    BUNDLE_TYPE_PREFIX,
    PAYLOAD_TYPE,
    PREDICATE_TYPE_NOTE,
    SIGNED,
    Envelope,
    SigstoreBundle,
    SimpleSigning,
    Statement,
)
from imgpkg.values import FrozenDict

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from imgpkg.oci.descriptor import Descriptor, Digest
    from imgpkg.oci.manifest import Manifest

SIMPLE_SIGNING = "application/vnd.dev.cosign.simplesigning.v1+json"
ENVELOPE = "application/vnd.dsse.envelope.v1+json"
# Annotations of the layers under cosign's tags (sigstore/cosign, SIGNATURE_SPEC.md).
SIGNATURE = "dev.cosignproject.cosign/signature"
CERTIFICATE = "dev.sigstore.cosign/certificate"
_PREDICATE_TYPE = "predicateType"
# A payload has about 250 bytes. An envelope may hold an SBOM of many megabytes.
_LARGEST = {"SIMPLE_SIGNING": 1 << 20, "ENVELOPE": 64 << 20, "BUNDLE": 64 << 20}
# A hostile registry can attach any number; more than a few hundred would take minutes to read.
MOST_LAYERS = 500
# Artifact types of referrers that may be signatures: those of cosign 3 and of the OCI mode of cosign 2.
_ARTIFACT_TYPES = (BUNDLE_TYPE_PREFIX, "application/vnd.dev.cosign.artifact.")


class SignatureForm(Enum):
    """The three forms of a signature."""

    SIMPLE_SIGNING = "signature"
    ENVELOPE = "envelope"
    BUNDLE = "sigstore bundle"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A layer that may hold a signature, before it is read; `place` is where it was found, for people."""

    form: SignatureForm
    layer: Descriptor
    place: str

    def check_size(self) -> None:
        """Raise VerificationError for more than a signature of this form may have."""
        largest = _LARGEST[self.form.name]
        if self.layer.size > largest:
            raise VerificationError(
                f"{self.place}: a {self.form.value} of {self.layer.size} bytes; at most {largest} are read"
            )


def may_be_signature(artifact_type: str) -> bool:
    """Return whether a referrer of this type may hold signatures; one without a type may."""
    return not artifact_type or artifact_type.startswith(_ARTIFACT_TYPES)


def candidates(manifest: Manifest, place: str, wanted: Collection[str]) -> tuple[Candidate, ...]:
    """Return the layers of an attached manifest that may be signatures, or attestations of a `wanted` type.

    What says itself that it is of another type is left out; other layers are ignored. `wanted` has "" for
    signatures. Raises VerificationError for more layers than anybody signs.
    """
    if len(manifest.layers) > MOST_LAYERS:
        raise VerificationError(
            f"{place} has {len(manifest.layers)} layers; at most {MOST_LAYERS} signatures are read"
        )
    found = [(_form(layer), layer) for layer in manifest.layers]
    bundles = [layer for form, layer in found if form is SignatureForm.BUNDLE]
    # As cosign: a referrer with several bundles is none of its own.
    if bundles and len(found) != 1:
        return ()
    notes = manifest.annotations if bundles else FrozenDict()
    return tuple(
        Candidate(form, layer, place)
        for form, layer in found
        if form is not None and _kind(form, layer, notes) in (None, *wanted)
    )


def _form(layer: Descriptor) -> SignatureForm | None:
    if layer.media_type == SIMPLE_SIGNING:
        return SignatureForm.SIMPLE_SIGNING
    if layer.media_type == ENVELOPE:
        return SignatureForm.ENVELOPE
    return SignatureForm.BUNDLE if layer.media_type.startswith(BUNDLE_TYPE_PREFIX) else None


def _kind(form: SignatureForm, layer: Descriptor, notes: Mapping[str, str]) -> str | None:
    """Return the predicate type that the annotations claim, "" for a signature, None for no claim."""
    if form is SignatureForm.SIMPLE_SIGNING:
        return ""
    named = notes.get(PREDICATE_TYPE_NOTE) or layer.annotations.get(_PREDICATE_TYPE)
    return "" if named == SIGNED else named


@dataclass(frozen=True, slots=True)
class Claim:
    """What a signature says, once it is verified: digests, and what kind of thing it says about them.

    `predicate_type` is empty for a signature. `reference` is None for a form that has no name of the image.
    """

    predicate_type: str
    digests: tuple[Digest, ...]
    reference: str | None = None
    annotations: Mapping[str, str] = field(default_factory=FrozenDict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "annotations", FrozenDict(self.annotations))


@dataclass(frozen=True, slots=True)
class Attachment:
    """A layer with its bytes, which have the digest of its descriptor."""

    candidate: Candidate
    content: bytes = field(repr=False)

    def open(self) -> Signed:
        """Return the message, its signatures and its claim, none of them verified.

        Raises VerificationError for content of another form.
        """
        form = self.candidate.form
        if form is SignatureForm.SIMPLE_SIGNING:
            return self._simple()
        if form is SignatureForm.ENVELOPE:
            return _of_envelope(Envelope.parse(self.content))
        bundle = SigstoreBundle.parse(self.content)
        return _of_envelope(bundle.envelope, is_keyless=bundle.is_keyless, bundle=self.content)

    def _simple(self) -> Signed:
        notes = self.candidate.layer.annotations
        signature = bytes_of(notes.get(SIGNATURE, ""), f"the annotation {SIGNATURE}")
        payload = SimpleSigning.parse(self.content)
        claim = Claim("", (payload.digest,), payload.reference, payload.annotations)
        return Signed(self.content, (signature,), claim, is_keyless=CERTIFICATE in notes)


@dataclass(frozen=True, slots=True)
class Signed:
    """A message, signatures that may be of it, and its claim, which counts only if one of them verifies.

    `is_keyless` is true if a certificate belongs to the signature; `bundle` is then what sigstore verifies,
    and empty in the older form, which it does not.
    """

    message: bytes = field(repr=False)
    signatures: tuple[bytes, ...] = field(repr=False)
    claim: Claim
    is_keyless: bool = False
    bundle: bytes = field(default=b"", repr=False)


def claim_of(envelope: Envelope) -> Claim:
    """Return the claim of an envelope; raise VerificationError unless it is an in-toto statement."""
    if envelope.payload_type != PAYLOAD_TYPE:
        raise VerificationError(f"the envelope is of the type {envelope.payload_type!r}, not {PAYLOAD_TYPE}")
    statement = Statement.parse(envelope.payload)
    kind = "" if statement.predicate_type == SIGNED else statement.predicate_type
    return Claim(kind, statement.digests, None, statement.annotations)


def _of_envelope(envelope: Envelope, *, is_keyless: bool = False, bundle: bytes = b"") -> Signed:
    return Signed(envelope.message, envelope.signatures, claim_of(envelope), is_keyless, bundle)

"""Whether what is attached to an image fulfils a requirement, and if not, why: in one sentence."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from imgpkg.dataclass import dataclass
from imgpkg.errors import VerificationError
from imgpkg.trust.policy import Match, matches

if TYPE_CHECKING:
    from collections.abc import Iterable

    from imgpkg.oci.descriptor import Digest
    from imgpkg.trust.attachment import Attachment, Claim, Signed
    from imgpkg.trust.identity import SignerIdentity
    from imgpkg.trust.policy import Requirement, Signer

_MOST_DETAILS = 3
_OLD_KEYLESS = "the older form under a tag has no proof that sigstore-python verifies"


class SignatureOutcome(Enum):
    """What became of one signature; the texts follow a number."""

    VALID = "valid"
    OTHER_SIGNER = "by another key"
    UNKNOWN_IDENTITY = "not by the identity"
    NO_IDENTITY = "by an identity, where only keys are accepted"
    OTHER_DIGEST = "of another digest"
    OTHER_TYPE = "of another type"
    OTHER_REFERENCE = "of an image of another name"
    OTHER_ANNOTATIONS = "without the annotations"
    MALFORMED = "not readable"


@dataclass(frozen=True, slots=True)
class Examination:
    """The outcome of one attached signature, details for people, and who has made it."""

    outcome: SignatureOutcome
    detail: str = ""
    signers: tuple[Signer, ...] = ()


@dataclass(frozen=True, slots=True)
class Judgement:
    """A requirement, those of its keys and identities that fulfil it, and what was found."""

    requirement: Requirement
    signers: tuple[Signer, ...]
    findings: tuple[Examination, ...]

    @property
    def is_fulfilled(self) -> bool:
        """True if any signer, or all signers, have signed, as the requirement says."""
        wanted = self.requirement
        return bool(self.signers) and (wanted.match is Match.ANY or self.signers == wanted.signers)

    @property
    def reason(self) -> str:
        """Why it is not fulfilled: `no signature by cosign.pub: 1 is by another key`."""
        what = self.requirement.subject.split(" ", 1)[1]
        others = ", ".join(
            _counted(found for found in self.findings if found.outcome is not SignatureOutcome.VALID)
        )
        return f"no {what} by {self._missing()}: {others or f'it has no {what}'}"

    def _missing(self) -> str:
        missing = [str(signer) for signer in self.requirement.signers if signer not in self.signers]
        if self.requirement.match is Match.ALL or len(missing) == 1:
            return " and ".join(missing)
        kinds = [kind for kind in ("keys", "identities") if getattr(self.requirement, kind)]
        return f"any of the {len(missing)} {' and '.join(kinds)} {', '.join(missing)}"


def _counted(findings: Iterable[Examination]) -> Iterable[str]:
    found: dict[SignatureOutcome, list[str]] = {}
    for finding in findings:
        found.setdefault(finding.outcome, []).append(finding.detail)
    for outcome, details in found.items():
        shown = [*dict.fromkeys(filter(None, details))][:_MOST_DETAILS]
        verb = "is" if len(details) == 1 else "are"
        yield f"{len(details)} {verb} {outcome.value}" + (f" ({'; '.join(shown)})" if shown else "")


def judge(requirement: Requirement, digest: Digest, attachments: Iterable[Attachment]) -> Judgement:
    """Return whether `attachments` of the image `digest` fulfil `requirement`."""
    findings = tuple(_examine(requirement, digest, attachment) for attachment in attachments)
    signed = {
        signer for found in findings if found.outcome is SignatureOutcome.VALID for signer in found.signers
    }
    signers = tuple(signer for signer in requirement.signers if signer in signed)
    return Judgement(requirement, signers, findings)


def _examine(requirement: Requirement, digest: Digest, attachment: Attachment) -> Examination:
    try:
        signed = attachment.open()
    except VerificationError as error:
        return Examination(SignatureOutcome.MALFORMED, error.message)
    # Before the keys: of an SBOM nobody wants to know that it is no signature.
    if signed.claim.predicate_type != requirement.predicate_type:
        return Examination(SignatureOutcome.OTHER_TYPE, signed.claim.predicate_type)
    found = _signers(requirement, signed)
    if found.outcome is not SignatureOutcome.VALID:
        return found
    return _checked(requirement, digest, signed.claim, found)


def _signers(requirement: Requirement, signed: Signed) -> Examination:
    """Find whose signature it is; a certificate may be beside the signature of a key."""
    keys = tuple(
        key
        for key in requirement.keys
        if any(key.verifies(signature, signed.message) for signature in signed.signatures)
    )
    if not signed.is_keyless:
        return (
            Examination(SignatureOutcome.VALID, signers=keys)
            if keys
            else Examination(SignatureOutcome.OTHER_SIGNER)
        )
    found = _identities(requirement, signed)
    if keys:
        return Examination(SignatureOutcome.VALID, signers=(*keys, *found.signers))
    return found


def _identities(requirement: Requirement, signed: Signed) -> Examination:
    if not requirement.identities:
        return Examination(SignatureOutcome.NO_IDENTITY)
    if not signed.bundle:
        return Examination(SignatureOutcome.UNKNOWN_IDENTITY, _OLD_KEYLESS)
    refusals = {identity: _refusal(signed, identity) for identity in requirement.identities}
    signers = tuple(identity for identity, refusal in refusals.items() if refusal is None)
    if not signers:
        reasons = dict.fromkeys(filter(None, refusals.values()))
        return Examination(SignatureOutcome.UNKNOWN_IDENTITY, "; ".join(reasons))
    return Examination(SignatureOutcome.VALID, signers=signers)


def _refusal(signed: Signed, identity: SignerIdentity) -> str | None:
    """Return why `identity` has not made the signature, None if it has."""
    from imgpkg.trust.keyless import verified_envelope

    try:
        envelope = verified_envelope(signed.bundle, identity)
    except VerificationError as error:
        return error.message
    # Compared with what sigstore has verified: two readers may see different envelopes in one text.
    return None if envelope.message == signed.message else "two programs read it in two ways"


def _checked(requirement: Requirement, digest: Digest, claim: Claim, found: Examination) -> Examination:
    """Return `found` if the claim of a verified signature is about the image as it is wanted."""
    if digest not in claim.digests:
        return Examination(SignatureOutcome.OTHER_DIGEST, ", ".join(map(str, claim.digests[:_MOST_DETAILS])))
    if requirement.reference and not matches(requirement.reference, claim.reference or ""):
        return Examination(SignatureOutcome.OTHER_REFERENCE, claim.reference or "")
    wanted = requirement.annotations.items()
    missing = sorted(name for name, text in wanted if claim.annotations.get(name) != text)
    return Examination(SignatureOutcome.OTHER_ANNOTATIONS, ", ".join(missing)) if missing else found

"""Signatures of identities, without keys of their own, verified by sigstore-python without a network."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from cryptography import x509
from cryptography.hazmat.asn1 import decode_der

from imgpkg.errors import InvalidSettings, UsageError, VerificationError, local_io
from imgpkg.trust.format import Envelope

if TYPE_CHECKING:
    from imgpkg.trust.identity import SignerIdentity

# Extensions and names of Fulcio's certificates (sigstore/fulcio, docs/oid-info.md).
_ISSUER = x509.ObjectIdentifier("1.3.6.1.4.1.57264.1.8")
_OLD_ISSUER = x509.ObjectIdentifier("1.3.6.1.4.1.57264.1.1")
_OTHER_NAME = x509.ObjectIdentifier("1.3.6.1.4.1.57264.1.7")


def require_sigstore() -> None:
    """Raise UsageError, with the command that installs it, if sigstore-python is missing."""
    try:
        import sigstore.verify  # noqa: F401 - whether it can be imported is the question
    except ImportError as error:
        raise UsageError(
            "signatures of identities are verified by sigstore, which is not installed",
            hints=("Install it: pip install 'imgpkg-py[sigstore]'",),
        ) from error


def verified_envelope(raw: bytes, identity: SignerIdentity) -> Envelope:
    """Return the envelope of the bundle `raw`, which `identity` has signed.

    The certificate chains to an authority of the trusted root and was valid at a time that the log or a
    timestamp authority confirms; the log has an entry of the signature. Raises VerificationError otherwise,
    LocalIOError or InvalidSettings for the trusted root.
    """
    from sigstore.errors import Error
    from sigstore.models import Bundle

    verifier = _verifier(os.fspath(identity.trusted_root))
    try:
        bundle = Bundle.from_json(raw)
        payload_type, payload = verifier.verify_dsse(bundle, _CertificatePolicy(identity))
    except VerificationError:
        raise
    except Error as error:
        raise VerificationError(str(error)) from error
    # Bytes that sigstore does not expect raise errors of the libraries below it.
    except (ValueError, TypeError, AttributeError, KeyError, x509.ExtensionNotFound) as error:
        raise VerificationError(f"the bundle cannot be verified: {error}") from error
    return Envelope(payload_type, payload)


def _verifier(path: str) -> Any:
    from sigstore.errors import Error
    from sigstore.models import TrustedRoot
    from sigstore.verify import Verifier

    with local_io("open", path), open(path, "rb"):
        pass
    try:
        return Verifier(trusted_root=TrustedRoot.from_file(path))
    except (Error, ValueError) as error:
        raise InvalidSettings(f"{path} is no trusted root of sigstore: {error}") from error


class _CertificatePolicy:
    """The policy that sigstore asks about a certificate whose chain it has verified."""

    def __init__(self, identity: SignerIdentity) -> None:
        self._identity = identity

    def verify(self, cert: x509.Certificate) -> None:
        """Raise VerificationError unless the certificate is that of the identity."""
        identities, issuer = _names(cert), _issuer(cert)
        if not self._identity.accepts(identities, issuer):
            shown = " or ".join(identities) or "nobody"
            raise VerificationError(f"it is signed by {shown} of {issuer or 'no issuer'}")


def _names(cert: x509.Certificate) -> list[str]:
    found = cert.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    others = found.get_values_for_type(x509.OtherName)
    return [
        *found.get_values_for_type(x509.RFC822Name),
        *found.get_values_for_type(x509.UniformResourceIdentifier),
        *(decode_der(str, name.value) for name in others if name.type_id == _OTHER_NAME),
    ]


def _issuer(cert: x509.Certificate) -> str:
    values = {extension.oid: extension.value for extension in cert.extensions}
    value = values.get(_ISSUER)
    if isinstance(value, x509.UnrecognizedExtension):
        return decode_der(str, value.value)
    old = values.get(_OLD_ISSUER)
    # Certificates of before 2023 have only this one, whose text has no ASN.1 around it.
    return old.value.decode() if isinstance(old, x509.UnrecognizedExtension) else ""

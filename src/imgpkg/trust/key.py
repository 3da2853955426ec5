"""Public keys that verify signatures, and private keys that make them, from PEM files and variables."""

from __future__ import annotations

import os
from collections.abc import Mapping
from hashlib import sha256
from typing import TypeAlias

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

from imgpkg.dataclass import dataclass, field
from imgpkg.errors import InvalidSettings, local_io
from imgpkg.expression import expression
from imgpkg.values import FrozenDict, StrPath

_PublicKey: TypeAlias = ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | rsa.RSAPublicKey
_Hash: TypeAlias = type[hashes.HashAlgorithm]
_PrivateKey: TypeAlias = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey

NO_ENVIRONMENT: Mapping[str, str] = FrozenDict()
# As in cosign: `env://NAME` is a key in the variable NAME.
VARIABLE = "env://"
_LABEL = expression(r"-----BEGIN ([A-Z0-9 ]{1,64})-----")
_COSIGN_PRIVATE = frozenset({"ENCRYPTED SIGSTORE PRIVATE KEY", "ENCRYPTED COSIGN PRIVATE KEY"})
_LARGEST_FILE = 64 << 10
_OWN_KEY = (
    "Make a key in the form PKCS #8 with openssl, and give it to cosign as well: `cosign import-key-pair`."
)
# Smaller ones can be factored (NIST SP 800-131A); verifying with much larger ones takes seconds.
_RSA_BITS = range(2048, 16384 + 1)
# The hash that belongs to each curve. Cosign before version 3 takes SHA-256 with each of them.
_CURVES: Mapping[str, tuple[str, type[hashes.HashAlgorithm]]] = FrozenDict(
    {
        "secp256r1": ("ECDSA P-256", hashes.SHA256),
        "secp384r1": ("ECDSA P-384", hashes.SHA384),
        "secp521r1": ("ECDSA P-521", hashes.SHA512),
    }
)


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A public key: ECDSA on P-256, P-384 or P-521, Ed25519, or RSA from 2048 bits.

    `der` is its SubjectPublicKeyInfo (RFC 5280 section 4.1). `name` says where it is from, for people; keys
    with different names and the same bytes are equal.
    """

    der: bytes = field(repr=False)
    name: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        _load(self.der, self.name)

    @classmethod
    def parse(cls, pem: bytes, name: str) -> PublicKey:
        """Parse one public key in PEM; raise InvalidSettings for anything else, also for a private key."""
        label = _label(pem, name)
        if label.endswith("PRIVATE KEY"):
            raise InvalidSettings(f"{name} is a private key; give the public key that belongs to it")
        if label == "CERTIFICATE":
            raise InvalidSettings(
                f"{name} is a certificate, not a public key",
                hints=(f"`openssl x509 -in {name} -pubkey -noout` prints its public key.",),
            )
        try:
            loaded = serialization.load_pem_public_key(pem)
        except (ValueError, UnsupportedAlgorithm) as error:
            raise InvalidSettings(f"{name} is no public key in PEM") from error
        der = loaded.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        return cls(der, name)

    @classmethod
    def read(cls, source: StrPath, environ: Mapping[str, str] = NO_ENVIRONMENT) -> PublicKey:
        """Read a PEM file, or for `env://NAME` the variable NAME of `environ`.

        Raises LocalIOError or InvalidSettings.
        """
        return cls.parse(read_pem(source, environ), os.fspath(source))

    @property
    def kind(self) -> str:
        """The algorithm in words, such as `ECDSA P-256`."""
        return _kind(_load(self.der, self.name))

    @property
    def fingerprint(self) -> str:
        """The SHA-256 of `der`, as `sha256:` and 64 hexadecimal digits."""
        return f"sha256:{sha256(self.der).hexdigest()}"

    def verifies(self, signature: bytes, message: bytes) -> bool:
        """Return whether `signature` is one of `message` by this key.

        ECDSA has SHA-256 or the hash that belongs to its curve, RSA is PKCS #1 v1.5 with SHA-256. Ed25519 is
        the pure form (RFC 8032 section 5.1), not Ed25519ph.
        """
        key = _load(self.der, self.name)
        if isinstance(key, ec.EllipticCurvePublicKey):
            kinds: set[_Hash] = {_CURVES[key.curve.name][1], hashes.SHA256}
            return any(_has_signed(key, signature, message, kind) for kind in kinds)
        return _has_signed(key, signature, message, hashes.SHA256)

    def __str__(self) -> str:
        return self.name or self.fingerprint


def _load(der: bytes, name: str) -> _PublicKey:
    try:
        key = serialization.load_der_public_key(der)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise InvalidSettings(f"{name} is no public key") from error
    if isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name in _CURVES:
        return key
    if isinstance(key, ed25519.Ed25519PublicKey):
        return key
    if isinstance(key, rsa.RSAPublicKey):
        if key.key_size not in _RSA_BITS:
            raise InvalidSettings(
                f"{name} is an RSA key of {key.key_size} bits; "
                f"{_RSA_BITS.start} to {_RSA_BITS.stop - 1} are accepted"
            )
        return key
    raise InvalidSettings(
        f"{name} is a key of a kind that signs no images: ECDSA on P-256, P-384 or P-521, Ed25519 and RSA do"
    )


def _kind(key: _PublicKey) -> str:
    if isinstance(key, ec.EllipticCurvePublicKey):
        return _CURVES[key.curve.name][0]
    return "Ed25519" if isinstance(key, ed25519.Ed25519PublicKey) else f"RSA {key.key_size}"


def _has_signed(key: _PublicKey, signature: bytes, message: bytes, kind: _Hash) -> bool:
    try:
        if isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(signature, message, ec.ECDSA(kind()))
        elif isinstance(key, rsa.RSAPublicKey):
            key.verify(signature, message, padding.PKCS1v15(), kind())
        else:
            key.verify(signature, message)
    except InvalidSignature:
        return False
    return True


class SigningKey:
    """A private key that signs images; `public` verifies what it signs. It has no `repr` of its content."""

    __slots__ = ("_key", "_public")

    def __init__(self, key: _PrivateKey, name: str) -> None:
        der = key.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        self._public = PublicKey(der, name)
        self._key = key

    @property
    def public(self) -> PublicKey:
        """The key that verifies what this one signs."""
        return self._public

    @classmethod
    def read(
        cls, source: StrPath, environ: Mapping[str, str] = NO_ENVIRONMENT, *, password: bytes | None = None
    ) -> SigningKey:
        """Read a private key in PEM from a file, or for `env://NAME` from the variable NAME of `environ`.

        It is in the form PKCS #8 (RFC 5958), in the clear or encrypted with `password`, or in the older forms
        of one algorithm. Raises LocalIOError or InvalidSettings.
        """
        return cls.parse(read_pem(source, environ), os.fspath(source), password=password)

    @classmethod
    def parse(cls, pem: bytes, name: str, *, password: bytes | None = None) -> SigningKey:
        """Parse a private key in PEM; see `read`."""
        label = _label(pem, name)
        if label in _COSIGN_PRIVATE:
            raise InvalidSettings(
                f"{name} is a private key in the encrypted form of cosign, which is not supported",
                hints=(_OWN_KEY,),
            )
        if not label.endswith("PRIVATE KEY"):
            raise InvalidSettings(f"{name} is no private key, which is needed to sign")
        is_encrypted = label.startswith("ENCRYPTED") or b"Proc-Type: 4,ENCRYPTED" in pem
        if is_encrypted and password is None:
            raise InvalidSettings(
                f"{name} is encrypted, and there is no password for it",
                hints=("Give a file with it by --sign-password-file, or set $IMGPKG_SIGN_PASSWORD.",),
            )
        return cls(_private(pem, name, password if is_encrypted else None), name)

    def sign(self, message: bytes, *, of_curve: bool = False) -> bytes:
        """Return a signature that `public` verifies.

        ECDSA takes SHA-256 with each curve, which every release of cosign verifies, or with `of_curve` the
        hash that belongs to the curve.
        """
        key = self._key
        if isinstance(key, ec.EllipticCurvePrivateKey):
            kind = _CURVES[key.curve.name][1] if of_curve else hashes.SHA256
            return key.sign(message, ec.ECDSA(kind()))
        if isinstance(key, rsa.RSAPrivateKey):
            return key.sign(message, padding.PKCS1v15(), hashes.SHA256())
        return key.sign(message)

    def __reduce__(self) -> str:
        raise TypeError("a private key stays in its process")

    def __repr__(self) -> str:
        return f"SigningKey(public={self.public!r})"


def _private(pem: bytes, name: str, password: bytes | None) -> _PrivateKey:
    try:
        key = serialization.load_pem_private_key(pem, password)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        # The text of the library may show parts of the file.
        reason = "or the password is wrong" if password is not None else "or it is damaged"
        raise InvalidSettings(f"{name} is no private key in PEM that can be read, {reason}") from error
    # The kind and the size are checked with those of the public key.
    if not isinstance(key, (ec.EllipticCurvePrivateKey, ed25519.Ed25519PrivateKey, rsa.RSAPrivateKey)):
        raise InvalidSettings(f"{name} is a private key of a kind that signs no images")
    return key


def read_pem(source: StrPath, environ: Mapping[str, str]) -> bytes:
    """Return the content of a file, or of the variable that `env://NAME` names."""
    named = os.fspath(source)
    if named.startswith(VARIABLE):
        text = environ.get(named.removeprefix(VARIABLE), "")
        if not text:
            raise InvalidSettings(f"{named}: the variable is not set")
        return text.encode(errors="surrogateescape")
    with local_io("open", named), open(named, "rb") as file:
        data = file.read(_LARGEST_FILE + 1)
    if len(data) > _LARGEST_FILE:
        raise InvalidSettings(f"{named} has more than {_LARGEST_FILE} bytes, and is no key")
    return data


def _label(pem: bytes, name: str) -> str:
    """Return the label of the only block in `pem` (RFC 7468 section 2)."""
    labels = _LABEL.findall(pem.decode("latin-1"))
    # `openssl ecparam -genkey` writes the parameters of the curve in front of the key.
    labels = [label for label in labels if label != "EC PARAMETERS"]
    if len(labels) != 1:
        found = f"{len(labels)} blocks" if labels else "no block"
        raise InvalidSettings(f"{name} has {found} of PEM, where one key is expected")
    return str(labels[0])

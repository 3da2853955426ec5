"""Identities in the certificates of sigstore: who signed, as which provider of logins says."""

from __future__ import annotations

import os
from collections.abc import Iterable

from imgpkg.dataclass import dataclass
from imgpkg.errors import InvalidSettings
from imgpkg.expression import compiled
from imgpkg.values import StrPath


@dataclass(frozen=True, slots=True)
class SignerIdentity:
    """A signer without a key of its own: `identity` is the subject of the certificate, an e-mail or URI.

    `issuer` is the URL of the provider that the subject logged in at. Each of them is a text, or with
    `is_identity_pattern` or `is_issuer_pattern` a regular expression of Python for the whole text.
    `trusted_root` is the file with the authorities and logs of sigstore, `trusted_root.json`. Raises
    InvalidSettings for an empty field and for an invalid expression.
    """

    identity: str
    issuer: str
    trusted_root: StrPath
    is_identity_pattern: bool = False
    is_issuer_pattern: bool = False

    def __post_init__(self) -> None:
        for name, text, is_pattern in (
            ("identity", self.identity, self.is_identity_pattern),
            ("issuer", self.issuer, self.is_issuer_pattern),
        ):
            if not text:
                raise InvalidSettings(f"an identity of a certificate needs its {name}")
            if is_pattern:
                _check_expression(name, text)
        if not os.fspath(self.trusted_root):
            raise InvalidSettings("an identity of a certificate needs the file with the trusted root")

    def accepts(self, identities: Iterable[str], issuer: str) -> bool:
        """Return whether the `issuer` and one of the `identities` of a certificate are those meant."""
        return _fits(self.issuer, issuer, self.is_issuer_pattern) and any(
            _fits(self.identity, identity, self.is_identity_pattern) for identity in identities
        )

    def __str__(self) -> str:
        return f"{self.identity} of {self.issuer}"


def _check_expression(name: str, text: str) -> None:
    try:
        compiled(text)
    except ValueError as error:
        raise InvalidSettings(f"the {name} {text!r} is no regular expression: {error}") from error


def _fits(wanted: str, found: str, is_pattern: bool) -> bool:
    # The whole text: `example.com` would else match `example.com.attacker.example`.
    return bool(compiled(wanted).fullmatch(found)) if is_pattern else wanted == found

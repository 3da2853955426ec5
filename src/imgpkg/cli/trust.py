"""The flags of signatures: the policy that they make, and the key to sign with."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Literal

from imgpkg.bundle.policy_file import read_policy
from imgpkg.errors import UsageError, local_io
from imgpkg.trust.identity import SignerIdentity
from imgpkg.trust.key import PublicKey, SigningKey
from imgpkg.trust.policy import Policy

if TYPE_CHECKING:
    from imgpkg.cli.arguments import Parsed

PASSWORD = "IMGPKG_SIGN_PASSWORD"  # noqa: S105 - the name of a variable
_LARGEST_PASSWORD = 64 << 10


def policy(flags: Parsed) -> Policy:
    """Return the policy of the flags `--verify-…`; raise UsageError, InvalidSettings or LocalIOError."""
    names = sorted(name for name in flags.given if name.startswith("verify-") or name == "trusted-root")
    empty = next((name for name in names if _is_empty(flags, name)), None)
    # An empty variable in a script must not turn the check off.
    if empty is not None:
        raise UsageError(f"--{empty} is empty; leave it out if nothing is to be verified")
    if "verify-policy" not in names:
        return Policy.signed_by(_keys(flags), _identities(flags))
    if len(names) > 1:
        other = next(name for name in names if name != "verify-policy")
        raise UsageError(f"Expected either --verify-policy or --{other}: a policy names its keys itself")
    return read_policy(flags.text("verify-policy"), environ=os.environ)


def _is_empty(flags: Parsed, name: str) -> bool:
    return not all(flags.texts(name)) if name == "verify-key" else not flags.text(name)


def _keys(flags: Parsed) -> list[PublicKey]:
    keys = (PublicKey.read(source, os.environ) for source in flags.texts("verify-key"))
    # One key in two files is one key.
    return list(dict.fromkeys(keys))


def _identities(flags: Parsed) -> list[SignerIdentity]:
    identity, is_identity_pattern = _either(flags, "verify-identity")
    issuer, is_issuer_pattern = _either(flags, "verify-issuer")
    root = flags.text("trusted-root")
    if not (identity or issuer or root):
        return []
    # As cosign: whoever may name any issuer can name any identity.
    if not (identity and issuer and root):
        raise UsageError(
            "Expected --verify-identity, --verify-issuer and --trusted-root together: an identity is what a "
            "certain issuer has confirmed"
        )
    return [SignerIdentity(identity, issuer, root, is_identity_pattern, is_issuer_pattern)]


def _either(flags: Parsed, name: str) -> tuple[str, bool]:
    plain, pattern = flags.text(name), flags.text(f"{name}-regexp")
    if plain and pattern:
        raise UsageError(f"Expected either --{name} or --{name}-regexp")
    return plain or pattern, bool(pattern)


def signing(flags: Parsed) -> tuple[SigningKey, Literal["tag", "bundle"]]:
    """Return the key of `--sign-key` and the form; raise UsageError, InvalidSettings or LocalIOError."""
    source, form = flags.text("sign-key"), flags.text("sign-format")
    if not source:
        raise UsageError("Expected --sign-key with a private key, to sign the image with")
    if form not in ("tag", "bundle"):
        raise UsageError("--sign-format can only have the following values [tag, bundle]")
    key = SigningKey.read(source, os.environ, password=_password(flags.text("sign-password-file")))
    return key, "bundle" if form == "bundle" else "tag"


def _password(path: str) -> bytes | None:
    if not path:
        text = os.environ.get(PASSWORD)
        return None if text is None else os.fsencode(text)
    with local_io("open", path), open(path, "rb") as file:
        data = file.read(_LARGEST_PASSWORD)
    # As for the passwords of registries: editors and `echo` add a line end.
    return data.removesuffix(b"\n").removesuffix(b"\r")

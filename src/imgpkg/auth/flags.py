"""Credentials from flags, and from the variables that replace flags."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from imgpkg.auth.keychain import ANONYMOUS, Credential, Finding, Outcome
from imgpkg.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from imgpkg.oci.reference import Repository
    from imgpkg.settings import Login

_NAME = "flags"
_TRUE, _FALSE = frozenset({"1", "t", "true"}), frozenset({"0", "f", "false"})


class ExplicitSource:
    """Return the same finding for every registry: a login, a token, or no credential on purpose.

    Raises UsageError when it is made from options that exclude each other, see `validate`.
    """

    name = _NAME

    def __init__(self, login: Login, environ: Mapping[str, str]) -> None:
        # Chosen now and not at a lookup, so that a mistake ends the command before any request.
        self._finding = _choose(login, environ)

    def lookup(self, repository: Repository) -> Finding:  # noqa: ARG002 - flags apply to every registry
        """Return the finding of the flags; see `CredentialSource.lookup`."""
        return self._finding


def validate(login: Login, environ: Mapping[str, str]) -> None:
    """Raise UsageError when flags exclude each other, or a username has no password."""
    _choose(login, environ)


@dataclass(frozen=True, slots=True)
class _Given:
    """A value and its origin; `typed` if it is from a flag that is not empty."""

    value: str = field(repr=False)
    origin: str
    typed: bool


def _given(flag: str, typed: str | None, environ: Mapping[str, str], variable: str) -> _Given:
    if typed is None:
        return _Given(environ.get(variable, ""), f"${variable}", typed=False)
    return _Given(typed, flag, typed=bool(typed))


def _choose(login: Login, environ: Mapping[str, str]) -> Finding:
    username = _given("--registry-username", login.username, environ, "IMGPKG_USERNAME")
    password = _given("--registry-password", login.password, environ, "IMGPKG_PASSWORD")
    token = _given("--registry-token", login.token, environ, "IMGPKG_TOKEN")
    # Flags contradict each other; a flag and a variable do not, because the flag wins.
    _refuse_contradictions(username, token, anonymous=login.anonymous is True)
    if login.anonymous:
        return _anonymous("--registry-anon")
    # A token of a variable gives way to a username, whether from a flag or from a variable.
    if token.value and (token.typed or not username.value):
        return _matched(Credential(registry_token=token.value), token.origin)
    if username.value:
        return _login(username, password)
    if login.anonymous is None and environ.get("IMGPKG_ANON", "").lower() in _TRUE:
        return _anonymous("$IMGPKG_ANON")
    return Finding(_NAME, Outcome.NOT_APPLICABLE, _why_nothing(password, environ))


def _refuse_contradictions(username: _Given, token: _Given, *, anonymous: bool) -> None:
    if username.typed and token.typed:
        raise UsageError("--registry-username and --registry-token exclude each other")
    for other in (username, token):
        if anonymous and other.typed:
            raise UsageError(f"--registry-anon and {other.origin} exclude each other")


def _login(username: _Given, password: _Given) -> Finding:
    # RFC 7617 section 2: the first colon ends the user-id, so the registry would see another user.
    if ":" in username.value:
        raise UsageError(f"{username.origin} must not contain a colon (RFC 7617)")
    if not password.value:
        raise UsageError(
            f"password missing: {username.origin} is given without one; give --registry-password-stdin, "
            "--registry-password or $IMGPKG_PASSWORD as well"
        )
    return _matched(Credential(username.value, password.value), f"{username.origin}, {password.origin}")


def _matched(credential: Credential, origin: str) -> Finding:
    detail = f"gives the {credential.kind} to every registry; the docker config is not consulted"
    return Finding(_NAME, Outcome.MATCHED, detail, origin, credential)


def _anonymous(origin: str) -> Finding:
    detail = "asks for anonymous access; the docker config is not consulted"
    return Finding(_NAME, Outcome.MATCHED, detail, origin, ANONYMOUS)


def _why_nothing(password: _Given, environ: Mapping[str, str]) -> str:
    reasons = ["neither a username nor a token is given, nor anonymous access asked for"]
    if password.value:
        reasons.append(f"{password.origin} counts only with a username")
    if environ.get("IMGPKG_ANON", "false").lower() not in _TRUE | _FALSE | {""}:
        reasons.append("$IMGPKG_ANON is no boolean and counts for nothing")
    return "; ".join(reasons)

"""Accounts and their permissions; open access, or access with a login (RFC 7617)."""

from __future__ import annotations

import base64
import binascii
import hmac
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Protocol

from imgpkg.embedded.message import RequestRefused

if TYPE_CHECKING:
    from collections.abc import Iterable

    from imgpkg.embedded.message import ServerRequest, ServerResponse

EVERYTHING = frozenset({"pull", "push", "delete", "*"})


@dataclass(frozen=True, slots=True)
class Permission:
    """Actions on one resource, such as `repository:team/app:pull,push`: needed by a request, or granted.

    The text is a scope of docker's token authentication specification.
    """

    kind: str
    name: str
    actions: frozenset[str]

    @classmethod
    def parse(cls, text: str) -> Permission | None:
        """Parse one scope; return None if the text is not a scope."""
        kind, colon, rest = text.partition(":")
        # The name may contain a colon, as in `host:5000/app`; the actions cannot.
        name, second, actions = rest.rpartition(":")
        if not colon or not second or not name:
            return None
        return cls(kind, name, frozenset(filter(None, actions.split(","))))

    def covers(self, other: Permission) -> bool:
        """Return whether this allows everything that `other` needs."""
        return (self.kind, self.name) == (other.kind, other.name) and self.actions >= other.actions

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}:{','.join(sorted(self.actions))}"


@dataclass(frozen=True, slots=True)
class Account:
    """A user who may do `actions` in the repositories that match a pattern, where `*` is any text."""

    username: str
    password: str = field(repr=False)
    repositories: str = "*"
    actions: frozenset[str] = EVERYTHING

    def allowed(self, wanted: Permission) -> Permission:
        """Return the part of a permission that this account has; perhaps one without actions."""
        matches = wanted.kind == "repository" and fnmatchcase(wanted.name, self.repositories)
        # The catalog names all repositories: only an account for all of them may read it.
        matches = matches or (wanted.kind == "registry" and self.repositories == "*")
        return Permission(wanted.kind, wanted.name, wanted.actions & self.actions if matches else frozenset())


class AccessController(Protocol):
    """Decides whether a request is allowed, before the registry looks for what it names."""

    def check(self, request: ServerRequest, needs: tuple[Permission, ...]) -> None:
        """Raise RequestRefused unless all `needs` are allowed, with a challenge if a login could help."""
        ...

    def endpoint(self, request: ServerRequest) -> ServerResponse | None:
        """Return the response to a request for an own endpoint, such as a token service; None for others."""
        ...


class OpenAccess:
    """Access without a login: every request is allowed."""

    def check(self, request: ServerRequest, needs: tuple[Permission, ...]) -> None:
        """Allow every request."""

    def endpoint(self, request: ServerRequest) -> ServerResponse | None:
        """Return None: there is no own endpoint."""


class LoginAccess:
    """Access with a user name and password in each request."""

    def __init__(self, accounts: Iterable[Account], *, realm: str = "imgpkg registry") -> None:
        self._accounts = tuple(accounts)
        self._challenge = (("WWW-Authenticate", f'Basic realm="{realm}"'),)

    def check(self, request: ServerRequest, needs: tuple[Permission, ...]) -> None:
        """Raise RequestRefused with 401 without a correct login, with 403 without a needed permission."""
        account = authenticate(self._accounts, request)
        if account is None:
            message = "authentication required"
            raise RequestRefused(
                401, "UNAUTHORIZED", message, detail=access_detail(needs), headers=self._challenge
            )
        lacking = tuple(need for need in needs if not account.allowed(need).covers(need))
        if lacking:
            message = "requested access to the resource is denied"
            raise RequestRefused(403, "DENIED", message, detail=access_detail(lacking))

    def endpoint(self, request: ServerRequest) -> ServerResponse | None:
        """Return None: there is no own endpoint."""


def authenticate(accounts: tuple[Account, ...], request: ServerRequest) -> Account | None:
    """Return the account of the Basic login in the request; None for a wrong one or without one."""
    scheme, _, encoded = request.headers.get("authorization", "").partition(" ")
    # Schemes are compared in any case (RFC 9110 section 11.1).
    if scheme.lower() != "basic":
        return None
    try:
        login = base64.b64decode(encoded.strip(), validate=True)
    except binascii.Error:
        return None
    # Bytes, as RFC 7617 §2.1 leaves the encoding open; a password may contain colons, a user name may not.
    username, _, password = login.partition(b":")
    return find_account(accounts, username, password)


def find_account(accounts: tuple[Account, ...], username: bytes, password: bytes) -> Account | None:
    """Return the account with this login; the time that it takes reveals nothing about the accounts."""
    found = None
    for account in accounts:
        # Both are compared for every account: a shorter way would show which user names exist.
        has_name = hmac.compare_digest(account.username.encode(), username)
        has_password = hmac.compare_digest(account.password.encode(), password)
        if has_name and has_password:
            found = account
    return found


def access_detail(needs: tuple[Permission, ...]) -> object:
    """Return the permissions in the form of docker-registry's error details; None if there are none."""
    return [
        {"Type": need.kind, "Class": "", "Name": need.name, "Action": action}
        for need in needs
        for action in sorted(need.actions)
    ] or None

"""Who may do what: accounts, scopes, and a registry that asks for a login (RFC 7617)."""

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
    """What a request needs, or a token allows: `repository:team/app:pull,push`."""

    kind: str
    name: str
    actions: frozenset[str]

    @classmethod
    def parse(cls, text: str) -> Permission | None:
        """Read one scope of the token protocol; None for what is none."""
        kind, colon, rest = text.partition(":")
        name, second, actions = rest.rpartition(":")
        if not colon or not second or not name:
            return None
        return cls(kind, name, frozenset(filter(None, actions.split(","))))

    def covers(self, other: Permission) -> bool:
        """Tell whether everything that `other` needs is allowed by this."""
        return (self.kind, self.name) == (other.kind, other.name) and self.actions >= other.actions

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}:{','.join(sorted(self.actions))}"


@dataclass(frozen=True, slots=True)
class Account:
    """Somebody who may do `actions` in the repositories that match the pattern, `*` for any text."""

    username: str
    password: str = field(repr=False)
    repositories: str = "*"
    actions: frozenset[str] = EVERYTHING

    def allowed(self, scope: Permission) -> Permission:
        """Return the part of `scope` that this account has."""
        matches = scope.kind == "repository" and fnmatchcase(scope.name, self.repositories)
        matches = matches or (scope.kind == "registry" and self.repositories == "*")
        return Permission(scope.kind, scope.name, scope.actions & self.actions if matches else frozenset())


class AccessController(Protocol):
    """Decides about requests before anything else looks at them."""

    def check(self, request: ServerRequest, needs: tuple[Permission, ...]) -> None:
        """Raise RequestRefused, with a challenge where one can help, unless all `needs` are allowed."""
        ...

    def endpoint(self, request: ServerRequest) -> ServerResponse | None:
        """Answer a request to an endpoint of its own, such as a token service's; None for all others."""
        ...


class OpenAccess:
    """Everybody may do everything."""

    def check(self, request: ServerRequest, needs: tuple[Permission, ...]) -> None:
        """Let every request pass."""

    def endpoint(self, request: ServerRequest) -> ServerResponse | None:
        """Have no endpoint."""


class LoginAccess:
    """A user name and password with each request."""

    def __init__(self, accounts: Iterable[Account], *, realm: str = "imgpkg registry") -> None:
        self._accounts = tuple(accounts)
        self._challenge = (("WWW-Authenticate", f'Basic realm="{realm}"'),)

    def check(self, request: ServerRequest, needs: tuple[Permission, ...]) -> None:
        """Refuse with 401 who is not known, and with 403 who may not."""
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
        """Have no endpoint."""


def authenticate(accounts: tuple[Account, ...], request: ServerRequest) -> Account | None:
    """Return the account whose Basic login came with the request; None for a wrong one and for none."""
    scheme, _, encoded = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        login = base64.b64decode(encoded.strip(), validate=True)
    except binascii.Error:
        return None
    username, _, password = login.partition(b":")
    return find_account(accounts, username, password)


def find_account(accounts: tuple[Account, ...], username: bytes, password: bytes) -> Account | None:
    """Return the account with this login, in a time that tells nothing about how wrong it is."""
    found = None
    for account in accounts:
        has_name = hmac.compare_digest(account.username.encode(), username)
        has_password = hmac.compare_digest(account.password.encode(), password)
        if has_name and has_password:
            found = account
    return found


def access_detail(needs: tuple[Permission, ...]) -> object:
    """Say what was needed as docker-registry does in the detail of an error; None for nothing."""
    return [
        {"Type": need.kind, "Class": "", "Name": need.name, "Action": action}
        for need in needs
        for action in sorted(need.actions)
    ] or None

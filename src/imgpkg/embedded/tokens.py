"""A token service inside the registry (docker's token authentication specification, RFC 6749, RFC 6750).

A token is a payload and its HMAC. The key exists only in this process, so that no token outlives it.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import json
import re
import secrets
import threading
import time
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

from imgpkg.embedded.access import Account, Permission, access_detail, authenticate, find_account
from imgpkg.embedded.message import RequestRefused, ServerResponse, json_response

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from imgpkg.embedded.message import ServerRequest

PATH = "/token"
SERVICE = "imgpkg-registry"
_MAX_FORM = 64 << 10
_REFRESH_LIFETIME = 90 * 24 * 3600
_HOST = re.compile(r"[A-Za-z0-9._-]+(:[0-9]+)?|\[[0-9A-Fa-f:.]+\](:[0-9]+)?")
_PULL = frozenset({"pull"})


@dataclass(frozen=True, slots=True)
class _TokenContent:
    """The content of a token; `serial` counts the refresh tokens of one family."""

    username: str
    expires: float
    scopes: tuple[Permission, ...] = ()
    family: str = ""
    serial: int = 0


class TokenAccess:
    """Access with bearer tokens for those requested permissions that are allowed; `lifetime` in seconds.

    With `anonymous_pull` a client without a login receives tokens to pull, otherwise none. Without
    `offers_post` the service answers POST with 405, as older ones do. With `rotates` a refresh token can be
    used once; a second use ends all refresh tokens of its family.
    """

    def __init__(
        self,
        accounts: Iterable[Account],
        *,
        lifetime: int = 300,
        anonymous_pull: bool = False,
        offers_post: bool = True,
        rotates: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._accounts = tuple(accounts)
        self._lifetime = lifetime
        self._anonymous_pull = anonymous_pull
        self._offers_post = offers_post
        self._rotates = rotates
        self._clock = clock
        # New in each process: tokens end with the registry.
        self._key = secrets.token_bytes(32)
        self._serials: dict[str, int] = {}
        self._lock = threading.Lock()

    def check(self, request: ServerRequest, needs: tuple[Permission, ...]) -> None:
        """Raise RequestRefused with 401 and a challenge unless the token has all permissions in `needs`."""
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            raise _challenge(request, needs, error="")
        content = self._read("access", token.strip())
        if content is None:
            raise _challenge(request, needs, error="invalid_token")
        if not all(any(scope.covers(need) for scope in content.scopes) for need in needs):
            raise _challenge(request, needs, error="insufficient_scope")

    def endpoint(self, request: ServerRequest) -> ServerResponse | None:
        """Issue tokens: GET with or without a login, POST with a password or a refresh token."""
        if request.path != PATH:
            return None
        if request.method == "GET":
            return self._get(request)
        if request.method == "POST" and self._offers_post:
            return self._post(request)
        raise RequestRefused(405, "UNSUPPORTED", "the token service does not know this method")

    def issue(self, username: str, scopes: Iterable[Permission]) -> str:
        """Return a new access token for these scopes, whether the user has them or not."""
        return self._sign("access", _TokenContent(username, self._clock() + self._lifetime, tuple(scopes)))

    def issue_refresh(self, username: str) -> str:
        """Return the first refresh token of a new family."""
        family = secrets.token_hex(8)
        with self._lock:
            self._serials[family] = 0
        return self._sign("refresh", _TokenContent(username, self._clock() + _REFRESH_LIFETIME, (), family))

    def _get(self, request: ServerRequest) -> ServerResponse:
        scopes = [value for name, value in request.query if name == "scope"]
        if "authorization" not in request.headers:
            # Anonymous tokens are how public images are pulled.
            return self._reply(None, scopes)
        account = authenticate(self._accounts, request)
        if account is None:
            raise _unauthorized()
        wants_refresh = request.parameter("offline_token") == "true"
        return self._reply(account, scopes, self.issue_refresh(account.username) if wants_refresh else "")

    def _post(self, request: ServerRequest) -> ServerResponse:
        form = parse_qs(request.read_all(_MAX_FORM).decode("utf-8", "replace"))
        first = {name: values[0] for name, values in form.items()}
        scopes = form.get("scope", [])
        # The OAuth 2 form of the token service of docker; GET is the older one.
        if first.get("grant_type") == "refresh_token":
            account, refresh = self._refreshed(first.get("refresh_token", ""))
            return self._reply(account, scopes, refresh)
        if first.get("grant_type") != "password":
            raise RequestRefused(400, "UNSUPPORTED", "grant_type must be password or refresh_token")
        login = (first.get("username", "").encode(), first.get("password", "").encode())
        known = find_account(self._accounts, *login)
        if known is None:
            raise _unauthorized()
        is_offline = first.get("access_type") == "offline"
        return self._reply(known, scopes, self.issue_refresh(known.username) if is_offline else "")

    def _refreshed(self, token: str) -> tuple[Account, str]:
        content = self._read("refresh", token)
        name = content.username if content is not None else None
        account = next((known for known in self._accounts if known.username == name), None)
        if content is None or account is None or not self._use(content):
            raise _unauthorized()
        if not self._rotates:
            return account, token
        following = _TokenContent(content.username, content.expires, (), content.family, content.serial + 1)
        return account, self._sign("refresh", following)

    def _use(self, content: _TokenContent) -> bool:
        if not self._rotates:
            return True
        # A refresh token that is used twice was stolen, before or after the first use (RFC 6749 §10.4).
        with self._lock:
            if self._serials.get(content.family) != content.serial:
                self._serials.pop(content.family, None)
                return False
            self._serials[content.family] = content.serial + 1
            return True

    def _reply(self, account: Account | None, scopes: Iterable[str], refresh: str = "") -> ServerResponse:
        if account is None and not self._anonymous_pull:
            raise _unauthorized()
        asked = [scope for text in " ".join(scopes).split() if (scope := Permission.parse(text)) is not None]
        granted = tuple(self._allowed(account, scope) for scope in asked)
        token = self.issue(account.username if account is not None else "", granted)
        # Clients read either name: `token` is older, `access_token` is that of OAuth 2.0.
        document: dict[str, object] = {
            "token": token,
            "access_token": token,
            "expires_in": self._lifetime,
            "issued_at": datetime.fromtimestamp(self._clock(), timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
        }
        if refresh:
            document["refresh_token"] = refresh
        return json_response(document, headers=(("Cache-Control", "no-store"),))

    def _allowed(self, account: Account | None, scope: Permission) -> Permission:
        if account is not None:
            return account.allowed(scope)
        # The catalog is never public.
        is_public = scope.kind == "repository"
        return Permission(scope.kind, scope.name, scope.actions & _PULL if is_public else frozenset())

    def _sign(self, kind: str, content: _TokenContent) -> str:
        scopes = [str(scope) for scope in content.scopes]
        fields = [
            kind,
            content.username,
            content.expires,
            scopes,
            content.family,
            content.serial,
            # Two tokens for the same are different texts.
            secrets.token_hex(4),
        ]
        payload = json.dumps(fields, separators=(",", ":")).encode()
        return f"{_encode(payload)}.{_encode(self._mac(payload))}"

    def _read(self, kind: str, token: str) -> _TokenContent | None:
        encoded, _, mac = token.partition(".")
        try:
            payload, received = _decode(encoded), _decode(mac)
        except (binascii.Error, ValueError):
            return None
        # The payload is parsed only if this process has signed it.
        if not hmac.compare_digest(self._mac(payload), received):
            return None
        what, username, expires, scopes, family, serial, _ = json.loads(payload)
        if what != kind or expires <= self._clock():
            return None
        parsed = tuple(scope for text in scopes if (scope := Permission.parse(text)) is not None)
        return _TokenContent(username, expires, parsed, family, serial)

    def _mac(self, payload: bytes) -> bytes:
        return hmac.digest(self._key, payload, "sha256")


def _challenge(request: ServerRequest, needs: tuple[Permission, ...], *, error: str) -> RequestRefused:
    # The realm is the address that the client used; a Host header with a quote could add parameters to it.
    host = request.headers.get("host", "")
    realm = f"{request.scheme}://{host if _HOST.fullmatch(host) else 'localhost'}{PATH}"
    parameters = [("realm", realm), ("service", SERVICE)]
    if needs:
        parameters.append(("scope", " ".join(map(str, needs))))
    if error:
        parameters.append(("error", error))
    value = "Bearer " + ",".join(f'{name}="{value}"' for name, value in parameters)
    headers = (("WWW-Authenticate", value),)
    return RequestRefused(
        401, "UNAUTHORIZED", "authentication required", detail=access_detail(needs), headers=headers
    )


def _unauthorized() -> RequestRefused:
    challenge = (("WWW-Authenticate", f'Basic realm="{SERVICE}"'),)
    # The same for an unknown user and a wrong password.
    return RequestRefused(401, "UNAUTHORIZED", "incorrect username or password", headers=challenge)


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)

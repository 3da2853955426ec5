"""The exchange of an Azure token for a registry's refresh token, over our own transport."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from imgpkg.auth.web_token import claims_of
from imgpkg.errors import CredentialError, TransportError
from imgpkg.transport.message import Request, bytes_body, read_at_most

if TYPE_CHECKING:
    from collections.abc import Callable

    from imgpkg.transport.message import Transport

ATTEMPTS = 3
LIFETIME = 3600.0

_OK, _REFUSED, _TEMPORARY = 200, (401, 403), (408, 429, 500, 502, 503, 504)
_LARGEST_ANSWER = 1 << 20


class Refused(CredentialError):
    """The registry does not take this token; it may take one for another audience."""


@dataclass(frozen=True, slots=True)
class RefreshToken:
    """A registry's refresh token and the Unix time of its end."""

    token: str = field(repr=False)
    expires_at: float


def exchange(
    transport: Transport,
    registry: str,
    access_token: str,
    tenant: str,
    *,
    sleep: Callable[[float], None],
    now: float,
) -> RefreshToken:
    """Post the token to `https://REGISTRY/oauth2/exchange`; nowhere else, and no redirect is followed.

    What may pass is tried three times. Raises Refused for 401 and 403, CredentialError for any other failure.
    """
    request = _request(registry, access_token, tenant)
    for attempt in range(1, ATTEMPTS):
        try:
            status, body = _send(transport, request)
        except TransportError:
            status, body = _TEMPORARY[0], b""
        if status not in _TEMPORARY:
            return _understand(request.url, status, body, now)
        sleep(float(attempt))
    try:
        return _understand(request.url, *_send(transport, request), now)
    except TransportError as error:
        raise CredentialError(str(error)) from error


def exchange_url(registry: str) -> str:
    """Say where a registry exchanges tokens."""
    return f"https://{registry}/oauth2/exchange"


def _request(registry: str, access_token: str, tenant: str) -> Request:
    form = {"grant_type": "access_token", "service": registry, "access_token": access_token}
    if tenant:
        form["tenant"] = tenant
    return Request(
        "POST",
        exchange_url(registry),
        {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"},
        bytes_body(urlencode(form).encode(), secret=True),
        secret=True,
    )


def _send(transport: Transport, request: Request) -> tuple[int, bytes]:
    with transport.send(request) as response:
        return response.status, read_at_most(response, _LARGEST_ANSWER)


def _understand(url: str, status: int, body: bytes, now: float) -> RefreshToken:
    if status in _REFUSED:
        raise Refused(f"POST {url}: the registry refused the token: status {status}")
    if status != _OK:
        raise CredentialError(f"POST {url}: unexpected status {status}")
    try:
        token = json.loads(body)["refresh_token"]
    except (ValueError, LookupError, TypeError, RecursionError):
        token = None
    if not isinstance(token, str) or not token:
        # Outside of the handler, and without the body: it may hold a secret.
        raise CredentialError(f"POST {url}: no refresh token in the answer")
    ends_at = claims_of(token).ends_at
    return RefreshToken(token, now + LIFETIME if ends_at is None else ends_at)

"""The hints of a 401 or 403: which credential was used, why, and for which scopes."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import TYPE_CHECKING

from imgpkg.auth.keychain import claims_of
from imgpkg.errors import ChallengeError
from imgpkg.registry.auth.challenge import choose
from imgpkg.registry.endpoint import check_realm
from imgpkg.transport.message import Origin, redact_url

if TYPE_CHECKING:
    from collections.abc import Iterator

    from imgpkg.auth.keychain import Credential, Decision
    from imgpkg.registry.auth.challenge import Scope
    from imgpkg.registry.endpoint import Endpoint

_FLAGS = "flags"


def hints_for(
    decision: Decision, scopes: tuple[Scope, ...], endpoint: Endpoint, now: float
) -> tuple[str, ...]:
    """Return the hints of a 401 or 403, the most useful first, without any secret.

    `now` is the Unix time in seconds.
    """
    return tuple(_sentences(decision, scopes, endpoint, now))


def _sentences(
    decision: Decision, scopes: tuple[Scope, ...], endpoint: Endpoint, now: float
) -> Iterator[str]:
    yield decision.summary()
    yield from _token_claims(decision.credential, now)
    for finding in decision.trail:
        yield f"{finding.source}: {finding.outcome.value}: {finding.detail}"
    challenge = choose(endpoint.challenges or (), decision.credential)
    if challenge is not None and challenge.scheme == "bearer":
        yield f"requested scope: {' '.join(map(str, scopes))}"
        yield from _token_service(challenge.realm, endpoint)
    if decision.winner is None:
        yield (
            f"To log in: docker login {endpoint.name}, or set IMGPKG_REGISTRY_HOSTNAME_0={endpoint.name} "
            "with IMGPKG_REGISTRY_USERNAME_0 and IMGPKG_REGISTRY_PASSWORD_0."
        )
    # Flags are the most common reason for a credential at the wrong registry.
    elif decision.winner.source == _FLAGS and not decision.credential.is_anonymous:
        yield (
            "Credentials given by flags go to every registry. Sets of IMGPKG_REGISTRY_HOSTNAME_0, "
            "IMGPKG_REGISTRY_USERNAME_0 and IMGPKG_REGISTRY_PASSWORD_0 are for one registry each; a set with "
            "only the hostname makes that registry anonymous."
        )


def _token_claims(credential: Credential, now: float) -> Iterator[str]:
    """Yield who issued a JSON Web Token, and when it ends or has ended."""
    # Many registry tokens are JSON Web Tokens; their claims are read, their signature is not checked.
    claims = claims_of(credential.registry_token or credential.identity_token)
    by = f", issued by {claims.issuer}," if claims.issuer else ""
    try:
        end = None if claims.ends_at is None else datetime.fromtimestamp(claims.ends_at, timezone.utc)
    # A time that no calendar has; the token is not ours to validate.
    except (ValueError, OverflowError, OSError):
        end = None
    if end is not None:
        verb = "ends" if end.timestamp() > now else "ended"
        yield f"the {credential.kind}{by} {verb} at {end:%Y-%m-%d %H:%M:%S} UTC"
    elif by:
        yield f"the {credential.kind} is issued by {claims.issuer}"


def _token_service(realm: str, endpoint: Endpoint) -> Iterator[str]:
    """Yield the URL of the token service when it is on another host than the registry."""
    try:
        url = check_realm(realm, endpoint.origin)
    except ChallengeError:
        return
    if Origin.of(url).host != endpoint.origin.host:
        yield f"{endpoint.name} sends its clients to the token service {redact_url(url)}"

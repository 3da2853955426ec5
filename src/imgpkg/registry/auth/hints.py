"""What follows the first sentence of a 401 or 403: the remedy, the trail of the credential, near misses."""

from __future__ import annotations

from typing import TYPE_CHECKING

from imgpkg.auth.keychain import Outcome, claims_of
from imgpkg.errors import ChallengeError, NotFound
from imgpkg.errors.details import RefusalKind
from imgpkg.registry.auth.challenge import UnusableCredential, choose
from imgpkg.registry.auth.refusal import FLAGS, date_of, refusal_of, unusable_here
from imgpkg.registry.endpoint import check_realm
from imgpkg.transport.message import Origin, redact_url

if TYPE_CHECKING:
    from collections.abc import Iterator

    from imgpkg.auth.keychain import Finding
    from imgpkg.errors import ImgpkgError
    from imgpkg.errors.details import Refusal
    from imgpkg.registry.auth.refusal import Case, Evidence
    from imgpkg.registry.endpoint import Endpoint


def explain(error: ImgpkgError, case: Case, evidence: Evidence | None, *, has_several: bool = False) -> None:
    """Set the refusal of `error`, and put the remedy before its hints and the trail after them.

    Without `evidence` a refusal is kept as it is. `has_several` is True where this session has to do with
    several registries, to all of which flags give their credential.
    """
    refusal = error.refusal
    if evidence is not None:
        refusal = refusal_of(case, evidence)
    elif isinstance(error, UnusableCredential):
        refusal = unusable_here(case)
    error.refusal, error.trail = refusal, case.decision.answers
    if isinstance(error, NotFound):
        error.hints = (*error.hints, *_if_private(refusal))
        return
    remedy = (refusal.remedy,) if refusal else ()
    error.hints = (*remedy, *error.hints, *_trail(case, refusal, has_several=has_several))


def _if_private(refusal: Refusal | None) -> Iterator[str]:
    # Registries answer 404 for private repositories to clients without access.
    if refusal is not None:
        yield f"If the repository is private: {refusal.sentence}. {refusal.remedy}"


def _trail(case: Case, refusal: Refusal | None, *, has_several: bool) -> Iterator[str]:
    winner, credential = case.decision.winner, case.credential
    if refusal is None or not credential.is_anonymous:
        yield case.decision.summary()
    if refusal is None or refusal.kind is not RefusalKind.ENDED:
        yield from _token_claims(case)
    for finding in case.decision.trail:
        if winner is None or _is_listed(finding):
            yield f"{finding.source}: {finding.outcome.value}: {finding.detail}"
    yield from _asked(case)
    shown = refusal.remedy if refusal else ""
    yield from (str(miss) for miss in case.near_misses if str(miss) != shown)
    if winner is None:
        # The last word is the command or setting itself.
        yield from (remedy for remedy in case.remedies if remedy.rpartition(" ")[2] not in shown)
    # Flags are the most common reason for a credential at the wrong registry.
    if has_several and winner is not None and winner.source == FLAGS and not credential.is_anonymous:
        yield (
            "Credentials given by flags go to every registry. Sets of IMGPKG_REGISTRY_HOSTNAME_0, "
            "IMGPKG_REGISTRY_USERNAME_0 and IMGPKG_REGISTRY_PASSWORD_0 are for one registry each; a set with "
            "only the hostname makes that registry anonymous."
        )


def _is_listed(finding: Finding) -> bool:
    """Return True for the findings to list beside a credential: its source, and those that failed before."""
    return finding.outcome in (Outcome.MATCHED, Outcome.FAILED)


def _token_claims(case: Case) -> Iterator[str]:
    """Yield who issued a JSON web token, and when it ends or has ended."""
    credential = case.credential
    # Many registry tokens are JSON web tokens; their claims are read, their signature is not checked.
    claims = claims_of(credential.registry_token or credential.identity_token)
    by = f", issued by {claims.issuer}," if claims.issuer else ""
    end = date_of(claims.ends_at)
    if end and claims.ends_at is not None:
        verb = "ends" if claims.ends_at > case.now else "ended"
        yield f"the {credential.kind}{by} {verb} at {end}"
    elif by:
        yield f"the {credential.kind} is issued by {claims.issuer}"


def _asked(case: Case) -> Iterator[str]:
    """Yield the scope that was requested, and the URL of a token service on another host."""
    challenge = choose(case.endpoint.challenges or (), case.credential)
    if challenge is not None and challenge.scheme == "bearer":
        yield f"requested scope: {' '.join(map(str, case.scopes))}"
        yield from _token_service(challenge.realm, case.endpoint)


def _token_service(realm: str, endpoint: Endpoint) -> Iterator[str]:
    try:
        url = check_realm(realm, endpoint.origin)
    except ChallengeError:
        return
    if Origin.of(url).host != endpoint.origin.host:
        yield f"{endpoint.name} sends its clients to the token service {redact_url(url)}"

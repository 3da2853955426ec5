"""The JSON forms of decisions, checks, logins and tokens; only the last have a secret in them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from imgpkg.auth.keychain import format_time

if TYPE_CHECKING:
    from imgpkg.auth.inventory import KnownLogin
    from imgpkg.auth.keychain import Decision
    from imgpkg.operations.check import AccessReport, Step
    from imgpkg.operations.login import IssuedToken, RemovedLogin, StoredLogin
    from imgpkg.registry.probe import Grant, Surroundings


def decided(decision: Decision) -> dict[str, object]:
    """Return the form of a decision: the credential without its secret, and the result of each source."""
    winner, credential = decision.winner, decision.credential
    anonymity = decision.anonymity
    return {
        "repository": str(decision.repository),
        "registry": decision.repository.registry,
        "wholeRegistry": str(decision.repository) == decision.repository.registry,
        "credential": {
            "kind": credential.kind,
            "username": credential.username or None,
            "expiresAt": credential.expires_at,
        },
        "anonymous": anonymity.value if anonymity else None,
        "source": winner.source if winner else None,
        "origin": winner.origin if winner else None,
        "trail": [
            {"source": finding.source, "outcome": finding.outcome.value, "detail": finding.detail}
            for finding in decision.trail
        ],
    }


def checked(report: AccessReport) -> dict[str, object]:
    """Return the form of the check of one reference."""
    return {
        "reference": report.reference,
        "registry": report.repository.registry,
        "repository": None if report.is_registry else str(report.repository),
        "push": report.push,
        "ok": report.is_ok,
        "steps": [_step(step) for step in report.steps],
        "credential": None if report.decision is None else decided(report.decision),
        "tokens": [_grant(grant) for grant in report.grants],
        **_surroundings(report.surroundings),
    }


def _step(step: Step) -> dict[str, object]:
    return {
        "name": step.name,
        "result": step.mark.value,
        "text": step.text,
        "remedy": step.remedy or None,
    }


def _grant(grant: Grant) -> dict[str, object]:
    return {
        "asked": list(grant.asked),
        "granted": None if grant.granted is None else list(grant.granted),
        "missing": sorted(grant.missing),
        "opaque": grant.is_opaque,
        "issuer": grant.issuer or None,
        "expiresAt": format_time(grant.ends_at),
    }


def _surroundings(known: Surroundings) -> dict[str, object]:
    tls = known.tls
    certificate = tls.certificate if tls is not None else None
    return {
        "url": known.url or None,
        "tls": tls
        and {
            "version": tls.version,
            "trust": tls.trust.value,
            "certificate": certificate
            and {
                "subject": certificate.subject,
                "issuer": certificate.issuer,
                "names": list(certificate.names),
                "notBefore": format_time(certificate.starts_at),
                "notAfter": format_time(certificate.ends_at),
            },
        },
        "clockSkewSeconds": None if known.clock_skew is None else round(known.clock_skew),
        "challenges": list(known.challenges),
        "tokenService": known.service or None,
    }


def known(login: KnownLogin) -> dict[str, object]:
    """Return the form of a login that a source has, without its secret."""
    return {
        "registry": login.registry,
        "username": login.username or None,
        "kind": login.kind,
        "source": login.source,
        "origin": login.origin,
    }


def stored(login: StoredLogin) -> dict[str, object]:
    """Return the form of a login that was stored."""
    return {
        "registry": login.registry,
        "username": login.username or None,
        "file": login.file,
        "key": login.key,
        "helper": login.helper or None,
        "checked": login.is_checked,
        "warnings": list(login.warnings),
    }


def removed(login: RemovedLogin) -> dict[str, object]:
    """Return the form of a login that was removed."""
    return {
        "registry": login.registry,
        "file": login.file,
        "removedKeys": list(login.keys),
        "helper": login.helper or None,
        "left": list(login.left),
    }


def issued(token: IssuedToken) -> dict[str, object]:
    """Return the form of a token, with the token itself."""
    return {
        "repository": str(token.repository),
        "token": token.value,
        "service": token.service or None,
        "scopes": list(token.scopes),
        "granted": None if token.granted is None else list(token.granted),
        "expiresAt": None if token.ends_at is None else format_time(token.ends_at),
    }

"""Which of several challenges to answer, given what there is to answer with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from imgpkg.errors import ChallengeError
from imgpkg.registry.scope import Scope, merge, parse_scopes

if TYPE_CHECKING:
    from collections.abc import Iterable

    from imgpkg.auth.credential import Credential
    from imgpkg.registry.challenge import Challenge

_SUPPORTED = frozenset({"basic", "bearer"})


def choose(challenges: tuple[Challenge, ...], credential: Credential) -> Challenge | None:
    """Return the challenge to answer, None when none is of a scheme spoken here.

    A Bearer challenge without a realm counts last. Without a login, or with an identity token, Bearer comes
    before Basic; otherwise the first is taken.
    """
    supported = [challenge for challenge in challenges if challenge.scheme in _SUPPORTED]
    whole = [challenge for challenge in supported if challenge.can_be_answered]
    bearers = [challenge for challenge in whole if challenge.scheme == "bearer"]
    if bearers and (credential.identity_token or not credential.has_login):
        return bearers[0]
    return next(iter(whole or supported), None)


def must_choose(challenges: tuple[Challenge, ...], credential: Credential) -> Challenge:
    """Choose; raise ChallengeError when nothing can be answered, or not with this credential."""
    challenge = choose(challenges, credential)
    if challenge is None:
        schemes = ", ".join(sorted({challenge.scheme for challenge in challenges}))
        raise ChallengeError(f"unsupported challenge {schemes.title()}")
    if challenge.scheme == "basic" and credential.identity_token and not credential.has_login:
        raise ChallengeError(
            "the registry asks for a login (Basic), but the credential found holds only an identity token, "
            "which needs a token service"
        )
    if challenge.scheme == "bearer" and not challenge.realm:
        shown = " ".join(f"{name}:{value}" for name, value in sorted(challenge.parameters.items()))
        raise ChallengeError(f"malformed www-authenticate, missing realm: map[{shown}]")
    return challenge


def has_answer(challenges: tuple[Challenge, ...], credential: Credential, *, is_open: bool) -> bool:
    """Tell whether the credential can be shown; `is_open` is a registry that may hide what wants a login."""
    challenge = choose(challenges, credential)
    if challenge is None or challenge.scheme == "basic":
        return credential.has_login and (challenge is not None or is_open)
    return bool(challenge.realm)


def named_scopes(challenges: Iterable[Challenge]) -> tuple[Scope, ...]:
    """Return the scopes that the Bearer challenges name, merged."""
    bearers = (challenge for challenge in challenges if challenge.scheme == "bearer")
    return merge(scope for challenge in bearers for scope in parse_scopes(challenge.scope))


def is_insufficient(challenges: Iterable[Challenge]) -> bool:
    """Tell whether the token shown was good but for too little (RFC 6750 section 3.1)."""
    return any(challenge.error == "insufficient_scope" for challenge in challenges)

"""Get a bearer token for a program that speaks to a registry by itself, such as curl."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from imgpkg.errors import UsageError
from imgpkg.oci.reference import Repository, parse_any
from imgpkg.registry.auth.challenge import Access, Scope, merge, parse_scopes
from imgpkg.session import Session


@dataclass(frozen=True, slots=True)
class IssuedToken:
    """A bearer token for `repository`; `ends_at` is a Unix time in seconds, None if it is unknown.

    `scopes` were asked for; `granted` are those that the token names, None when the token does not tell.
    """

    repository: Repository
    value: str = field(repr=False)
    ends_at: float | None = None
    service: str = ""
    scopes: tuple[str, ...] = ()
    granted: tuple[str, ...] | None = None


def get_token(reference: str, *, session: Session, scopes: Iterable[str] = ()) -> IssuedToken:
    """Return a token with which the repository of `reference` can be pulled, or one for `scopes`.

    A scope is `repository:NAME:pull,push` or any other text that the token service knows; several may stand
    in one text, separated by blanks. Raises InvalidReference, UsageError for a scope that is no text,
    ChallengeError for a registry that takes no tokens, Unauthorized, and all other errors of a request.
    """
    repository = parse_any(reference).repository
    given = tuple(scopes)
    if any(not scope.split() for scope in given):
        raise UsageError("a scope is empty; write it as repository:NAME:pull")
    wanted: tuple[Scope, ...] = merge(scope for text in given for scope in parse_scopes(text))
    access = Access(repository, wanted) if wanted else Access.read(repository)
    token = session.client.token(access)
    return IssuedToken(
        repository,
        token.value,
        token.ends_at,
        token.service,
        tuple(map(str, token.scopes)),
        None if token.granted is None else tuple(map(str, token.granted)),
    )

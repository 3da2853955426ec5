"""WWW-Authenticate headers (RFC 9110 section 11): challenges, the one to answer, and its scopes."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from imgpkg.dataclass import dataclass, field
from imgpkg.errors import ChallengeError
from imgpkg.expression import expression

if TYPE_CHECKING:
    import re
    from collections.abc import Iterable, Iterator, Mapping

    from imgpkg.auth.keychain import Credential
    from imgpkg.oci.reference import Repository

_TOKEN = expression(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_BLANKS_AND_COMMAS = expression(r"[ \t,]*")
_EQUALS = expression(r"[ \t]*=[ \t]*")
_TOKEN68 = expression(r"[ \t]+([A-Za-z0-9._~+/-]+=*)[ \t]*(?=,|$)")
# The closing quote may be missing at the end of the line.
_QUOTED = expression(r'"((?:[^"\\]|\\.)*)(?:"|\\?$)')
_UNQUOTED = expression(r"[^ \t,]*")
_ESCAPED = expression(r"\\(.)")
_LONGEST_LINE = 64 << 10
# `Basic realm=` would otherwise be read as a scheme with the token68 "realm=".
_WITHOUT_TOKEN68 = frozenset({"basic", "bearer"})

_NONE: Mapping[str, str] = MappingProxyType({})
_SUPPORTED = frozenset({"basic", "bearer"})
_ANY = "*"


@dataclass(frozen=True, slots=True)
class Challenge:
    """One challenge of a server; `scheme` and the names of the parameters are in lower case."""

    scheme: str
    parameters: Mapping[str, str] = field(default_factory=lambda: _NONE)
    token68: str = ""

    @property
    def realm(self) -> str:
        """The realm: for Bearer the URL of the token service; empty when there is none."""
        return self.parameters.get("realm", "")

    @property
    def service(self) -> str:
        """The service that a token is for; empty when there is none."""
        return self.parameters.get("service", "")

    @property
    def scope(self) -> str:
        """The scopes that the server requires, separated by blanks; empty when it names none."""
        return self.parameters.get("scope", "")

    @property
    def can_be_answered(self) -> bool:
        """True for Basic, and for Bearer with a realm: the two schemes that are supported."""
        return self.scheme == "basic" or (self.scheme == "bearer" and bool(self.realm))

    @property
    def error(self) -> str:
        """Why the token that was sent is not enough, such as `insufficient_scope` (RFC 6750 section 3.1)."""
        return self.parameters.get("error", "")


def parse_challenges(lines: Iterable[str]) -> tuple[Challenge, ...]:
    """Parse every challenge of every WWW-Authenticate line, in order; no text is an error.

    A line may hold several challenges. Blanks around `=`, empty values, backslash escapes, unquoted values
    up to a blank or comma, and missing commas are accepted; of a repeated parameter the first counts. A line
    of more than 64 KiB is skipped.
    """
    short = (line for line in lines if len(line) <= _LONGEST_LINE)
    return tuple(challenge for line in short for challenge in _parse_line(line))


def _parse_line(line: str) -> Iterator[Challenge]:
    scheme, token68, position = "", "", 0
    parameters: dict[str, str] = {}
    while position < len(line):
        position = _end(_BLANKS_AND_COMMAS, line, position)
        name = _TOKEN.match(line, position)
        if name is None:
            position = _skip_junk(line, position)
            continue
        position = name.end()
        equals = _EQUALS.match(line, position)
        if equals is not None:
            value, position = _value(line, equals.end())
            # A repeated parameter is not allowed (RFC 9110 section 11.2); the first one counts.
            parameters.setdefault(name[0].lower(), value)
            continue
        # A name without `=` begins the next challenge.
        if scheme:
            yield Challenge(scheme, MappingProxyType(parameters), token68)
        scheme, parameters = name[0].lower(), {}
        token68, position = _token68(scheme, line, position)
    if scheme:
        yield Challenge(scheme, MappingProxyType(parameters), token68)


def _end(pattern: re.Pattern[str], line: str, position: int) -> int:
    match = pattern.match(line, position)
    return position if match is None else match.end()


def _skip_junk(line: str, position: int) -> int:
    """Skip a quoted string that belongs to no parameter, or one character that is not allowed here."""
    return max(_end(_QUOTED, line, position), position + 1)


def _value(line: str, position: int) -> tuple[str, int]:
    quoted = _QUOTED.match(line, position)
    if quoted is not None:
        return _ESCAPED.sub(r"\1", quoted[1]), quoted.end()
    end = _end(_UNQUOTED, line, position)
    return line[position:end], end


def _token68(scheme: str, line: str, position: int) -> tuple[str, int]:
    """Parse a token68 (RFC 9110 section 11.2); Basic and Bearer have none: their `realm=` is empty."""
    match = None if scheme in _WITHOUT_TOKEN68 else _TOKEN68.match(line, position)
    return ("", position) if match is None else (match[1], match.end())


def choose(challenges: tuple[Challenge, ...], credential: Credential) -> Challenge | None:
    """Return the challenge to answer, None when no scheme is supported.

    A Bearer challenge without a realm comes last. Without a login, or with an identity token, Bearer comes
    before Basic; otherwise the first challenge is taken.
    """
    supported = [challenge for challenge in challenges if challenge.scheme in _SUPPORTED]
    whole = [challenge for challenge in supported if challenge.can_be_answered]
    bearers = [challenge for challenge in whole if challenge.scheme == "bearer"]
    # An identity token is of use only at a token service, which also issues anonymous tokens.
    if bearers and (credential.identity_token or not credential.has_login):
        return bearers[0]
    return next(iter(whole or supported), None)


class UnusableCredential(ChallengeError):
    """The credential is of a kind, or has characters, with which the challenge cannot be answered."""


def must_choose(challenges: tuple[Challenge, ...], credential: Credential) -> Challenge:
    """Return the challenge to answer; raise ChallengeError when there is none for this credential."""
    challenge = choose(challenges, credential)
    if challenge is None:
        schemes = ", ".join(sorted({challenge.scheme for challenge in challenges}))
        raise ChallengeError(f"unsupported challenge {schemes.title()}")
    # Sending no credential instead would end in a 401 without a reason.
    if challenge.scheme == "basic" and credential.identity_token and not credential.has_login:
        raise UnusableCredential(
            "the registry asks for a login (Basic), but the credential found holds only an identity token, "
            "which needs a token service"
        )
    if challenge.scheme == "bearer" and not challenge.realm:
        shown = " ".join(f"{name}:{value}" for name, value in sorted(challenge.parameters.items()))
        raise ChallengeError(f"malformed www-authenticate, missing realm: map[{shown}]")
    return challenge


def has_answer(challenges: tuple[Challenge, ...], credential: Credential, *, is_open: bool) -> bool:
    """Return True when the credential can be sent; `is_open`: `GET /v2/` was answered with 200.

    Such a registry may answer 404 where a login is needed.
    """
    challenge = choose(challenges, credential)
    if challenge is None or challenge.scheme == "basic":
        return credential.has_login and (challenge is not None or is_open)
    return bool(challenge.realm)


def named_scopes(challenges: Iterable[Challenge]) -> tuple[Scope, ...]:
    """Return the scopes that the Bearer challenges name, merged."""
    bearers = (challenge for challenge in challenges if challenge.scheme == "bearer")
    return merge(scope for challenge in bearers for scope in parse_scopes(challenge.scope))


def is_insufficient(challenges: Iterable[Challenge]) -> bool:
    """Return True when the token that was sent is valid for too few scopes (RFC 6750 section 3.1)."""
    return any(challenge.error == "insufficient_scope" for challenge in challenges)


@dataclass(frozen=True, slots=True)
class Scope:
    """What a token allows on one resource (distribution token specification): `type:name:action,action`.

    `str()` has the actions sorted and parses to the same value. Text of another form is kept whole in `type`,
    without a name or actions.
    """

    type: str
    name: str = ""
    actions: frozenset[str] = frozenset()

    @classmethod
    def parse(cls, text: str) -> Scope:
        """Parse one scope without blanks; the name may have colons."""
        kind, _, rest = text.partition(":")
        # From the right: the name of a repository may have a port.
        name, _, listed = rest.rpartition(":")
        actions = frozenset(action for action in listed.split(",") if action)
        # Some services have scopes of their own form, such as `aws` for Amazon ECR Public.
        return cls(kind, name, actions) if ":" in rest and (name or actions) else cls(text)

    @property
    def resource(self) -> tuple[str, str]:
        """The type and the name: two scopes for one resource can be merged."""
        return (self.type, self.name)

    def covers(self, other: Scope) -> bool:
        """Return True when it allows everything that `other` allows; `*` allows every action."""
        return self.resource == other.resource and (_ANY in self.actions or other.actions <= self.actions)

    def __str__(self) -> str:
        if not self.name and not self.actions:
            return self.type
        return f"{self.type}:{self.name}:{','.join(sorted(self.actions))}"


def parse_scopes(text: str) -> tuple[Scope, ...]:
    """Parse scopes separated by blanks, merged and in canonical order."""
    return merge(Scope.parse(word) for word in text.split())


def merge(scopes: Iterable[Scope]) -> tuple[Scope, ...]:
    """Join the scopes of each resource; sorted, so that equal sets are equal tuples."""
    # Equal tuples share one token in the cache, however the scopes were written.
    actions: dict[tuple[str, str], set[str]] = {}
    for scope in scopes:
        actions.setdefault(scope.resource, set()).update(scope.actions)
    return tuple(Scope(*resource, frozenset(actions[resource])) for resource in sorted(actions))


def covers(held: Iterable[Scope], wanted: Iterable[Scope]) -> bool:
    """Return True when `held`, merged, allows every scope of `wanted`."""
    by_resource = {scope.resource: scope for scope in held}
    return all(
        scope.resource in by_resource and by_resource[scope.resource].covers(scope) for scope in wanted
    )


def pull(repository: Repository) -> Scope:
    """Return the scope for reading manifests, blobs and tags."""
    return Scope("repository", repository.path, frozenset({"pull"}))


def push(repository: Repository) -> Scope:
    """Return the scope for writing, which includes reading."""
    return Scope("repository", repository.path, frozenset({"pull", "push"}))


def delete(repository: Repository) -> Scope:
    """Return the scope for deleting, with that for reading: what is deleted is looked at before."""
    return Scope("repository", repository.path, frozenset({"delete", "pull"}))


# The scope for the list of all repositories, which docker-registry asks for.
CATALOG = Scope("registry", "catalog", frozenset({_ANY}))


@dataclass(frozen=True, slots=True)
class Access:
    """What a request does to which repository, which decides the credential and the requested scopes."""

    repository: Repository
    scopes: tuple[Scope, ...]

    @classmethod
    def read(cls, repository: Repository) -> Access:
        """Return the access to read manifests, blobs and tags."""
        return cls(repository, (pull(repository),))

    @classmethod
    def write(cls, repository: Repository, *sources: Repository) -> Access:
        """Return the access to write; `sources` are repositories of the same registry to mount blobs from."""
        return cls(repository, merge((push(repository), *map(pull, sources))))

    @classmethod
    def delete(cls, repository: Repository) -> Access:
        """Return the access to delete manifests, tags and blobs."""
        return cls(repository, (delete(repository),))

"""Credentials, the sources that have them, and the keychain that asks the sources in order."""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode
from collections.abc import Iterable, Mapping
from contextlib import suppress
from enum import Enum
from typing import Any, Protocol, runtime_checkable

from imgpkg import errors
from imgpkg.dataclass import dataclass, field
from imgpkg.errors import ImgpkgError, printable
from imgpkg.expression import expression
from imgpkg.oci.reference import Repository
from imgpkg.values import hiding

# An issuer is a URL that is shown in one line of an error; a longer one is not worth showing.
_LONGEST_ISSUER = 200
# Tokens are a few KiB; a limit keeps decoding cheap for anything that is no token.
_LONGEST_TOKEN = 1 << 20
# Some clouds send nanoseconds, which datetime cannot hold, and Python 3.10 parses neither them nor the Z.
_TIME = expression(r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(\.\d+)?(?:[Zz]|([+-]\d\d:\d\d))")
# The words of the original.
_RETRIEVING = "Unable retrieve credentials for registry"


@hiding("password", "identity_token", "registry_token")
@dataclass(frozen=True)
class Credential:
    """A login, an identity token, a registry token, or several of them; all empty means anonymous.

    A registry token is used before an identity token, and that before a login. `expires_at` is a Unix time in
    seconds, None when it is unknown; a later lookup returns a new credential. Bytes that are not UTF-8 are
    surrogate escapes (PEP 383), as in `os.environ`: encode with `surrogateescape`. Secrets are in no `repr`
    and no `dataclasses.asdict`.
    """

    username: str = ""
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)
    registry_token: str = field(default="", repr=False)
    expires_at: float | None = None

    @property
    def is_anonymous(self) -> bool:
        """True when there is nothing to send; half of a login counts as nothing."""
        return not (self.registry_token or self.identity_token or self.has_login)

    @property
    def has_login(self) -> bool:
        """True when there are a username and a password."""
        return bool(self.username and self.password)

    @property
    def kind(self) -> str:
        """What is sent, in words: `registry token`, `identity token`, `login`, `nothing`."""
        if self.registry_token:
            return "registry token"
        if self.identity_token:
            return "identity token"
        return "login" if self.has_login else "nothing"

    def fingerprint(self, environ: Mapping[str, str]) -> str:
        """Return eight letters and digits that differ for different secrets; empty for no credential.

        They are keyed with a file of this machine in a folder that `environ` names, see `FingerprintKey`.
        """
        from imgpkg.auth.diagnosis.fingerprint import FingerprintKey

        return FingerprintKey.of_machine(environ).fingerprint(self)

    def secrets(self) -> tuple[str, ...]:
        """Return every secret in it, so that a text can be cleaned of them."""
        # The user name is not one: registries and logs show it.
        return tuple(s for s in (self.password, self.identity_token, self.registry_token) if s)


ANONYMOUS = Credential()


@dataclass(frozen=True, slots=True)
class TokenClaims:
    """The issuer of a JSON web token (RFC 7519) and its end, a Unix time; empty and None if unknown."""

    issuer: str = ""
    ends_at: float | None = None


def payload_of(token: str) -> Mapping[str, Any]:
    """Return the payload of a JSON web token, not verified; empty for other tokens."""
    if len(token) > _LONGEST_TOKEN:
        return {}
    try:
        # RFC 7519 section 3: header.payload.signature, each in base64url without padding (RFC 7515).
        payload = token.split(".")[1]
        claims = json.loads(urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    except (ValueError, LookupError, RecursionError):
        return {}
    return claims if isinstance(claims, dict) else {}


def claims_of(token: str) -> TokenClaims:
    """Return the claims of `token`, not verified: for messages and renewal only; none for other tokens."""
    claims = payload_of(token)
    issuer, end = claims.get("iss"), claims.get("exp")
    try:
        ends_at = None if end is None or isinstance(end, bool) else float(end)
    except (ValueError, TypeError, OverflowError):
        return TokenClaims()
    # The text is from the token, so it may hold escape sequences for a terminal.
    if not isinstance(issuer, str) or not issuer.isprintable() or len(issuer) > _LONGEST_ISSUER:
        issuer = ""
    return TokenClaims(issuer, ends_at)


@hiding("header")
@dataclass(frozen=True)
class Authorization:
    """How requests to one registry are authorized now: `header` is the value of Authorization, or empty.

    `registry_url` is the URL of the registry without a path, such as `https://registry.example.com`. Send the
    header to this origin only. `expires_at` is a Unix time in seconds, None when the header has no
    known end. The header is part of pickles and copies, and in no `repr` and no `dataclasses.asdict`.
    """

    registry_url: str
    header: str = field(default="", repr=False)
    expires_at: float | None = None

    @property
    def headers(self) -> dict[str, str]:
        """The header as a mapping, for `headers=` of an HTTP client; empty for anonymous access."""
        return {"Authorization": self.header} if self.header else {}


class Outcome(Enum):
    """The result of asking a source about a repository."""

    # The values are printed by `auth explain` and are part of its JSON.
    MATCHED = "matched"
    NO_MATCH = "no match"
    NOT_APPLICABLE = "not applicable"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one source for one repository.

    `origin` names the variable, file and key, flag or keychain; `detail` is the reason in words. Neither ever
    holds a secret. `credential` is set exactly when the outcome is MATCHED; it may be an anonymous one, which
    ends the search on purpose. `why_user` is the reason for a user name that was not configured, and
    `kept_in` the one variable, flag or file that holds the secret, or should, if not `origin`.
    """

    source: str
    outcome: Outcome
    detail: str
    origin: str = ""
    credential: Credential | None = field(default=None, repr=False)
    why_user: str = ""
    kept_in: str = ""


class CredentialSource(Protocol):
    """A place that holds credentials."""

    @property
    def name(self) -> str:
        """The name for people: `environment`, `ecr`, `flags`, `docker config`."""
        ...

    def lookup(self, repository: Repository) -> Finding:
        """Return the finding for `repository`; safe from many threads; run a program once per registry.

        A credential that ends has `expires_at`. Lookups return the same one until then, and acquire a new one
        after that. There is no other way in which credentials are renewed.

        A source that fails returns FAILED, and the search goes on. Raise CredentialError only where the next
        source could return a wrong credential, for example after a malformed file.
        """
        ...


@dataclass(frozen=True, slots=True)
class NearMiss:
    """What almost gave another credential: its source, a sentence, and a remedy that can be typed.

    The sentence and the remedy never hold a secret; the remedy is empty where there is none. `credential` is
    what almost was used, for its fingerprint.
    """

    source: str
    text: str
    remedy: str = ""
    credential: Credential | None = field(default=None, repr=False)

    def __str__(self) -> str:
        return printable(f"{self.text}: {self.remedy}" if self.remedy else self.text)


class Anonymity(Enum):
    """Why requests are anonymous."""

    ASKED_FOR = "asked for"
    NOTHING_FOUND = "nothing found"
    INCOMPLETE = "incomplete credential"


@dataclass(frozen=True, slots=True)
class Decision:
    """The credential for a repository, and the findings of all sources that were asked."""

    repository: Repository
    credential: Credential
    trail: tuple[Finding, ...] = ()

    @property
    def winner(self) -> Finding | None:
        """The finding that matched; None when no source did, and requests are anonymous."""
        return next((finding for finding in self.trail if finding.outcome is Outcome.MATCHED), None)

    @property
    def answers(self) -> tuple[errors.SourceAnswer, ...]:
        """The trail for errors, without the credentials."""
        return _answers(self.trail)

    @property
    def anonymity(self) -> Anonymity | None:
        """Why requests are anonymous; None when there is a credential to send."""
        if not self.credential.is_anonymous:
            return None
        if self.winner is None:
            return Anonymity.NOTHING_FOUND
        # Half of a login matched, so the search ended; sending it would be refused.
        is_half = self.credential.username or self.credential.password
        return Anonymity.INCOMPLETE if is_half else Anonymity.ASKED_FOR

    @property
    def user(self) -> str:
        """The user of a login for messages, `user 'ci'`, with the reason if it was not configured."""
        if self.credential.kind != "login":
            return ""
        why = self.winner.why_user if self.winner else ""
        return f"user {self.credential.username!r}" + (f" because {why}" if why else "")

    def summary(self) -> str:
        """Return one line about the source of the credential, or about why there is none."""
        winner = self.winner
        if winner is None:
            return printable(f"no credential found for {self.repository}; requests are anonymous")
        source = f"{winner.source}: {winner.origin}"
        if self.anonymity is Anonymity.ASKED_FOR:
            return printable(
                f"no credential for {self.repository}, anonymous access is asked for by {source}"
            )
        if self.anonymity is Anonymity.INCOMPLETE:
            text = f"no complete credential for {self.repository} from {source}; requests are anonymous"
            return printable(text)
        user = f" ({self.user})" if self.user else ""
        return printable(f"credential for {self.repository} from {source}{user}")

    def explain(self) -> str:
        """Return the summary and a line for each source that was asked; never a secret."""
        lines = [f"  {finding.source}: {finding.outcome.value}: {finding.detail}" for finding in self.trail]
        return "\n".join((self.summary(), *map(printable, lines)))


def _answers(trail: Iterable[Finding]) -> tuple[errors.SourceAnswer, ...]:
    return tuple(
        errors.SourceAnswer(finding.source, finding.outcome.value, finding.detail) for finding in trail
    )


@runtime_checkable
class ExplainsNearMisses(Protocol):
    """A protocol of credential sources, and of other objects, that can explain a decision."""

    def near_misses(self, decision: Decision) -> Iterable[NearMiss]:
        """Return what was almost used in place of `decision`; send no request, run no program.

        Called only to explain a decision or a refusal, also where another source has won.
        """
        ...


class Keychain:
    """Ask the sources in their order; the first match wins.

    `unasked` only explain near misses; they are never asked for a credential.
    """

    def __init__(
        self, sources: Iterable[CredentialSource], *, unasked: Iterable[ExplainsNearMisses] = ()
    ) -> None:
        self.sources: tuple[CredentialSource, ...] = tuple(sources)
        self.unasked: tuple[ExplainsNearMisses, ...] = tuple(unasked)

    def resolve(self, repository: Repository) -> Decision:
        """Return the decision for `repository`; raise CredentialError when a source must not be skipped."""
        trail: list[Finding] = []
        for source in self.sources:
            try:
                finding = source.lookup(repository)
            except ImgpkgError as error:
                error.add_context(_RETRIEVING)
                error.trail = _answers(trail)
                raise
            _check_finding(source, finding)
            trail.append(finding)
            # Also for an anonymous one: a set with only a hostname ends the search on purpose.
            if finding.credential is not None:
                return Decision(repository, finding.credential, tuple(trail))
        return Decision(repository, ANONYMOUS, tuple(trail))

    def near_misses(self, decision: Decision) -> tuple[NearMiss, ...]:
        """Return the near misses of all sources, and of `unasked`, for `decision`; raise nothing."""
        found: dict[NearMiss, None] = {}
        for source in (*self.unasked, *self.sources):
            if isinstance(source, ExplainsNearMisses):
                # The lookup of a source that cannot be read has raised or warned before.
                with suppress(ImgpkgError):
                    found.update(dict.fromkeys(source.near_misses(decision)))
        return tuple(found)


def _check_finding(source: CredentialSource, found: object) -> None:
    # Sources are written by others too. Only the type is named: a credential is secret.
    if not isinstance(found, Finding):
        kind = type(found).__name__
        raise TypeError(f"The credential source {source.name!r} returned {kind}, and not an imgpkg.Finding")


def parse_time(text: str) -> float:
    """Return the Unix time of an RFC 3339 text like `2030-01-02T03:04:05.6Z`; raise ValueError for others."""
    from datetime import datetime

    match = _TIME.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is no RFC 3339 time")
    date, clock, fraction, offset = match.groups()
    whole = datetime.fromisoformat(f"{date}T{clock}{offset or '+00:00'}")
    return whole.timestamp() + float(fraction or 0)


def format_time(seconds: float) -> str:
    """Return a Unix time as RFC 3339 in UTC, to the microsecond."""
    from datetime import datetime, timezone

    return datetime.fromtimestamp(seconds, timezone.utc).isoformat().replace("+00:00", "Z")

"""Check access to a repository in advance: each step, its result, and a remedy for what fails."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from enum import Enum
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import imgpkg
from imgpkg.auth.keychain import Decision, Keychain
from imgpkg.dataclass import dataclass
from imgpkg.errors import (
    Cancelled,
    CertificateRejected,
    ChallengeError,
    CredentialError,
    Forbidden,
    ImgpkgError,
    InvalidSettings,
    NotFound,
    TransportError,
    Unauthorized,
    printable,
)
from imgpkg.errors.exit_codes import FailureKind, kind_of
from imgpkg.oci.reference import Reference, Repository, WholeRegistry, parse_any, parse_place, without_login
from imgpkg.operations.remedy import Trouble, meaning
from imgpkg.registry.auth.refusal import date_of
from imgpkg.registry.endpoint import is_loopback
from imgpkg.registry.probe import Grant, Probe, ServerTLS, Surroundings, Trust
from imgpkg.session import Session, operation

if TYPE_CHECKING:
    from collections.abc import Iterator

# Seconds. A Date header is rounded down to a second, and takes a while to arrive.
_USUAL_SKEW = 60.0
# Certificates are usually renewed thirty days before their end: with half of these left, the renewal fails.
_SOON = 14 * 86400.0
_ORDER = ("credential", "connection", "certificate", "clock", "challenge", "token")


class Mark(Enum):
    """The result of one step."""

    OK = "ok"
    NOTE = "note"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a check; `text` is one line for people, `remedy` what to do when it has failed.

    `failure` is the kind of the failure, None for a step that has not failed.
    """

    name: str
    mark: Mark
    text: str
    remedy: str = ""
    failure: FailureKind | None = None


@dataclass(frozen=True, slots=True)
class AccessReport:
    """What a check has found, as steps in their order.

    `reference` is as it was given. `repository` is a WholeRegistry for a host alone. `decision` is None
    when no credential could be chosen. `grants` are the tokens of a token service, to pull and to push.
    """

    reference: str
    repository: Repository
    push: bool
    decision: Decision | None
    surroundings: Surroundings
    grants: tuple[Grant, ...]
    steps: tuple[Step, ...]

    @property
    def is_registry(self) -> bool:
        """True when a whole registry was checked."""
        return isinstance(self.repository, WholeRegistry)

    @property
    def is_ok(self) -> bool:
        """True when no step has failed."""
        return all(step.mark is not Mark.FAILED for step in self.steps)


@dataclass(frozen=True, slots=True)
class CheckTarget:
    """What is checked: an image, a repository without `reference`, or a whole registry."""

    repository: Repository
    reference: Reference | None = None

    @property
    def is_registry(self) -> bool:
        """True for a host alone."""
        return isinstance(self.repository, WholeRegistry)

    @classmethod
    def parse(cls, text: str) -> CheckTarget:
        """Parse a reference, a repository or a host, each also after `https://`; raise InvalidReference."""
        place = parse_place(text)
        named = text.partition("://")[2] or text
        # Another URL is one of the API, which parse_place understands.
        if isinstance(place, WholeRegistry) or not {":", "@"} & set(named.rpartition("/")[2]):
            return cls(place)
        reference = parse_any(named)
        return cls(place, reference if reference.repository == place else None)


@operation
def check_access(
    reference: str,
    *,
    session: Session,
    push: bool = False,
    clock: Callable[[], float] = time.time,
    timeout: float | None = None,
    cancel: imgpkg.CancelToken | None = None,
) -> AccessReport:
    """Check over the network whether `reference` can be read and, with `push`, be written to.

    `reference` is a repository, an image, or the host of a registry, of which only `/v2/` is requested.
    Nothing is written: with `push` an upload is opened and cancelled. A login that is refused is sent once
    in a session. What fails is in the report; InvalidReference and InvalidSettings are raised. `clock`
    returns the Unix time.
    """
    target = CheckTarget.parse(reference)
    probe = Probe(session.client, target.repository)
    check = _Check(target, probe, session.keychain, push=push, now=clock())
    return check.report(without_login(reference))


@dataclass(frozen=True, slots=True)
class _Attempt:
    """One request and its result: `text`, or the error with the state of the probe after it."""

    name: str
    verb: str
    text: str = ""
    error: ImgpkgError | None = None
    grant: Grant | None = None
    at_service: bool = False
    page: str = ""

    @property
    def place(self) -> str:
        """The name of the step that has failed."""
        if self.at_service:
            return "token"
        match self.error:
            case CertificateRejected():
                return "certificate"
            case TransportError():
                return "connection"
            case ChallengeError():
                return "challenge"
            case _:
                return self.name

    @property
    def is_final(self) -> bool:
        """True when another request would fail for the same reason."""
        # A credential may write and not read, and what does not exist yet can be pushed.
        is_about_reading = isinstance(self.error, (Forbidden, NotFound)) or self.grant is not None
        return self.error is not None and (self.place != self.name or not is_about_reading)


class _Check:
    """One check: it sends the requests first, and derives the steps from their results."""

    def __init__(
        self, target: CheckTarget, probe: Probe, keychain: Keychain, *, push: bool, now: float
    ) -> None:
        self._target = target
        self._probe = probe
        self._keychain = keychain
        # `/v2/` has no upload; a host alone is only checked for its login.
        self._push = push and not target.is_registry
        self._now = now

    def report(self, shown: str) -> AccessReport:
        repository = self._target.repository
        try:
            decision = self._probe.decision
        except CredentialError as error:
            remedy = next(iter(error.hints), "Correct the source that is named, or remove it.")
            step = Step("credential", Mark.FAILED, printable(str(error)), remedy, kind_of(error))
            return AccessReport(shown, repository, self._push, None, Surroundings(), (), (step,))
        attempts = self._attempts()
        # A rejected certificate ends the connection before the probe could keep it, so it is fetched again.
        is_rejected = any(isinstance(attempt.error, CertificateRejected) for attempt in attempts)
        surroundings = self._probe.surroundings(look=is_rejected)
        # Reading and writing may use one token, which is then listed once.
        grants = tuple(dict.fromkeys(attempt.grant for attempt in attempts if attempt.grant))
        steps = tuple(self._steps(decision, surroundings, attempts))
        return AccessReport(shown, repository, self._push, decision, surroundings, grants, steps)

    def _attempts(self) -> list[_Attempt]:
        if self._target.is_registry:
            return [self._attempt("login", "log in to", self._log_in)]
        attempts = [self._attempt("read", "pull from", self._read)]
        # A refused login is not sent again: some servers lock the account.
        if self._push and not attempts[0].is_final:
            attempts.append(self._attempt("write", "push to", self._write))
        return attempts

    def _attempt(self, name: str, verb: str, request: Callable[[], str]) -> _Attempt:
        try:
            text, error = request(), None
        # These are about the command and not about the registry.
        except (Cancelled, InvalidSettings):
            raise
        except ImgpkgError as failed:
            text, error = "", failed
        is_at_service = error is not None and self._probe.is_of_token_service(error)
        grant = self._probe.grant(push=name == "write", nothing=name == "login")
        # After a refusal of the token service, only a token of an earlier request is held.
        return _Attempt(
            name, verb, text, error, None if is_at_service else grant, is_at_service, self._probe.page
        )

    def _log_in(self) -> str:
        self._probe.ping()
        return "/v2/ answers; that proves no access to any repository"

    def _read(self) -> str:
        if self._target.reference is None:
            tag = self._probe.list()
            return f"its tags can be listed{f', such as {tag}' if tag else '; it has none'}"
        found = self._probe.read(self._target.reference)
        return f"{self._target.reference.identifier} is there: {found.media_type}, {found.digest}"

    def _write(self) -> str:
        hindrance = self._probe.write()
        if not hindrance:
            return "an upload was opened and cancelled; nothing was written"
        return f"an upload was opened, and not cancelled: {hindrance}; the registry will remove it"

    def _steps(
        self, decision: Decision, surroundings: Surroundings, attempts: list[_Attempt]
    ) -> Iterator[Step]:
        # A failed request replaces the step of the same name: its error is the newer knowledge.
        steps = {step.name: step for step in known_steps(decision, surroundings, self._now)}
        if any(attempt.grant for attempt in attempts):
            steps["token"] = _token_step([found.grant for found in attempts if found.grant], self._now)
        for attempt in attempts:
            step = self._step(attempt, decision, surroundings, is_last=attempt is attempts[-1])
            steps[step.name] = step
        tried = ["login"] if self._target.is_registry else ["read", *(["write"] if self._push else [])]
        for name in (*_ORDER, *tried):
            if name in steps:
                yield steps[name]
            elif name in tried:
                yield Step(name, Mark.SKIPPED, "not tried")

    def _step(
        self, attempt: _Attempt, decision: Decision, surroundings: Surroundings, *, is_last: bool
    ) -> Step:
        if attempt.error is None:
            return Step(attempt.name, Mark.OK, printable(attempt.text))
        where = (attempt.verb, attempt.at_service, attempt.page)
        found = meaning(Trouble(attempt.error, self._target.repository, decision, *where, surroundings))
        is_absent = isinstance(attempt.error, NotFound) and attempt.place == "read" and not attempt.page
        if is_absent and not decision.credential.is_anonymous:
            return Step("read", Mark.NOTE, _absent(attempt, self._target))
        # The upload will show whether the login may use the repository, which a 404 leaves open.
        if is_absent and not is_last:
            return Step("read", Mark.NOTE, printable(found.text))
        text = found.text
        if attempt.place == "certificate" and surroundings.tls is not None:
            text = f"{text}; {_certificate_step(surroundings.tls, self._now).text}"
        remedy = self._with_near_miss(attempt, decision, found.remedy)
        return Step(attempt.place, Mark.FAILED, printable(text), printable(remedy), kind_of(attempt.error))

    def _with_near_miss(self, attempt: _Attempt, decision: Decision, remedy: str) -> str:
        """Return the remedy with the first near miss, unless it has it or the error is of another kind."""
        if not isinstance(attempt.error, (Unauthorized, Forbidden, NotFound)):
            return remedy
        misses = self._keychain.near_misses(decision)
        first = next((str(miss) for miss in misses if miss.remedy), "")
        if not first or first in remedy:
            return remedy
        # Where a credential was sent, what is wrong with it matters more than what was almost sent.
        if decision.credential.is_anonymous:
            return f"{first}. {remedy}"
        return f"{remedy} Or another credential was meant: {first}"


def _absent(attempt: _Attempt, target: CheckTarget) -> str:
    what = (
        f"{target.reference.identifier} is not there" if target.reference is not None else "it is not there"
    )
    if attempt.grant is not None and attempt.grant.granted is not None and not attempt.grant.missing:
        return f"may be read; {what} (404)"
    return f"login accepted; {what}, or hidden from this user (404)"


def known_steps(decision: Decision, surroundings: Surroundings, now: float) -> Iterator[Step]:
    """Yield the steps before the requests to the repository, up to the last that succeeded."""
    yield _credential_step(decision, now)
    if not surroundings.url:
        return
    tls = surroundings.tls
    yield _connection_step(surroundings.url, tls)
    if tls is not None:
        yield _certificate_step(tls, now)
    if surroundings.clock_skew is not None:
        yield _clock_step(surroundings.clock_skew)
    schemes = " and ".join(scheme.capitalize() for scheme in surroundings.challenges)
    asked = schemes or "none: it asks for no login"
    service = f", token service {surroundings.service}" if surroundings.service else ""
    yield Step("challenge", Mark.OK, printable(f"{asked}{service}"))


def _connection_step(url: str, tls: ServerTLS | None) -> Step:
    origin = urlsplit(url)
    if origin.scheme == "https":
        return Step("connection", Mark.OK, f"{url}, {tls.version if tls is not None else 'TLS'}")
    # A loopback connection does not leave this machine.
    mark = Mark.OK if is_loopback(origin.hostname or "") else Mark.NOTE
    return Step("connection", mark, f"{url}, not encrypted")


def _credential_step(decision: Decision, now: float) -> Step:
    winner, credential = decision.winner, decision.credential
    if winner is None:
        return Step("credential", Mark.NOTE, "none found; requests are anonymous")
    origin = printable(f"{winner.source}: {winner.origin}")
    if credential.is_anonymous:
        return Step("credential", Mark.NOTE, f"{origin}, which asks for anonymous access")
    user = printable(f" (user {credential.username!r})") if credential.kind == "login" else ""
    # Of a secret in a file or helper it is the time at which that is read or asked again.
    end = None if winner.kept_in else credential.expires_at
    return Step("credential", Mark.OK, f"{credential.kind} from {origin}{user}{_until(end, now)}")


def _certificate_step(tls: ServerTLS, now: float) -> Step:
    trust = {
        Trust.SYSTEM: "trusted by this system",
        Trust.ADDED: "trusted through --registry-ca-cert-path",
        Trust.UNVERIFIED: "not verified",
        Trust.REJECTED: "not trusted",
    }[tls.trust]
    certificate = tls.certificate
    if certificate is None:
        return Step("certificate", Mark.NOTE, f"unreadable, {trust}")
    # Clients compare the alternative names, and use the subject no longer (RFC 9110 section 4.3.4).
    names = ", ".join(certificate.names) or certificate.subject
    left = certificate.ends_at - now
    days = f"{left / 86400:.0f} days left" if left >= 0 else f"ended {-left / 86400:.0f} days ago"
    text = (
        f"for {names}, issued by {certificate.issuer}, until {_moment(certificate.ends_at)} ({days}), {trust}"
    )
    is_good = tls.trust in (Trust.SYSTEM, Trust.ADDED) and left >= _SOON
    return Step("certificate", Mark.OK if is_good else Mark.NOTE, printable(text))


def _clock_step(skew: float) -> Step:
    if abs(skew) <= _USUAL_SKEW:
        return Step("clock", Mark.OK, "agrees with the registry's")
    amount = timedelta(seconds=round(abs(skew)))
    # The skew is that of the registry, so that the sentence about this machine is the opposite.
    direction = "behind" if skew > 0 else "ahead of"
    return Step("clock", Mark.NOTE, f"this machine's is {amount} {direction} the registry's")


def _token_step(grants: list[Grant], now: float) -> Step:
    # The last one: the token for writing names the actions of reading, too.
    grant = grants[-1]
    asked = " ".join(grant.asked) or "no repository"
    if grant.granted is None:
        granted = "an opaque token" if grant.is_opaque else "a token that does not say for what"
    else:
        granted = " ".join(grant.granted) or "nothing"
    mark = Mark.NOTE if grant.missing else Mark.OK
    text = f"asked for {asked}; granted {granted}{_until(grant.ends_at, now)}"
    return Step("token", mark, printable(text))


def _until(end: float | None, now: float) -> str:
    if end is None:
        return ""
    left = timedelta(seconds=round(abs(end - now)))
    return f", until {_moment(end)} ({left} {'left' if end > now else 'ago'})"


def _moment(seconds: float) -> str:
    # Certificates and tokens may name years that datetime does not have.
    return date_of(seconds) or f"{seconds:.0f} s after 1970"

"""What a failed check means, and what to do about it: one sentence each."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from imgpkg.auth.keychain import claims_of
from imgpkg.errors import (
    CertificateRejected,
    ChallengeError,
    ImgpkgError,
    NotFound,
    NotTLS,
    RegistryError,
    TimedOut,
    TransportError,
)

if TYPE_CHECKING:
    from imgpkg.auth.keychain import Decision
    from imgpkg.oci.reference import Repository
    from imgpkg.registry.probe import Grant, Surroundings

_UNAUTHORIZED, _FORBIDDEN, _TOO_MANY, _SERVER_ERROR, _PROXY_LOGIN = 401, 403, 429, 500, 407
_REFUSALS = frozenset({400, _UNAUTHORIZED, _FORBIDDEN})
_NO_WRITING = frozenset({405, 501})
# Seconds. Token services forgive a few minutes.
_HARMFUL_SKEW = 300.0


@dataclass(frozen=True, slots=True)
class Meaning:
    """What has happened, and what to do."""

    text: str
    remedy: str


@dataclass(frozen=True, slots=True)
class Trouble:
    """An error of a check and what is known around it.

    `verb` is what was tried: `pull from`, `push to` or `log in to`. `at_service` is True when the request
    went to the token service. `page` is the URL of a web page that came back, empty for none.
    """

    error: ImgpkgError
    repository: Repository
    decision: Decision
    verb: str
    at_service: bool
    page: str
    grant: Grant | None
    surroundings: Surroundings
    now: float

    @property
    def status(self) -> int:
        """The status of the response, 0 when there was none."""
        return self.error.status if isinstance(self.error, RegistryError) else 0

    @property
    def server(self) -> str:
        """The server that the request went to, in words."""
        return f"the token service {self.surroundings.service}" if self.at_service else "the registry"

    @property
    def place(self) -> str:
        """Where the credential is from, and so where to correct it."""
        winner = self.decision.winner
        return winner.origin or winner.source if winner is not None else ""


def meaning(trouble: Trouble) -> Meaning:
    """Return what an error means."""
    error = trouble.error
    if trouble.page:
        return _web_page(trouble)
    if isinstance(error, TransportError):
        return Meaning(f"{trouble.server}: {error.reason}", _of_transport(trouble, error))
    if isinstance(error, RegistryError):
        return _of_response(trouble, error)
    if isinstance(error, ChallengeError):
        remedy = "Ask who runs the registry: its answer to a request without a login is not usable."
        return Meaning(error.message, next(iter(error.hints), remedy))
    return Meaning(f"{trouble.server} gave an unusable answer: {error}", _not_a_registry(trouble))


def login_advice(decision: Decision) -> str:
    """Return how to give the registry of `decision` a credential that it accepts."""
    from imgpkg.auth.diagnosis.remedies import remedies_for

    advice = remedies_for(decision)
    # A registry of a cloud has its keychain; one of AWS takes no lasting login at all.
    if len(advice) > 1:
        return " ".join(advice)
    registry = decision.repository.registry
    return (
        f"imgpkg auth login {registry}, or set IMGPKG_REGISTRY_HOSTNAME_0={registry} with "
        "IMGPKG_REGISTRY_USERNAME_0 and IMGPKG_REGISTRY_PASSWORD_0."
    )


def _web_page(trouble: Trouble) -> Meaning:
    status = f" ({trouble.status})" if trouble.status else ""
    text = f"{trouble.server} answered with a web page in place of JSON{status}: {trouble.page}"
    if trouble.at_service:
        return Meaning(
            text,
            f"Open {trouble.page} in a browser: a proxy, a sign-in page or a wrong realm of the registry "
            "stands in the place of its token service.",
        )
    return Meaning(text, _not_a_registry(trouble))


def _not_a_registry(trouble: Trouble) -> str:
    return (
        f"Check the host and the port of {trouble.repository.registry}: a web server, a proxy or a sign-in "
        "page answers there, and no registry."
    )


def _of_transport(trouble: Trouble, error: TransportError) -> str:
    host = error.url.partition("://")[2].partition("/")[0] or trouble.repository.registry
    match error:
        case CertificateRejected():
            return next(
                iter(error.hints), "The server wants a client certificate, or another version of TLS."
            )
        case NotTLS():
            return (
                f"{host} speaks http and not https: ask for https, or add --registry-insecure, after which "
                "everybody on the way can read the credential."
            )
        case TimedOut():
            return (
                f"{host} did not answer in time: check the network, the firewall, and the proxy in "
                "HTTPS_PROXY and NO_PROXY."
            )
        case _:
            return next(iter(error.hints), _of_connection(host, error))


def _of_connection(host: str, error: TransportError) -> str:
    causes = _causes(error)
    if any(isinstance(cause, socket.gaierror) for cause in causes):
        return f"There is no host {host}: check its spelling, the DNS of this machine, and HTTPS_PROXY."
    if any(isinstance(cause, ConnectionRefusedError) for cause in causes):
        return f"Nothing listens at {host}: check the port, and that the registry runs."
    return f"The connection to {host} broke: check the network and the proxy, and try again."


def _causes(error: BaseException) -> list[BaseException]:
    found: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in found:
        found.append(cause)
        cause = cause.__cause__
    return found


def _of_response(trouble: Trouble, error: RegistryError) -> Meaning:
    if error.status == _PROXY_LOGIN:
        return Meaning("the proxy wants a login (407)", next(iter(error.hints), ""))
    if error.status == _TOO_MANY or error.status >= _SERVER_ERROR:
        text = f"{trouble.server} has a problem of its own ({_said(error)})"
        return Meaning(text, "Try again later, or ask who runs it: no credential helps.")
    if error.status in (_UNAUTHORIZED, _FORBIDDEN) or (trouble.at_service and error.status in _REFUSALS):
        return _of_refusal(trouble, error)
    if isinstance(error, NotFound):
        return _of_absence(trouble, error)
    if trouble.verb == "push to" and error.status in _NO_WRITING:
        return Meaning(
            f"the registry takes no uploads ({_said(error)})",
            "Push to another registry: this one is read-only, or a cache of another.",
        )
    return Meaning(f"{trouble.server} answered {_said(error)}", _not_a_registry(trouble))


def _said(error: RegistryError) -> str:
    """Return the status and the first error of the registry."""
    first = next(iter(error.diagnostics), None)
    return f"{error.status}: {first.code}: {first.message}" if first is not None else str(error.status)


def _of_refusal(trouble: Trouble, error: RegistryError) -> Meaning:
    credential = trouble.decision.credential
    if credential.is_anonymous:
        return _of_anonymity(trouble, error)
    is_accepted = trouble.grant is not None or (error.status == _FORBIDDEN and not trouble.at_service)
    if is_accepted:
        return _of_little(trouble, error)
    ended = _ended(trouble)
    if ended:
        return Meaning(ended, f"Get a new token, and write it to {trouble.place}.")
    what = f"the {credential.kind} from {trouble.place}"
    things = f"the {credential.kind} in {trouble.place}: it is wrong, revoked or for another registry"
    if credential.kind == "login":
        what = f"user {credential.username!r}, whose password is from {trouble.place}"
        things = (
            f"the user name and the password in {trouble.place}: one of them is wrong, or the user is locked"
        )
    text = f"{trouble.server} refused {what} ({_said(error)})"
    return Meaning(text, f"{_clock_first(trouble)}Check {things}.")


def _of_anonymity(trouble: Trouble, error: RegistryError) -> Meaning:
    text = f"{trouble.server} wants a login, and none was sent ({_said(error)})"
    if trouble.place:
        return Meaning(text, f"Add a login to {trouble.place}, which asks for anonymous access.")
    return Meaning(text, f"Log in: {login_advice(trouble.decision)}")


def _of_little(trouble: Trouble, error: RegistryError) -> Meaning:
    """Describe a login that is accepted and may do too little."""
    grant = trouble.grant
    said = f"the login is accepted, and may not {trouble.verb} {trouble.repository.path}"
    if grant is not None and grant.missing and grant.granted is not None:
        said = f"login accepted, the token grants {_actions(grant.granted)}"
    remedy = (
        f"Ask for the permission to {trouble.verb} {trouble.repository}, or use a credential that has it; "
        f"this one is from {trouble.place}."
    )
    return Meaning(f"{said} ({_said(error)})", f"{_clock_first(trouble)}{remedy}")


def _actions(scopes: tuple[str, ...]) -> str:
    actions = sorted({action for scope in scopes for action in scope.rpartition(":")[2].split(",")})
    return f"{' and '.join(actions)} only" if actions else "nothing"


def _of_absence(trouble: Trouble, error: RegistryError) -> Meaning:
    registry = trouble.repository.registry
    if trouble.verb == "log in to":
        return Meaning(f"there is no registry at this address ({_said(error)})", _not_a_registry(trouble))
    if trouble.at_service:
        text = f"{trouble.server} does not exist ({_said(error)})"
        return Meaning(text, "Ask who runs the registry: it names a wrong realm.")
    if trouble.verb == "push to":
        text = f"there is no such project, or this credential may not see it ({_said(error)})"
        return Meaning(
            text, f"Create {trouble.repository.path} at {registry} first, or ask for access to it."
        )
    text = f"either it does not exist, or it is hidden from whoever is not logged in ({_said(error)})"
    return Meaning(text, f"Check the name; if it is private, log in: {login_advice(trouble.decision)}")


def _ended(trouble: Trouble) -> str:
    credential = trouble.decision.credential
    end = claims_of(credential.registry_token or credential.identity_token).ends_at
    if end is None or end > trouble.now:
        return ""
    return f"the {credential.kind} from {trouble.place} has ended at {moment(end)}"


def _clock_first(trouble: Trouble) -> str:
    skew = trouble.surroundings.clock_skew
    is_harmful = skew is not None and abs(skew) > _HARMFUL_SKEW
    return "Set the clock of this machine first, with which tokens are not valid. " if is_harmful else ""


def moment(seconds: float) -> str:
    """Return a Unix time for people; a time that no calendar has as a number."""
    try:
        return f"{datetime.fromtimestamp(seconds, timezone.utc):%Y-%m-%d %H:%M:%S} UTC"
    except (ValueError, OverflowError, OSError):
        return f"{seconds:.0f} s after 1970"

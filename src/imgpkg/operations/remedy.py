"""What the error of a failed check means, and what to do about it: one sentence each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from imgpkg.dataclass import dataclass
from imgpkg.errors import (
    CertificateRejected,
    ChallengeError,
    ConnectionTimedOut,
    ImgpkgError,
    NotFound,
    RegistryError,
    TransportError,
)

if TYPE_CHECKING:
    from imgpkg.auth.keychain import Decision
    from imgpkg.oci.reference import Repository
    from imgpkg.registry.probe import Surroundings

_PROXY_LOGIN, _TOO_MANY, _SERVER_ERROR = 407, 429, 500
# A pull-through cache or an archive answers these to POST (RFC 9110 sections 15.5.6 and 15.6.2).
_NO_WRITING = frozenset({405, 501})
# Seconds. Verifiers of tokens allow a few minutes of difference (RFC 7519 section 4.1.4).
_HARMFUL_SKEW = 300.0


@dataclass(frozen=True, slots=True)
class Meaning:
    """What happened, and what to do about it; one sentence each."""

    text: str
    remedy: str


@dataclass(frozen=True, slots=True)
class Trouble:
    """An error of a check, with what the check has found out before it.

    `verb` is what was tried: `pull from`, `push to` or `log in to`. `at_service` is True when the request
    went to the token service. `page` is the URL of a web page that came back, empty for none.
    """

    error: ImgpkgError
    repository: Repository
    decision: Decision
    verb: str
    at_service: bool
    page: str
    surroundings: Surroundings

    @property
    def status(self) -> int:
        """The status of the response, 0 when there was none."""
        return self.error.status if isinstance(self.error, RegistryError) else 0

    @property
    def server(self) -> str:
        """The server that received the request, in words."""
        return f"the token service {self.surroundings.service}" if self.at_service else "the registry"


def meaning(trouble: Trouble) -> Meaning:
    """Return the meaning of an error; for a refused credential it is that of `ImgpkgError.refusal`."""
    error = trouble.error
    # Before the kind of the error: a page of a proxy can have any status.
    if trouble.page:
        return _web_page(trouble)
    if isinstance(error, TransportError):
        return Meaning(f"{trouble.server}: {error.reason}", _of_transport(trouble, error))
    if isinstance(error, RegistryError):
        return _of_response(trouble, error)
    if isinstance(error, ChallengeError):
        remedy = (
            "Report it to the administrator of the registry: its answer to a request without a login is "
            "unusable."
        )
        return Meaning(error.message, next(iter(error.hints), remedy))
    return Meaning(f"{trouble.server} gave an unusable answer: {error}", _not_a_registry(trouble))


def _web_page(trouble: Trouble) -> Meaning:
    status = f" ({trouble.status})" if trouble.status else ""
    text = f"{trouble.server} answered with a web page in place of JSON{status}: {trouble.page}"
    if trouble.at_service:
        return Meaning(
            text,
            f"Open {trouble.page} in a browser: a proxy, a sign-in page or a wrong realm of the registry "
            "answers in place of its token service.",
        )
    return Meaning(text, _not_a_registry(trouble))


def _not_a_registry(trouble: Trouble) -> str:
    return (
        f"Check the host and the port of {trouble.repository.registry}: a web server, a proxy or a sign-in "
        "page answers there, and no registry."
    )


def _of_transport(trouble: Trouble, error: TransportError) -> str:
    # The hints of the transport name the cause, such as a host name without an address.
    if error.hints:
        return error.hints[0]
    host = error.url.partition("://")[2].partition("/")[0] or trouble.repository.registry
    match error:
        case CertificateRejected():
            return "The server requires a client certificate, or another version of TLS."
        case ConnectionTimedOut():
            return (
                f"{host} did not answer in time: check the network, the firewall, and the proxy in "
                "HTTPS_PROXY and NO_PROXY."
            )
        case _:
            return f"The connection to {host} broke: check the network and the proxy, and try again."


def _of_response(trouble: Trouble, error: RegistryError) -> Meaning:
    # The proxy is in front of every server, so that none of them is at fault.
    if error.status == _PROXY_LOGIN:
        return Meaning("the proxy requires a login (407)", next(iter(error.hints), ""))
    if error.status == _TOO_MANY or error.status >= _SERVER_ERROR:
        text = f"{trouble.server} has a problem of its own ({_said(error)})"
        return Meaning(text, "Try again later, or ask its administrator: no credential helps.")
    if isinstance(error, NotFound):
        return _of_absence(trouble, error)
    if error.refusal is not None:
        text = f"{error.refusal.sentence} ({_said(error)})"
        return Meaning(text, f"{_clock_first(trouble)}{error.refusal.remedy}")
    if trouble.verb == "push to" and error.status in _NO_WRITING:
        return Meaning(
            f"the registry takes no uploads ({_said(error)})",
            "Push to another registry: this one is read-only, or a cache of another.",
        )
    remedy = next(iter(error.hints), _not_a_registry(trouble))
    return Meaning(f"{trouble.server} answered {_said(error)}", remedy)


def _said(error: RegistryError) -> str:
    """Return the status and the first error of the registry."""
    first = next(iter(error.diagnostics), None)
    return f"{error.status}: {first.code}: {first.message}" if first is not None else str(error.status)


def _of_absence(trouble: Trouble, error: RegistryError) -> Meaning:
    registry = trouble.repository.registry
    if trouble.verb == "log in to":
        return Meaning(f"there is no registry at this address ({_said(error)})", _not_a_registry(trouble))
    if trouble.at_service:
        text = f"{trouble.server} does not exist ({_said(error)})"
        return Meaning(text, "Report it to the administrator of the registry: it names a wrong realm.")
    if trouble.verb == "push to":
        # In Harbor and GitLab the project must exist; other registries hide what a user may not see.
        text = f"there is no such project, or this credential may not see it ({_said(error)})"
        return Meaning(
            text, f"Create {trouble.repository.path} at {registry} first, or ask for access to it."
        )
    # Imported here, since most checks succeed.
    from imgpkg.auth.diagnosis.remedies import remedies_for

    text = f"it does not exist, or is hidden from users who are not logged in ({_said(error)})"
    return Meaning(
        text, " ".join(("Check the name; if it is private, log in.", *remedies_for(trouble.decision)))
    )


def _clock_first(trouble: Trouble) -> str:
    skew = trouble.surroundings.clock_skew
    is_harmful = skew is not None and abs(skew) > _HARMFUL_SKEW
    return "Set the clock of this machine first: with it, tokens are not valid. " if is_harmful else ""

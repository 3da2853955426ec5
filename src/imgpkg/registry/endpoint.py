"""One registry as a session has come to know it: http or https, and its challenges."""

from __future__ import annotations

from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from threading import Lock
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

from imgpkg.errors import (
    CertificateRejected,
    ConnectionFailed,
    TimedOut,
    TransportError,
    doing,
)
from imgpkg.locks import Turn
from imgpkg.registry.auth.challenge import Challenge
from imgpkg.registry.auth.realm import may_speak_http
from imgpkg.transport.message import Origin

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from imgpkg.transport.message import Request, Response

# How long https may take to connect before http is tried as well, where that is allowed.
PATIENCE = 2.0
# What the original was doing whenever a first contact failed.
PREPARING = (
    "Error while preparing a transport to talk with the registry",
    "Unable to create round tripper",
)


class Endpoint:
    """One registry, `host[:port]`, shared by all threads; what is learnt once is never asked again.

    `challenges` is None until a 401 came. `was_asked` tells that `GET /v2/` was answered, `is_open` that it
    was with 200; `question` is taken to ask it.
    """

    def __init__(self, name: str, *, insecure: bool = False) -> None:
        self.name = name
        self.challenges: tuple[Challenge, ...] | None = None
        self.was_asked = False
        self.is_open = False
        self.has_answered = False
        self.question = Turn()
        self._insecure = insecure
        self._scheme = None if may_speak_http(name, insecure=insecure) else "https"
        self._is_introduced = False
        self._gate = Lock()

    @property
    def origin(self) -> Origin:
        """Where it is; https while nobody knows."""
        return Origin.of(f"{self._scheme or 'https'}://{self.name}")

    def introduction(self) -> AbstractContextManager[None]:
        """Let the first exchange go alone, so that the others profit from what it learns."""
        if not self._is_introduced:
            self._gate.acquire()
            if not self._is_introduced:
                return self._introducing()
            self._gate.release()
        return nullcontext()

    @contextmanager
    def _introducing(self) -> Iterator[None]:
        try:
            yield
        finally:
            # Also after a failure: a dead registry must not be waited for by one thread after the other.
            self._is_introduced = True
            self._gate.release()

    def addressed(self, request: Request) -> Request:
        """Return `request`, whose URL may be a path, with the URL at which it is sent."""
        return self._at(self.origin.scheme, request)

    @property
    def can_answer(self) -> bool:
        """Tell whether it has challenged its clients for something that can be given."""
        return any(challenge.can_be_answered for challenge in self.challenges or ())

    def send(self, request: Request) -> Generator[Request, Response, tuple[Request, Response]]:
        """Yield `request`, whose URL is a path or this registry's, and return it as sent, with its answer.

        https is tried first. http follows only where it is allowed, and only when nothing spoke TLS in time;
        after a rejected certificate it needs `insecure`. The scheme that was answered stays.
        """
        if self.has_answered:
            return (yield from self._over(self._scheme or "https", request))
        with doing(*PREPARING):
            if self._scheme is None:
                sent, response = yield from self._over_either(request)
            else:
                sent, response = yield from self._over(self._scheme, request)
        self.has_answered = True
        return sent, response

    def learn(self, challenges: tuple[Challenge, ...]) -> None:
        """Remember how a 401 wants to be answered; one that cannot be answered does not replace one that can.

        A 401 without any challenge is taken for a Basic one.
        """
        if self.challenges is None or any(challenge.can_be_answered for challenge in challenges):
            self.challenges = challenges or (Challenge("basic"),)

    def follow_upgrade(self, url: str) -> None:
        """Go on with https when plain http was redirected to it, on the same host and port text."""
        if self._scheme == "http" and Origin.of(url) == Origin.of(f"https://{self.name}"):
            self._scheme = "https"

    def _over(self, scheme: str, request: Request) -> Generator[Request, Response, tuple[Request, Response]]:
        sent = self._at(scheme, request)
        response = yield sent
        return sent, response

    def _over_either(self, request: Request) -> Generator[Request, Response, tuple[Request, Response]]:
        try:
            answer = yield from self._over("https", replace(request, patience=PATIENCE))
        except TransportError as first:
            if not self._may_go_on(first):
                raise
            answer = yield from self._over_http(request, first)
        else:
            self._scheme = "https"
        return answer

    def _over_http(
        self, request: Request, first: TransportError
    ) -> Generator[Request, Response, tuple[Request, Response]]:
        try:
            answer = yield from self._over("http", request)
        except TransportError as second:
            if not isinstance(first, TimedOut):
                raise _joined(first, second) from second
            # Perhaps https was only slow.
            answer = yield from self._over("https", request)
            self._scheme = "https"
            return answer
        self._scheme = "http"
        return answer

    def _may_go_on(self, error: TransportError) -> bool:
        if isinstance(error, CertificateRejected):
            return self._insecure
        return isinstance(error, (ConnectionFailed, TimedOut))

    def _at(self, scheme: str, request: Request) -> Request:
        base = urlsplit(Origin.of(f"{scheme}://{self.name}").url)
        parts = urlsplit(request.url)
        url = urlunsplit(parts._replace(scheme=base.scheme, netloc=base.netloc))
        return replace(request, url=url)


def _joined(first: TransportError, second: TransportError) -> ConnectionFailed:
    reason = f"{first.reason}; {second.message}"
    return ConnectionFailed(first.method, first.url, reason, hints=(*first.hints, *second.hints))

"""Drives the authorizer's flow over a transport: redirects, repetition, and errors for wrong answers."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from imgpkg.errors import TransportError
from imgpkg.registry.auth.authorizer import Answer
from imgpkg.registry.auth.realm import absolute, check_url, resolve_location
from imgpkg.registry.auth.token import MOST_REDIRECTS, REDIRECTS
from imgpkg.registry.body import decoded
from imgpkg.registry.failure import failure, unusable
from imgpkg.transport.message import LOGIN_HINT, Origin, Request
from imgpkg.transport.retry import Repetition

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Generator, Mapping

    from imgpkg.errors import RegistryError
    from imgpkg.oci.reference import Repository
    from imgpkg.registry.auth.authorizer import Authorizer
    from imgpkg.registry.auth.scope import Access
    from imgpkg.transport.message import Response, Transport
    from imgpkg.transport.retry import Retry

Result = TypeVar("Result")

_WITH_HINTS = frozenset({401, 403, 407})
_PROXY_LOGIN = 407
_READING = frozenset({"GET", "HEAD"})
_KEEPS_METHOD = frozenset({307, 308})


class Exchange:
    """Sends requests about repositories and returns the answers asked for; safe from many threads."""

    def __init__(
        self,
        transport: Transport,
        authorizer: Authorizer,
        retry: Retry,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._transport = transport
        self._authorizer = authorizer
        self._retry = retry
        self._clock = clock

    @property
    def attempts(self) -> int:
        """How often something is tried at most; at least once."""
        return max(1, self._retry.attempts)

    def repeat(self, operation: Callable[[], Result]) -> Result:
        """Run `operation`, whole in itself, until it succeeds or its failure is not temporary."""
        return self._retry.run(operation)

    def announce(self, error: TransportError, attempt: int) -> None:
        """Say that a body that broke off is asked for again, at once."""
        self._retry.on_repeat(Repetition(error, 0.0, attempt, self.attempts))

    def call(self, request: Request, access: Access, accept: Collection[int]) -> Answer:
        """Send and return the answer, which is open, if its status is in `accept`.

        Raises Unauthorized, Forbidden, NotFound or RegistryError for another, whatever `Authorizer.flow`
        raises, and ChallengeError for a redirect that must not be followed.
        """
        answer = self.send(request, access)
        if answer.response.status in accept:
            return answer
        raise self.failure(answer, access)

    def failure(self, answer: Answer, access: Access) -> RegistryError:
        """Close an answer and return the error that it stands for."""
        hints = self._hints(answer, access) if answer.response.status in _WITH_HINTS else ()
        return failure(
            answer.request,
            answer.response,
            now=self._clock(),
            hints=hints,
            secrets=self._authorizer.secrets(access.repository),
        )

    def send(self, request: Request, access: Access) -> Answer:
        """Send, follow up to ten redirects, and return the last answer whatever its status.

        Each target is asked as what it is: the registry's own origin with its credential, others without.
        """
        for _ in range(MOST_REDIRECTS + 1):
            answer = self._drive(self._authorizer.flow(request, access))
            following = self._redirected(request, answer, access.repository)
            if following is None:
                return answer
            answer.response.close()
            request = following
        raise unusable(answer.request, answer.response, "stopped after 10 redirects")

    def visit(self, url: str, headers: Mapping[str, str], access: Access, accept: Collection[int]) -> Answer:
        """GET a URL that a manifest names: no credential, and a 401 is a 401 (CVE-2020-15157).

        Raises what `call` does for a status that is not in `accept`.
        """
        registry = self._authorizer.endpoint(access.repository.registry).origin
        for _ in range(MOST_REDIRECTS + 1):
            check_url(url, registry, "layer URL")
            request = Request("GET", url, headers)
            answer = Answer(request, decoded(request, self._transport.send(request)))
            location = answer.response.headers.get("Location")
            if answer.response.status in accept:
                return answer
            if answer.response.status not in REDIRECTS or not location:
                raise self.failure(answer, access)
            answer.response.close()
            url = absolute(url, location, "redirect target")
        raise unusable(answer.request, answer.response, "stopped after 10 redirects")

    def location(self, location: str, answer: Answer, repository: Repository) -> str:
        """Return the absolute URL of a Location or Link of `answer`; raise ChallengeError."""
        endpoint = self._authorizer.endpoint(repository.registry)
        return resolve_location(location, answer.request.url, endpoint.origin)

    def is_own(self, url: str, repository: Repository) -> bool:
        """Tell whether `url` belongs to the registry of `repository`."""
        return Origin.of(url) == self._authorizer.endpoint(repository.registry).origin

    def _hints(self, answer: Answer, access: Access) -> tuple[str, ...]:
        if answer.response.status == _PROXY_LOGIN:
            return (LOGIN_HINT,)
        if self.is_own(answer.request.url, access.repository):
            return self._authorizer.hints(access)
        host = Origin.of(answer.request.url).host
        return (f"{host} is not the registry {access.repository.registry}: no credential was sent to it",)

    def _redirected(self, request: Request, answer: Answer, repository: Repository) -> Request | None:
        """Return the next request, or None: an answer without a target, or one that would lose the body."""
        status, location = answer.response.status, answer.response.headers.get("Location")
        if status not in REDIRECTS or not location:
            return None
        if request.method not in _READING and status not in _KEEPS_METHOD:
            return None
        endpoint = self._authorizer.endpoint(repository.registry)
        try:
            url = absolute(answer.request.url, location, "redirect target")
            check_url(url, endpoint.origin, "redirect target")
            endpoint.follow_upgrade(url)
            return replace(request, url=self.location(location, answer, repository))
        except BaseException:
            answer.response.close()
            raise

    def _drive(self, flow: Generator[Request, Response, Answer]) -> Answer:
        try:
            request = next(flow)
            while True:
                try:
                    response = decoded(request, self._transport.send(request))
                except TransportError as error:  # noqa: PERF203 - the flow decides on each
                    request = flow.throw(error)
                else:
                    request = flow.send(response)
        except StopIteration as stop:
            answer: Answer = stop.value
            return answer
        finally:
            flow.close()

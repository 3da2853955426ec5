"""Exchanges with registries: authorized requests, redirects, repetition, and errors for other responses."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from imgpkg import cancellation
from imgpkg.dataclass import dataclass, replace
from imgpkg.errors import (
    ImgpkgError,
    ImmutableTag,
    InvalidManifest,
    InvalidReference,
    RegistryError,
    TransportError,
    VerificationError,
    doing,
)
from imgpkg.oci import media
from imgpkg.oci.descriptor import Descriptor, Digest
from imgpkg.oci.manifest import Manifest
from imgpkg.registry.auth.token import MOST_REDIRECTS, REDIRECTS
from imgpkg.registry.encoding import decoded
from imgpkg.registry.endpoint import Answer, absolute, check_url, resolve_location
from imgpkg.registry.failure import failure, of_another_form, unusable
from imgpkg.transport.message import LOGIN_HINT, Origin, Request, content_length, redact_url
from imgpkg.transport.retry import is_temporary

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Generator, Mapping

    from imgpkg.oci.reference import Reference, Repository
    from imgpkg.registry.auth.authorizer import Authorizer
    from imgpkg.registry.auth.challenge import Access
    from imgpkg.transport.message import Response, Transport

Result = TypeVar("Result")

# Seconds.
FIRST_DELAY = 0.1
LONGEST_DELAY = 1.0
# A longer pause looks like a program that hangs.
LONGEST_RETRY_AFTER = 60.0
HINT_SECONDS = 2.0
# Minutes, from which on a pause is named in hours.
_LONG_TIME = 120

# A HEAD request only asks whether something exists, so that a 404 needs no explanation.
_ABOUT_A_CREDENTIAL = frozenset({401, 403})
_NOT_FOUND, _PROXY_LOGIN = 404, 407
_READING = frozenset({"GET", "HEAD"})
_KEEPS_METHOD = frozenset({307, 308})


class Exchange:
    """Send requests about repositories and return the answers; safe from many threads."""

    def __init__(
        self,
        transport: Transport,
        authorizer: Authorizer,
        retry: Retry,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._transport = transport
        self.authorizer = authorizer
        self._retry = retry
        self._clock = clock

    def watched(self, watch: Callable[[Transport], Transport]) -> Exchange:
        """Return an exchange with the same authorizer, whose messages pass through what `watch` returns."""
        return Exchange(watch(self._transport), self.authorizer, self._retry, clock=self._clock)

    @property
    def attempts(self) -> int:
        """The number of attempts that are made at most, at least one."""
        return max(1, self._retry.attempts)

    def repeat(self, operation: Callable[[], Result]) -> Result:
        """Call `operation`, which starts again each time, until it succeeds or fails for good."""
        return self._retry.run(operation)

    def announce(self, error: TransportError, attempt: int) -> None:
        """Announce that a body that broke off is requested again, without a pause."""
        self._retry.on_repeat(Repetition(error, 0.0, attempt, self.attempts))

    def call(self, request: Request, access: Access, accept: Collection[int]) -> Answer:
        """Send and return the answer, which is open, if its status is in `accept`.

        Raises Unauthorized, Forbidden, NotFound or RegistryError for another status, whatever
        `Authorizer.flow` raises, and ChallengeError for a redirect that must not be followed.
        """
        answer = self.send(request, access)
        if answer.response.status in accept:
            return answer
        raise self.failure(answer, access)

    def failure(self, answer: Answer, access: Access) -> RegistryError:
        """Close an answer and return the error that describes it."""
        request, response = answer.request, answer.response
        secrets = self.authorizer.secrets(access.repository)
        error = failure(request, response, now=self._clock(), secrets=secrets)
        if response.status == _PROXY_LOGIN:
            error.hints = (LOGIN_HINT, *error.hints)
        elif response.status in _ABOUT_A_CREDENTIAL and not isinstance(error, ImmutableTag):
            self._explain_refusal(error, answer, access)
        elif response.status == _NOT_FOUND and request.method == "GET":
            error.explain_later(partial(self._explain_absence, error, answer, access))
        else:
            error.explain_later(partial(self._advise, error, access))
        return error

    def send(self, request: Request, access: Access) -> Answer:
        """Send, follow up to ten redirects, and return the last answer whatever its status.

        A redirect within the registry's own origin is authorized, one to another origin is not.
        """
        for _ in range(MOST_REDIRECTS + 1):
            answer = self.drive(self.authorizer.flow(request, access))
            # The first request is sent to each target, so that each of them is authorized for itself.
            redirected = self._redirected(request, answer, access.repository)
            if redirected is None:
                return answer
            answer.response.close()
            request = redirected
        raise unusable(answer.request, answer.response, "stopped after 10 redirects")

    def get_url(
        self, url: str, headers: Mapping[str, str], access: Access, accept: Collection[int]
    ) -> Answer:
        """GET a URL that a manifest names, without a credential, also after a 401.

        Otherwise a manifest could name a host that collects credentials (CVE-2020-15157). Raises what `call`
        raises for a status that is not in `accept`.
        """
        registry = self.authorizer.endpoint(access.repository.registry).origin
        for _ in range(MOST_REDIRECTS + 1):
            check_url(url, registry, "layer URL")
            request = Request("GET", url, headers)
            answer = Answer(request, self._receive(request))
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
        endpoint = self.authorizer.endpoint(repository.registry)
        return resolve_location(location, answer.request.url, endpoint.origin)

    def is_own(self, url: str, repository: Repository) -> bool:
        """Return True when `url` belongs to the registry of `repository`."""
        return Origin.of(url) == self.authorizer.endpoint(repository.registry).origin

    def _explain_refusal(self, error: RegistryError, answer: Answer, access: Access) -> None:
        from imgpkg.registry.remedy import is_about_quota, misread

        if answer.request.method not in _READING and is_about_quota(error):
            self._advise(error, access)
            return
        self._explain(error, answer, access)
        # First: it makes the remedy useless.
        error.hints = (*misread(access.repository), *error.hints)

    def _advise(self, error: RegistryError, access: Access) -> None:
        from imgpkg.registry.remedy import remedies

        error.hints = (*error.hints, *remedies(error, access.repository))

    def _explain_absence(self, error: RegistryError, answer: Answer, access: Access) -> None:
        from imgpkg.registry.remedy import absence

        once = Exchange(self._transport, self.authorizer, Retry(attempts=1), clock=self._clock)
        # Nobody waits for minutes for a hint.
        with cancellation.current().scope(seconds=HINT_SECONDS):
            is_visible, hints = absence(error, once, access.repository)
        # What can be listed is not hidden for want of a login.
        if not is_visible:
            self._explain(error, answer, access)
        error.hints = (*hints, *error.hints)

    def _explain(self, error: RegistryError, answer: Answer, access: Access) -> None:
        if self.is_own(answer.request.url, access.repository):
            self.authorizer.explain.answer(error, answer, access)
            return
        host, registry = Origin.of(answer.request.url).host, access.repository.registry
        hint = f"{host} is not the registry {registry}: no credential was sent to it"
        error.hints = (hint, *error.hints)

    def _redirected(self, request: Request, answer: Answer, repository: Repository) -> Request | None:
        """Return the request that a redirect asks for; None for other answers.

        A redirect that turns PUT, POST or PATCH into GET (RFC 9110 section 15.4) would lose the body: its
        answer is final.
        """
        status, location = answer.response.status, answer.response.headers.get("Location")
        if status not in REDIRECTS or not location:
            return None
        if request.method not in _READING and status not in _KEEPS_METHOD:
            return None
        endpoint = self.authorizer.endpoint(repository.registry)
        try:
            url = absolute(answer.request.url, location, "redirect target")
            check_url(url, endpoint.origin, "redirect target")
            # A registry that redirects http to https is used over https from now on.
            endpoint.follow_upgrade(url)
            return replace(request, url=self.location(location, answer, repository))
        except BaseException:
            answer.response.close()
            raise

    def drive(self, flow: Generator[Request, Response, Result]) -> Result:
        """Send each request that `flow` yields, pass it the response or TransportError, return its value."""
        try:
            request = next(flow)
            while True:
                try:
                    response = self._receive(request)
                except TransportError as error:  # noqa: PERF203 - the flow decides on each
                    request = flow.throw(error)
                else:
                    request = flow.send(response)
        except StopIteration as stop:
            result: Result = stop.value
            return result
        finally:
            # Its `with` blocks release the locks that other threads wait for.
            flow.close()

    def _receive(self, request: Request) -> Response:
        response = self._transport.send(request)
        return decoded(request, response) if "Content-Encoding" in response.headers else response


@dataclass(frozen=True, slots=True)
class Repetition:
    """A failure that is tried again after a pause, in seconds, and the number of the next attempt."""

    error: ImgpkgError
    pause: float
    attempt: int
    attempts: int

    def __str__(self) -> str:
        when = f"in {self.pause:.0f} s" if self.pause >= 1 else "now"
        return f"{self.error}; trying again {when} (attempt {self.attempt} of {self.attempts})"


def _silent(repetition: Repetition) -> None:
    """Announce no repetition."""


def random_fraction() -> float:
    """Return a random number in [0, 1)."""
    from random import random

    return random()  # noqa: S311 - no secret


@dataclass(frozen=True, slots=True)
class Retry:
    """Repeat an operation while its failures are temporary; `attempts` below one count as one.

    The operation must begin from the start at each call. `sleep` gets seconds, `random` returns a fraction in
    [0, 1), `on_repeat` is called before each pause. When a server asks for a pause of more than a minute, the
    error is raised at once, with a hint.
    """

    attempts: int = 5
    sleep: Callable[[float], None] = cancellation.sleep
    random: Callable[[], float] = random_fraction
    on_repeat: Callable[[Repetition], None] = _silent

    def run(self, operation: Callable[[], Result]) -> Result:
        """Return what `operation` returns; raise its last error, or its first that is not temporary."""
        attempt = 1
        while True:
            try:
                return operation()
            except ImgpkgError as error:
                if attempt >= self.attempts or not is_temporary(error):
                    raise
                retry_after = error.retry_after if isinstance(error, RegistryError) else None
                if retry_after is not None and retry_after > LONGEST_RETRY_AFTER:
                    error.hints = (*error.hints, _too_long(retry_after))
                    raise
                attempt += 1
                pause = delay_before(attempt, self.random(), retry_after)
                self.on_repeat(Repetition(error, pause, attempt, self.attempts))
            # Outside of the `except` block, which would keep the traceback of the error alive.
            self.sleep(pause)


def delay_before(attempt: int, fraction: float, retry_after: float | None = None) -> float:
    """Return the seconds to wait before `attempt` (the second is 2): 100 ms doubling up to 1 s, with jitter.

    `fraction` is random in [0, 1): the pause is between half of the step and all of it. It is at least
    `retry_after`, what the server asked for.
    """
    # The exponent is limited, because a large one is more than a float can hold.
    step = min(FIRST_DELAY * 2.0 ** min(attempt - 2, 10), LONGEST_DELAY)
    pause = step * (1 + fraction) / 2
    return max(pause, retry_after or 0.0)


def _too_long(seconds: float) -> str:
    minutes = seconds / 60
    pause = f"{minutes:.0f} minutes" if minutes < _LONG_TIME else f"{minutes / 60:.0f} hours"
    return (
        f"The registry asks to be left alone for {pause}; imgpkg waits for {LONGEST_RETRY_AFTER:.0f} s at "
        "most. Try again after that time."
    )


def check_stored(answer: Answer, digest: Digest) -> None:
    """Raise VerificationError when the registry reports another digest than that of what was sent."""
    stored = content_digest(answer.response)
    # A registry may report the digest in another algorithm, which proves nothing.
    if stored is not None and stored.algorithm == digest.algorithm and stored != digest:
        raise VerificationError(f'the registry stored digest "{stored}" in place of "{digest}"')


def content_digest(response: Response) -> Digest | None:
    """Return the digest of Docker-Content-Digest; None without this header and for text that is no digest."""
    try:
        return Digest.parse(response.headers.get("Docker-Content-Digest", ""))
    except InvalidReference:
        return None


def described(response: Response) -> Descriptor | None:
    """Return the descriptor of a manifest from the headers of a response; None where they are none."""
    digest, headers = content_digest(response), response.headers
    kind = headers.get("Content-Type", "").partition(";")[0].strip()
    length = content_length(headers)
    # Such a response to HEAD is allowed, but is no descriptor.
    if digest is None or not kind or length is None:
        return None
    return Descriptor(kind, digest, length)


def received_manifest(answer: Answer, raw: bytes, reference: Reference) -> Manifest:
    """Parse the body of an answer; raise VerificationError for another digest, or InvalidManifest."""
    kind = answer.response.headers.get("Content-Type", "").partition(";")[0].strip()
    digest = _manifest_digest(raw, kind, answer.response)
    check_named(digest, reference)
    with doing(f"{answer.request.method} {redact_url(answer.request.url)}"):
        try:
            # Of two equal digests, one is kept.
            named = reference.digest or digest
            return Manifest.parse(raw, kind if kind in media.MANIFEST_ACCEPT else "", named)
        except InvalidManifest as error:
            if (other := of_another_form(answer.response, raw)) is not None:
                raise other from error
            raise


def _manifest_digest(raw: bytes, kind: str, response: Response) -> Digest:
    """Compute the digest; that of signed schema 1 is of the payload only, so the registry's is used."""
    if kind == media.DOCKER_SCHEMA_1_SIGNED:
        return content_digest(response) or Digest.of(raw)
    return Digest.of(raw)


def check_named(digest: Digest, reference: Reference) -> None:
    """Raise VerificationError when `reference` names another digest."""
    wanted = reference.digest
    if wanted is not None and digest != wanted:
        raise VerificationError(
            f'manifest digest: "{digest}" does not match requested digest: "{wanted}" for "{reference}"'
        )

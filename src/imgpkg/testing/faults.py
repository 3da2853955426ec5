"""What can go wrong with a request, and which requests it is done to.

A fault is a value. `RegistryServer.fail` does it to the requests of a method and a path; `first`, `always`
and `any_of` make the function that the option `faults` of `serve` takes.
"""

from __future__ import annotations

import math
import re
import threading
from typing import TYPE_CHECKING

from imgpkg.embedded.message import Fault, RequestRefused
from imgpkg.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from imgpkg.embedded.message import Faults, ServerRequest

# The digest of nothing: a well-formed one that is wrong for every manifest.
_OF_NOTHING = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
# Seconds in which every client with a time limit gives up.
_AN_HOUR = 3600.0


def refused(
    status: int,
    code: str = "UNAVAILABLE",
    message: str = "injected",
    headers: Iterable[tuple[str, str]] = (),
) -> Fault:
    """Return the fault that answers with an error (distribution-spec, "Error Codes")."""
    return Fault(answer=RequestRefused(status, code, message, headers=tuple(headers)).response())


def unauthorized(challenge: str = 'Basic realm="test"') -> Fault:
    """Return the fault that answers 401 with this challenge, whatever the login of the request is."""
    headers = (("WWW-Authenticate", challenge),)
    return refused(401, "UNAUTHORIZED", "authentication required", headers)


def ignored_login() -> Fault:
    """Return the fault that takes the login or token away from the request.

    A registry with a login answers 401 with its own challenge, as if a token had just ended.
    """
    return Fault(ignore_login=True)


def insufficient_scope(scope: str, realm: str = "http://127.0.0.1:1/token") -> Fault:
    """Return the fault that answers 401 and asks for a token with one more scope (RFC 6750 §3.1)."""
    return unauthorized(f'Bearer realm="{realm}",service="test",scope="{scope}",error="insufficient_scope"')


def too_many_requests(retry_after: float | str | None = None) -> Fault:
    """Return the fault that answers 429; `retry_after` in seconds, or a date (RFC 9110 §10.2.3)."""
    return refused(429, "TOOMANYREQUESTS", "too many requests", _retry_after(retry_after))


def unavailable(status: int = 503, retry_after: float | str | None = None) -> Fault:
    """Return the fault that answers with a status from 500 on; `retry_after` as for `too_many_requests`."""
    return refused(status, "UNAVAILABLE", "the service is not available", _retry_after(retry_after))


def redirected(url: str) -> Fault:
    """Return the fault that answers 307 and leads to the same path at another server, such as `other.url`.

    So do registries that keep blobs elsewhere. Their clients should send no login there.
    """
    return Fault(redirect_to=url)


def stalled(seconds: float = _AN_HOUR, *, after: int | None = None) -> Fault:
    """Return the fault that says nothing for so many seconds, and then goes on.

    With `after` that is when so many bytes of the body of the response were sent, otherwise before the body
    of the request is read. A server that stops does not wait.
    """
    return Fault(delay=seconds, delay_after=after)


def truncated(after: int = 0) -> Fault:
    """Return the fault that closes the connection after `after` bytes of the body of the response.

    Its Content-Length is that of the whole body.
    """
    return Fault(cut_response_after=after)


def disconnected(*, after: int | None = None) -> Fault:
    """Return the fault that closes the connection without a response.

    With `after` that is when so many bytes of the body of the request were read, which then has to have more.
    """
    return Fault(hang_up=True) if after is None else Fault(cut_request_after=after)


def corrupted() -> Fault:
    """Return the fault that changes the last byte of the body of the response: its digest is wrong."""
    return Fault(corrupt_response=True)


def wrong_digest(digest: str = _OF_NOTHING) -> Fault:
    """Return the fault that names another digest in `Docker-Content-Digest`; the body stays right."""
    return Fault(headers=(("Docker-Content-Digest", digest),))


def always(fault: Fault, *, method: str | None = None, path: str = "") -> Faults:
    """Do it to every request with this method whose path has this pattern somewhere."""
    return first(math.inf, fault, method=method, path=path)


def first(count: float, fault: Fault, *, method: str | None = None, path: str = "") -> Faults:
    """Do it to the first `count` requests that match; raise UsageError for a pattern that is none."""
    is_wanted, lock, left = matching(method, path), threading.Lock(), count

    def faults(request: ServerRequest) -> Fault | None:
        nonlocal left
        if not is_wanted(request.method, request.path):
            return None
        with lock:
            if left <= 0:
                return None
            left -= 1
        return fault

    return faults


def any_of(*choices: Faults) -> Faults:
    """Ask each in turn; the first that wants a fault decides."""

    def faults(request: ServerRequest) -> Fault | None:
        return next((fault for choice in choices if (fault := choice(request)) is not None), None)

    return faults


def matching(method: str | None, path: str) -> Callable[[str, str], bool]:
    """Return whether a method and a path are these: any method for None, any path with the pattern in it.

    Raise UsageError for a pattern that is no regular expression.
    """
    try:
        pattern = re.compile(path)
    except re.error as error:
        raise UsageError(f"path is no regular expression: {error}") from error
    # Methods have capital letters (RFC 9110 §9.1), and `get` would be none of them.
    wanted = method and method.upper()
    return lambda given, where: wanted in (None, given) and pattern.search(where) is not None


def _retry_after(value: float | str | None) -> tuple[tuple[str, str], ...]:
    if value is None:
        return ()
    # The header has whole seconds only, and none must be lost.
    return (("Retry-After", value if isinstance(value, str) else str(math.ceil(value))),)

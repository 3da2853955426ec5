"""Registry authentication for httpx: an object for `auth=` of its clients, sync and async."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn, TypeVar

from imgpkg.errors import UsageError
from imgpkg.registry.signing import Reply, Signer, access_of, registry_name
from imgpkg.session import Session, as_session
from imgpkg.transport.message import redact_url

try:
    import anyio.to_thread  # a requirement of httpx
    import httpx
except ImportError as error:
    raise ImportError("imgpkg.adaptors.httpx needs httpx: pip install httpx") from error

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator

    from imgpkg.auth.keychain import Authorization

Argument = TypeVar("Argument")
Result = TypeVar("Result")


class RegistryAuth(httpx.Auth):
    """Sign the requests of the distribution API to one registry with the credentials of `session`.

    `registry` is `host[:port]`. Requests to another origin, and those that are not of this API, are sent as
    they are. The session fetches a token before a request is sent, and another one when the answer is 401.
    The request is then sent again, which raises UsageError for a body that was an iterator or a file. In an
    async client the session waits in a thread. May be used by several clients, threads and event loops.
    Raises InvalidReference.
    """

    def __init__(self, session: Session, registry: str) -> None:
        self._session = as_session(session, "RegistryAuth")
        self._registry = registry_name(registry)

    def sync_auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Sign a request; raise what `Session.authorization` raises."""
        signer = self._signer(request)
        if signer is None:
            yield request
            return
        _sign(request, signer.sign_for(str(request.url)))
        while True:
            response = yield request
            authorization = signer.sign_again(_reply(response))
            if authorization is None:
                return
            _check_body(request)
            _sign(request, authorization)

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        """Sign a request; raise what `Session.authorization` raises."""
        signer = self._signer(request)
        if signer is None:
            yield request
            return
        _sign(request, await _in_thread(signer.sign_for, str(request.url)))
        while True:
            response = yield request
            reply = _reply(response)
            # Only a refusal may fetch a token; other replies are handled at once, without a thread.
            if reply.is_refusal:
                authorization = await _in_thread(signer.sign_again, reply)
            else:
                authorization = signer.sign_again(reply)
            if authorization is None:
                return
            _check_body(request)
            _sign(request, authorization)

    def _signer(self, request: httpx.Request) -> Signer | None:
        access = access_of(self._registry, request.method, str(request.url))
        return None if access is None else Signer(self._session.client.exchange, access)

    def __repr__(self) -> str:
        return f"RegistryAuth({self._registry!r})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a RegistryAuth holds an open session: it can neither be pickled nor copied")


async def _in_thread(function: Callable[[Argument], Result], argument: Argument) -> Result:
    # A task that is cancelled does not wait for the thread: other tasks may need the same token.
    return await anyio.to_thread.run_sync(function, argument, abandon_on_cancel=True)


def _sign(request: httpx.Request, authorization: Authorization) -> None:
    # A header of the program, or the refused one, must not be sent along.
    request.headers.pop("Authorization", None)
    request.headers.update(authorization.headers)


def _reply(response: httpx.Response) -> Reply:
    # After redirects this is another request than the one that was signed.
    request = response.request
    lines = tuple(response.headers.get_list("WWW-Authenticate"))
    return Reply(request.method, str(request.url), response.status_code, lines)


def _check_body(request: httpx.Request) -> None:
    """Raise UsageError for a body that httpx cannot send again: it reads iterators and files once."""
    stream = request.stream
    # A stream of the program's own class may be repeatable.
    if not isinstance(stream, httpx.ByteStream) and type(stream).__module__.startswith("httpx."):
        raise UsageError(
            f"{request.method} {redact_url(str(request.url))}: the registry wants another credential, and "
            "the body cannot be sent again: send the request anew, or give bytes"
        )

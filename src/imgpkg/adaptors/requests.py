"""Registry authentication for requests: an object for `auth=` of its functions and sessions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

from imgpkg.errors import UsageError
from imgpkg.registry.signing import Reply, Signer, access_of, registry_name
from imgpkg.session import Session, as_session
from imgpkg.transport.message import redact_url

try:
    from requests.auth import AuthBase
except ImportError as error:
    raise ImportError("imgpkg.adaptors.requests needs requests: pip install requests") from error

if TYPE_CHECKING:
    from requests import PreparedRequest, Response

    from imgpkg.auth.keychain import Authorization


class RegistryAuth(AuthBase):
    """Sign the requests of the distribution API to one registry with the credentials of `session`.

    `registry` is `host[:port]`. Requests to another origin, and those that are not of this API, are sent as
    they are. The session fetches a token before a request is sent, and another one when the answer is 401.
    The request is then sent again, which raises UsageError for a body that was an iterator. May be used by
    several threads. Raises InvalidReference.
    """

    def __init__(self, session: Session, registry: str) -> None:
        self._session = as_session(session, "RegistryAuth")
        self._registry = registry_name(registry)

    def __call__(self, r: PreparedRequest) -> PreparedRequest:
        """Sign a request; raise what `Session.authorization` raises."""
        method, url = r.method or "GET", r.url or ""
        access = access_of(self._registry, method, url)
        if access is not None:
            signer = Signer(self._session.client.exchange, access)
            _sign(r, signer.sign_for(url))
            r.register_hook("response", _Sender(signer, r.body).answered)
        return r

    def __repr__(self) -> str:
        return f"RegistryAuth({self._registry!r})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a RegistryAuth holds an open session: it can neither be pickled nor copied")


class _Sender:
    """Sends a request again after a 401, with its body from where it began."""

    def __init__(self, signer: Signer, body: Any) -> None:
        self._signer = signer
        # A file may have been read up to here, as requests itself notes for redirects.
        self._start = body.tell() if hasattr(body, "seek") else None

    def answered(self, response: Response, **options: Any) -> Response:
        """Return the last response: the hook that requests calls for each response, also of redirects."""
        while (authorization := self._signer.sign_again(_reply(response))) is not None:
            # Read, so that the connection can be used again.
            _ = response.content
            response.close()
            request = response.request.copy()
            self._rewind(request)
            _sign(request, authorization)
            # The adapter sends it: a session would apply this hook twice.
            again = response.connection.send(request, **options)
            again.history = [*response.history, response]
            again.request = request
            response = again
        return response

    def _rewind(self, request: PreparedRequest) -> None:
        body: Any = request.body
        if self._start is not None:
            body.seek(self._start)
        elif body is not None and not isinstance(body, (str, bytes)):
            raise UsageError(
                f"{request.method} {redact_url(request.url or '')}: the registry wants another credential, "
                "and the body cannot be sent again: send the request anew, or give bytes or a file"
            )


def _sign(request: PreparedRequest, authorization: Authorization) -> None:
    request.headers.pop("Authorization", None)
    request.headers.update(authorization.headers)


def _reply(response: Response) -> Reply:
    request = response.request
    challenge = response.headers.get("WWW-Authenticate")
    # requests joins repeated headers with commas, which the parser of challenges accepts (RFC 9110 section
    # 11.6.1).
    lines = () if challenge is None else (challenge,)
    return Reply(request.method or "GET", request.url or "", response.status_code, lines)

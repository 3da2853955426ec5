"""Requests, responses and errors of the registry as values; records of requests, and faults for tests."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from imgpkg.errors import ImgpkgError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from imgpkg.oci.descriptor import Readable

Pairs: TypeAlias = "tuple[tuple[str, str], ...]"


class Disconnected(ImgpkgError):
    """The client left, or fell silent, in the middle of a request."""


@dataclass(frozen=True, slots=True)
class ServerRequest:
    """One request: `path` and `query` are decoded, header names in lower case, `scheme` http or https.

    `body` is read at most once, and raises Disconnected when the client left before its end.
    """

    method: str
    path: str
    query: Pairs
    headers: Mapping[str, str] = field(repr=False)
    body: Readable = field(repr=False)
    scheme: str = "http"

    def parameter(self, name: str) -> str | None:
        """Return the first value of a query parameter, None without one."""
        return next((value for key, value in self.query if key == name), None)

    def read_all(self, limit: int) -> bytes:
        """Return the whole body; refuse with 413 what is longer than `limit` bytes."""
        pieces, count = [], 0
        while piece := self.body.read(limit + 1 - count):
            pieces.append(piece)
            count += len(piece)
            if count > limit:
                raise RequestRefused(413, "SIZE_INVALID", f"more than {limit} bytes")
        return b"".join(pieces)


@dataclass(frozen=True, slots=True)
class FilePart:
    """`count` bytes of a file, from `offset`."""

    path: str
    offset: int
    count: int


@dataclass(frozen=True, slots=True)
class ServerResponse:
    """One response without Content-Length, which the handler adds.

    `cut_after` breaks the connection after so many bytes of the body; None for a whole response.
    """

    status: int
    headers: Pairs = ()
    body: bytes | FilePart = b""
    cut_after: int | None = None

    @property
    def length(self) -> int:
        """The size of the body in bytes."""
        return self.body.count if isinstance(self.body, FilePart) else len(self.body)


class RequestRefused(ImgpkgError):
    """A request that is answered with an error (distribution spec, "Error Codes")."""

    def __init__(
        self, status: int, code: str, message: str, *, detail: object = None, headers: Pairs = ()
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.detail = detail
        self.headers = headers

    def response(self) -> ServerResponse:
        """Write the error as the registry's JSON document."""
        error = {"code": self.code, "message": self.message}
        entry = error if self.detail is None else {**error, "detail": self.detail}
        return json_response({"errors": [entry]}, status=self.status, headers=self.headers)


def json_response(
    document: object, *, status: int = 200, headers: Pairs = (), media_type: str = "application/json"
) -> ServerResponse:
    """Answer with a JSON document."""
    # In ASCII also half a surrogate pair can be said again, which clients may push.
    body = json.dumps(document, separators=(",", ":")).encode("ascii")
    return ServerResponse(status, (("Content-Type", media_type), *headers), body)


@dataclass(frozen=True, slots=True)
class Fault:
    """What goes wrong with one request; the default is nothing.

    `delay` in seconds comes before everything else. `answer` is given instead of serving the request.
    `hang_up` closes the connection without any answer. `cut_request_after` closes it after so many bytes of
    the request's body have been taken, `cut_response_after` after so many bytes of the response's.
    """

    delay: float = 0.0
    answer: ServerResponse | None = None
    hang_up: bool = False
    cut_request_after: int | None = None
    cut_response_after: int | None = None


NO_FAULT = Fault()
Faults: TypeAlias = "Callable[[ServerRequest], Fault | None]"


def no_faults(request: ServerRequest) -> Fault | None:
    """Serve every request."""


@dataclass(frozen=True, slots=True)
class RequestRecord:
    """One request as the registry saw it; `status` is 0 when nobody was left to answer.

    `error` is what went wrong inside the registry when it answered 500. `headers` may hold secrets.
    """

    method: str
    path: str
    query: Pairs
    status: int
    error: str = ""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def authorization(self) -> str:
        """The value of the Authorization header, empty without one: a secret."""
        return self.headers.get("authorization", "")


OnRequest: TypeAlias = "Callable[[RequestRecord], None]"


def ignore_request(record: RequestRecord) -> None:
    """Watch nothing."""

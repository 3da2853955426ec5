"""Requests, responses and errors of the registry as values; records of requests, and faults for tests.

Handlers do not use sockets or HTTP: they receive a ServerRequest, and return a ServerResponse or raise
RequestRefused.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol, TypeAlias
from urllib.parse import quote, urlencode

from imgpkg.errors import ImgpkgError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

Pairs: TypeAlias = "tuple[tuple[str, str], ...]"


class Disconnected(ImgpkgError):
    """The client closed the connection, or sent nothing for too long, in the middle of a request."""


class RequestContent(Protocol):
    """The bytes of the body of a request."""

    def read(self, size: int, /) -> bytes:
        """Return at most `size` bytes, b"" at the end; raise Disconnected when the client left before it."""
        ...


@dataclass(frozen=True, slots=True)
class ServerRequest:
    """One request: `path` and `query` are decoded, header names in lower case, `scheme` http or https.

    `body` can be read once. It raises Disconnected when the client leaves before its end.
    """

    method: str
    path: str
    query: Pairs
    headers: Mapping[str, str] = field(repr=False)
    body: RequestContent = field(repr=False)
    scheme: str = "http"

    def parameter(self, name: str) -> str | None:
        """Return the first value of a query parameter, or None."""
        return next((value for key, value in self.query if key == name), None)

    def read_all(self, limit: int) -> bytes:
        """Return the whole body; raise RequestRefused with 413 if it is longer than `limit` bytes."""
        pieces, count = [], 0
        # One byte more than the limit shows that the body is too long, whatever length its headers state.
        while piece := self.body.read(limit + 1 - count):
            pieces.append(piece)
            count += len(piece)
            if count > limit:
                raise RequestRefused(413, "SIZE_INVALID", f"more than {limit} bytes")
        return b"".join(pieces)


@dataclass(frozen=True, slots=True)
class FilePart:
    """`count` bytes of a file, from `offset`: the kernel can send them without a copy in this process.

    With `data` they are those of a few bytes in the place of the file.
    """

    path: str
    offset: int
    count: int
    data: bytes | None = field(default=None, repr=False)

    def read(self) -> bytes:
        """Return the bytes."""
        if self.data is not None:
            return self.data[self.offset : self.offset + self.count]
        with open(self.path, "rb") as file:
            file.seek(self.offset)
            return file.read(self.count)


@dataclass(frozen=True, slots=True)
class ServerResponse:
    """One response; the handler adds Content-Length and the headers that every response has.

    With `cut_after` the connection is closed after so many bytes of the body. With `pause_after` nothing is
    sent for `pause` seconds after so many bytes of it.
    """

    status: int
    headers: Pairs = ()
    body: bytes | tuple[FilePart, ...] = b""
    cut_after: int | None = None
    pause_after: int | None = None
    pause: float = 0.0

    @property
    def length(self) -> int:
        """The size of the body in bytes."""
        return len(self.body) if isinstance(self.body, bytes) else sum(part.count for part in self.body)

    def section(self, start: int, end: int) -> bytes | tuple[FilePart, ...]:
        """Return the bytes of the body from `start` to `end`."""
        if isinstance(self.body, bytes):
            return self.body[start:end]
        return tuple(cut_parts(self.body, start, end - start))

    def corrupted(self) -> ServerResponse:
        """Return this response with another last byte in its body, which keeps its length."""
        end = self.length
        if not end:
            return self
        if isinstance(self.body, bytes):
            return replace(self, body=self.body[:-1] + _changed(self.body[-1:]))
        (last,) = cut_parts(self.body, end - 1, 1)
        # All before it stays in its file.
        byte = FilePart("", 0, 1, _changed(last.read()))
        return replace(self, body=(*cut_parts(self.body, 0, end - 1), byte))

    def with_headers(self, headers: Pairs) -> ServerResponse:
        """Return this response with these headers in place of those of the same names."""
        if not headers:
            return self
        names = {name.lower() for name, _ in headers}
        kept = tuple(pair for pair in self.headers if pair[0].lower() not in names)
        return replace(self, headers=(*kept, *headers))


def redirect(request: ServerRequest, url: str) -> ServerResponse:
    """Return the response that sends a request to its path at another server (RFC 9110 §15.4.8)."""
    query = f"?{urlencode(request.query)}" if request.query else ""
    return ServerResponse(307, (("Location", f"{url.rstrip('/')}{quote(request.path)}{query}"),))


def cut_parts(parts: tuple[FilePart, ...], start: int, count: int) -> Iterator[FilePart]:
    """Yield `count` bytes of these parts, from `start` on."""
    for part in parts:
        size = min(part.count - start, count)
        if size > 0:
            yield FilePart(part.path, part.offset + start, size, part.data)
            count -= size
        start = max(start - part.count, 0)


def _changed(byte: bytes) -> bytes:
    return bytes([byte[0] ^ 1])


class RequestRefused(ImgpkgError):
    """The request is answered with an error (distribution-spec, "Error Codes")."""

    def __init__(
        self, status: int, code: str, message: str, *, detail: object = None, headers: Pairs = ()
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.detail = detail
        self.headers = headers

    def response(self) -> ServerResponse:
        """Return the error as the JSON document of the specification."""
        error = {"code": self.code, "message": self.message}
        entry = error if self.detail is None else {**error, "detail": self.detail}
        return json_response({"errors": [entry]}, status=self.status, headers=self.headers)


def json_response(
    document: object, *, status: int = 200, headers: Pairs = (), media_type: str = "application/json"
) -> ServerResponse:
    """Return a response with a JSON document."""
    # Annotations may contain half of a surrogate pair, which JSON can escape and UTF-8 cannot encode.
    body = json.dumps(document, separators=(",", ":")).encode("ascii")
    return ServerResponse(status, (("Content-Type", media_type), *headers), body)


@dataclass(frozen=True, slots=True)
class Fault:
    """What goes wrong with one request; the default is nothing.

    `delay` is a pause in seconds: before everything else or, with `delay_after`, when so many bytes of the
    response's body were sent. `answer` is sent instead of the registry's response. `hang_up` closes the
    connection without a response. `cut_request_after` closes it when so many bytes of the request's body were
    read, `cut_response_after` when so many of the response's body were sent. `corrupt_response` changes one
    byte of that body, and `headers` take the place of the response's headers with the same names. With
    `ignore_login` the request is treated as one without an Authorization header. `redirect_to` is the URL of
    another server, at which the client is to find the same path.
    """

    delay: float = 0.0
    answer: ServerResponse | None = None
    hang_up: bool = False
    cut_request_after: int | None = None
    cut_response_after: int | None = None
    delay_after: int | None = None
    corrupt_response: bool = False
    headers: Pairs = ()
    ignore_login: bool = False
    redirect_to: str = ""


NO_FAULT = Fault()
Faults: TypeAlias = "Callable[[ServerRequest], Fault | None]"


def no_faults(request: ServerRequest) -> Fault | None:
    """Return None: every request is served."""


@dataclass(frozen=True, slots=True)
class RequestRecord:
    """One request that the registry received; `status` is 0 when the connection ended before the response.

    `error` is the reason for a response with 500, hidden from the client. `headers` may hold secrets.
    """

    method: str
    path: str
    query: Pairs
    status: int
    error: str = ""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def authorization(self) -> str:
        """The value of the Authorization header, which is a secret; empty without one."""
        return self.headers.get("authorization", "")

    @property
    def authorization_kind(self) -> str:
        """`basic` or `bearer`, `other` for anything else, empty without an Authorization header."""
        scheme = self.authorization.partition(" ")[0].lower()
        # What is neither may be a secret by itself.
        return scheme if scheme in ("", "basic", "bearer") else "other"


OnRequest: TypeAlias = "Callable[[RequestRecord], None]"


def ignore_request(record: RequestRecord) -> None:
    """Do nothing with the record of a request."""

"""Requests and responses of the registry as values, and the errors that it answers with."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, TypeAlias

from imgpkg.errors import ImgpkgError

if TYPE_CHECKING:
    from collections.abc import Mapping

Pairs: TypeAlias = "tuple[tuple[str, str], ...]"


class Disconnected(ImgpkgError):
    """The client left, or fell silent, in the middle of a request."""


class Body(Protocol):
    """The body of a request, read at most once."""

    def read(self, size: int, /) -> bytes:
        """Return at most `size` bytes, b"" at the end; raise Disconnected when the client left before it."""
        ...


@dataclass(frozen=True, slots=True)
class Request:
    """One request: `path` and `query` are decoded, header names in lower case, `scheme` http or https."""

    method: str
    path: str
    query: Pairs
    headers: Mapping[str, str] = field(repr=False)
    body: Body = field(repr=False)
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
                raise Refused(413, "SIZE_INVALID", f"more than {limit} bytes")
        return b"".join(pieces)


@dataclass(frozen=True, slots=True)
class FilePart:
    """`count` bytes of a file, from `offset`."""

    path: str
    offset: int
    count: int


@dataclass(frozen=True, slots=True)
class Response:
    """One answer; Content-Length is the connection's to say."""

    status: int
    headers: Pairs = ()
    body: bytes | FilePart = b""

    @property
    def length(self) -> int:
        """The size of the body in bytes."""
        return self.body.count if isinstance(self.body, FilePart) else len(self.body)


class Refused(ImgpkgError):
    """A request that is answered with an error (distribution spec, "Error Codes")."""

    def __init__(
        self, status: int, code: str, message: str, *, detail: object = None, headers: Pairs = ()
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.detail = detail
        self.headers = headers

    def response(self) -> Response:
        """Write the error as the registry's JSON document."""
        error = {"code": self.code, "message": self.message}
        entry = error if self.detail is None else {**error, "detail": self.detail}
        return json_response({"errors": [entry]}, status=self.status, headers=self.headers)


def json_response(
    document: object, *, status: int = 200, headers: Pairs = (), media_type: str = "application/json"
) -> Response:
    """Answer with a JSON document."""
    # In ASCII also half a surrogate pair can be said again, which clients may push.
    body = json.dumps(document, separators=(",", ":")).encode("ascii")
    return Response(status, (("Content-Type", media_type), *headers), body)

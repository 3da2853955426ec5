"""One request, one response, and the protocol of whoever carries them."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Protocol, TypeAlias
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType

    from typing_extensions import Self

Opener: TypeAlias = "Callable[[], OpenBody]"

_EMPTY: Mapping[str, str] = MappingProxyType({})
_BLOCK_SIZE = 1 << 20
_DEFAULT_PORTS = {"http": 80, "https": 443}


class OpenBody(Protocol):
    """Bytes to send, in the shape of an open file; entering it gives nothing new."""

    def read(self, size: int, /) -> bytes:
        """Return at most `size` bytes, b"" at the end."""
        ...

    def __enter__(self) -> object: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> object: ...


class Readable(Protocol):
    """Bytes in the shape of an open file."""

    def read(self, size: int, /) -> bytes:
        """Return at most `size` bytes, b"" at the end."""
        ...


@dataclass(frozen=True, slots=True)
class Body:
    """A request body of `length` bytes that can be opened again when the request is sent again."""

    length: int
    open: Opener
    secret: bool = False


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request: an absolute URL, headers whose names are in canonical case, a body that replays.

    `secret` asks tracers to show neither bodies nor the query of this exchange (token requests). `patience`
    is the longest time in seconds to connect, when that is shorter than the transport's own.
    """

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=lambda: _EMPTY)
    body: Body | None = None
    secret: bool = False
    patience: float | None = None

    def __repr__(self) -> str:
        return f"Request({self.method} {self.url})"


class Response(Protocol):
    """One HTTP response whose body has not been read yet; close it, or use it as a context manager.

    `headers` is looked up without regard to case; `header_list(name)` gives every line of that name.
    """

    @property
    def status(self) -> int:
        """The status code."""
        ...

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers, the lines of one name joined by `, `."""
        ...

    def header_list(self, name: str) -> list[str]:
        """Return every line of the header `name`, in order."""
        ...

    def read(self, size: int = -1, /) -> bytes:
        """Return at most `size` more bytes of the body, all of it when negative, b"" at the end.

        Raises a TransportError when the connection breaks before Content-Length bytes have come.
        """
        ...

    def close(self) -> None:
        """Give the connection back, drained or dropped."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *exception: object) -> None: ...


class Transport(Protocol):
    """Carries one request to its host: no redirect is followed, nothing is repeated, nothing is added."""

    def send(self, request: Request) -> Response:
        """Send and return the response as soon as its headers are there; raise a TransportError."""
        ...


def read_at_most(stream: Readable, limit: int) -> bytes:
    """Return the whole body, or its first `limit` bytes; a single read may return less than is there."""
    blocks, left = [], limit
    while left and (block := stream.read(min(left, _BLOCK_SIZE))):
        blocks.append(block)
        left -= len(block)
    return b"".join(blocks)


def bytes_body(data: bytes, *, secret: bool = False) -> Body:
    """Wrap bytes in memory as a body that replays."""
    from io import BytesIO  # noqa: PLC0415 - keeps this module free of I/O at import

    return Body(len(data), lambda: BytesIO(data), secret)


@dataclass(frozen=True, slots=True)
class Origin:
    """Scheme, host and port: what decides whether two URLs may see the same credential (RFC 6454)."""

    scheme: str
    host: str
    port: int

    @classmethod
    def of(cls, url: str) -> Origin:
        """Take the origin of an absolute URL; raise ValueError without a host or with a bad port."""
        parts = urlsplit(url)
        scheme, host = parts.scheme.lower(), parts.hostname
        if not host:
            raise ValueError(f"no host in {url!r}")
        return cls(scheme, host, parts.port or _DEFAULT_PORTS.get(scheme, 0))

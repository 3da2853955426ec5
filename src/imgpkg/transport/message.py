"""HTTP messages: requests, responses, the protocol of a transport, and what may be printed of them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from io import BytesIO
from types import MappingProxyType
from typing import TYPE_CHECKING, Protocol, TypeAlias
from urllib.parse import urlsplit

from imgpkg.dataclass import dataclass, field
from imgpkg.errors import LocalIOError, local_io
from imgpkg.expression import expression

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from types import TracebackType

    from typing_extensions import Self

Opener: TypeAlias = "Callable[[], OpenBody]"
# Bytes, and the descriptor and offset of a file that has them.
Block: TypeAlias = "tuple[memoryview, tuple[int, int] | None]"

_EMPTY: Mapping[str, str] = MappingProxyType({})
_BLOCK_SIZE = 1 << 20
# int() reads signs, blanks and underscores too, and takes long for thousands of digits.
_LENGTH = expression(r"[0-9]{1,18}")
_DEFAULT_PORTS = {"http": 80, "https": 443}
REDACTED = "REDACTED"
# The parameters of the distribution and token specifications, none of which is a secret.
SHOWN_QUERY_KEYS = frozenset({"scope", "service", "mount", "from", "digest", "n", "last"})

# By parts of the name: clouds have headers of their own for tokens.
_SECRET_HEADER = expression(
    r"authorization|cookie|token|secret|password|api-?key|x-identity|x-registry-auth", re.IGNORECASE
)
_URL_HEADERS = frozenset({"location", "content-location", "referer"})
# A target without `>` reaches to the end.
_LINK_TARGET = expression(r"<([^>]*)(>?)")
LOGIN_HINT = "The proxy wants a login: write HTTPS_PROXY and HTTP_PROXY as http://USER:PASSWORD@HOST:PORT."

_UNPRINTABLE = expression(r"[\x00-\x20\x7f-\x9f\u2028\u2029]")


class OpenBody(Protocol):
    """Bytes to send, in the form of an open file; what entering it returns is not used.

    A body may have a method `file_position` too, which returns the descriptor of an open file and the offset
    at which this has the bytes that are read next.
    """

    def readinto(self, buffer: bytearray | memoryview, /) -> int:
        """Write at least one byte to the start of `buffer` and return how many; 0 at the end."""
        ...

    def __enter__(self) -> object: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> object: ...


@dataclass(frozen=True, slots=True)
class Body:
    """A request body of `length` bytes, opened again each time that the request is sent."""

    length: int
    open: Opener
    secret: bool = False


def read_blocks(source: OpenBody, length: int) -> Iterator[Block]:
    """Yield the `length` bytes of an open body, and their positions; raise LocalIOError for too few.

    All blocks are in the same memory, each until the next. A body that verifies its bytes does not return the
    last of them before all are verified: of wrong ones, no request is ever completed.

    This holds for bytes that are then sent from their file, too. A file that changes between the two is found
    by the registry only, which compares what it received with the `digest` of the request.
    """
    left = length
    find: Callable[[], tuple[int, int]] | None = getattr(source, "file_position", None)
    memory = memoryview(bytearray(min(length, _BLOCK_SIZE)))
    while left:
        position = None if find is None else find()
        with local_io("read", "request body"):
            count = source.readinto(memory[:left])
        # The Content-Length is sent already: the request cannot be completed.
        if not count:
            raise LocalIOError(f"read request body: {left} of {length} bytes are missing")
        left -= count
        yield memory[:count], position


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request: an absolute URL, headers with names in canonical case, and a body.

    With `secret`, tracers show neither bodies nor the query of this exchange: a token request.
    `connect_timeout` is in seconds, and counts when it is shorter than the transport's own. `to_registry`
    is True for a registry that the user named, not for a host that a server named. `appends` is True where
    the server adds the body to what it has: sent twice, it would be there twice, whatever the method says.
    """

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=lambda: _EMPTY)
    body: Body | None = None
    secret: bool = False
    connect_timeout: float | None = None
    to_registry: bool = False
    appends: bool = False

    def __repr__(self) -> str:
        return f"Request({self.method} {self.url})"


class Response(Protocol):
    """One HTTP response whose body has not been read yet; close it, or use it as a context manager.

    Names in `headers` are found in any case.
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

    def readinto(self, buffer: bytearray | memoryview, /) -> int:
        """Write at least one byte of the body to `buffer` and return how many; 0 at the end."""
        ...

    def close(self) -> None:
        """Return the connection to the pool, or close it when much of the body is left."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *exception: object) -> None: ...


class Headers(Mapping[str, str]):
    """Headers without regard to case; the lines of one name are joined by `, ` (RFC 9110 5.3)."""

    def __init__(self, lines: Iterable[tuple[str, str]]) -> None:
        self._lines: dict[str, tuple[str, list[str]]] = {}
        for name, value in lines:
            self._lines.setdefault(name.lower(), (name, []))[1].append(value)

    def __getitem__(self, name: str) -> str:
        return ", ".join(self._lines[name.lower()][1])

    def lines(self, name: str) -> list[str]:
        """Return the value of every line of the header `name`, in order."""
        _, values = self._lines.get(name.lower(), ("", []))
        return list(values)

    def __iter__(self) -> Iterator[str]:
        return (name for name, _ in self._lines.values())

    def __len__(self) -> int:
        return len(self._lines)


def content_length(headers: Mapping[str, str]) -> int | None:
    """Return the Content-Length; None without this header, and for text that is no length of a body."""
    text = headers.get("Content-Length", "")
    return int(text) if _LENGTH.fullmatch(text) else None


class Transport(Protocol):
    """Send one request to its host; no redirect is followed, and no failure is repeated."""

    def send(self, request: Request) -> Response:
        """Send and return the response as soon as its headers are there; raise a TransportError."""
        ...


def read_at_most(response: Response, limit: int) -> bytes:
    """Return the whole body, or its first `limit` bytes, with as many reads as that takes."""
    blocks, left = [], limit
    while left and (block := response.read(min(left, _BLOCK_SIZE))):
        blocks.append(block)
        left -= len(block)
    return b"".join(blocks)


def bytes_body(data: bytes, *, secret: bool = False) -> Body:
    """Return a body of these bytes."""
    return Body(len(data), lambda: BytesIO(data), secret)


@dataclass(frozen=True, slots=True)
class Origin:
    """Scheme, host and port (RFC 6454): a credential for one origin is not sent to another."""

    scheme: str
    host: str
    port: int

    @property
    def authority(self) -> str:
        """The host and port as URLs have them, the default port of the scheme left out."""
        if self.port == _DEFAULT_PORTS.get(self.scheme):
            return self._host
        return self.address

    @property
    def address(self) -> str:
        """The host and port, separated by a colon."""
        return f"{self._host}:{self.port}"

    @property
    def url(self) -> str:
        """The URL without a path, such as `http://127.0.0.1:5000`."""
        return f"{self.scheme}://{self.authority}"

    @property
    def _host(self) -> str:
        return f"[{self.host}]" if ":" in self.host else self.host

    @classmethod
    def of(cls, url: str) -> Origin:
        """Return the origin of an absolute URL; raise ValueError without a host or with a bad port."""
        parts = urlsplit(url)
        scheme, host = parts.scheme.lower(), parts.hostname
        if not host:
            raise ValueError(f"no host in {url!r}")
        return cls(scheme, host, parts.port or _DEFAULT_PORTS.get(scheme, 0))


def redact_url(url: str) -> str:
    """Return `url` without user information, fragment and the values of unknown query keys.

    Keep the values of scope, service, mount, from, digest, n and last. Any text is accepted, also relative
    and malformed URLs; control characters are percent-encoded.
    """
    whole, hash_sign, _ = _UNPRINTABLE.sub(_percent, url).partition("#")
    address, question_mark, query = whole.partition("?")
    shown = "&".join(_redact_pair(pair) for pair in query.split("&"))
    end = f"#{REDACTED}" if hash_sign else ""
    return f"{_redact_user(address)}{question_mark}{shown}{end}"


def redact_header(name: str, value: str) -> str:
    """Return the value of a header for logs: `<redacted>` for credentials, redacted URLs in links."""
    key = name.lower()
    if _SECRET_HEADER.search(key):
        return "<redacted>"
    if key in _URL_HEADERS:
        return redact_url(value)
    if key == "link":
        return _LINK_TARGET.sub(lambda match: f"<{redact_url(match[1])}{match[2]}", value)
    return value


def _redact_pair(pair: str) -> str:
    key, equals, value = pair.partition("=")
    # Old servers separate pairs with ";", so that a secret could follow a key that is shown.
    if not pair or (key in SHOWN_QUERY_KEYS and ";" not in value):
        return pair
    return f"{key}={REDACTED}" if equals else REDACTED


def _redact_user(address: str) -> str:
    scheme, slashes, rest = address.partition("//")
    authority, slash, path = rest.partition("/")
    _, at, host = authority.rpartition("@")
    return f"{scheme}{slashes}{REDACTED}@{host}{slash}{path}" if at else address


def _percent(match: re.Match[str]) -> str:
    return "".join(f"%{byte:02X}" for byte in match[0].encode())

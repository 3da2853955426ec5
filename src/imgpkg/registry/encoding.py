"""Bodies of responses that came with a Content-Encoding, although none was asked for."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from imgpkg.errors import ConnectionFailed, RegistryError
from imgpkg.transport.message import read_at_most, redact_url

if TYPE_CHECKING:
    from typing_extensions import Self

    from imgpkg.transport.message import Request, Response

_BLOCK = 1 << 20
# IANA's list of content codings. Other words in that header, such as `utf-8` or `aws-chunked`, do not change
# the body.
_GZIP = frozenset({"gzip", "x-gzip"})
_UNREADABLE = frozenset(
    {"br", "compress", "dcb", "dcz", "deflate", "exi", "pack200-gzip", "x-compress", "zstd"}
)
_HINT = "the registry, or a proxy before it, encodes its answers: for clients of registries it must not"
_GZIP_START = b"\x1f\x8b"
_GZIP_MEMBER = 31
# Bytes per read of an encoded body: few, so that decoding goes on while more is on its way.
_ENCODED_BLOCK = 1 << 16
# Bytes. Empty gzip members, and empty blocks in them, could be sent without end.
_MOST_WITHOUT_CONTENT = 1 << 20


def decoded(request: Request, response: Response) -> Response:
    """Return `response` without its Content-Encoding (RFC 9110 section 8.4).

    No request asks for an encoding, but some registries, and proxies before them, use one all the same.
    """
    words = [word.strip().lower() for word in response.headers.get("Content-Encoding", "").split(",")]
    names = [word for word in words if word in _GZIP or word in _UNREADABLE]
    return Decoded(request, response, names) if names else response


class Decoded:
    """A response with an encoded body: `read` returns the content, `encoded` is the response as received.

    Its Content-Length is left out of `headers`. Reading raises RegistryError for an encoding other than gzip
    and for a damaged body, ConnectionFailed for one that ends too early. A body that does not begin as gzip
    is returned as it is: some proxies decode it and leave the header.
    """

    def __init__(self, request: Request, response: Response, names: list[str]) -> None:
        self.encoded = response
        self.headers: Mapping[str, str] = _WithoutLength(response.headers)
        self._request = request
        self._names = names
        self._content: _UnencodedBody | _GzipBody | None = None

    @property
    def status(self) -> int:
        """The status code."""
        return self.encoded.status

    def header_list(self, name: str) -> list[str]:
        """Return every line of the header `name`, in order."""
        return self.encoded.header_list(name)

    def read(self, size: int = -1, /) -> bytes:
        """Return at most `size` more bytes of the content, all of it when negative, b"" at the end."""
        if size < 0:
            return b"".join(iter(lambda: self.read(_BLOCK), b""))
        if self._content is None:
            self._content = self._open()
        try:
            return self._content.read(size)
        except zlib.error as error:
            raise self._failure(f"the body came as {self._names[0]}, and is damaged: {error}") from error
        except EOFError as error:
            raise ConnectionFailed(
                self._request.method, redact_url(self._request.url), "unexpected EOF"
            ) from error

    def readinto(self, buffer: bytearray | memoryview, /) -> int:
        """Write at least one byte of the content to `buffer` and return how many; 0 at the end."""
        with memoryview(buffer) as view:
            data = self.read(len(view))
            view[: len(data)] = data
        return len(data)

    def close(self) -> None:
        """Return the connection to the pool."""
        self.encoded.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _open(self) -> _UnencodedBody | _GzipBody:
        # Only gzip is met in practice.
        if len(self._names) > 1 or self._names[0] in _UNREADABLE:
            names = ", ".join(self._names)
            raise self._failure(
                f"the body came encoded as {names}, which was not asked for and is not supported"
            )
        start = read_at_most(self.encoded, len(_GZIP_START))
        # gzip begins with two fixed bytes (RFC 1952 section 2.3.1).
        kind = _GzipBody if start == _GZIP_START else _UnencodedBody
        return kind(start, self.encoded)

    def _failure(self, reason: str) -> RegistryError:
        self.close()
        method, url = self._request.method, redact_url(self._request.url)
        return RegistryError(
            f"{method} {url}: {reason}", method=method, url=url, status=self.status, hints=(_HINT,)
        )


class _WithoutLength(Mapping[str, str]):
    """Headers without the Content-Length, which is that of the encoded body."""

    def __init__(self, headers: Mapping[str, str]) -> None:
        self._headers = headers

    def __getitem__(self, name: str) -> str:
        if name.lower() == "content-length":
            raise KeyError(name)
        return self._headers[name]

    def __iter__(self) -> Iterator[str]:
        return (name for name in self._headers if name.lower() != "content-length")

    def __len__(self) -> int:
        return sum(1 for _ in self)


class _UnencodedBody:
    """The bytes that were read to recognize gzip, then the rest of the stream."""

    def __init__(self, start: bytes, stream: Response) -> None:
        self._start = start
        self._stream = stream

    def read(self, size: int, /) -> bytes:
        if self._start:
            data, self._start = self._start[:size], self._start[size:]
            return data
        return self._stream.read(size)


class _GzipBody:
    """The content of one gzip member after another; a read decodes no more than it returns.

    Raises zlib.error, and EOFError when the last member is not whole.
    """

    def __init__(self, start: bytes, stream: Response) -> None:
        self._stream = stream
        self._member = zlib.decompressobj(_GZIP_MEMBER)
        self._waiting = start
        self._may_hold_more = False
        self._without_content = 0

    def read(self, size: int, /) -> bytes:
        data = b""
        while size and not data and self._goes_on():
            data = self._member.decompress(self._waiting, size)
            has_ended = self._member.eof
            self._waiting = self._member.unused_data if has_ended else self._member.unconsumed_tail
            self._may_hold_more = len(data) == size and not has_ended
        if data:
            self._without_content = 0
        return data

    def _goes_on(self) -> bool:
        """Read more of the body where that is needed; return False at its end."""
        if not self._waiting and not self._may_hold_more:
            self._waiting = self._stream.read(_ENCODED_BLOCK)
            self._without_content += len(self._waiting)
            if self._without_content > _MOST_WITHOUT_CONTENT:
                raise zlib.error("it goes on without any content")
            # The body ended inside of a member.
            if not self._waiting and not self._member.eof:
                raise EOFError
        # Members follow each other (RFC 1952 section 2.2).
        if self._member.eof and self._waiting:
            self._member = zlib.decompressobj(_GZIP_MEMBER)
        return not self._member.eof

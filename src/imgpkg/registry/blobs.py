"""Blobs of a registry: ask whether they are there, and read them as verified, resumed streams (spec 8.4)."""

from __future__ import annotations

import io
from contextlib import contextmanager
from typing import TYPE_CHECKING

from imgpkg.errors import ConnectionFailed, ImgpkgError, TransportError, VerificationError
from imgpkg.oci.digest import Digest, VerifiedReader, verify
from imgpkg.registry.body import said_length
from imgpkg.registry.failure import unusable
from imgpkg.registry.scope import Access
from imgpkg.transport.message import Request
from imgpkg.transport.redact import redact_url

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from imgpkg.oci.digest import Readable
    from imgpkg.oci.manifest import Descriptor
    from imgpkg.oci.reference import Repository
    from imgpkg.registry.authorizer import Answer
    from imgpkg.registry.exchange import Exchange
    from imgpkg.registry.present import Present

_BLOCK = 1 << 20
_OK, _PARTIAL = 200, 206
_ABSENT = frozenset({404, 405})


class Blobs:
    """The blob endpoints of every registry, as far as they read."""

    def __init__(self, exchange: Exchange, present: Present) -> None:
        self._exchange = exchange
        self._present = present

    def has(self, repository: Repository, digest: Digest) -> bool:
        """See `RegistryClient.has_blob`."""
        if not self._present.has_blob(repository, digest):
            if not self._exchange.repeat(lambda: self._head(repository, digest)):
                return False
            self._present.add_blob(repository, digest)
        return True

    @contextmanager
    def open(self, repository: Repository, blob: Descriptor, *, use_urls: bool) -> Iterator[Readable]:
        """See `RegistryClient.blob`."""
        if _is_inline(blob):
            yield io.BytesIO(blob.data or b"")
            return
        stream = self._stream(repository, blob, use_urls=use_urls)
        try:
            yield VerifiedReader(stream, blob.digest, blob.size)
        finally:
            stream.close()

    def _head(self, repository: Repository, digest: Digest) -> bool:
        request = Request("HEAD", _path(repository, digest))
        answer = self._exchange.call(request, Access.read(repository), (_OK, *_ABSENT))
        answer.response.close()
        return answer.response.status == _OK

    def _stream(self, repository: Repository, blob: Descriptor, *, use_urls: bool) -> BlobStream:
        """Open the blob in its repository, or else at the first URL that has it; the first error counts."""
        try:
            stream = BlobStream(lambda offset: self._open(repository, blob, offset), blob, self._exchange)
        except ImgpkgError:
            elsewhere = self._elsewhere(repository, blob) if use_urls else None
            if elsewhere is None:
                raise
            return elsewhere
        self._present.add_blob(repository, blob.digest)
        return stream

    def _elsewhere(self, repository: Repository, blob: Descriptor) -> BlobStream | None:
        for url in blob.urls:
            try:
                return BlobStream(
                    lambda offset, url=url: self._visit(url, repository, blob, offset),  # type: ignore[misc]
                    blob,
                    self._exchange,
                )
            except ImgpkgError:  # noqa: PERF203 - the next URL may do
                continue
        return None

    def _open(self, repository: Repository, blob: Descriptor, offset: int) -> Answer:
        request = Request("GET", _path(repository, blob.digest), _range(offset))
        answer = self._exchange.call(request, Access.read(repository), _expected(offset))
        return _at(answer, offset, blob.size)

    def _visit(self, url: str, repository: Repository, blob: Descriptor, offset: int) -> Answer:
        answer = self._exchange.visit(url, _range(offset), Access.read(repository), _expected(offset))
        return _at(answer, offset, blob.size)


class BlobStream:
    """The bytes of a blob, unverified; a connection that breaks is replaced where the bytes ended.

    `open_at` returns an answer whose body begins at the offset that it is given.
    """

    def __init__(self, open_at: Callable[[int], Answer], blob: Descriptor, exchange: Exchange) -> None:
        self._open_at = open_at
        self._size = blob.size
        self._exchange = exchange
        self._count = 0
        self._breaks = 0
        self._answer = exchange.repeat(lambda: open_at(0))

    def read(self, size: int = _BLOCK, /) -> bytes:
        """Return at most `size` more bytes, b"" at the end; raise the last failure when nothing helps."""
        while True:
            try:
                data = self._answer.response.read(size)
            except TransportError as error:
                self._resume(error)
                continue
            if data:
                self._count += len(data)
                self._breaks = 0
                return data
            if self._count >= self._size:
                return b""
            self._resume(self._cut_short())

    def close(self) -> None:
        """Give the connection back."""
        self._answer.response.close()

    def _resume(self, error: TransportError) -> None:
        self._breaks += 1
        if self._breaks >= self._exchange.attempts:
            raise error
        self._answer.response.close()
        self._answer = self._exchange.repeat(lambda: self._open_at(self._count))

    def _cut_short(self) -> ConnectionFailed:
        request = self._answer.request
        return ConnectionFailed(request.method, redact_url(request.url), "unexpected EOF")


def _path(repository: Repository, digest: Digest) -> str:
    return f"/v2/{repository.path}/blobs/{digest}"


def _range(offset: int) -> dict[str, str]:
    return {"Range": f"bytes={offset}-"} if offset else {}


def _expected(offset: int) -> tuple[int, ...]:
    return (_OK, _PARTIAL) if offset else (_OK,)


def _at(answer: Answer, offset: int, size: int) -> Answer:
    """Return the answer with its body at `offset`, skipping there when the server ignored the range."""
    is_partial = answer.response.status == _PARTIAL
    try:
        _check_length(answer, size - offset if is_partial else size)
        if is_partial:
            _check_range(answer, offset)
        else:
            _skip(answer, offset)
    except BaseException:
        answer.response.close()
        raise
    return answer


def _check_length(answer: Answer, expected: int) -> None:
    length = said_length(answer.response.headers)
    if length is not None and length != expected:
        raise VerificationError(
            f"{answer.request.method} {redact_url(answer.request.url)}: Content-Length header {length} does "
            f"not match expected size {expected}"
        )


def _check_range(answer: Answer, offset: int) -> None:
    said = answer.response.headers.get("Content-Range", "")
    if not said.startswith(f"bytes {offset}-"):
        raise unusable(answer.request, answer.response, f"asked for bytes from {offset}, got {said!r}")


def _skip(answer: Answer, count: int) -> None:
    while count:
        data = answer.response.read(min(count, _BLOCK))
        if not data:
            raise ConnectionFailed(answer.request.method, redact_url(answer.request.url), "unexpected EOF")
        count -= len(data)


def _is_inline(blob: Descriptor) -> bool:
    """Tell whether the descriptor itself holds the blob, verified."""
    if blob.data is None or len(blob.data) != blob.size:
        return False
    try:
        verify(blob.data, blob.digest)
    except VerificationError:
        return False
    return True

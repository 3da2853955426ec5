"""Blobs in a registry: whether they exist, and their bytes as verified streams that resume."""

from __future__ import annotations

import io
from collections import Counter
from contextlib import contextmanager
from functools import partial
from math import ceil
from threading import Lock
from typing import TYPE_CHECKING, Protocol

from imgpkg.dataclass import replace
from imgpkg.errors import ConnectionFailed, ImgpkgError, RegistryError, TransportError, VerificationError
from imgpkg.oci.descriptor import Digest, VerifiedReader, verify
from imgpkg.registry.auth.challenge import Access
from imgpkg.registry.encoding import Decoded
from imgpkg.registry.failure import decides_nothing
from imgpkg.transport.message import Request, content_length, redact_url

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from imgpkg.oci.descriptor import Descriptor, Readable
    from imgpkg.oci.reference import Repository
    from imgpkg.registry.endpoint import Answer
    from imgpkg.registry.exchange import Exchange

_BLOCK = 1 << 20
# Bytes per second of one connection, with which a link of 1 Gbit/s is full. Further ones bring little then,
# and their bytes wait in memory, from where they are copied once more.
_FAST = 100e6
# Larger blobs are fetched as ranges, each of at most this size, and no more than so many bytes are kept.
_LARGE = 32 << 20
_LARGEST_RANGE = 12 << 20
_MOST_KEPT = 84 << 20
_OK, _PARTIAL = 200, 206
_ABSENT = frozenset({404, 405})
# Statuses for a Range that the server does not support.
_NO_RANGES = frozenset({400, 416, 501})


class Readers:
    """The connections to each registry that read blobs: `most`, where one blob may use several.

    That is for blobs of more than `large` bytes, which have waited for `grace` seconds. There is memory for
    some ranges of `block` bytes, shared by all blobs.
    """

    def __init__(
        self, most: int, *, large: int = _LARGE, block: int | None = None, grace: float = 0.02
    ) -> None:
        self.most = most
        self.large = large
        self._grace = grace
        # A few more ranges than connections: some wait to be read.
        self._blocks = most + 2
        self.block = min(_LARGEST_RANGE, _MOST_KEPT // self._blocks) if block is None else block
        self._counts: Counter[str] = Counter()
        self._lock = Lock()

    def is_slow(self, count: int, seconds: float) -> bool:
        """Return True when a blob of which `count` bytes came in `seconds` needs more than a connection."""
        return seconds > self._grace + count / _FAST

    def has_room(self, registry: str) -> bool:
        """Return True when a reader and another one for the same blob may enter."""
        return self._counts[registry] + 1 < self.most

    def is_crowded(self, registry: str) -> bool:
        """Return True when one of those that read the same blob should leave."""
        return self._counts[registry] > self.most

    def length(self, size: int) -> int:
        """Return the length of the ranges of a blob: as many for each connection, which end at one time."""
        rounds = ceil(size / (self.block * self.most))
        return ceil(size / (rounds * self.most))

    def enter(self, registry: str) -> None:
        """Count the reader of a blob, which every blob may have."""
        with self._lock:
            self._counts[registry] += 1

    def enter_if_room(self, registry: str) -> bool:
        """Count one more reader of a blob; return False when there are enough."""
        with self._lock:
            has_room = self._counts[registry] < self.most
            self._counts[registry] += has_room
            return has_room

    def leave(self, registry: str) -> None:
        """Take back an `enter`."""
        with self._lock:
            self._counts[registry] -= 1

    def take_block(self) -> bool:
        """Reserve the memory for one range; return False when none is left."""
        with self._lock:
            is_left = self._blocks > 0
            self._blocks -= is_left
            return is_left

    def release_block(self) -> None:
        """Take back a `take_block`."""
        with self._lock:
            self._blocks += 1


class Blobs:
    """The endpoint `/v2/<name>/blobs/<digest>`."""

    def __init__(self, exchange: Exchange, readers: Readers) -> None:
        self._exchange = exchange
        self._readers = readers

    def has(self, repository: Repository, digest: Digest) -> bool:
        """See `RegistryClient.has_blob`."""
        try:
            return self._exchange.repeat(lambda: self._head(repository, digest))
        # The upload decides.
        except RegistryError as error:
            if not decides_nothing(error):
                raise
            return False

    @contextmanager
    def open(self, repository: Repository, blob: Descriptor, *, use_urls: bool) -> Iterator[Readable]:
        """See `RegistryClient.blob`."""
        stream: _Stream
        if _is_inline(blob):
            stream = io.BytesIO(blob.data or b"")
        else:
            stream = self._stream(repository, blob, use_urls=use_urls)
        with VerifiedReader(stream, blob.digest, blob.size, stream.close) as reader:
            yield reader

    def _head(self, repository: Repository, digest: Digest) -> bool:
        request = Request("HEAD", _path(repository, digest))
        answer = self._exchange.call(request, Access.read(repository), (_OK, *_ABSENT))
        answer.response.close()
        return answer.response.status == _OK

    def _stream(self, repository: Repository, blob: Descriptor, *, use_urls: bool) -> _Stream:
        """Open the blob in its repository, or at the first URL that has it; raise the first error."""
        try:
            return self._stream_here(repository, blob)
        except ImgpkgError:
            stream = self._stream_of_url(repository, blob) if use_urls else None
            if stream is None:
                raise
            return stream

    def _stream_here(self, repository: Repository, blob: Descriptor) -> _Stream:
        def whole(start: int = 0, answer: Answer | None = None) -> BlobStream:
            return BlobStream(
                lambda headers: self._get(repository, blob, headers),
                blob,
                self._exchange,
                start=start,
                answer=answer,
            )

        registry = repository.registry
        if blob.size <= self._readers.large or self._readers.most == 1:
            return _Counted(whole, self._readers, registry)
        from imgpkg.registry.ranges import RANGE_ANSWERS, RangedStream, Ranges

        ranges = Ranges(
            lambda headers: self._get(repository, blob, headers, RANGE_ANSWERS),
            blob.size,
            self._exchange,
            Access.read(repository),
        )
        return RangedStream(ranges, self._readers, registry, whole)

    def _stream_of_url(self, repository: Repository, blob: Descriptor) -> BlobStream | None:
        access = Access.read(repository)
        for url in blob.urls:
            try:
                return BlobStream(
                    lambda headers, url=url: self._exchange.get_url(url, headers, access, _expected(headers)),  # type: ignore[misc]
                    blob,
                    self._exchange,
                )
            except ImgpkgError:  # noqa: PERF203 - the next URL may have it
                continue
        return None

    def _get(
        self,
        repository: Repository,
        blob: Descriptor,
        headers: Mapping[str, str],
        expected: tuple[int, ...] = (),
    ) -> Answer:
        request = Request("GET", _path(repository, blob.digest), headers)
        return self._exchange.call(request, Access.read(repository), expected or _expected(headers))


class _Stream(Protocol):
    """The bytes of a blob, and the connections that they come over."""

    def readinto(self, buffer: bytearray | memoryview, /) -> int: ...

    def close(self) -> None: ...


class _Counted:
    """A stream that counts as a reader of its registry until it is closed."""

    def __init__(self, open_: Callable[[], BlobStream], readers: Readers, registry: str) -> None:
        self._leave = partial(readers.leave, registry)
        # Before the request, so that a blob that is read over several connections gives one back.
        readers.enter(registry)
        try:
            self._stream = open_()
        except BaseException:
            self._leave()
            raise
        self.readinto = self._stream.readinto

    def close(self) -> None:
        """Return the connection to the pool."""
        self._leave()
        self._stream.close()


class BlobStream:
    """The bytes of a blob, not verified; after a broken connection the rest is requested.

    `get` sends the request with additional headers, which may have a Range. The bytes begin at `start`, and
    come from `answer` if there is one, which is that of the whole blob.
    """

    def __init__(
        self,
        get: Callable[[Mapping[str, str]], Answer],
        blob: Descriptor,
        exchange: Exchange,
        *,
        start: int = 0,
        answer: Answer | None = None,
    ) -> None:
        self._get = get
        self._blob = blob
        self._exchange = exchange
        self._count = start
        self._breaks = 0
        if answer is not None:
            self._answer = self._skipped(answer)
        else:
            self._answer = exchange.repeat(self._rest if start else self._whole)

    def readinto(self, buffer: bytearray | memoryview, /) -> int:
        """Write at least one byte to `buffer` and return how many, 0 at the end.

        Raises the last of several failures in a row.
        """
        while True:
            try:
                count = self._answer.response.readinto(buffer)
            except TransportError as error:
                if self._count >= self._blob.size:
                    return 0
                self._resume(error)
                continue
            if count:
                self._count += count
                self._breaks = 0
                return count
            # A body without a Content-Length can end early without an error of the connection.
            if self._count >= self._blob.size:
                return 0
            self._resume(_cut_short(self._answer))

    def close(self) -> None:
        """Return the connection to the pool."""
        self._answer.response.close()

    def _resume(self, error: TransportError) -> None:
        self._breaks += 1
        # Counted since the last byte: a slow connection may break often in a large blob.
        if self._breaks >= self._exchange.attempts:
            raise error
        self._exchange.announce(error, self._breaks + 1)
        self._answer.response.close()
        # A range counts the bytes as they are sent: of an encoded body, those of the encoding.
        has_ranges = self._count and not isinstance(self._answer.response, Decoded)
        self._answer = self._exchange.repeat(self._rest if has_ranges else self._whole)

    def _rest(self) -> Answer:
        """Request the rest, as a range without an end and with one, or else the whole blob.

        Some registries answer 416 to a range without an end, some to every range.
        """
        for last in ("", self._blob.size - 1):
            answer = self._get({"Range": f"bytes={self._count}-{last}"})
            # A server without ranges sends the whole blob.
            status = answer.response.status
            if status == _OK:
                return self._skipped(answer)
            if status == _PARTIAL and self._is_the_rest(answer):
                return answer
            answer.response.close()
        return self._whole()

    def _whole(self) -> Answer:
        return self._skipped(self._get({}))

    def _is_the_rest(self, answer: Answer) -> bool:
        response = answer.response
        begins_here = response.headers.get("Content-Range", "").startswith(f"bytes {self._count}-")
        # Some servers send more than the range.
        is_longer = (content_length(response.headers) or 0) > self._blob.size - self._count
        return begins_here and not is_longer and not isinstance(response, Decoded)

    def _skipped(self, answer: Answer) -> Answer:
        """Return an answer with the whole blob after its body was read up to where the bytes ended."""
        try:
            answer = _without_wrong_encoding(answer, self._blob)
            _check_length(answer, self._blob.size)
            _skip(answer, self._count)
        except BaseException:
            answer.response.close()
            raise
        return answer


def _path(repository: Repository, digest: Digest) -> str:
    return f"/v2/{repository.path}/blobs/{digest}"


def _expected(headers: Mapping[str, str]) -> tuple[int, ...]:
    return (_OK, _PARTIAL, *_NO_RANGES) if headers else (_OK,)


def _without_wrong_encoding(answer: Answer, blob: Descriptor) -> Answer:
    """Return a layer that is gzip itself as it was sent: some servers call that its Content-Encoding."""
    response = answer.response
    if not isinstance(response, Decoded) or not blob.media_type.endswith("gzip"):
        return answer
    is_whole = content_length(response.encoded.headers) == blob.size
    return replace(answer, response=response.encoded) if is_whole else answer


def _check_length(answer: Answer, expected: int) -> None:
    # Checked before the first byte: another size can never have the digest.
    length = content_length(answer.response.headers)
    if length is not None and length != expected:
        raise VerificationError(
            f"{answer.request.method} {redact_url(answer.request.url)}: Content-Length header {length} does "
            f"not match expected size {expected}"
        )


def _skip(answer: Answer, count: int) -> None:
    while count:
        data = answer.response.read(min(count, _BLOCK))
        if not data:
            raise _cut_short(answer)
        count -= len(data)


def _cut_short(answer: Answer) -> ConnectionFailed:
    return ConnectionFailed(answer.request.method, redact_url(answer.request.url), "unexpected EOF")


def _is_inline(blob: Descriptor) -> bool:
    """Return True when the descriptor holds the blob itself, with the right digest."""
    if blob.data is None or len(blob.data) != blob.size:
        return False
    try:
        verify(blob.data, blob.digest)
    except VerificationError:
        return False
    return True

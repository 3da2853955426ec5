"""Uploads in pieces (distribution-spec "Pushing a blob in chunks"), which go on where they stand."""

from __future__ import annotations

from typing import TYPE_CHECKING

from imgpkg.errors import RegistryError
from imgpkg.expression import expression
from imgpkg.oci.descriptor import file_position_of
from imgpkg.registry.auth.challenge import Access
from imgpkg.registry.failure import unusable
from imgpkg.transport.message import Body, Request

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from typing_extensions import Self

    from imgpkg.oci.reference import Repository
    from imgpkg.registry.endpoint import Answer
    from imgpkg.registry.exchange import Exchange
    from imgpkg.transport.message import OpenBody

_BLOCK = 1 << 20
# No proxy that is meant for registries allows less, and each piece costs a request.
_SMALLEST = 64 << 10
_TOO_LARGE, _OUT_OF_ORDER = 413, 416
_ACCEPTED = frozenset({201, 202, 204, _OUT_OF_ORDER})
_KNOWN = frozenset({200, 204})
_LOST = frozenset({404, 405, 410})
_POSITION = expression(r"(?:bytes=)?0-([0-9]{1,18})")
_LENGTH = expression(r"[0-9]{1,18}")


class PiecedUpload:
    """The upload of `body`; `start` begins an upload session, and `locate` returns the URL in its answer.

    `size` is that of the pieces, which get smaller where they are too large. Another failure that is
    temporary is followed by a question where the upload stands. A context manager, which closes the body.
    """

    def __init__(
        self,
        exchange: Exchange,
        repository: Repository,
        body: Body,
        size: int,
        *,
        start: Callable[[], Answer],
        locate: Callable[[Answer], str],
    ) -> None:
        self.size = size
        self.count = 0
        self._exchange = exchange
        self._access = Access.write(repository)
        self._body = _Rewindable(body)
        self._total = body.length
        self._start = start
        self._locate = locate
        self._url = ""
        self._offset = 0
        self._is_unsure = False
        self._in_vain = 0

    def send(self, session: Answer) -> str:
        """Send all bytes and return the URL that closes the session.

        Raises RegistryError when the registry takes no pieces, and when the upload does not go on.
        """
        self._begin(session)
        while self._offset < self._total:
            before = self._offset
            try:
                answer = self._exchange.repeat(self._attempt)
            except RegistryError as error:
                if error.status != _TOO_LARGE or self._length <= _SMALLEST:
                    raise
                self.size = max(_SMALLEST, self._length // 4)
                continue
            self._in_vain = 0 if self._offset > before else self._in_vain + 1
            if self._in_vain >= self._exchange.attempts:
                raise unusable(answer.request, answer.response, f"the upload stays at byte {self._offset}")
        return self._url

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._body.close()

    @property
    def _length(self) -> int:
        return min(self.size, self._total - self._offset)

    def _begin(self, session: Answer) -> None:
        self._url = self._locate(session)
        self._offset = 0
        least = session.response.headers.get("OCI-Chunk-Min-Length", "")
        if _LENGTH.fullmatch(least):
            self.size = max(self.size, int(least))

    def _attempt(self) -> Answer:
        """Send the next piece; after a failure, ask first which byte is the next."""
        if self._is_unsure:
            answer = self._ask()
            if self._offset >= self._total:
                return answer
        self._is_unsure = True
        first, length = self._offset, self._length
        headers = {
            "Content-Type": "application/octet-stream",
            "Content-Range": f"{first}-{first + length - 1}",
        }
        body = Body(length, lambda: self._body.part(first, length))
        answer = self._exchange.call(Request("PATCH", self._url, headers, body), self._access, _ACCEPTED)
        answer.response.close()
        self.count += 1
        # In another order than the registry's, nothing of the piece was taken.
        self._is_unsure = answer.response.status == _OUT_OF_ORDER
        self._follow(answer, first if self._is_unsure else first + length)
        return answer

    def _ask(self) -> Answer:
        answer = self._exchange.call(Request("GET", self._url), self._access, (*_KNOWN, *_LOST))
        answer.response.close()
        if answer.response.status in _LOST:
            # What was sent is gone.
            self._in_vain += 1
            if self._in_vain >= self._exchange.attempts:
                raise unusable(answer.request, answer.response, "the upload was lost")
            answer = self._start()
            self._begin(answer)
        else:
            self._follow(answer, self._offset)
        return answer

    def _follow(self, answer: Answer, expected: int) -> None:
        """Take the position and the URL of an answer, which need not have them."""
        headers = answer.response.headers
        if headers.get("Location"):
            self._url = self._locate(answer)
        found = _POSITION.fullmatch(headers.get("Range", ""))
        last = int(found[1]) if found else expected - 1
        # `0-0` stands for no byte, too: there is no form for an empty range.
        self._offset = last + 1 if last or expected == 1 else 0
        if self._offset > self._total:
            raise unusable(answer.request, answer.response, f"it claims to have {self._offset} bytes")


class _Rewindable:
    """A body that is read from any position: in one pass as long as the positions follow each other."""

    def __init__(self, body: Body) -> None:
        self._body = body
        self._source: OpenBody | None = None
        self._position = 0

    def part(self, start: int, length: int) -> OpenBody:
        """Open `length` bytes from `start`."""
        if self._source is None or self._position > start:
            self.close()
            self._source = self._body.open()
            self._source.__enter__()
            self._position = 0
        skipped = memoryview(bytearray(min(start - self._position, _BLOCK)))
        while self._position < start and self.readinto(skipped[: start - self._position]):
            pass
        return _Slice(self, length, file_position_of(self._source))

    def readinto(self, buffer: memoryview) -> int:
        """Write at least one byte at the position to `buffer` and return how many; 0 at the end."""
        assert self._source is not None  # noqa: S101 - `part` came first
        count = self._source.readinto(buffer)
        self._position += count
        return count

    def close(self) -> None:
        """Close the body, which may be opened again."""
        source, self._source = self._source, None
        if source is not None:
            source.__exit__(None, None, None)


class _Slice:
    """The next `left` bytes of a body, which stays open."""

    def __init__(
        self, body: _Rewindable, left: int, file_position: Callable[[], tuple[int, int]] | None
    ) -> None:
        self._body = body
        self._left = left
        self.file_position = file_position

    def readinto(self, buffer: bytearray | memoryview, /) -> int:
        count = self._body.readinto(memoryview(buffer)[: self._left])
        self._left -= count
        return count

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the body open for the next part."""

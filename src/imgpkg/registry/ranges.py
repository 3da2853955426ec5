"""Large blobs as ranges (RFC 9110 section 14) over several connections, handed to one reader in order."""

from __future__ import annotations

import time
from collections import deque
from contextvars import copy_context
from threading import Condition, Lock, Thread
from typing import TYPE_CHECKING

from imgpkg.cancellation import current
from imgpkg.dataclass import dataclass, field
from imgpkg.errors import Cancelled, ConnectionFailed, ImgpkgError, RegistryError, TransportError
from imgpkg.expression import expression
from imgpkg.oci.descriptor import BLOCK
from imgpkg.registry.encoding import Decoded
from imgpkg.transport.message import content_length, redact_url

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from imgpkg.registry.auth.challenge import Access
    from imgpkg.registry.blobs import BlobStream, Readers
    from imgpkg.registry.endpoint import Answer
    from imgpkg.registry.exchange import Exchange

_OK, _PARTIAL = 200, 206
# 403: some storage behind a signed URL refuses headers that were not signed.
RANGE_ANSWERS = (_OK, _PARTIAL, 400, 403, 416, 501)
_CONTENT_RANGE = expression(r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18}|\*)")
# Ranges of this many blocks while every connection is used for another blob: fewer requests in a row.
_LONG = 8
# Seconds. The reader waits for a range whose request was not answered, and then sends one itself: it may hold
# a connection already and then gets another one where a helper would have to wait for that very reader.
_PATIENCE = 2.0
_TICK = 0.1
_MOST_SPARE = 16


class RangeRefused(ImgpkgError):
    """The answer to a range is not that range; `answer` is open if it is the whole blob."""

    def __init__(self, answer: Answer | None) -> None:
        super().__init__("the range was refused")
        self.answer = answer


class Ranges:
    """The ranges of one blob: requested where the first one was redirected to, until that is refused.

    `get` asks the registry. A URL that a registry redirects to may be signed, and then it ends.
    """

    def __init__(
        self, get: Callable[[Mapping[str, str]], Answer], size: int, exchange: Exchange, access: Access
    ) -> None:
        self.size = size
        self.exchange = exchange
        self._get = get
        self._access = access
        self._url: str | None = None

    def request(self, start: int, stop: int) -> Answer:
        """Return the answer to the range; raise RangeRefused for another answer."""
        answer = self._answer({"Range": f"bytes={start}-{stop - 1}"})
        if self._is_part(answer, start, stop):
            return answer
        if answer.response.status == _OK:
            raise RangeRefused(answer)
        answer.response.close()
        raise RangeRefused(None)

    def _answer(self, headers: Mapping[str, str]) -> Answer:
        # Several threads read ranges of the blob: none of them takes the URL away from others.
        url = self._url
        if url is not None:
            try:
                return self.exchange.get_url(url, headers, self._access, (_PARTIAL,))
            except ImgpkgError as error:
                # Another thread may have a new one by now.
                self._url = None if self._url == url else self._url
                if not isinstance(error, RegistryError):
                    raise
        answer = self._get(headers)
        url = answer.request.url
        # Within the registry a request needs a credential, which only the registry's own way adds.
        if answer.response.status == _PARTIAL and not self.exchange.is_own(url, self._access.repository):
            self._url = url
        return answer

    def _is_part(self, answer: Answer, start: int, stop: int) -> bool:
        response = answer.response
        found = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
        if response.status != _PARTIAL or found is None or isinstance(response, Decoded):
            return False
        first, last = int(found[1]), int(found[2])
        is_asked_for = first == start and start <= last < stop
        length = content_length(response.headers)
        return is_asked_for and found[3] in ("*", str(self.size)) and length in (None, last - first + 1)


class Piece:
    """The bytes of one range, requested when it is constructed; what broke off is requested again."""

    def __init__(self, ranges: Ranges, start: int, stop: int) -> None:
        self._ranges = ranges
        self._position = start
        self._stop = stop
        self._breaks = 0
        self._answer = self._request()

    def readinto(self, buffer: bytearray | memoryview, /) -> int:
        """Write at least one byte to `buffer` and return how many, 0 at the end.

        Raises the last of several failures in a row.
        """
        with memoryview(buffer) as view:
            while self._position < self._stop:
                try:
                    count = self._answer.response.readinto(view[: self._stop - self._position])
                except TransportError as error:
                    self._resume(error)
                    continue
                if count:
                    self._position += count
                    self._breaks = 0
                    return count
                self._resume(_cut_short(self._answer))
        return 0

    def close(self) -> None:
        """Return the connection to the pool."""
        self._answer.response.close()

    def _request(self) -> Answer:
        return self._ranges.exchange.repeat(lambda: self._ranges.request(self._position, self._stop))

    def _resume(self, error: TransportError) -> None:
        exchange = self._ranges.exchange
        self._breaks += 1
        if self._breaks >= exchange.attempts:
            raise error
        exchange.announce(error, self._breaks + 1)
        self._answer.response.close()
        self._answer = self._request()


@dataclass(eq=False, slots=True)
class _Part:
    """A range that a helper fetches: how many of its bytes have come, and how many were read.

    Those between are in `blocks`, all of which are full but the last.
    """

    start: int
    stop: int
    blocks: deque[memoryview] = field(default_factory=deque)
    received: int = 0
    read: int = 0
    is_answered: bool = False
    is_complete: bool = False
    is_taken: bool = False
    error: BaseException | None = None

    @property
    def is_news(self) -> bool:
        """True when the reader need not wait."""
        return self.received > self.read or self.is_complete or self.error is not None


class RangedStream:
    """The bytes of a blob, not verified: the reader's own range, then those that helpers fetch meanwhile.

    There are as many helpers as `readers` has room for, and as many bytes in memory; none while one
    connection is as fast as their bytes can be used. `rest` opens all bytes from a position as one stream,
    from an answer if there is one: where ranges are refused, the reader goes on with it.
    """

    def __init__(
        self,
        ranges: Ranges,
        readers: Readers,
        registry: str,
        rest: Callable[[int, Answer | None], BlobStream],
    ) -> None:
        self._ranges = ranges
        self._readers = readers
        self._registry = registry
        self._rest = rest
        self._length = readers.length(ranges.size)
        self._position = 0
        self._next = 0
        self._own: Piece | BlobStream | None = None
        # Of the own range: its bytes, and the seconds that the reader has waited for them.
        self._count = 0
        self._waited = 0.0
        self._parts: deque[_Part] = deque()
        self._spare: list[memoryview] = []
        self._changed = Condition(Lock())
        self._is_ended = False
        self._fetch_here(0, self._own_stop(0))

    def readinto(self, buffer: bytearray | memoryview, /) -> int:
        """Write at least one byte to `buffer` and return how many, 0 at the end.

        Raises what `Piece.readinto` raises.
        """
        with memoryview(buffer) as view:
            while self._position < self._ranges.size:
                self._employ()
                count = self._receive(view)
                if count:
                    self._position += count
                    return count
        return 0

    def close(self) -> None:
        """Return the connections to the pool, those of helpers as soon as they notice."""
        self._end_helpers()
        self._leave()

    def _receive(self, view: memoryview) -> int:
        if self._own is not None:
            since = time.monotonic()
            try:
                count = self._own.readinto(view)
            except RangeRefused as refusal:
                self._fall_back(refusal.answer)
                return 0
            self._count += count
            self._waited += time.monotonic() - since
            if not count or self._position + count == self._ranges.size:
                self._leave()
            return count
        if self._parts:
            return self._take(self._parts[0], view)
        self._fetch_here(self._next, self._own_stop(self._next))
        return 0

    def _own_stop(self, start: int) -> int:
        may_have_help = not start or self._readers.is_slow(self._count, self._waited)
        blocks = 1 if may_have_help and self._readers.has_room(self._registry) else _LONG
        return min(start + blocks * self._length, self._ranges.size)

    def _fetch_here(self, start: int, stop: int) -> None:
        """Request a range in the thread of the reader."""
        with self._changed:
            self._next = max(self._next, stop)
        self._count, self._waited = 0, 0.0
        self._readers.enter(self._registry)
        try:
            self._own = Piece(self._ranges, start, stop)
        except RangeRefused as refusal:
            self._readers.leave(self._registry)
            self._fall_back(refusal.answer)
        except BaseException:
            self._readers.leave(self._registry)
            raise

    def _fall_back(self, answer: Answer | None) -> None:
        """Go on with one stream, that of the answer where that begins here."""
        self._end_helpers()
        self._leave()
        if answer is not None and self._position:
            answer.response.close()
            answer = None
        self._readers.enter(self._registry)
        try:
            self._own = self._rest(self._position, answer)
        except BaseException:
            self._readers.leave(self._registry)
            raise

    def _leave(self) -> None:
        own, self._own = self._own, None
        if own is not None:
            own.close()
            self._readers.leave(self._registry)

    def _end_helpers(self) -> None:
        with self._changed:
            self._is_ended = True
            while self._parts:
                self._forget(self._parts[0])

    def _forget(self, part: _Part) -> None:
        part.is_taken = True
        part.blocks.clear()
        self._parts.popleft()
        self._readers.release_block()

    def _take(self, part: _Part, view: memoryview) -> int:
        with self._changed:
            self._wait_for(part)
            if part.received > part.read:
                return self._copy(part, view)
            # Before the range is given up: a helper ends one that was as if it had all of it.
            error, is_complete = part.error, part.is_complete
            self._forget(part)
        if isinstance(error, ImgpkgError) and not isinstance(error, (TransportError, Cancelled)):
            # One stream asks once more, and its error is about the blob.
            self._fall_back(None)
        elif error is not None:
            raise error
        elif not is_complete:
            self._fetch_here(part.start, part.stop)
        return 0

    def _copy(self, part: _Part, view: memoryview) -> int:
        block, begin = part.blocks[0], part.read % BLOCK
        count = min(len(view), BLOCK - begin, part.received - part.read)
        view[:count] = block[begin : begin + count]
        part.read += count
        if not part.read % BLOCK:
            block = part.blocks.popleft()
            # Used again: memory that is new to the process costs more than the copy.
            if len(self._spare) < _MOST_SPARE:
                self._spare.append(block)
        return count

    def _wait_for(self, part: _Part) -> None:
        """Wait until there is something of `part`, or it is time to request it here."""
        since = time.monotonic()
        while not part.is_news and (part.is_answered or time.monotonic() - since < _PATIENCE):
            current().check()
            self._changed.wait(_TICK)

    def _employ(self) -> None:
        """Start helpers where there is room for them."""
        while (
            not self._is_ended
            and self._readers.is_slow(self._count, self._waited)
            and self._next < self._ranges.size
            and self._readers.enter_if_room(self._registry)
        ):
            part = self._claim()
            if part is None:
                self._readers.leave(self._registry)
                return
            # The interpreter waits at exit for threads that are not daemons, also for blocked ones.
            Thread(
                target=copy_context().run, args=(self._help, part), name="imgpkg-range", daemon=True
            ).start()

    def _claim(self) -> _Part | None:
        """Return the next range that no thread fetches; None if there is none, or no memory for it."""
        with self._changed:
            if self._is_ended or self._next >= self._ranges.size or not self._readers.take_block():
                return None
            part = _Part(self._next, min(self._next + self._length, self._ranges.size))
            self._next = part.stop
            self._parts.append(part)
        return part

    def _help(self, part: _Part | None) -> None:
        """Fetch `part`, and others as long as no other blob needs the connection."""
        try:
            while part is not None:
                self._fetch(part)
                part = None if self._readers.is_crowded(self._registry) else self._claim()
        finally:
            self._readers.leave(self._registry)

    def _fetch(self, part: _Part) -> None:
        try:
            piece = Piece(self._ranges, part.start, part.stop)
            part.is_answered = True
            try:
                while not part.is_taken and (count := piece.readinto(self._room(part))):
                    with self._changed:
                        part.received += count
                        self._changed.notify_all()
            finally:
                piece.close()
        except BaseException as error:  # noqa: BLE001 - raised by the reader, when it comes to this range
            _close_whole(error)
            part.error = error
        part.is_complete = part.error is None
        with self._changed:
            self._is_ended |= part.error is not None
            self._changed.notify_all()

    def _room(self, part: _Part) -> memoryview:
        """Return where the next bytes of `part` belong."""
        end = part.received % BLOCK
        with self._changed:
            # A range that was forgotten has none left.
            if not end or not part.blocks:
                part.blocks.append(self._spare.pop() if self._spare else memoryview(bytearray(BLOCK)))
            return part.blocks[-1][end:]


def _close_whole(error: BaseException) -> None:
    # Only the reader could use the whole blob.
    if isinstance(error, RangeRefused) and error.answer is not None:
        error.answer.response.close()


def _cut_short(answer: Answer) -> ConnectionFailed:
    return ConnectionFailed(answer.request.method, redact_url(answer.request.url), "unexpected EOF")

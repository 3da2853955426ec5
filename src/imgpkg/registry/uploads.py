"""Uploads of blobs (distribution-spec "Pushing blobs"): mounted, or sent with POST and PUT."""

from __future__ import annotations

from collections import deque
from functools import partial
from itertools import chain, repeat
from typing import TYPE_CHECKING, TypeAlias

from imgpkg.cancellation import NO_PERMIT, Permits, current, sleep
from imgpkg.dataclass import dataclass, replace
from imgpkg.errors import ChallengeError, Forbidden, RegistryError, Unauthorized, local_io
from imgpkg.events import BlobOutcome, BlobTransfer
from imgpkg.locks import KeyedLocks
from imgpkg.oci.descriptor import file_position_of
from imgpkg.oci.reference import DOCKER_HUB
from imgpkg.registry.auth.challenge import Access
from imgpkg.registry.endpoint import with_query
from imgpkg.registry.exchange import check_stored
from imgpkg.registry.failure import unusable
from imgpkg.transport.message import Body, Request, bytes_body, read_blocks

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType

    from typing_extensions import Self

    from imgpkg.events import Advance, Hook
    from imgpkg.oci.descriptor import Descriptor, Digest
    from imgpkg.oci.reference import Repository
    from imgpkg.registry.blobs import Blobs
    from imgpkg.registry.endpoint import Answer
    from imgpkg.registry.exchange import Exchange
    from imgpkg.transport.message import OpenBody, Opener

_Key: TypeAlias = "tuple[Repository, Digest]"

# For smaller blobs, in bytes, a HEAD request takes about as long as the upload.
WORTH_ASKING = 1 << 20

_CREATED, _TOO_LARGE, _TOO_MANY_REQUESTS = 201, 413, 429
# The first guess where a blob is too large for one request.
_SMALLEST, _LARGEST = 64 << 10, 32 << 20
_READ_AHEAD = 256 << 10
_MOST_SENT = 1 << 15
# Seconds.
_MOMENT = 0.25
_STARTED = frozenset({201, 202})
_PATCHED = frozenset({201, 202, 204})
_STORED = frozenset({200, 201, 204})
# Statuses of registries that accept no blob in one PUT. With PATCH the same blob may be accepted.
_NOT_IN_ONE_PIECE = frozenset({400, 404, 405, 411, 415, 416, 501})
_FINAL_CODES = frozenset({"DIGEST_INVALID", "SIZE_INVALID", "NAME_INVALID", "NAME_UNKNOWN", "DENIED"})
_NO_PIECES = (
    "A server before the registry limits the size of a request, and the registry takes no blob in pieces: "
    "the limit must be raised (client_max_body_size of nginx, proxy-body-size of its ingress)."
)
_BYTES = {"Content-Type": "application/octet-stream"}


class _CountedBody:
    """An open body that reports how much is read from it."""

    def __init__(self, source: OpenBody, advance: Advance) -> None:
        # It is opened again after a failure, and then read from its start.
        advance.restart()
        self._source = source
        self._advance = advance
        self.file_position = file_position_of(source)

    def readinto(self, buffer: bytearray | memoryview, /) -> int:
        count = self._source.readinto(buffer)
        if count:
            self._advance.add(count)
        return count

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._source.__exit__(kind, error, trace)


class SentBlobs:
    """How often blobs were sent, of the `most` latest ones: what waits for one of them comes soon after."""

    def __init__(self, most: int = _MOST_SENT) -> None:
        self._most = most
        self._times: dict[_Key, int] = {}
        self._order: deque[_Key] = deque()

    def times(self, key: _Key) -> int:
        """Return how often the blob was sent, as far as that is known; what is forgotten counts no more."""
        return self._times.get(key, 0)

    def add(self, key: _Key) -> None:
        """Know that the blob was sent once more."""
        self._times[key] = self.times(key) + 1
        self._order.append(key)
        if len(self._order) > self._most:
            self._times.pop(self._order.popleft(), None)


class Uploads:
    """The endpoint `/v2/<name>/blobs/uploads/`; threads that send the same blob wait for the first one."""

    def __init__(self, exchange: Exchange, blobs: Blobs, concurrency: int = 1, chunk_size: int = 0) -> None:
        self._exchange = exchange
        self._chunk_size = chunk_size
        # What a registry, or a proxy before it, taught: the size of pieces that it accepts.
        self._sizes: dict[str, int] = {}
        self._whole_only: set[str] = set()
        self._blobs = blobs
        self._pairs = Permits(concurrency // 2)
        self._locks = KeyedLocks()
        self._patched: set[str] = set()
        self._not_mounted: set[tuple[Repository, Repository]] = set()
        self._sent = SentBlobs()
        # Blobs that the registry reported to have, of which there may be a million, and those of them that
        # were sent because it missed them all the same.
        self._claimed: dict[_Key, Opener] = {}
        self._sent_again: set[_Key] = set()

    def push(
        self,
        repository: Repository,
        blob: Descriptor,
        open_: Opener,
        *,
        mount_from: Repository | None,
        check: bool,
        on_event: Hook,
    ) -> BlobOutcome:
        """See `RegistryClient.push_blob`."""
        key = repository, blob.digest
        uploads_before = self._sent.times(key)
        transfer = BlobTransfer(blob, "push", on_event)
        job = _Job(repository, blob, Body(blob.size, lambda: _CountedBody(open_(), transfer.advance)))
        with self._locks.of(key):
            # Another thread may have sent it while this one waited. An older upload proves nothing: the blob
            # may have been deleted since.
            is_sent = self._sent.times(key) > uploads_before
            outcome = BlobOutcome.PRESENT if is_sent else self._upload(job, mount_from, check=check)
            if not is_sent:
                self._sent.add(key)
            if outcome is BlobOutcome.MOVED:
                self._forget(key)
            elif not is_sent:
                self._claim(key, open_)
        return transfer.finish(outcome)

    def send_claimed(self, repository: Repository, blobs: Iterable[Descriptor]) -> bool:
        """Send those of `blobs` that the registry reported to have; return True when there are any.

        Some registries answer from a cache that still has deleted blobs.
        """
        sent = [self._send_claimed(repository, blob) for blob in blobs]
        return any(sent)

    def wait_for_sent(self, repository: Repository, blobs: Iterable[Descriptor]) -> bool:
        """Wait a moment if this client has sent one of `blobs`; return whether it has.

        docker-registry marks a blob with a file that it writes in place: it misses the blob while another
        client sends the same one.
        """
        is_sent = any(self._sent.times((repository, blob.digest)) for blob in blobs)
        if is_sent:
            sleep(_MOMENT)
        return is_sent

    def claim(self, repository: Repository, blob: Descriptor, open_: Opener) -> None:
        """See `RegistryClient.claim`."""
        self._claim((repository, blob.digest), open_)

    def settle(self, repository: Repository, blobs: Iterable[Descriptor]) -> None:
        """Record that a manifest with these blobs was accepted: the registry has them."""
        for blob in blobs:
            self._forget((repository, blob.digest))

    def _claim(self, key: _Key, open_: Opener) -> None:
        self._claimed[key] = open_
        self._sent_again.discard(key)

    def _forget(self, key: _Key) -> None:
        self._claimed.pop(key, None)
        self._sent_again.discard(key)

    def _send_claimed(self, repository: Repository, blob: Descriptor) -> bool:
        key = repository, blob.digest
        with self._locks.of(key):
            open_ = self._claimed.get(key)
            if open_ is not None and key not in self._sent_again:
                job = _Job(repository, blob, Body(blob.size, open_))
                self._exchange.repeat(lambda: self._send_anyway(job))
                self._sent_again.add(key)
        return open_ is not None

    def _send_anyway(self, job: _Job) -> None:
        session = self._start(job)
        if session.response.status != _CREATED:
            self._send(job, session)

    def _upload(self, job: _Job, mount_from: Repository | None, *, check: bool) -> BlobOutcome:
        # After a failure, always check: what broke off may have arrived all the same.
        checks = chain((check,), repeat(True))
        return self._exchange.repeat(lambda: self._place(job, mount_from, check=next(checks)))

    def _place(self, job: _Job, mount_from: Repository | None, *, check: bool) -> BlobOutcome:
        source = mount_from if mount_from is not None and self._may_mount(job, mount_from) else None
        # A mount finds a blob that is there, too. HEAD is sent only when the mount brought nothing.
        if source is None and check and self._blobs.has(job.repository, job.blob.digest):
            return BlobOutcome.PRESENT
        session = self._start(job) if source is None else self._mount(job, source)
        if session.response.status == _CREATED:
            check_stored(session, job.blob.digest)
            return BlobOutcome.PRESENT if source is None else BlobOutcome.MOUNTED
        if source is not None and check and self._blobs.has(job.repository, job.blob.digest):
            return BlobOutcome.PRESENT
        # The blob is read from the registry while it is sent there: such a pair takes two connections.
        is_read_here = source is not None and source.registry == job.repository.registry
        permit = self._pairs.enter(job.repository.registry, current()) if is_read_here else NO_PERMIT
        try:
            self._send(job, session)
        finally:
            permit.leave()
        return BlobOutcome.MOVED

    def _may_mount(self, job: _Job, source: Repository) -> bool:
        # As in the original, Docker Hub gets no request to mount from another registry.
        is_same = source.registry == job.repository.registry
        is_refused = (job.repository, source) in self._not_mounted
        return not is_refused and (is_same or job.repository.registry != DOCKER_HUB)

    def _mount(self, job: _Job, source: Repository) -> Answer:
        """Request a mount: 201 when it is done, 202 for an upload session; start one after a refusal."""
        query = {"from": source.path, "mount": str(job.blob.digest), "origin": source.registry}
        # A token has no scopes for repositories of another registry.
        sources = (source,) if source.registry == job.repository.registry else ()
        try:
            return self._post(with_query(job.path, **query), Access.write(job.repository, *sources))
        except (RegistryError, ChallengeError) as error:
            if isinstance(error, RegistryError) and error.status == _TOO_MANY_REQUESTS:
                # A registry that is asked too often must not get the whole blob in addition.
                raise
            # Mounting from there is not allowed: further blobs would be refused, too.
            if isinstance(error, (Unauthorized, Forbidden)):
                self._not_mounted.add((job.repository, source))
            return self._start(job)

    def _start(self, job: _Job) -> Answer:
        return self._post(job.path, Access.write(job.repository))

    def _post(self, url: str, access: Access) -> Answer:
        request = Request("POST", url, {"Content-Type": "application/json"}, bytes_body(b""))
        answer = self._exchange.call(request, access, _STARTED)
        answer.response.close()
        return answer

    def _send(self, job: _Job, session: Answer) -> None:
        registry = job.repository.registry
        if job.blob.size <= _READ_AHEAD:
            # The connection to send it is not taken while another registry is asked for the blob.
            job = replace(job, body=bytes_body(_read(job.body)))
        size = self._sizes.get(registry, self._chunk_size)
        if 0 < size < job.blob.size and registry not in self._whole_only:
            self._send_pieces(job, session, size)
            return
        try:
            self._send_whole(job, session)
        except RegistryError as error:
            if error.status != _TOO_LARGE or error.codes & _FINAL_CODES:
                raise
            if registry in self._whole_only:
                error.hints = (*error.hints, _NO_PIECES)
                raise
            self._send_pieces(
                job, self._start(job), max(_SMALLEST, min(_LARGEST, job.blob.size // 2)), refusal=error
            )

    def _send_whole(self, job: _Job, session: Answer) -> None:
        # This registry has accepted a blob with PATCH only.
        if job.repository.registry in self._patched:
            self._patch(job, session)
            return
        try:
            self._put(job, self._location(session, job), job.body)
        except RegistryError as error:
            # These codes are about the blob or the repository: PATCH would fail, too.
            if error.status not in _NOT_IN_ONE_PIECE or error.codes & _FINAL_CODES:
                raise
            self._patch(job, self._start(job))
            self._patched.add(job.repository.registry)

    def _send_pieces(
        self, job: _Job, session: Answer, size: int, refusal: RegistryError | None = None
    ) -> None:
        """Send in pieces of `size` bytes, or smaller ones; `refusal` is why it cannot be sent as a whole."""
        from imgpkg.registry.pieces import PiecedUpload

        registry = job.repository.registry
        start = partial(self._start, job)
        pieces = PiecedUpload(
            self._exchange,
            job.repository,
            job.body,
            size,
            start=start,
            locate=lambda answer: self._location(answer, job),
        )
        try:
            with pieces:
                url = pieces.send(session)
        except RegistryError as error:
            is_refused = error.status in _NOT_IN_ONE_PIECE and not error.codes & _FINAL_CODES
            if not is_refused or error.status == _TOO_LARGE or registry in self._sizes:
                raise
            self._whole_only.add(registry)
            if refusal is not None:
                refusal.hints = (*refusal.hints, _NO_PIECES)
                raise refusal from error
            self._send(job, start())
            return
        if pieces.count == 1:
            self._patched.add(registry)
        elif refusal is not None or pieces.size < size:
            self._sizes[registry] = pieces.size
        self._put(job, url, bytes_body(b""))

    def _patch(self, job: _Job, session: Answer) -> None:
        """Send the bytes with PATCH and close the session with an empty PUT ("Pushing a blob in chunks")."""
        url = self._location(session, job)
        answer = self._exchange.call(
            Request("PATCH", url, _BYTES, job.body), Access.write(job.repository), _PATCHED
        )
        answer.response.close()
        # The session may have a new URL after each request ("Pushing a blob in chunks").
        if answer.response.headers.get("Location"):
            url = self._location(answer, job)
        self._put(job, url, bytes_body(b""))

    def _put(self, job: _Job, url: str, body: Body) -> None:
        url = with_query(url, digest=str(job.blob.digest))
        # What was received of it before the connection broke may be in the session already.
        request = Request("PUT", url, _BYTES, body, appends=body.length > 0)
        answer = self._exchange.call(request, Access.write(job.repository), _STORED)
        answer.response.close()
        check_stored(answer, job.blob.digest)

    def _location(self, answer: Answer, job: _Job) -> str:
        location = answer.response.headers.get("Location")
        if not location:
            raise unusable(answer.request, answer.response, "the answer names no Location to upload to")
        return self._exchange.location(location, answer, job.repository)


def _read(body: Body) -> bytes:
    with local_io("open", "request body"):
        source = body.open()
    with source:
        return b"".join(data.tobytes() for data, _ in read_blocks(source, body.length))


@dataclass(frozen=True, slots=True)
class _Job:
    """One blob for one repository."""

    repository: Repository
    blob: Descriptor
    body: Body

    @property
    def path(self) -> str:
        return f"/v2/{self.repository.path}/blobs/uploads/"

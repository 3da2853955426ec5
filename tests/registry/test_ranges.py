"""Large blobs: fetched as ranges over several connections, read in order, in a limited memory."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import math
import random
import re
import threading
import time
from contextlib import ExitStack

import pytest
from tests.registry.scripted import Bench, Said, Source, Wire

from imgpkg.auth.keychain import Credential
from imgpkg.cancellation import Cancellation
from imgpkg.errors import (
    Cancelled,
    ConnectionFailed,
    LocalIOError,
    NotFound,
    TransportError,
    Unauthorized,
    VerificationError,
)
from imgpkg.oci import media
from imgpkg.oci.descriptor import Descriptor, Digest
from imgpkg.oci.reference import Repository
from imgpkg.registry.blobs import Blobs, Readers

A = Repository.parse("r.example/a/b")
DATA = random.Random(1).randbytes(50_000)
BLOB = Descriptor(media.OCI_LAYER, Digest.of(DATA), len(DATA))
PATH = f"/v2/a/b/blobs/{BLOB.digest}"
STORE = "https://store.example/blob?signature=S1"


def asked_range(asked):
    """Return (first, last) of the Range of a request, None without one."""
    found = re.fullmatch(r"bytes=(\d+)-(\d*)", asked.headers.get("Range", ""))
    return found and (int(found[1]), int(found[2] or len(DATA) - 1))


def part(first, last, *, cut=None, data=DATA, **headers):
    """Answer with a range, as a server should, with `headers` in place of its own."""
    usual = {
        "Content-Range": f"bytes {first}-{last}/{len(data)}",
        "Content-Length": last - first + 1,
        **{name.replace("_", "-"): value for name, value in headers.items()},
    }
    return Said(206, data[first : last + 1], usual, cut=cut)


def whole():
    return Said(200, DATA, {"Content-Length": len(DATA)})


def ranged(asked):
    """Answer as a server that has ranges."""
    found = asked_range(asked)
    return part(*found) if found else whole()


class Reading:
    """A scripted registry, and its blobs with up to `most` connections."""

    def __init__(self, handle=ranged, *, most=3, block=1000, retry_count=3, source=None, grace=-1.0):
        options = {} if source is None else {"source": source}
        self.made = Bench(Wire(handle), retry_count=retry_count, **options)
        # Without grace: what is in memory comes at once, as from a near registry.
        self.readers = Readers(most, large=2000, block=block, grace=grace)
        self.blobs = Blobs(self.made.exchange, self.readers)

    def read(self, blob=BLOB, size=777):
        with self.blobs.open(A, blob, use_urls=False) as stream:
            return b"".join(iter(lambda: stream.read(size), b""))

    @property
    def ranges(self):
        return [asked_range(asked) for asked in self.made.transport.asked]

    def check_clean(self):
        """Nothing is left open, counted or reserved."""
        end = time.monotonic() + 10
        while time.monotonic() < end and any(t.name == "imgpkg-range" for t in threading.enumerate()):
            time.sleep(0.01)
        self.made.transport.assert_all_closed()
        assert not self.readers.is_crowded(A.registry)
        entered = [self.readers.enter_if_room(A.registry) for _ in range(self.readers.most + 1)]
        assert entered == [True] * self.readers.most + [False]
        blocks = [self.readers.take_block() for _ in range(self.readers.most + 3)]
        assert blocks == [True] * (self.readers.most + 2) + [False]


class TestServersWithRanges:
    @pytest.mark.parametrize("most", [2, 3, 7])
    def test_give_the_blob_in_ranges_that_meet(self, most):
        reading = Reading(most=most)
        assert reading.read() == DATA
        found = sorted(reading.ranges)
        assert [first for first, _ in found] == [0, *(last + 1 for _, last in found[:-1])]
        assert found[-1][1] == len(DATA) - 1
        # As many for each connection.
        assert len(found) % most == 0
        assert max(last - first + 1 for first, last in found) <= 1000
        reading.check_clean()

    def test_are_asked_once_for_a_small_blob(self):
        small = Descriptor(media.OCI_LAYER, Digest.of(DATA[:2000]), 2000)
        reading = Reading(lambda asked: Said(200, DATA[:2000]))
        assert reading.read(small) == DATA[:2000]
        assert reading.ranges == [None]
        reading.check_clean()

    def test_are_asked_once_where_one_connection_is_allowed(self):
        reading = Reading(most=1)
        assert reading.read() == DATA
        assert reading.ranges == [None]

    def test_may_state_no_total_and_no_length(self):
        def handle(asked):
            first, last = asked_range(asked)
            return Said(206, DATA[first : last + 1], {"Content-Range": f"bytes {first}-{last}/*"})

        assert Reading(handle).read() == DATA

    def test_may_send_less_than_was_asked_for(self):
        def handle(asked):
            first, last = asked_range(asked)
            return part(first, min(last, first + 299))

        reading = Reading(handle)
        assert reading.read() == DATA
        reading.check_clean()

    def test_are_verified_as_a_whole(self):
        wrong = DATA[:30_000] + b"?" + DATA[30_001:]
        reading = Reading(lambda asked: part(*asked_range(asked), data=wrong))
        with pytest.raises(VerificationError, match="checksum"):
            reading.read()
        reading.check_clean()

    def test_may_answer_in_any_order(self):
        chance = random.Random(2)

        def handle(asked):
            time.sleep(chance.random() / 100)
            return ranged(asked)

        reading = Reading(handle, most=6)
        assert reading.read(size=100_000) == DATA
        reading.check_clean()

    def test_are_not_asked_for_more_than_there_is_memory_for(self):
        reading = Reading(most=4)
        with reading.blobs.open(A, BLOB, use_urls=False) as stream:
            stream.read(10)
            time.sleep(0.3)
            # The reader's own, and as many as may be kept.
            assert len(reading.ranges) == 1 + 6
            rest = b"".join(iter(lambda: stream.read(5000), b""))
        assert DATA.endswith(rest)
        assert len(rest) == len(DATA) - 10
        reading.check_clean()

    def test_are_left_alone_when_the_reader_stops(self):
        reading = Reading()
        with reading.blobs.open(A, BLOB, use_urls=False) as stream:
            stream.read(1500)
        count = len(reading.ranges)
        reading.check_clean()
        assert len(reading.ranges) <= count + 1

    def test_get_no_more_requests_at_once_than_allowed(self):
        lock, now, most = threading.Lock(), [0], [0]

        class Counted(Said):
            def close(self):
                if not self.closed:
                    with lock:
                        now[0] -= 1
                super().close()

        def handle(asked):
            first, last = asked_range(asked)
            with lock:
                now[0] += 1
                most[0] = max(most[0], now[0])
            time.sleep(0.002)
            return Counted(
                206, DATA[first : last + 1], {"Content-Range": f"bytes {first}-{last}/{len(DATA)}"}
            )

        reading = Reading(handle, most=4)
        assert reading.read() == DATA
        assert most == [4]


class TestHelp:
    def test_is_not_asked_for_while_one_connection_is_fast(self):
        reading = Reading(most=4, grace=60)
        assert reading.read() == DATA
        # The first range shows how fast it is; the others are as long as they may be.
        lengths = [last - first + 1 for first, last in reading.ranges]
        assert lengths[0] < 1000 < max(lengths)
        assert (len(lengths), sum(lengths), {asked_range(a)[0] for a in reading.made.transport.asked}) == (
            1 + math.ceil((len(DATA) - lengths[0]) / (8 * lengths[0])),
            len(DATA),
            {0, *itertools.accumulate(lengths[:-1])},
        )
        reading.check_clean()

    def test_is_asked_for_when_the_connection_becomes_slow(self):
        class Slow(Said):
            def read(self, size=-1, /):
                time.sleep(0.01)
                return super().read(min(size, 100))

        def handle(asked):
            first, last = asked_range(asked)
            threads.add(threading.current_thread().name)
            answer = part(first, last)
            return Slow(answer.status, answer.body, answer.headers.pairs) if 900 < first < 9000 else answer

        threads = set()
        reading = Reading(handle, most=3, grace=0.02)
        assert reading.read() == DATA
        assert {"MainThread", "imgpkg-range"} <= threads
        reading.check_clean()

    @pytest.mark.parametrize("size", [100_000, 1 << 18, 1 << 20])
    def test_brings_ranges_of_many_blocks_whatever_the_buffer(self, size):
        data = random.Random(3).randbytes(7_000_000)
        blob = Descriptor(media.OCI_LAYER, Digest.of(data), len(data))
        reading = Reading(lambda asked: part(*asked_range(asked), data=data), block=1_500_000)
        buffer, received = bytearray(size), bytearray()
        with reading.blobs.open(A, blob, use_urls=False) as stream:
            while count := stream.readinto(buffer):
                received += buffer[:count]
        assert received == data
        assert len(reading.ranges) == 6
        reading.check_clean()

    def test_is_needed_after_some_time_without_many_bytes(self):
        readers = Readers(2, grace=1)
        assert [readers.is_slow(*one) for one in ((0, 0.9), (0, 1.1), (256_000_000, 1.9), (0, 9))] == [
            False,
            True,
            False,
            True,
        ]


class TestSeveralBlobs:
    def test_share_the_connections(self):
        reading = Reading(most=3)
        with ExitStack() as opened:
            streams = [opened.enter_context(reading.blobs.open(A, BLOB, use_urls=False)) for _ in range(4)]
            for stream in streams:
                assert b"".join(iter(lambda stream=stream: stream.read(999), b"")) == DATA
        reading.check_clean()

    def test_are_read_in_long_ranges_while_all_connections_are_used(self):
        reading = Reading(most=2)
        reading.readers.enter(A.registry)
        with reading.blobs.open(A, BLOB, use_urls=False) as stream:
            assert stream.read(100) == DATA[:100]
            assert reading.ranges == [(0, 8 * 1000 - 1)]
            # Another blob was read: there is a connection to help.
            reading.readers.leave(A.registry)
            assert b"".join(iter(lambda: stream.read(1000), b"")) == DATA[100:]
        assert (8000, 8999) in reading.ranges
        reading.check_clean()

    def test_get_a_connection_back_from_one_that_has_several(self):
        reading, gate = Reading(most=3), threading.Event()

        def handle(asked):
            gate.wait(5)
            return ranged(asked)

        with reading.blobs.open(A, BLOB, use_urls=False) as stream:
            reading.made.transport.handle = handle
            stream.read(10)
            reading.readers.enter(A.registry)
            gate.set()
            time.sleep(0.2)
            assert not reading.readers.is_crowded(A.registry)
            reading.readers.leave(A.registry)
            assert b"".join(iter(lambda: stream.read(1000), b"")) == DATA[10:]
        reading.check_clean()


class TestServersWithoutRanges:
    def test_send_the_whole_once(self):
        reading = Reading(lambda asked: whole())
        assert reading.read() == DATA
        assert len(reading.ranges) == 1
        reading.check_clean()

    @pytest.mark.parametrize("status", [400, 403, 416, 501])
    def test_refuse_and_are_asked_for_the_whole(self, status):
        reading = Reading(lambda asked: Said(status) if asked_range(asked) else whole())
        assert reading.read() == DATA
        assert reading.ranges[1:] == [None]
        reading.check_clean()

    @pytest.mark.parametrize(
        "lie",
        [
            {"Content_Range": ""},
            {"Content_Range": "bytes 1-16666/50000"},
            {"Content_Range": "bytes 0-49999/50000"},
            {"Content_Range": "bytes 0-400/49999"},
            {"Content_Range": "bytes 400-0/50000"},
            {"Content_Length": 50_000},
            {"Content_Encoding": "gzip"},
        ],
    )
    def test_lie_about_the_range(self, lie):
        reading = Reading(lambda asked: part(*asked_range(asked), **lie) if asked_range(asked) else whole())
        assert reading.read() == DATA
        assert reading.ranges[1:] == [None]
        reading.check_clean()

    @pytest.mark.parametrize("answer", [whole, lambda: Said(416), lambda: Said(500)])
    def test_change_their_mind(self, answer):
        def handle(asked):
            first, last = asked_range(asked) or (0, 0)
            if not first or last == len(DATA) - 1:
                return ranged(asked)
            return answer() if first > 20_000 else ranged(asked)

        reading = Reading(handle)
        assert reading.read() == DATA
        assert reading.ranges[-1][1] == len(DATA) - 1
        reading.check_clean()

    def test_say_what_is_wrong_with_the_blob(self):
        reading = Reading(lambda asked: Said(404))
        with pytest.raises(NotFound):
            reading.read()
        reading.check_clean()

    def test_say_in_the_middle_what_is_wrong_with_the_blob(self):
        def handle(asked):
            found = asked_range(asked)
            return Said(404) if found is None or found[0] > 9000 else part(*found)

        reading = Reading(handle)
        with pytest.raises(NotFound):
            reading.read()
        reading.check_clean()

    def test_refuse_the_login(self):
        reading = Reading(lambda asked: Said(401))
        with pytest.raises(Unauthorized):
            reading.read()
        reading.check_clean()

    def test_of_another_size_are_noticed(self):
        reading = Reading(lambda asked: Said(200, DATA, {"Content-Length": 7}))
        with pytest.raises(VerificationError, match="Content-Length header 7"):
            reading.read()
        reading.check_clean()

    def test_break_the_own_range_and_then_send_the_whole(self):
        answers = iter([part(0, 999, cut=300)])
        reading = Reading(lambda asked: next(answers, None) or whole(), most=2)
        assert reading.read() == DATA
        reading.check_clean()


class TestBrokenConnections:
    def test_are_resumed_in_each_range(self):
        broken, lock = set(), threading.Lock()

        def handle(asked):
            first, last = asked_range(asked)
            with lock:
                is_new = last not in broken
                broken.add(last)
            # Some servers close without an error.
            if is_new and last % 2:
                return Said(206, DATA[first : first + 400], {"Content-Range": f"bytes {first}-{last}/*"})
            return part(first, last, cut=400 if is_new else None)

        reading = Reading(handle)
        assert reading.read() == DATA
        # The second request for a range begins where the first one stood.
        assert {first % 100 for first, _ in reading.ranges} != {0}
        assert len(reading.ranges) == 2 * len(broken)
        reading.check_clean()

    @pytest.mark.parametrize("first_range", [0, 10_000])
    def test_are_given_up_when_nothing_more_comes(self, first_range):
        def handle(asked):
            first, last = asked_range(asked)
            return part(first, last, cut=0 if first >= first_range else None)

        reading = Reading(handle)
        with pytest.raises(ConnectionFailed, match="unexpected EOF"):
            reading.read()
        reading.check_clean()

    def test_are_repeated_when_there_is_no_answer(self):
        failures = iter([ConnectionFailed, ConnectionFailed])
        reading = Reading(lambda asked: next(failures, None) or ranged(asked))
        assert reading.read() == DATA
        reading.check_clean()

    def test_end_the_blob_when_there_is_never_an_answer(self):
        reading = Reading(lambda asked: ConnectionFailed)
        with pytest.raises(TransportError):
            reading.read()
        reading.check_clean()

    def test_end_the_blob_when_the_helper_cannot_work(self):
        def handle(asked):
            return ranged(asked) if asked_range(asked)[0] < 9000 else MemoryError("no memory")

        reading = Reading(handle)
        with pytest.raises(MemoryError):
            reading.read()
        reading.check_clean()


class TestCancelling:
    def test_ends_the_wait_of_the_reader(self):
        reading, scope, gate = Reading(), Cancellation(), threading.Event()

        def handle(asked):
            if asked_range(asked)[0]:
                gate.wait(30)
            return ranged(asked)

        reading.made.transport.handle = handle
        started = time.monotonic()
        threading.Timer(0.3, scope.cancel).start()
        with scope.scope(), pytest.raises(Cancelled):
            reading.read()
        assert time.monotonic() - started < 2
        gate.set()
        reading.check_clean()

    def test_of_a_helper_ends_the_reader(self):
        def handle(asked):
            return ranged(asked) if asked_range(asked)[0] < 9000 else Cancelled("the work was stopped")

        reading = Reading(handle)
        with pytest.raises(Cancelled):
            reading.read()
        reading.check_clean()


class TestHelpersWithoutAConnection:
    def test_do_not_stop_the_reader(self):
        """The reader may hold the connection that a helper waits for."""
        gate, main = threading.Event(), threading.current_thread()

        def handle(asked):
            if threading.current_thread() is not main:
                gate.wait(60)
            return ranged(asked)

        reading = Reading(handle, most=2, block=12_500)
        with reading.blobs.open(A, BLOB, use_urls=False) as stream:
            # Two ranges wait for a helper, which gets no answer.
            read = b"".join(iter(lambda: stream.read(5000), b""))
            assert read == DATA
        gate.set()
        reading.check_clean()

    def test_that_get_one_at_the_moment_when_they_are_given_up_bring_nothing(self):
        gate, closed, main = threading.Event(), threading.Event(), threading.current_thread()

        class Late(Said):
            def close(self):
                super().close()
                closed.set()

        class Waiting(Readers):
            def release_block(self):
                super().release_block()
                if not gate.is_set():
                    gate.set()
                    closed.wait(10)
                    # The helper has seen that its range was given up, and has ended.
                    time.sleep(0.2)

        def handle(asked):
            answer = ranged(asked)
            if threading.current_thread() is not main and not gate.is_set():
                gate.wait(60)
                return Late(answer.status, answer.body, answer.headers.pairs)
            return answer

        reading = Reading(handle, most=2, block=12_500)
        reading.readers = Waiting(2, large=2000, block=12_500, grace=-1.0)
        reading.blobs = Blobs(reading.made.exchange, reading.readers)
        assert reading.read() == DATA
        assert closed.is_set()
        reading.check_clean()


class TestRedirects:
    """To storage with URLs that are signed for a time."""

    @staticmethod
    def stored(asked):
        if asked.host == "store.example":
            return ranged(asked)
        return Said(307, headers={"Location": STORE})

    def test_are_remembered_for_the_other_ranges(self):
        reading = Reading(self.stored, source=Source(Credential(registry_token="RTOK")))
        assert reading.read() == DATA
        hosts = [asked.host for asked in reading.made.transport.asked]
        assert hosts.count("r.example") == 1
        assert len(hosts) > 40
        # The storage gets no credential.
        assert {a.authorization for a in reading.made.transport.asked if a.host == "store.example"} == {""}
        reading.check_clean()

    def test_are_remembered_while_another_range_is_requested(self):
        both, numbers = threading.Barrier(2), itertools.count()

        def handle(asked):
            # The first range comes alone; the next two at the same time.
            if asked.host == "store.example" and next(numbers) in (1, 2):
                with contextlib.suppress(threading.BrokenBarrierError):
                    both.wait(2)
            return self.stored(asked)

        reading = Reading(handle)
        assert reading.read() == DATA
        assert [asked.host for asked in reading.made.transport.asked].count("r.example") == 1

    @pytest.mark.parametrize("answer", [Said(403), ConnectionFailed])
    def test_that_end_are_asked_for_again(self, answer):
        counts = {"store.example": 0, "r.example": 0}
        lock = threading.Lock()

        def handle(asked):
            with lock:
                counts[asked.host] += 1
            if asked.host == "r.example":
                url = f"https://store.example/blob?signature=S{counts['r.example']}"
                return Said(307, headers={"Location": url})
            if counts["store.example"] > 10 and asked.query["signature"] == ["S1"]:
                return Said(403) if isinstance(answer, Said) else answer
            return ranged(asked)

        reading = Reading(handle)
        assert reading.read() == DATA
        assert 2 <= counts["r.example"] <= 5
        reading.check_clean()

    def test_within_the_registry_are_asked_for_each_time(self):
        def handle(asked):
            if asked.path == PATH:
                return Said(307, headers={"Location": "/stored"})
            return ranged(asked)

        reading = Reading(handle, source=Source(Credential(registry_token="RTOK")))
        assert reading.read() == DATA
        paths = [asked.path for asked in reading.made.transport.asked]
        assert paths.count(PATH) == paths.count("/stored")
        assert {asked.authorization for asked in reading.made.transport.asked} == {"Bearer RTOK"}

    def test_to_forbidden_hosts_are_refused_in_every_range(self):
        def handle(asked):
            first, _ = asked_range(asked) or (0, 0)
            if first < 9000 and asked_range(asked):
                return ranged(asked)
            return Said(307, headers={"Location": "http://169.254.169.254/blob"})

        reading = Reading(handle)
        with pytest.raises(Exception, match="refusing the redirect target"):
            reading.read()
        assert {asked.host for asked in reading.made.transport.asked} == {"r.example"}
        reading.check_clean()


def test_data_in_the_descriptor_is_used_for_a_large_blob():
    reading = Reading()
    assert reading.read(dataclasses.replace(BLOB, data=DATA)) == DATA
    assert reading.ranges == []


def test_the_memory_for_ranges_does_not_grow_with_the_connections():
    for most in (1, 2, 5, 20, 100):
        readers = Readers(most)
        blocks = 0
        while readers.take_block():
            blocks += 1
        assert blocks * readers.block <= 84 << 20
        assert readers.length(300_000_000) <= readers.block


def test_an_error_of_the_disk_is_no_reason_to_go_on():
    def handle(asked):
        return ranged(asked) if asked_range(asked)[0] < 9000 else LocalIOError("disk")

    reading = Reading(handle)
    # One stream asks again, and its error is the one that counts.
    with pytest.raises(LocalIOError):
        reading.read()
    reading.check_clean()

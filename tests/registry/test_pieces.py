"""Uploads in pieces: where a proxy limits the size of a request, and where the user wants them."""

from __future__ import annotations

import io
import random
import re

import pytest
from tests.registry.scripted import Bench, Said, Source, Wire

from imgpkg.auth.keychain import Keychain
from imgpkg.errors import ConnectionFailed, RegistryError
from imgpkg.events import BlobAdvanced, BlobOutcome
from imgpkg.oci import media
from imgpkg.oci.descriptor import Descriptor, Digest
from imgpkg.oci.reference import Repository
from imgpkg.registry.client import RegistryClient

A = Repository.parse("r.example/a/b")
DATA = random.Random(3).randbytes(1_000_000)
BLOB = Descriptor(media.OCI_LAYER, Digest.of(DATA), len(DATA))


class Registry:
    """A registry with uploads in pieces, behind a proxy that refuses bodies of more than `limit` bytes.

    `fault` gets each request and returns what to answer in place of the registry, or None.
    """

    def __init__(self, *, limit=None, fault=lambda asked: None, says_range=True, headers=()):
        self.limit = limit
        self.fault = fault
        self.says_range = says_range
        self.headers = dict(headers)
        self.received = bytearray()
        self.blobs = {}
        self.sessions = 0
        self.step = 0

    def __call__(self, asked):
        if self.limit is not None and len(asked.body) > self.limit:
            return Said(413)
        answer = self.fault(asked)
        if answer is not None:
            return answer
        if asked.method == "HEAD":
            return Said(404)
        answers = {"POST": self.post, "GET": self.status, "PATCH": self.patch, "PUT": self.put}
        return answers[asked.method](asked)

    def post(self, _asked):
        self.sessions += 1
        self.received.clear()
        return self._progress(202, range_=False)

    def status(self, _asked):
        return self._progress(204)

    def put(self, asked):
        self.received += asked.body
        assert asked.query["digest"] == [str(Digest.of(bytes(self.received)))]
        self.blobs[asked.query["digest"][0]] = bytes(self.received)
        return Said(201)

    def patch(self, asked):
        found = re.fullmatch(r"(\d+)-(\d+)", asked.headers.get("Content-Range", ""))
        if found is not None:
            assert int(found[2]) - int(found[1]) + 1 == len(asked.body)
            if int(found[1]) != len(self.received):
                return self._progress(416)
        self.received += asked.body
        return self._progress(202)

    def _progress(self, status, *, range_=True):
        self.step += 1
        headers = {"Location": f"/v2/a/b/blobs/uploads/{self.sessions}?state={self.step}", **self.headers}
        if range_ and self.says_range:
            headers["Range"] = f"0-{max(0, len(self.received) - 1)}"
        return Said(status, headers=headers)


class Pushing:
    """A client with pieces of `chunk_size` bytes, and what it sent."""

    def __init__(self, registry, *, chunk_size=0, retry_count=3):
        self.registry = registry
        self.wire = Wire(registry)
        self.opened = 0
        self.client = RegistryClient(
            self.wire,
            Keychain([Source(None)]),
            retry_count=retry_count,
            sleep=lambda seconds: None,
            chunk_size=chunk_size,
        )

    def push(self, data=DATA, **options):
        blob = Descriptor(media.OCI_LAYER, Digest.of(data), len(data))
        outcome = self.client.push_blob(A, blob, lambda: self._open(data), check=False, **options)
        self.wire.assert_all_closed()
        assert outcome is BlobOutcome.MOVED
        assert self.registry.blobs[str(blob.digest)] == data

    def _open(self, data):
        self.opened += 1
        return io.BytesIO(data)

    @property
    def pieces(self):
        return [len(asked.body) for asked in self.wire.asked if asked.method == "PATCH"]

    @property
    def methods(self):
        return [asked.method for asked in self.wire.asked]


class TestThePiecesThatTheUserWants:
    def test_are_of_that_size_and_follow_each_other(self):
        pushing = Pushing(Registry(), chunk_size=300_000)
        pushing.push()
        assert pushing.methods == ["POST", "PATCH", "PATCH", "PATCH", "PATCH", "PUT"]
        assert pushing.pieces == [300_000, 300_000, 300_000, 100_000]
        ranges = [asked.headers["Content-Range"] for asked in pushing.wire.asked if asked.method == "PATCH"]
        assert ranges == ["0-299999", "300000-599999", "600000-899999", "900000-999999"]
        # Each request goes to the URL of the answer before it.
        assert [asked.query["state"] for asked in pushing.wire.asked[1:]] == [[str(n)] for n in range(1, 6)]
        # The body was read once.
        assert pushing.opened == 1

    def test_are_not_made_of_a_smaller_blob(self):
        pushing = Pushing(Registry(), chunk_size=len(DATA))
        pushing.push()
        assert pushing.methods == ["POST", "PUT"]

    def test_are_as_large_as_the_registry_wants_them(self):
        pushing = Pushing(Registry(headers={"OCI-Chunk-Min-Length": "400000"}), chunk_size=300_000)
        pushing.push()
        assert pushing.pieces == [400_000, 400_000, 200_000]

    def test_need_no_range_in_the_answers(self):
        pushing = Pushing(Registry(says_range=False), chunk_size=300_000)
        pushing.push()
        assert len(pushing.pieces) == 4

    @pytest.mark.parametrize("status", [400, 404, 405, 501])
    def test_are_sent_as_a_whole_where_the_registry_refuses_them(self, status):
        refuse = lambda asked: Said(status) if asked.method == "PATCH" else None  # noqa: E731
        pushing = Pushing(Registry(fault=refuse), chunk_size=300_000)
        pushing.push()
        assert pushing.methods == ["POST", "PATCH", "POST", "PUT"]
        # It is not asked again.
        pushing.push(DATA[1:])
        assert pushing.methods[4:] == ["POST", "PUT"]

    def test_are_no_way_out_where_whole_blobs_are_refused_too(self):
        refuse = lambda asked: Said(405) if asked.method == "PATCH" else None  # noqa: E731
        pushing = Pushing(Registry(fault=refuse, limit=500_000), chunk_size=300_000)
        with pytest.raises(RegistryError) as caught:
            pushing.push()
        assert caught.value.status == 413
        assert "takes no blob in pieces" in caught.value.hints[-1]

    def test_do_not_hide_what_is_wrong_with_the_blob(self):
        refused = {"errors": [{"code": "DIGEST_INVALID", "message": "no"}]}
        refuse = lambda asked: Said(400, refused) if asked.method == "PATCH" else None  # noqa: E731
        with pytest.raises(RegistryError, match="DIGEST_INVALID"):
            Pushing(Registry(fault=refuse), chunk_size=300_000).push()

    def test_are_reported_as_they_are_read(self):
        events = []
        Pushing(Registry(), chunk_size=300_000).push(on_event=events.append)
        assert sum(event.count for event in events if isinstance(event, BlobAdvanced)) == len(DATA)


class TestALimitOfAProxy:
    @pytest.mark.parametrize("limit", [70_000, 130_000, 500_000, 999_999])
    def test_is_learnt_from_its_answer(self, limit):
        pushing = Pushing(Registry(limit=limit))
        pushing.push()
        accepted = [size for size in pushing.pieces if size <= limit]
        assert sum(accepted) == len(DATA)
        # The next blob is sent in pieces at once.
        before = len(pushing.wire.asked)
        pushing.push(DATA[1:])
        sent = pushing.wire.asked[before:]
        assert all(len(asked.body) <= limit for asked in sent)
        # A small one is still sent as a whole.
        before = len(pushing.wire.asked)
        pushing.push(DATA[:1000])
        assert [asked.method for asked in pushing.wire.asked[before:]] == ["POST", "PUT"]

    def test_that_is_lower_than_the_size_that_was_asked_for_counts(self):
        pushing = Pushing(Registry(limit=200_000), chunk_size=400_000)
        pushing.push()
        assert pushing.pieces[:2] == [400_000, 100_000]
        pushing.push(DATA[1:])
        assert max(pushing.pieces[-10:]) == 100_000

    def test_that_nothing_passes_is_an_error(self):
        with pytest.raises(RegistryError) as caught:
            Pushing(Registry(limit=1000)).push()
        assert caught.value.status == 413

    def test_is_an_error_with_a_way_out_where_the_registry_takes_no_pieces(self):
        refuse = lambda asked: Said(405) if asked.method == "PATCH" else None  # noqa: E731
        with pytest.raises(RegistryError) as caught:
            Pushing(Registry(fault=refuse, limit=600_000)).push()
        assert caught.value.status == 413
        assert "client_max_body_size" in caught.value.hints[-1]

    def test_of_the_registry_itself_is_final(self):
        too_large = {"errors": [{"code": "SIZE_INVALID", "message": "no"}]}
        pushing = Pushing(Registry(fault=lambda asked: Said(413, too_large) if asked.body else None))
        with pytest.raises(RegistryError, match="SIZE_INVALID"):
            pushing.push()
        assert pushing.methods == ["POST", "PUT"]


class Trouble:
    """Answers the second PATCH, and `more` after it, with `answer`; `arrived` of its bytes were stored."""

    def __init__(self, answer, *, arrived=0, more=0):
        self.answer, self.arrived, self.more = answer, arrived, more
        self.count = 0
        self.registry = None

    def __call__(self, asked):
        if asked.method != "PATCH":
            return None
        self.count += 1
        if not 2 <= self.count <= 2 + self.more:
            return None
        self.registry.received += asked.body[: self.arrived]
        return self.answer


def pushing_with(trouble, **options):
    registry = Registry(fault=trouble)
    trouble.registry = registry
    return Pushing(registry, chunk_size=300_000, **options)


class TestAPieceThatFails:
    @pytest.mark.parametrize("answer", [ConnectionFailed, Said(503)])
    @pytest.mark.parametrize("arrived", [0, 1, 100_000, 300_000])
    def test_goes_on_where_the_registry_says_that_it_stands(self, answer, arrived):
        pushing = pushing_with(Trouble(answer, arrived=arrived))
        pushing.push()
        assert pushing.methods[:5] == ["POST", "PATCH", "PATCH", "GET", "PATCH"]
        first = pushing.wire.asked[4].headers["Content-Range"].partition("-")[0]
        assert int(first) == 300_000 + arrived
        assert pushing.registry.sessions == 1

    def test_that_was_the_last_and_arrived_is_not_sent_again(self):
        trouble = Trouble(ConnectionFailed, arrived=300_000)
        registry = Registry(fault=trouble)
        trouble.registry = registry
        pushing = Pushing(registry, chunk_size=500_001)
        pushing.push()
        assert len(pushing.pieces) == 3
        short = Pushing(registry, chunk_size=500_000)
        trouble.count, trouble.arrived = 0, 500_000
        short.push()
        assert short.methods == ["POST", "PATCH", "PATCH", "GET", "PUT"]

    def test_out_of_order_goes_on_where_the_answer_says(self):
        trouble = Trouble(Said(416, headers={"Range": "0-199999"}))
        pushing = pushing_with(trouble)

        def forget(asked):
            if asked.method == "PATCH" and trouble.count == 1:
                del pushing.registry.received[200_000:]
            return trouble(asked)

        pushing.registry.fault = forget
        pushing.push()
        assert pushing.registry.sessions == 1

    def test_again_and_again_fails(self):
        pushing = pushing_with(Trouble(ConnectionFailed, more=100))
        with pytest.raises(ConnectionFailed):
            pushing.push()

    def test_to_go_on_fails(self):
        pushing = pushing_with(Trouble(Said(202, headers={"Range": "0-299999"}), more=100))
        with pytest.raises(RegistryError, match="the upload stays at byte 300000"):
            pushing.push()

    def test_by_too_many_bytes_fails(self):
        pushing = pushing_with(Trouble(Said(202, headers={"Range": "0-1000000"})))
        with pytest.raises(RegistryError, match="it claims to have 1000001 bytes"):
            pushing.push()

    @pytest.mark.parametrize("status", [404, 405])
    def test_begins_anew_where_the_upload_is_lost(self, status):
        trouble = Trouble(ConnectionFailed)
        pushing = pushing_with(trouble)
        inner = pushing.registry.fault
        pushing.registry.fault = lambda asked: Said(status) if asked.method == "GET" else inner(asked)
        pushing.push()
        assert pushing.registry.sessions == 2
        assert pushing.opened == 2

    def test_with_the_upload_lost_each_time_fails(self):
        inner = Trouble(ConnectionFailed, more=100)
        pushing = pushing_with(inner)
        pushing.registry.fault = lambda asked: Said(404) if asked.method == "GET" else inner(asked)
        with pytest.raises((RegistryError, ConnectionFailed)):
            pushing.push()


def test_an_upload_that_is_lost_again_and_again_is_sent_as_a_whole():
    """Some registries with several servers keep an upload only where it was begun."""
    count = iter(range(100))

    def lose(asked):
        if asked.method == "GET":
            return Said(404)
        return ConnectionFailed if asked.method == "PATCH" and next(count) % 2 else None

    pushing = Pushing(Registry(fault=lose), chunk_size=300_000)
    pushing.push()
    assert pushing.methods[-2:] == ["POST", "PUT"]
    assert len(pushing.wire.asked[-1].body) == len(DATA)


def test_a_piece_of_one_byte_is_told_from_none():
    pushing = Pushing(Registry(), chunk_size=1)
    pushing.push(b"abc")
    assert pushing.pieces == [1, 1, 1]


@pytest.mark.parametrize("kind", ["embedded_registry", "docker_registry"])
@pytest.mark.parametrize("chunk_size", [0, 400_000])
def test_real_registries_behind_a_proxy_with_a_limit(request, reverse_proxy, open_session, kind, chunk_size):
    registry = request.getfixturevalue(kind)
    proxy = reverse_proxy(registry.address, limit=300_000)
    data = random.Random(f"{kind}{chunk_size}").randbytes(1_500_000)
    blob = Descriptor(media.OCI_LAYER, Digest.of(data), len(data))
    repository = Repository.parse(f"{proxy.address}/pieces/app")
    client = open_session(upload_chunk_size=chunk_size).client
    client.push_blob(repository, blob, lambda: io.BytesIO(data))
    with client.blob(repository, blob) as stream:
        assert b"".join(iter(lambda: stream.read(1 << 20), b"")) == data
    accepted = [r for r in proxy.requests if r.method == "PATCH" and r.status == 202]
    assert len(accepted) >= 5


def test_the_bench_sends_whole_blobs():
    """Without a limit nothing is sent in pieces."""
    registry = Registry()
    made = Bench(Wire(registry))
    made.client.push_blob(A, BLOB, lambda: io.BytesIO(DATA), check=False)
    assert [asked.method for asked in made.transport.asked] == ["POST", "PUT"]

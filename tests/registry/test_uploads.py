"""Uploads of blobs: mounted, or sent with POST, PATCH and PUT."""

from __future__ import annotations

import io
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from tests.registry.scripted import LOGIN, Bench, Said, Source, TokenRegistry, Wire

from imgpkg.auth.keychain import Credential
from imgpkg.errors import (
    Cancelled,
    ChallengeError,
    ConnectionFailed,
    Forbidden,
    LocalIOError,
    RegistryError,
    VerificationError,
)
from imgpkg.events import BlobAdvanced, BlobFinished, BlobOutcome, BlobStarted
from imgpkg.oci import media
from imgpkg.oci.descriptor import Descriptor, Digest
from imgpkg.oci.reference import Repository
from imgpkg.registry.uploads import SentBlobs

A, B = Repository.parse("r.example/a/b"), Repository.parse("r.example/src/x")
DATA = b"layer" * 1000
BLOB = Descriptor(media.OCI_LAYER, Digest.of(DATA), len(DATA))
DIGEST = f"digest=sha256%3A{BLOB.digest.hex}"
SESSION = {"Location": "/v2/a/b/blobs/uploads/1?_state=x"}
STARTED, STORED = Said(202, headers=SESSION), Said(201, headers={"Docker-Content-Digest": str(BLOB.digest)})
PUT = f"PUT https://r.example/v2/a/b/blobs/uploads/1?_state=x&{DIGEST}"
POST = "POST https://r.example/v2/a/b/blobs/uploads/"


def bench(*answers, **options):
    waiting = list(answers)
    return Bench(Wire(lambda asked: waiting.pop(0)), **options)


def push(made, open_=lambda: io.BytesIO(DATA), *, check=False, **options):
    outcome = made.client.push_blob(A, BLOB, open_, check=check, **options)
    made.transport.assert_all_closed()
    return outcome


def test_of_blobs_that_were_sent_the_latest_are_known():
    sent, keys = SentBlobs(most=3), [(A, Digest.of(bytes([n]))) for n in range(5)]
    for key in (*keys, keys[-1]):
        sent.add(key)
    assert [sent.times(key) for key in keys] == [0, 0, 0, 1, 2]


def test_whoever_waited_for_an_upload_that_failed_sends_although_the_one_before_is_forgotten():
    def handle(asked):
        return Said(202, headers=SESSION) if asked.method == "POST" else Said(201)

    made = Bench(Wire(handle))
    uploads, gate, outcomes = made.client._uploads, threading.Event(), []
    uploads._sent = SentBlobs(most=1)

    def sent(data=DATA, open_=None):
        blob = Descriptor(media.OCI_LAYER, Digest.of(data), len(data))
        return made.client.push_blob(A, blob, open_ or (lambda: io.BytesIO(data)), check=False)

    def broken():
        gate.wait(10)
        raise LocalIOError("read x: input/output error")

    def fail():
        with pytest.raises(LocalIOError):
            sent(open_=broken)

    assert sent() is BlobOutcome.MOVED
    threads = [threading.Thread(target=act) for act in (fail, lambda: outcomes.append(sent()))]
    for number, thread in enumerate(threads, 1):
        thread.start()
        # Each knows by then how often the blob was sent.
        while uploads._locks._locks.get((A, BLOB.digest), (None, 0))[1] < number:
            time.sleep(0.001)
    sent(b"another one")
    gate.set()
    for thread in threads:
        thread.join()
    assert outcomes == [BlobOutcome.MOVED]


class TestSending:
    def test_takes_a_post_and_a_put(self):
        made = bench(STARTED, STORED)
        assert push(made) is BlobOutcome.MOVED
        post, put = made.transport.asked
        assert (post.line, post.body, post.headers["Content-Type"]) == (POST, b"", "application/json")
        assert (put.line, put.body) == (PUT, DATA)
        assert put.headers["Content-Type"] == "application/octet-stream"

    def test_asks_first_whether_it_is_there(self):
        made = bench(Said(200))
        assert push(made, check=True) is BlobOutcome.PRESENT
        assert made.transport.lines == [f"HEAD https://r.example/v2/a/b/blobs/{BLOB.digest}"]

    def test_sends_what_is_not_there(self):
        made = bench(Said(404), STARTED, STORED)
        assert push(made, check=True) is BlobOutcome.MOVED

    @pytest.mark.parametrize("status", [401, 403])
    def test_follows_where_the_question_is_refused(self, status):
        def handle(asked):
            if asked.method == "HEAD":
                return Said(status)
            return Said(202, headers=SESSION) if asked.method == "POST" else Said(201)

        assert push(Bench(Wire(handle)), check=True) is BlobOutcome.MOVED

    def test_is_done_again_when_it_was_deleted_since(self):
        made = bench(STARTED, STORED, Said(404), STARTED, STORED)
        push(made)
        assert push(made, check=True) is BlobOutcome.MOVED

    def test_is_the_work_of_one_thread_when_many_want_it(self):
        opened, waiting = [], threading.Semaphore(0)

        def handle(asked):
            if asked.method == "POST":
                assert all(waiting.acquire(timeout=10) for _ in range(5))
                return Said(202, headers=SESSION)
            return Said(201)

        def work(_):
            def told(event):
                if isinstance(event, BlobStarted):
                    waiting.release()

            source = lambda: opened.append(1) or io.BytesIO(DATA)  # noqa: E731
            return made.client.push_blob(A, BLOB, source, check=False, on_event=told)

        made = Bench(Wire(handle))
        with ThreadPoolExecutor(5) as pool:
            outcomes = list(pool.map(work, range(5)))
        assert sorted(outcome.name for outcome in outcomes) == ["MOVED"] + ["PRESENT"] * 4
        assert len(opened) == 1
        assert len(made.transport.asked) == 2

    def test_that_failed_is_tried_by_who_waited(self):
        made = bench(Said(500), STARTED, STORED)
        with pytest.raises(RegistryError):
            push(made)
        assert push(made) is BlobOutcome.MOVED

    def test_starts_again_from_nothing_after_a_temporary_failure(self):
        made = bench(STARTED, Said(503), Said(404), STARTED, ConnectionFailed, Said(200), retry_count=5)
        # What was sent has arrived, and what broke off was only the answer.
        assert push(made) is BlobOutcome.MOVED
        assert [asked.method for asked in made.transport.asked] == [
            "POST",
            "PUT",
            "HEAD",
            "POST",
            "PUT",
            "HEAD",
        ]

    def test_refuses_a_registry_that_stored_something_else(self):
        made = bench(STARTED, Said(201, headers={"Docker-Content-Digest": str(Digest.of(b"x"))}))
        with pytest.raises(VerificationError, match="the registry stored digest"):
            push(made)

    def test_needs_a_location(self):
        with pytest.raises(RegistryError, match="names no Location"):
            push(bench(Said(202)))

    def test_takes_201_without_a_mount_for_present(self):
        assert push(bench(Said(201))) is BlobOutcome.PRESENT

    def test_sends_the_body_again_after_a_401(self):
        registry = TokenRegistry()

        def content(asked):
            return Said(202, headers=SESSION) if asked.method == "POST" else Said(201)

        registry.content = content
        made = Bench(Wire(registry), Source(LOGIN))
        registry.wanted = lambda asked: {("a/b", "pull"), ("a/b", asked.method)}
        assert push(made) is BlobOutcome.MOVED
        puts = [asked for asked in made.transport.asked if asked.method == "PUT"]
        assert [asked.body for asked in puts] == [DATA, DATA]


class TestLocations:
    def send(self, location):
        made = Bench(
            Wire(
                lambda asked: (
                    Said(202, headers={"Location": location}) if asked.method == "POST" else Said(201)
                )
            ),
            Source(Credential(registry_token="RTOK")),
        )
        push(made)
        return made.transport.asked[-1]

    def test_on_the_registry_see_the_credential(self):
        asked = self.send("https://r.example/up/1")
        assert (asked.line, asked.authorization) == (f"PUT https://r.example/up/1?{DIGEST}", "Bearer RTOK")

    @pytest.mark.parametrize("host", ["up.example", "r.example:8443", "r.example.evil.example"])
    def test_elsewhere_see_the_bytes_and_no_credential(self, host):
        asked = self.send(f"https://{host}/up?sig=1")
        assert (asked.line, asked.authorization) == (f"PUT https://{host}/up?sig=1&{DIGEST}", "")
        assert asked.body == DATA

    def test_on_plain_http_are_taken_for_the_registry_s_https(self):
        assert self.send("http://r.example/up").url.startswith("https://r.example/up?")

    @pytest.mark.parametrize(
        "location", ["http://169.254.169.254/", "http://127.0.0.1/", "file:///x", "//a@b/"]
    )
    def test_that_a_registry_must_not_name_are_refused(self, location):
        with pytest.raises(ChallengeError, match="refusing the location"):
            self.send(location)


class TestPatching:
    @pytest.mark.parametrize("status", [400, 404, 405, 411, 413, 415, 416, 501])
    def test_follows_when_a_blob_in_one_piece_is_refused(self, status):
        patched = Said(202, headers={"Location": "/v2/a/b/blobs/uploads/2?_state=y"})
        made = bench(STARTED, Said(status), STARTED, patched, STORED)
        assert push(made) is BlobOutcome.MOVED
        assert [asked.line for asked in made.transport.asked] == [
            POST,
            PUT,
            POST,
            "PATCH https://r.example/v2/a/b/blobs/uploads/1?_state=x",
            f"PUT https://r.example/v2/a/b/blobs/uploads/2?_state=y&{DIGEST}",
        ]
        assert [asked.body for asked in made.transport.asked][-2:] == [DATA, b""]

    def test_keeps_the_location_when_the_answer_names_no_other(self):
        made = bench(STARTED, Said(405), STARTED, Said(204), STORED)
        push(made)
        assert made.transport.lines[-1] == PUT

    def test_is_remembered_for_the_registry(self):
        made = bench(STARTED, Said(405), STARTED, Said(202), Said(201), STARTED, Said(202), Said(201))
        push(made)
        other = Descriptor(media.OCI_LAYER, Digest.of(b"other"), 5)
        made.client.push_blob(A, other, lambda: io.BytesIO(b"other"), check=False)
        assert [asked.method for asked in made.transport.asked][5:] == ["POST", "PATCH", "PUT"]

    @pytest.mark.parametrize("code", ["DIGEST_INVALID", "SIZE_INVALID", "DENIED"])
    def test_does_not_follow_when_the_blob_itself_is_refused(self, code):
        made = bench(STARTED, Said(400, {"errors": [{"code": code, "message": "m"}]}))
        with pytest.raises(RegistryError, match=code):
            push(made)

    @pytest.mark.parametrize("status", [401, 403, 409, 500])
    def test_does_not_follow_other_refusals(self, status):
        made = bench(STARTED, Said(status), Said(status), Said(status))
        with pytest.raises(RegistryError, match=f"PUT .* {status} "):
            push(made)


class TestMounting:
    MOUNT = (
        f"POST https://r.example/v2/a/b/blobs/uploads/?from=src%2Fx&mount=sha256%3A{BLOB.digest.hex}"
        "&origin=r.example"
    )

    def test_takes_one_request(self):
        made = bench(Said(201, headers={"Docker-Content-Digest": str(BLOB.digest)}))
        assert push(made, mount_from=B) is BlobOutcome.MOUNTED
        assert made.transport.lines == [self.MOUNT]

    def test_goes_on_with_the_session_when_the_registry_would_rather_have_the_bytes(self):
        made = bench(STARTED, STORED)
        assert push(made, mount_from=B) is BlobOutcome.MOVED
        assert made.transport.lines == [self.MOUNT, PUT]

    @pytest.mark.parametrize("status", [400, 404, 405, 500])
    def test_is_asked_again_without_when_it_fails(self, status):
        made = bench(Said(status), STARTED, STORED)
        assert push(made, mount_from=B) is BlobOutcome.MOVED
        assert made.transport.lines == [self.MOUNT, POST, PUT]

    def test_that_brings_nothing_is_followed_by_the_question_whether_it_is_there(self):
        made = bench(STARTED, Said(200))
        assert push(made, mount_from=B, check=True) is BlobOutcome.PRESENT

    def test_waits_when_the_registry_asks_for_patience(self):
        made = bench(Said(429, headers={"Retry-After": "3"}), Said(201), retry_count=2)
        assert push(made, mount_from=B) is BlobOutcome.MOUNTED
        assert made.transport.lines == [self.MOUNT, self.MOUNT]
        assert made.clock.slept == [3.0]

    def test_refuses_another_blob(self):
        made = bench(Said(201, headers={"Docker-Content-Digest": str(Digest.of(b"x"))}))
        with pytest.raises(VerificationError):
            push(made, mount_from=B)

    def test_asks_for_both_scopes_at_once(self):
        registry = TokenRegistry(content=lambda asked: Said(201))
        made = Bench(Wire(registry), Source(LOGIN))
        push(made, mount_from=B)
        scopes = [asked.query["scope"] for asked in made.transport.asked if asked.path == "/token"]
        assert scopes == [["repository:a/b:pull,push", "repository:src/x:pull"]]

    def test_that_a_credential_must_not_is_not_tried_for_every_blob(self):
        def handle(asked):
            if "mount" in asked.query:
                return Said(403)
            return Said(202, headers=SESSION) if asked.method == "POST" else Said(201)

        made = Bench(Wire(handle))
        for data in (b"one", b"two", b"three"):
            blob = Descriptor(media.OCI_LAYER, Digest.of(data), len(data))
            assert (
                made.client.push_blob(A, blob, lambda data=data: io.BytesIO(data), mount_from=B, check=False)
                is BlobOutcome.MOVED
            )
        assert sum("mount" in asked.query for asked in made.transport.asked) == 1

    def test_that_the_token_service_refuses_goes_on_without(self):
        registry = TokenRegistry(
            content=lambda asked: Said(202, headers=SESSION) if asked.method == "POST" else Said(201)
        )
        registry.refuses = lambda asked: Said(403) if "src/x" in asked.url else None
        made = Bench(Wire(registry), Source(LOGIN))
        assert push(made, mount_from=B) is BlobOutcome.MOVED

    def test_from_another_registry_asks_for_no_scope_there(self):
        registry = TokenRegistry(content=lambda asked: Said(201))
        registry.wanted = lambda asked: {("a/b", "push")}
        made = Bench(Wire(registry), Source(LOGIN))
        assert push(made, mount_from=Repository.parse("s.example/src/x")) is BlobOutcome.MOUNTED
        assert "origin=s.example" in made.transport.lines[0]
        wanted = "scope=repository%3Aa%2Fb%3Apull%2Cpush&service"
        assert wanted in made.transport.asked[1].url

    def test_is_not_asked_of_docker_hub_for_another_registry(self):
        hub = Repository.parse("user/image")
        made = bench(Said(202, headers={"Location": "/up"}), Said(201))
        made.client.push_blob(hub, BLOB, lambda: io.BytesIO(DATA), mount_from=B, check=False)
        assert made.transport.lines[0] == "POST https://index.docker.io/v2/user/image/blobs/uploads/"


class TestEvents:
    def push(self, *answers, retry_count=3, **options):
        events = []
        made = bench(*answers, retry_count=retry_count)
        push(made, on_event=events.append, **options)
        return events

    def test_report_each_step(self):
        assert self.push(STARTED, STORED) == [
            BlobStarted(BLOB.digest, len(DATA), "push"),
            BlobAdvanced(BLOB.digest, len(DATA)),
            BlobFinished(BLOB.digest, BlobOutcome.MOVED, len(DATA)),
        ]

    def test_report_how_a_blob_that_was_not_sent_ended(self):
        def ended(outcome):
            return [BlobFinished(BLOB.digest, outcome, len(DATA))]

        assert self.push(Said(201), mount_from=B)[1:] == ended(BlobOutcome.MOUNTED)
        assert self.push(Said(200), check=True)[1:] == ended(BlobOutcome.PRESENT)

    @pytest.mark.parametrize(
        ("again", "counts"),
        [((Said(404), STARTED, STORED), [len(DATA), 0]), ((Said(200),), [len(DATA)])],
    )
    def test_count_no_byte_twice(self, again, counts):
        """After a failure the blob is sent once more, or is found to have arrived all the same."""
        events = self.push(STARTED, Said(503), *again)
        assert [event.count for event in events if isinstance(event, BlobAdvanced)] == counts
        assert events[-1] == BlobFinished(BLOB.digest, BlobOutcome.MOVED, len(DATA))

    def test_can_cancel_the_work(self):
        def hook(event):
            if isinstance(event, BlobAdvanced):
                raise Cancelled

        made = bench(STARTED, STORED)
        with pytest.raises(Cancelled):
            push(made, on_event=hook)
        made = bench(STARTED, STORED)
        assert push(made) is BlobOutcome.MOVED


class TestSources:
    def test_are_closed_with_what_went_wrong(self):
        class Stream(io.BytesIO):
            left = None

            def __exit__(self, *exception):
                Stream.left = exception
                self.close()

        stream = Stream(DATA)
        push(bench(STARTED, STORED), lambda: stream)
        assert Stream.left == (None, None, None)
        assert stream.closed

    def test_that_are_too_few_stop_the_upload(self):
        with pytest.raises(LocalIOError, match="read request body: 1 of 5000 bytes are missing"):
            push(bench(STARTED), lambda: io.BytesIO(DATA[:-1]))

    def test_that_fail_stop_the_upload_with_their_own_error(self):
        class Broken(io.BytesIO):
            def readinto(self, buffer, /):
                raise VerificationError("wrong bytes")

        with pytest.raises(VerificationError, match="wrong bytes"):
            push(bench(STARTED, retry_count=3), lambda: Broken(b""))

    def test_that_are_not_opened_are_not_needed(self):
        with pytest.raises(Forbidden):
            push(bench(Said(403)), lambda: pytest.fail("opened"))


def test_an_empty_blob_is_sent_like_any_other():
    empty, events = Descriptor(media.OCI_LAYER, Digest.of(b""), 0), []
    made = bench(Said(202, headers=SESSION), Said(201))
    made.client.push_blob(A, empty, io.BytesIO, check=False, on_event=events.append)
    assert made.transport.asked[-1].body == b""
    assert [type(event) for event in events] == [BlobStarted, BlobFinished]

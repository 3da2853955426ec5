"""Blobs and uploads of the embedded registry, as a client of the distribution specification sees them."""

from __future__ import annotations

import hashlib
import re
import threading

import pytest
from tests.servers.client import ask, ask_on, connection
from tests.servers.images import sha256

from imgpkg.embedded.routes import Features
from imgpkg.embedded.server import serve
from imgpkg.embedded.storage import Storage

DATA = bytes(range(256)) * 1000
DIGEST = sha256(DATA)
UPLOADS = "/v2/team/app/blobs/uploads/"
BLOB = f"/v2/team/app/blobs/{DIGEST}"


@pytest.fixture
def server():
    with serve() as running:
        yield running


@pytest.fixture
def filled(server):
    assert ask(server.address, "POST", f"{UPLOADS}?digest={DIGEST}", DATA).status == 201
    return server


def begin(server, path=UPLOADS):
    started = ask(server.address, "POST", path)
    assert started.status == 202
    return started.headers["location"]


class TestABlob:
    def test_comes_with_its_size_and_digest(self, filled):
        reply = ask(filled.address, "GET", BLOB)
        assert (reply.status, reply.body) == (200, DATA)
        assert reply.headers["docker-content-digest"] == DIGEST
        assert reply.headers["content-length"] == str(len(DATA))
        assert reply.headers["accept-ranges"] == "bytes"

    def test_has_a_head_without_a_body(self, filled):
        reply = ask(filled.address, "HEAD", BLOB)
        assert (reply.status, reply.body) == (200, b"")
        assert reply.headers["content-length"] == str(len(DATA))

    def test_may_be_small_or_empty(self, server):
        for data in (b"", b"x"):
            assert ask(server.address, "POST", f"{UPLOADS}?digest={sha256(data)}", data).status == 201
            assert ask(server.address, "GET", f"/v2/team/app/blobs/{sha256(data)}").body == data

    def test_may_have_a_sha512_digest(self, server):
        digest = "sha512:" + hashlib.sha512(DATA).hexdigest()
        assert ask(server.address, "POST", f"{UPLOADS}?digest={digest}", DATA).status == 201
        assert ask(server.address, "GET", f"/v2/team/app/blobs/{digest}").body == DATA
        wrong = "sha512:" + "0" * 128
        assert ask(server.address, "POST", f"{UPLOADS}?digest={wrong}", DATA).code == "DIGEST_INVALID"

    def test_that_is_not_there_is_unknown(self, server):
        reply = ask(server.address, "GET", BLOB)
        assert (reply.status, reply.code) == (404, "BLOB_UNKNOWN")
        assert ask(server.address, "HEAD", BLOB).status == 404

    def test_belongs_to_the_repository_that_it_was_pushed_to(self, filled):
        assert ask(filled.address, "GET", f"/v2/team/other/blobs/{DIGEST}").code == "BLOB_UNKNOWN"

    @pytest.mark.parametrize("digest", ["sha256:abc", "md5:" + "0" * 32, "latest", "sha256:" + "A" * 64])
    def test_with_an_impossible_digest_is_refused(self, server, digest):
        reply = ask(server.address, "GET", f"/v2/team/app/blobs/{digest}")
        assert (reply.status, reply.code) == (400, "DIGEST_INVALID")

    def test_can_be_deleted_from_its_repository(self, filled):
        assert ask(filled.address, "DELETE", BLOB).status == 202
        assert ask(filled.address, "GET", BLOB).status == 404
        assert ask(filled.address, "DELETE", BLOB).code == "BLOB_UNKNOWN"

    def test_cannot_be_deleted_where_nothing_can(self):
        with serve(features=Features(delete=False)) as server:
            reply = ask(server.address, "DELETE", BLOB)
            assert (reply.status, reply.code) == (405, "UNSUPPORTED")


class TestARange:
    @pytest.mark.parametrize(
        ("asked", "start", "end"),
        [
            ("bytes=0-0", 0, 1),
            ("bytes=100-199", 100, 200),
            ("bytes=1000-", 1000, len(DATA)),
            ("bytes=-10", len(DATA) - 10, len(DATA)),
            ("bytes=255990-999999999", 255990, len(DATA)),
            ("bytes=10-200000", 10, 200001),
        ],
    )
    def test_is_part_of_the_blob(self, filled, asked, start, end):
        reply = ask(filled.address, "GET", BLOB, range=asked)
        assert (reply.status, reply.body) == (206, DATA[start:end])
        assert reply.headers["content-range"] == f"bytes {start}-{end - 1}/{len(DATA)}"

    @pytest.mark.parametrize("asked", [f"bytes={'9' * 5000}-", f"bytes=-{'9' * 5000}"])
    def test_of_absurd_numbers_is_ignored(self, filled, asked):
        reply = ask(filled.address, "GET", BLOB, range=asked)
        assert (reply.status, reply.body) == (200, DATA)

    @pytest.mark.parametrize("asked", [f"bytes={len(DATA)}-", "bytes=999999999-", "bytes=-0"])
    def test_outside_of_the_blob_cannot_be_satisfied(self, filled, asked):
        reply = ask(filled.address, "GET", BLOB, range=asked)
        assert reply.status == 416
        assert reply.headers["content-range"] == f"bytes */{len(DATA)}"

    @pytest.mark.parametrize(
        "asked", ["bytes=0-1,5-6", "bytes=5-2", "bytes=-", "lines=1-2", "x", "bytes=0-", "bytes=-999999999"]
    )
    def test_that_is_none_or_the_whole_gives_the_whole(self, filled, asked):
        reply = ask(filled.address, "GET", BLOB, range=asked)
        assert (reply.status, reply.body) == (200, DATA)

    def test_holds_only_for_the_content_that_the_client_has_seen(self, filled):
        same = ask(filled.address, "GET", BLOB, range="bytes=0-1", if_range=f'"{DIGEST}"')
        other = ask(filled.address, "GET", BLOB, range="bytes=0-1", if_range='"other"')
        assert (same.status, other.status) == (206, 200)


class TestAnUpload:
    def test_in_one_request_is_a_blob(self, server):
        reply = ask(server.address, "POST", f"{UPLOADS}?digest={DIGEST}", DATA)
        assert reply.status == 201
        assert reply.headers["location"] == BLOB
        assert reply.headers["docker-content-digest"] == DIGEST

    def test_in_two_requests_is_a_blob(self, server):
        reply = ask(server.address, "PUT", f"{begin(server)}?digest={DIGEST}", DATA)
        assert (reply.status, reply.headers["location"]) == (201, BLOB)
        assert ask(server.address, "GET", BLOB).body == DATA

    def test_in_one_stream_is_a_blob(self, server):
        location = begin(server)
        reply = ask(server.address, "PATCH", location, iter([DATA[:7], DATA[7:]]))
        assert (reply.status, reply.headers["range"]) == (202, f"0-{len(DATA) - 1}")
        assert ask(server.address, "PUT", f"{reply.headers['location']}?digest={DIGEST}").status == 201
        assert ask(server.address, "GET", BLOB).body == DATA

    def test_in_chunks_with_the_last_in_the_end_is_a_blob(self, server):
        location = begin(server)
        for start in (0, 1000):
            chunk, end = DATA[start : start + 1000], start + 999
            reply = ask(server.address, "PATCH", location, chunk, content_range=f"{start}-{end}")
            assert (reply.status, reply.headers["range"]) == (202, f"0-{end}")
            location = reply.headers["location"]
        rest = f"2000-{len(DATA) - 1}"
        reply = ask(server.address, "PUT", f"{location}?digest={DIGEST}", DATA[2000:], content_range=rest)
        assert reply.status == 201
        assert ask(server.address, "GET", BLOB).body == DATA

    def test_reports_how_far_it_is(self, server):
        location = begin(server)
        reply = ask(server.address, "GET", location)
        assert (reply.status, reply.headers["range"]) == (204, "0-0")
        ask(server.address, "PATCH", location, b"12345")
        reply = ask(server.address, "GET", location)
        assert (reply.status, reply.headers["range"]) == (204, "0-4")
        assert reply.headers["location"] == location

    @pytest.mark.parametrize("content_range", ["0-9", "11-20", "999-1008"])
    def test_takes_no_chunk_out_of_order(self, server, content_range):
        location = begin(server)
        ask(server.address, "PATCH", location, b"0123456789", content_range="0-9")
        reply = ask(server.address, "PATCH", location, b"0123456789", content_range=content_range)
        assert (reply.status, reply.code) == (416, "BLOB_UPLOAD_INVALID")
        assert (reply.headers["range"], reply.headers["location"]) == ("0-9", location)

    def test_takes_no_chunk_that_contradicts_itself(self, server):
        location = begin(server)
        assert ask(server.address, "PATCH", location, b"123", content_range="0-9").code == "SIZE_INVALID"
        assert ask(server.address, "PATCH", location, b"1", content_range="x").code == "BLOB_UPLOAD_INVALID"
        assert ask(server.address, "GET", location).headers["range"] == "0-0"

    def test_that_broke_goes_on_where_it_ended(self, server):
        location = begin(server)
        with connection(server.address) as connected:
            connected.putrequest("PATCH", location)
            connected.putheader("Content-Length", str(len(DATA)))
            connected.endheaders()
            connected.send(DATA[:70_000])
        offset = self.offset_after_the_break(server, location)
        assert offset == 70_000
        rest = f"{offset}-{len(DATA) - 1}"
        assert ask(server.address, "PATCH", location, DATA[offset:], content_range=rest).status == 202
        assert ask(server.address, "PUT", f"{location}?digest={DIGEST}").status == 201
        assert ask(server.address, "GET", BLOB).body == DATA

    def offset_after_the_break(self, server, location):
        for _ in range(500):
            if any(record.status == 0 for record in server.requests):
                break
            threading.Event().wait(0.01)
        return int(ask(server.address, "GET", location).headers["range"].partition("-")[2]) + 1

    def test_is_invisible_until_it_is_whole(self, server):
        location = begin(server)
        ask(server.address, "PATCH", location, DATA)
        assert ask(server.address, "HEAD", BLOB).status == 404
        ask(server.address, "PUT", f"{location}?digest={DIGEST}")
        assert ask(server.address, "HEAD", BLOB).status == 200

    def test_with_another_digest_is_refused_and_forgotten(self, server):
        wrong = sha256(b"other")
        location = begin(server)
        reply = ask(server.address, "PUT", f"{location}?digest={wrong}", DATA)
        assert (reply.status, reply.code) == (400, "DIGEST_INVALID")
        assert ask(server.address, "HEAD", f"/v2/team/app/blobs/{wrong}").status == 404
        assert ask(server.address, "HEAD", BLOB).status == 404
        assert ask(server.address, "GET", location).code == "BLOB_UPLOAD_UNKNOWN"
        assert ask(server.address, "POST", f"{UPLOADS}?digest={wrong}", DATA).code == "DIGEST_INVALID"

    @pytest.mark.parametrize("query", ["", "?digest=", "?digest=sha256:12", "?digest=../../etc"])
    def test_does_not_end_without_a_digest(self, server, query):
        location = begin(server)
        assert ask(server.address, "PUT", location + query, DATA).code == "DIGEST_INVALID"
        assert ask(server.address, "GET", location).status == 204

    def test_can_be_cancelled(self, server):
        location = begin(server)
        assert ask(server.address, "DELETE", location).status == 204
        for method in ("GET", "PATCH", "DELETE"):
            assert ask(server.address, method, location).code == "BLOB_UPLOAD_UNKNOWN"
        assert ask(server.address, "PUT", f"{location}?digest={DIGEST}").code == "BLOB_UPLOAD_UNKNOWN"

    def test_belongs_to_one_repository(self, server):
        location = begin(server).replace("/team/app/", "/team/other/")
        assert ask(server.address, "PATCH", location, b"x").code == "BLOB_UPLOAD_UNKNOWN"

    def test_takes_a_slow_and_a_second_writer_one_after_the_other(self, server):
        location = begin(server)
        with connection(server.address) as slow:
            slow.putrequest("PATCH", location)
            slow.putheader("Content-Length", "3")
            slow.endheaders()
            slow.send(b"12")
            for _ in range(500):
                if ask(server.address, "GET", location).headers["range"] != "0-0":
                    break
                threading.Event().wait(0.01)
            threading.Timer(0.2, slow.send, (b"3",)).start()
            reply = ask(server.address, "PATCH", location, b"45")
            assert (reply.status, reply.headers["range"]) == (202, "0-4")
            assert slow.getresponse().read() == b""
        assert ask(server.address, "PUT", f"{location}?digest={sha256(b'12345')}").status == 201

    @pytest.mark.parametrize("end", ["DELETE", "busy"])
    def test_that_is_cancelled_or_held_by_another_while_it_is_written_is_refused(self, tmp_path, end):
        with serve(storage=Storage(tmp_path, patience=0)) as server:
            location = begin(server)
            with connection(server.address) as slow:
                slow.putrequest("PUT", f"{location}?digest={sha256(b'123')}")
                slow.putheader("Content-Length", "3")
                slow.endheaders()
                slow.send(b"12")
                for _ in range(500):
                    if ask(server.address, "GET", location).headers["range"] != "0-0":
                        break
                    threading.Event().wait(0.01)
                if end == "busy":
                    reply = ask(server.address, "PATCH", location, b"x")
                    assert (reply.status, reply.headers["range"]) == (416, "0-1")
                    slow.send(b"3")
                    assert slow.getresponse().status == 201
                else:
                    assert ask(server.address, "DELETE", location).status == 204
                    slow.send(b"3")
                    assert slow.getresponse().status == 404
                    assert ask(server.address, "HEAD", f"/v2/team/app/blobs/{sha256(b'123')}").status == 404

    def test_is_answered_at_once_without_the_trailing_slash(self, server):
        assert ask(server.address, "POST", UPLOADS.rstrip("/")).status == 202


class TestAMount:
    def test_shares_the_blob(self, filled):
        path = "/v2/other/place/blobs/uploads/"
        reply = ask(filled.address, "POST", f"{path}?mount={DIGEST}&from=team/app")
        assert (reply.status, reply.headers["location"]) == (201, f"/v2/other/place/blobs/{DIGEST}")
        assert ask(filled.address, "GET", f"/v2/other/place/blobs/{DIGEST}").body == DATA

    @pytest.mark.parametrize("source", ["team/empty", "team/nowhere/at/all"])
    def test_of_what_is_not_there_begins_an_upload(self, filled, source):
        reply = ask(filled.address, "POST", f"/v2/other/place/blobs/uploads/?mount={DIGEST}&from={source}")
        assert reply.status == 202
        assert ask(filled.address, "PUT", f"{reply.headers['location']}?digest={DIGEST}", DATA).status == 201

    def test_without_a_source_begins_an_upload(self, filled):
        assert ask(filled.address, "POST", f"/v2/o/p/blobs/uploads/?mount={DIGEST}").status == 202

    def test_is_refused_by_a_registry_that_does_not_mount(self):
        with serve(features=Features(mount=False)) as server:
            ask(server.address, "POST", f"{UPLOADS}?digest={DIGEST}", DATA)
            path = f"/v2/o/p/blobs/uploads/?mount={DIGEST}&from=team/app"
            assert ask(server.address, "POST", path).status == 202

    def test_from_an_impossible_name_or_of_an_impossible_digest_is_refused(self, server):
        assert ask(server.address, "POST", f"{UPLOADS}?mount={DIGEST}&from=../x").code == "NAME_INVALID"
        assert ask(server.address, "POST", f"{UPLOADS}?mount=sha256:1&from=a/b").code == "DIGEST_INVALID"


class TestManyClients:
    def test_push_and_pull_at_the_same_time(self, server):
        failures = []

        def work(number):
            data = bytes([number]) * 300_000
            path = f"/v2/team/n{number % 3}/blobs/"
            with connection(server.address) as connected:
                for _ in range(5):
                    pushed = ask_on(connected, "POST", f"{path}uploads/?digest={sha256(data)}", data)
                    pulled = ask_on(connected, "GET", f"{path}{sha256(data)}")
                    if (pushed.status, pulled.body) != (201, data):
                        failures.append(number)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert not failures
        assert len(server.requests) == 12 * 5 * 2

    def test_can_push_the_same_blob_at_the_same_time(self, server):
        statuses = []

        def work():
            statuses.append(ask(server.address, "POST", f"{UPLOADS}?digest={DIGEST}", DATA).status)

        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert statuses == [201] * 8
        assert ask(server.address, "GET", BLOB).body == DATA


def test_upload_identifiers_cannot_be_guessed_from_one_another(server):
    first, second = begin(server), begin(server)
    assert re.fullmatch(r"/v2/team/app/blobs/uploads/[0-9a-f]{32}", first)
    assert first != second

"""The pool, over real sockets."""

from __future__ import annotations

import io
import itertools
import sys
import threading

import pytest
from tests.servers.raw import Conversation, RawServer, answering

from imgpkg.errors import ConnectionFailed, ConnectionTimedOut, LocalIOError, TransportError
from imgpkg.transport.message import Body, Request, bytes_body
from imgpkg.transport.pool import Pool

MIB = 1 << 20


@pytest.fixture
def pool():
    with Pool() as pool:
        yield pool


def get(pool, url, **headers):
    with pool.send(Request("GET", url, headers)) as response:
        return response.status, response.read()


def test_the_body_and_headers_of_an_answer_arrive(pool):
    headers = [
        ("Docker-Content-Digest", "sha256:1"),
        ("Www-Authenticate", "Basic"),
        ("WWW-Authenticate", "Bearer x"),
    ]
    talk = answering(b"hello", status="418 Teapot", headers=headers)
    with RawServer(talk) as server, pool.send(Request("GET", f"{server.url}/v2/")) as response:
        assert response.status == 418
        assert response.headers["docker-content-digest"] == "sha256:1"
        assert response.headers["www-authenticate"] == "Basic, Bearer x"
        assert response.header_list("WWW-AUTHENTICATE") == ["Basic", "Bearer x"]
        assert response.header_list("Absent") == []
        assert "418" in repr(response)
        assert response.read(2) == b"he"
        assert response.read(100) == b"llo"
        assert response.read(1) == b""
        assert response.read() == b""


def test_the_request_has_what_every_message_needs_and_asks_for_no_compression():
    with Pool(user_agent="test/1") as pool, RawServer(answering()) as server:
        get(pool, f"{server.url}/v2/?n=1", **{"Accept": "a/b", "Www-Session-Id": "7"})
    received = server.requests[0]
    assert (received.method, received.target) == ("GET", "/v2/?n=1")
    assert dict(received.header_lines) == {
        "Host": server.address,
        "User-Agent": "test/1",
        "Accept-Encoding": "identity",
        "Accept": "a/b",
        "Www-Session-Id": "7",
    }


def test_a_user_agent_of_the_request_wins(pool):
    with RawServer(answering()) as server:
        get(pool, server.url, **{"User-Agent": "mine"})
    assert server.requests[0].header("User-Agent") == "mine"
    assert server.requests[0].target == "/"


def test_a_path_with_blanks_and_letters_of_other_scripts_is_encoded_once(pool):
    with RawServer(answering()) as server:
        get(pool, f"{server.url}/a b/é%2F?q=ä b&c=%20")
    assert server.requests[0].target == "/a%20b/%C3%A9%2F?q=%C3%A4%20b&c=%20"


def test_user_info_of_the_url_is_not_sent(pool):
    with RawServer(answering()) as server:
        get(pool, f"http://user:hunter2@{server.address}/")
    assert "hunter2" not in repr(server.requests)
    assert server.requests[0].header("Authorization") is None


def test_a_compressed_body_is_handed_on_as_it_came(pool):
    with RawServer(answering(b"\x1f\x8bnot really", headers=[("Content-Encoding", "gzip")])) as server:
        assert get(pool, server.url)[1] == b"\x1f\x8bnot really"


def test_a_redirect_is_an_answer(pool):
    with RawServer(answering(status="307 Temporary Redirect", headers=[("Location", "/other")])) as server:
        assert get(pool, server.url)[0] == 307
    assert len(server.requests) == 1


def test_interim_answers_are_passed_over(pool):
    def talk(conversation):
        conversation.receive()
        conversation.send(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n")
        conversation.respond(b"final", headers=[("X-Name", "value")])

    with RawServer(talk) as server, pool.send(Request("GET", server.url)) as response:
        assert (response.status, response.read()) == (200, b"final")
        assert list(response.headers) == ["Content-Length", "X-Name"]


def test_a_failing_status_is_an_answer_and_is_not_repeated(pool):
    with RawServer(answering(b"busy", status="503 Service Unavailable")) as server:
        assert get(pool, server.url) == (503, b"busy")
    assert len(server.requests) == 1


class TestConnections:
    def test_one_connection_carries_one_request_after_the_other(self, pool):
        with RawServer(answering(b"x" * 1000)) as server:
            for _ in range(5):
                get(pool, server.url)
        assert (server.connections, len(server.requests)) == (1, 5)

    def test_the_connection_is_free_when_the_body_is_read_even_if_nobody_closes(self, pool):
        with RawServer(answering(b"abc")) as server:
            pool.send(Request("GET", server.url)).read(3)
            pool.send(Request("GET", server.url)).read()
        assert server.connections == 1

    @pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified", "200 OK"])
    def test_an_answer_without_body_frees_it_at_once(self, pool, status):
        with RawServer(answering(status=status)) as server:
            first = pool.send(Request("GET", server.url))
            second = pool.send(Request("GET", server.url))
        assert (first.read(), second.read(), server.connections) == (b"", b"", 1)

    def test_the_answer_to_head_has_no_body_whatever_its_length_says(self, pool):
        with RawServer(answering(length=1234)) as server:
            for _ in range(2):
                response = pool.send(Request("HEAD", server.url))
                assert (response.headers["Content-Length"], response.read()) == ("1234", b"")
        assert server.connections == 1

    def test_closing_early_drains_a_small_rest(self, pool):
        with RawServer(answering(b"x" * 5000)) as server:
            for _ in range(3):
                pool.send(Request("GET", server.url)).close()
        assert server.connections == 1

    def test_closing_early_drains_a_small_chunked_rest(self, pool):
        def talk(conversation):
            while conversation.receive():
                conversation.send(
                    b"HTTP/1.1 401 No\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
                )

        with RawServer(talk) as server:
            for _ in range(3):
                pool.send(Request("GET", server.url)).close()
        assert server.connections == 1

    def test_closing_early_drops_a_large_rest(self, pool):
        with RawServer(answering(b"x" * (4 * MIB))) as server:
            for _ in range(2):
                with pool.send(Request("GET", server.url)) as response:
                    assert response.read(10) == b"x" * 10
                assert response.read() == b""
        assert server.connections == 2

    def test_closing_early_drops_a_rest_that_does_not_come(self, pool):
        def talk(conversation):
            conversation.receive()
            conversation.respond(b"half", length=8)
            conversation.pause()

        with RawServer(talk) as server:
            pool.send(Request("GET", server.url)).close()
            assert server.connections == 1

    def test_closing_twice_is_allowed(self, pool):
        with RawServer(answering(b"abc")) as server:
            response = pool.send(Request("GET", server.url))
            response.close()
            response.close()
            get(pool, server.url)
        assert server.connections == 1

    def test_connection_close_is_obeyed(self, pool):
        with RawServer(answering(b"abc", headers=[("Connection", "close")])) as server:
            assert [get(pool, server.url)[1] for _ in range(2)] == [b"abc", b"abc"]
        assert server.connections == 2

    def test_what_follows_a_body_is_not_taken_for_the_next_response(self, pool):
        def talk(conversation):
            while conversation.receive():
                conversation.respond(b"abcHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", length=3)

        with RawServer(talk) as server:
            assert [get(pool, server.url)[1] for _ in range(2)] == [b"abc", b"abc"]
        assert server.connections == 2

    @pytest.mark.parametrize(
        "message",
        [
            b"Content-Length: 9\r\n\r\nabcdefghi",
            b"Transfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\n5\r\nefghi\r\n0\r\n\r\n",
            b"\r\nabcdefghi",
        ],
    )
    @pytest.mark.parametrize("size", [2, 4, 100])
    def test_a_body_is_written_into_one_buffer_again_and_again(self, pool, message, size):
        def talk(conversation):
            conversation.receive()
            for piece in (b"HTTP/1.1 200 OK\r\n" + message[:-4], message[-4:]):
                conversation.send(piece)

        buffer, received = bytearray(size), b""
        with RawServer(talk) as server, pool.send(Request("GET", server.url)) as response:
            assert response.readinto(b"") == 0
            while count := response.readinto(buffer):
                received += buffer[:count]
            assert response.readinto(buffer) == 0
        assert received == b"abcdefghi"

    def test_a_body_without_length_ends_with_the_connection(self, pool):
        def talk(conversation):
            conversation.receive()
            conversation.send(b"HTTP/1.1 200 OK\r\n\r\nall of it")

        with RawServer(talk) as server:
            assert get(pool, server.url)[1] == b"all of it"

    def test_a_connection_idle_for_too_long_is_not_used_again(self):
        now = [0.0]
        with Pool(clock=lambda: now[0]) as pool, RawServer(answering(b"x")) as server:
            get(pool, server.url)
            now[0] = 89.0
            get(pool, server.url)
            assert server.connections == 1
            now[0] = 180.0
            get(pool, server.url)
        assert server.connections == 2

    def test_after_close_nothing_is_kept_and_what_is_in_use_can_be_read(self):
        with RawServer(answering(b"abc")) as server:
            pool = Pool()
            get(pool, server.url)
            response = pool.send(Request("GET", server.url))
            pool.close()
            assert response.read() == b"abc"
            get(pool, server.url)
        assert server.connections == 2


class TestKeptConnectionsThatTurnOutClosed:
    """As in Go: an idempotent request on a kept connection is sent once more, on a fresh one."""

    @staticmethod
    def hang_up_on_second(conversation):
        conversation.receive()
        conversation.respond(b"first")
        if conversation.number == 1:
            conversation.receive()

    @staticmethod
    def reset_on_second(conversation):
        conversation.receive()
        conversation.respond(b"first")
        if conversation.number == 1:
            conversation.receive_head()
            conversation.reset()

    @pytest.mark.parametrize("method", ["GET", "HEAD", "PUT"])
    @pytest.mark.parametrize("talk", [hang_up_on_second, reset_on_second])
    def test_an_idempotent_request_is_sent_once_more(self, pool, method, talk):
        with RawServer(talk.__func__) as server:
            get(pool, server.url)
            body = bytes_body(b"again") if method == "PUT" else None
            response = pool.send(Request(method, f"{server.url}/second", body=body))
            assert response.status == 200
            response.read()
        assert server.connections == 2
        assert server.requests[-1].body == (b"again" if body else b"")

    @pytest.mark.parametrize(("method", "appends"), [("POST", False), ("PATCH", False), ("PUT", True)])
    def test_any_other_request_fails(self, pool, method, appends):
        """A PUT that ends an upload adds to what the server may have of it already."""
        with RawServer(self.hang_up_on_second) as server:
            get(pool, server.url)
            with pytest.raises(ConnectionFailed, match="EOF"):
                pool.send(Request(method, server.url, body=bytes_body(b"x"), appends=appends))
        assert server.connections == 1

    def test_a_fresh_connection_that_closes_is_not_tried_again(self, pool):
        with RawServer(Conversation.receive) as server, pytest.raises(ConnectionFailed) as caught:
            pool.send(Request("GET", f"{server.url}/v2/"))
        assert str(caught.value) == f'Get "{server.url}/v2/": EOF'
        assert server.connections == 1

    def test_a_connection_closed_while_idle_is_not_used(self, pool):
        closed = threading.Event()

        def talk(conversation):
            conversation.receive()
            conversation.respond(b"ok")
            conversation.close()
            closed.set()

        with RawServer(talk) as server:
            get(pool, server.url)
            closed.wait(10)
            with pool.send(Request("POST", server.url)) as response:
                assert response.read() == b"ok"
        assert server.connections == 2


class Source(io.BytesIO):
    """Bytes that remember the largest read asked of them and whether they were closed."""

    def __init__(self, data, opened):
        super().__init__(data)
        self.largest = 0
        opened.append(self)

    def readinto(self, buffer):
        self.largest = max(self.largest, len(buffer))
        return super().readinto(buffer)


class TestRequestBodies:
    def test_a_body_is_streamed_with_its_length_in_blocks_of_a_mebibyte(self, pool):
        opened, data = [], bytes(range(256)) * 12000
        with RawServer(answering(status="201 Created")) as server:
            for _ in range(2):
                pool.send(
                    Request("PUT", server.url, body=Body(len(data), lambda: Source(data, opened)))
                ).close()
        assert [received.body == data for received in server.requests] == [True, True]
        assert server.requests[0].header("Content-Length") == str(len(data))
        assert server.requests[0].header("Transfer-Encoding") is None
        assert [(source.closed, source.largest) for source in opened] == [(True, MIB), (True, MIB)]

    def test_an_empty_body_and_no_body_have_length_zero(self, pool):
        with RawServer(answering()) as server:
            pool.send(Request("POST", server.url)).close()
            pool.send(Request("PUT", server.url, body=bytes_body(b""))).close()
        assert [received.header("Content-Length") for received in server.requests] == ["0", "0"]

    def test_no_more_than_the_length_is_sent(self, pool):
        with RawServer(answering()) as server:
            pool.send(Request("PUT", server.url, body=Body(3, lambda: io.BytesIO(b"abcdef")))).close()
            get(pool, server.url)
        assert [received.body for received in server.requests] == [b"abc", b""]

    def test_a_body_that_ends_early_is_a_local_failure_and_the_source_is_closed(self, pool):
        opened = []
        missing = pytest.raises(LocalIOError, match="read request body: 2 of 5 bytes are missing")
        with RawServer(answering()) as server, missing:
            pool.send(Request("PUT", server.url, body=Body(5, lambda: Source(b"abc", opened))))
        assert opened[0].closed

    def test_a_body_that_cannot_be_opened_is_a_local_failure(self, pool, tmp_path):
        body = Body(5, (tmp_path / "absent").open)
        with RawServer(answering()) as server, pytest.raises(LocalIOError, match="no such file or directory"):
            pool.send(Request("PUT", server.url, body=body))

    def test_a_body_whose_reading_fails_is_a_local_failure(self, pool, tmp_path):
        class Broken(io.BytesIO):
            def readinto(self, buffer):
                raise OSError(5, "Input/output error")

        with RawServer(answering()) as server, pytest.raises(LocalIOError, match="input/output error"):
            pool.send(Request("PUT", server.url, body=Body(5, Broken)))

    def test_an_answer_before_the_end_of_the_body_is_read(self, pool):
        def talk(conversation):
            conversation.receive_head()
            conversation.respond(
                b"too large", status="413 Content Too Large", headers=[("Connection", "close")]
            )
            conversation.sock.shutdown(1)
            while conversation.sock.recv(MIB):
                pass

        body = bytes_body(bytes(8 * MIB))
        with RawServer(talk) as server, pool.send(Request("PUT", server.url, body=body)) as response:
            assert (response.status, response.read()) == (413, b"too large")

    def test_a_connection_cut_while_sending_says_so(self, pool):
        def talk(conversation):
            conversation.receive_head()
            conversation.reset()

        opened = []
        with RawServer(talk) as server, pytest.raises(ConnectionFailed):
            pool.send(
                Request("POST", server.url, body=Body(64 * MIB, lambda: Source(bytes(64 * MIB), opened)))
            )
        assert opened[0].closed

    def test_an_answer_is_read_although_the_connection_was_cut_and_that_is_not_kept(self, pool):
        def talk(conversation):
            conversation.receive_head()
            conversation.respond(b"too large", status="413 Content Too Large")

        body = bytes_body(bytes(64 * MIB))
        with RawServer(talk) as server, pool.send(Request("PUT", server.url, body=body)) as response:
            assert (response.status, response.read()) == (413, b"too large")
            assert not pool._idle


class TestBodiesThatBreak:
    @pytest.mark.parametrize("size", [-1, 1, MIB])
    def test_a_body_shorter_than_its_length_is_an_error_at_its_end(self, pool, size):
        def talk(conversation):
            conversation.receive()
            conversation.respond(b"abc", length=10)

        with RawServer(talk) as server:
            response = pool.send(Request("GET", server.url))
            received = b""

            def read():
                nonlocal received
                while data := response.read(size):
                    received += data

            with pytest.raises(ConnectionFailed) as caught:
                read()
        assert str(caught.value) == f'Get "{server.url}": unexpected EOF'
        assert received == (b"" if size < 0 else b"abc")
        assert response.read() == b""

    def test_the_trailers_of_a_chunked_body_are_passed_over(self, pool):
        def talk(conversation):
            while conversation.receive() is not None:
                chunks = b"3;name=value\r\nabc\r\n2\nde\n0\r\nDigest: x\r\nOther: y\r\n\r\n"
                conversation.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks)

        with RawServer(talk) as server:
            assert [get(pool, server.url)[1] for _ in range(2)] == [b"abcde"] * 2
        assert server.connections == 1

    @pytest.mark.parametrize("rest", [b"0\r\n" + 200 * b"Name: value\r\n" + b"\r\n", b"0\r\nName: val"])
    def test_trailers_without_end_are_an_error(self, pool, rest):
        def talk(conversation):
            conversation.receive()
            conversation.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n" + rest)

        with RawServer(talk) as server, pool.send(Request("GET", server.url)) as response:
            assert response.read(3) == b"abc"
            with pytest.raises(ConnectionFailed):
                response.read(1)

    def test_a_chunked_body_without_end_is_an_error(self, pool):
        def talk(conversation):
            conversation.receive()
            conversation.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab")

        broken = pytest.raises(ConnectionFailed, match="unexpected EOF")
        with RawServer(talk) as server, pool.send(Request("GET", server.url)) as response, broken:
            response.read()

    @pytest.mark.parametrize("size", [b"-1", b"-5", b"zz"])
    def test_a_chunk_of_an_impossible_size_is_an_error_and_no_more_of_it_is_read(self, pool, size):
        def talk(conversation):
            conversation.receive()
            conversation.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + size + b"\r\n")
            conversation.pause()

        broken = pytest.raises(ConnectionFailed, match="unexpected EOF")
        with RawServer(talk) as server, pool.send(Request("GET", server.url)) as response, broken:
            response.read(1000)

    def test_a_reset_within_the_body_is_an_error(self, pool):
        def talk(conversation):
            conversation.receive()
            conversation.respond(b"abc", length=10)
            read.wait(10)
            conversation.reset()

        read = threading.Event()
        with RawServer(talk) as server, pool.send(Request("GET", server.url)) as response:
            assert response.read(3) == b"abc"
            read.set()
            with pytest.raises(ConnectionFailed, match="connection reset by peer"):
                response.read(3)

    def test_a_body_that_stands_still_times_out(self):
        def talk(conversation):
            conversation.receive()
            conversation.respond(b"abc", length=10)
            conversation.pause()

        with Pool(idle_timeout=0.2) as pool, RawServer(talk) as server:
            response = pool.send(Request("GET", server.url))
            with pytest.raises(ConnectionTimedOut, match="read: i/o timeout"):
                response.read()

    def test_a_slow_body_may_take_longer_than_the_header_timeout(self):
        def talk(conversation):
            conversation.receive()
            conversation.respond(b"", length=6)
            for _ in range(3):
                conversation.server.stopping.wait(0.25)
                conversation.send(b"ab")

        with Pool(header_timeout=0.2) as pool, RawServer(talk) as server:
            assert get(pool, server.url)[1] == b"ababab"


class TestWaitingForHeaders:
    def test_headers_that_do_not_come_time_out(self):
        def talk(conversation):
            conversation.receive()
            conversation.pause()

        late = pytest.raises(ConnectionTimedOut)
        with Pool(header_timeout=0.2) as pool, RawServer(talk) as server, late as caught:
            pool.send(Request("HEAD", f"{server.url}/v2/a"))
        assert str(caught.value) == f'Head "{server.url}/v2/a": net/http: timeout awaiting response headers'

    @pytest.mark.parametrize(
        ("pieces", "pause"), [([b"H", b"T", b"T", b"P"], 0.05), ([b"HTTP/1.1 100 Continue\r\n\r\n"], 0)]
    )
    def test_headers_that_drip_or_never_end_time_out_all_the_same(self, pieces, pause):
        def talk(conversation):
            conversation.receive()
            for piece in itertools.cycle(pieces):
                conversation.send(piece)
                if conversation.server.stopping.wait(pause):
                    return

        late = pytest.raises(ConnectionTimedOut, match="timeout awaiting response headers")
        with Pool(header_timeout=0.3) as pool, RawServer(talk) as server, late:
            pool.send(Request("GET", server.url))

    def test_a_connection_used_again_has_the_whole_time_again(self):
        def talk(conversation):
            while conversation.receive() is not None:
                conversation.server.stopping.wait(0.2)
                conversation.respond(b"slow")

        with Pool(header_timeout=0.3) as pool, RawServer(talk) as server:
            assert [get(pool, server.url)[1] for _ in range(3)] == [b"slow"] * 3
            assert server.connections == 1

    def test_zero_waits_as_long_as_it_takes(self):
        def talk(conversation):
            conversation.receive()
            conversation.server.stopping.wait(0.4)
            conversation.respond(b"late")

        with (
            Pool(header_timeout=0, connect_timeout=0.2, idle_timeout=0.2) as pool,
            RawServer(talk) as server,
        ):
            assert get(pool, server.url)[1] == b"late"

    def test_the_time_of_uploading_does_not_count(self):
        def talk(conversation):
            head = conversation.receive_head()
            for _ in range(6):
                conversation.server.stopping.wait(0.1)
                conversation._file.read(int(head.header("Content-Length")) // 6)
            conversation.respond(b"stored")

        with Pool(header_timeout=0.4) as pool, RawServer(talk) as server:
            response = pool.send(Request("PUT", server.url, body=bytes_body(bytes(24 * MIB))))
            assert response.read() == b"stored"

    def test_a_server_that_does_not_take_the_body_times_out(self):
        def talk(conversation):
            conversation.receive_head()
            conversation.pause()

        late = pytest.raises(ConnectionTimedOut, match="write: i/o timeout")
        with Pool(idle_timeout=0.2) as pool, RawServer(talk) as server, late:
            pool.send(Request("PUT", server.url, body=bytes_body(bytes(64 * MIB))))


class TestRequestsThatAreNeverSent:
    @pytest.mark.parametrize(
        ("request_", "reason"),
        [
            (Request("GET", "/v2/"), "no Host in request URL"),
            (Request("GET", "http://h:notaport/"), "no Host in request URL"),
            (Request("GET", "ftp://h/"), 'unsupported protocol scheme "ftp"'),
            (Request("GET /evil", "http://h/"), "invalid method"),
            (Request("GET", "http://h/", {"A:b": "c"}), "invalid header field name"),
            (
                Request("GET", "http://h/", {"Authorization": "Bearer hunter2\r\nX: y"}),
                'value for "Authorization"',
            ),
            (
                Request("GET", "http://h/", {"Authorization": "Bearer hunter2\u2026"}),
                'value for "Authorization"',
            ),
        ],
    )
    def test_what_would_change_the_message_is_refused_without_showing_a_secret(self, pool, request_, reason):
        with pytest.raises(TransportError, match=reason) as caught:
            pool.send(request_)
        assert type(caught.value) is TransportError
        assert "hunter2" not in str(caught.value)
        assert "hunter2" not in repr(caught.value.__cause__)

    def test_the_url_of_an_error_is_redacted(self, pool):
        with pytest.raises(TransportError) as caught:
            pool.send(Request("GET", "ftp://user:hunter2@h/?sig=hunter2"))
        assert "hunter2" not in str(caught.value) + caught.value.url


def test_nothing_heavy_is_imported_before_the_first_request():
    import subprocess

    code = (
        "import sys, imgpkg.transport.pool, imgpkg.transport.retry, imgpkg.transport.trace\n"
        "imgpkg.transport.pool.Pool().close()\n"
        "print(sorted({'urllib3', 'ssl', 'http.client'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"

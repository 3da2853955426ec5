"""Traces: what is written, and what is redacted."""

from __future__ import annotations

import re
import time

import pytest
from tests.servers.raw import RawServer, answering

from imgpkg.errors import TransportError
from imgpkg.transport.message import Request, bytes_body, redact_header, redact_url
from imgpkg.transport.pool import Pool
from imgpkg.transport.trace import TextTracer

MOMENT = 1_000_000_000.0
STAMP = time.strftime("%Y/%m/%d %H:%M:%S", time.localtime(MOMENT))


@pytest.fixture
def written():
    return []


@pytest.fixture
def pool(written):
    with Pool(tracer=TextTracer(written.append, lambda: MOMENT), user_agent="test/1") as pool:
        yield pool


def exchange(pool, request):
    with pool.send(request) as response:
        response.read()


def test_an_exchange_is_written_as_two_messages_of_arrow_and_head(pool, written):
    with RawServer(
        answering(b"body", headers=[("content-type", "text/plain"), ("X-A", "1"), ("X-A", "2")])
    ) as server:
        exchange(pool, Request("GET", f"{server.url}/v2/?n=5", {"accept": "a/b"}))
    sent, answered = written
    assert sent == (
        f"{STAMP} --> GET {server.url}/v2/?n=5\n"
        "User-Agent: test/1\nAccept-Encoding: identity\nAccept: a/b\n\n"
    )
    assert re.sub(r"\(.*?\)", "(duration)", answered) == (
        f"{STAMP} <-- 200 {server.url}/v2/?n=5 (duration)\n"
        "Content-Length: 4\nContent-Type: text/plain\nX-A: 1\nX-A: 2\n\n"
    )


def test_a_failure_is_written_with_its_reason(pool, written):
    with pytest.raises(TransportError):
        pool.send(Request("HEAD", "http://127.0.0.1:1/v2/?sig=hunter2"))
    line = re.sub(r"\(.*\)", "(duration)", written[1])
    assert line == (
        f"{STAMP} <-- dial tcp 127.0.0.1:1: connect: connection refused "
        "HEAD http://127.0.0.1:1/v2/?sig=REDACTED (duration)\n"
    )


def test_durations_are_in_milliseconds_or_seconds(written):
    tracer = TextTracer(written.append)
    error = TransportError("GET", "u", "r")
    tracer.failed(Request("GET", "u"), error, 0.0123)
    tracer.failed(Request("GET", "u"), error, 12.3456)
    assert [line.split("(")[1] for line in written] == ["12.3ms)\n", "12.346s)\n"]


def test_nothing_secret_of_a_request_or_answer_is_written(pool, written):
    headers = {
        "Authorization": "Bearer hunter2",
        "Proxy-Authorization": "Basic hunter2",
        "Cookie": "a=hunter2",
        "X-Registry-Auth": "hunter2",
        "X-Identity-Header": "hunter2",
    }
    answer = [
        ("Set-Cookie", "a=hunter2"),
        ("Set-Cookie", "b=hunter2"),
        ("Location", "https://user:hunter2@s3.example/x?X-Amz-Signature=hunter2&digest=sha256:1#hunter2"),
        ("Link", '</v2/_catalog?n=2&next_token=hunter2>; rel="next"'),
        ("X-Amz-Security-Token", "hunter2"),
    ]
    with RawServer(answering(b"hunter2", headers=answer)) as server:
        exchange(pool, Request("PUT", f"{server.url}/?_state=hunter2", headers, bytes_body(b"hunter2")))
    text = "".join(written)
    assert "hunter2" not in text
    assert "Authorization: <redacted>\n" in text
    assert text.count("Set-Cookie: <redacted>\n") == 2
    assert (
        "Location: https://REDACTED@s3.example/x?X-Amz-Signature=REDACTED&digest=sha256:1#REDACTED\n" in text
    )
    assert 'Link: </v2/_catalog?n=2&next_token=REDACTED>; rel="next"\n' in text


def test_a_secret_exchange_shows_neither_query_nor_bodies(pool, written):
    with RawServer(answering(b'{"token":"hunter2"}')) as server:
        exchange(pool, Request("GET", f"{server.url}/token?scope=s&account=hunter2", secret=True))
        exchange(pool, Request("POST", f"{server.url}/oauth2", body=bytes_body(b"hunter2"), secret=True))
    assert "hunter2" not in "".join(written)
    arrows = [message.partition("\n")[0] for message in written]
    assert arrows[0] == f"{STAMP} --> GET {server.url}/token?<redacted>"
    assert arrows[1].endswith(" [body redacted: basic token response contains credentials]")
    assert arrows[2] == (
        f"{STAMP} --> POST {server.url}/oauth2 [body redacted: token request contains credentials]"
    )


def test_blobs_are_marked_as_left_out(pool, written):
    remark = " [body redacted: omitting binary blobs from logs]"
    with RawServer(answering(b"x", headers=[("Content-Type", "application/octet-stream")])) as server:
        headers = {"Content-Type": "application/octet-stream; a=b"}
        exchange(pool, Request("PUT", server.url, headers, bytes_body(b"x")))
        exchange(pool, Request("PUT", server.url, {"Content-Type": "application/json"}, bytes_body(b"x")))
    assert [message.partition("\n")[0].endswith(remark) for message in written] == [True, True, False, True]


class TestRedactedUrls:
    @pytest.mark.parametrize(
        ("url", "expected"),
        [
            ("http://r/v2/", "http://r/v2/"),
            (
                "http://r/t?service=s&scope=repository:a/b:pull",
                "http://r/t?service=s&scope=repository:a/b:pull",
            ),
            ("http://r/?mount=m&from=f&digest=d&n=1&last=l", "http://r/?mount=m&from=f&digest=d&n=1&last=l"),
            ("http://r/?_state=x&n=1", "http://r/?_state=REDACTED&n=1"),
            ("http://r/?Scope=x&sc%6fpe=y", "http://r/?Scope=REDACTED&sc%6fpe=REDACTED"),
            ("http://r/?n=1;sig=x", "http://r/?n=REDACTED"),
            ("http://r/?bare&&a=", "http://r/?REDACTED&&a=REDACTED"),
            ("http://r/?", "http://r/?"),
            ("http://r/#access_token=x", "http://r/#REDACTED"),
            ("http://user:pass@r/a@b", "http://REDACTED@r/a@b"),
            ("http://us@er:pass@r", "http://REDACTED@r"),
            ("//user:pass@r/x", "//REDACTED@r/x"),
            ("/v2/a/blobs/uploads/1?_state=x", "/v2/a/blobs/uploads/1?_state=REDACTED"),
            ("http://[::1?sig=x", "http://[::1?sig=REDACTED"),
            ("http://r/\x1b[2J\r\nA: b\u2028", "http://r/%1B[2J%0D%0AA:%20b%E2%80%A8"),
            ("", ""),
        ],
    )
    def test_only_known_values_are_kept(self, url, expected):
        assert redact_url(url) == expected

    @pytest.mark.parametrize(
        ("value", "expected"),
        [
            ("<https://r/?sig=x>; rel=next, </b?n=1>", "<https://r/?sig=REDACTED>; rel=next, </b?n=1>"),
            ("<https://r/?sig=x<y>", "<https://r/?sig=REDACTED>"),
            ("<https://u:p@r/", "<https://REDACTED@r/"),
            ("a", "a"),
        ],
    )
    def test_targets_of_links_are_redacted_to_their_end(self, value, expected):
        assert redact_header("Link", value) == expected

    def test_a_plain_header_is_shown_as_it_is(self):
        assert redact_header("Www-Authenticate", 'Bearer realm="x"') == 'Bearer realm="x"'

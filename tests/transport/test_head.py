"""Heads of responses: those that `http.client` reads are read alike, and hostile ones are refused."""

from __future__ import annotations

import http.client
import io
import itertools

import pytest
from hypothesis import given, strategies

from imgpkg.transport.head import Head, NoResponse, ProtocolError, Truncated

OK = "HTTP/1.1 200 OK"


def read(text, method="GET"):
    return Head(io.BytesIO(text if isinstance(text, bytes) else text.encode("latin-1")), method)


def head_of(*lines, method="GET"):
    return read("\r\n".join([*lines, "", ""]), method)


class Socket:
    def __init__(self, data):
        self._data = data

    def makefile(self, _mode):
        return io.BytesIO(self._data)


METHODS = ("GET", "HEAD", "POST")
VERSIONS = ("1.0", "1.1", "0.9", "1.7")
STATUSES = (200, 201, 204, 206, 304, 307, 401, 404, 500, 999)


@pytest.mark.parametrize(
    "lines",
    [
        [],
        ["Content-Length: 5"],
        ["content-length: 0", "Connection: close"],
        ["Content-Length: -5"],
        ["Content-Length: x"],
        ["Content-Length: 5", "Content-Length: 6"],
        ["Transfer-Encoding: Chunked"],
        ["Transfer-Encoding: gzip, chunked"],
        ["Connection: Keep-Alive", "Content-Length: 5"],
        ["Keep-Alive: timeout=5", "Content-Length: 5"],
        ["Proxy-Connection: keep-alive", "Content-Length: 5"],
        ["X: a", "X: b", "Y:", "Z:\tc", "A:b:c"],
    ],
    ids=str,
)
def test_a_usual_head_is_read_as_http_client_reads_it(lines):
    for method, version, status in itertools.product(METHODS, VERSIONS, STATUSES):
        reads_as_http_client(method, version, status, lines)


def reads_as_http_client(method, version, status, lines):
    text = "\r\n".join([f"HTTP/{version} {status} Some Reason", *lines, "", ""]).encode()
    expected = http.client.HTTPResponse(Socket(text), method=method)
    expected.begin()
    head = read(text, method)
    assert (head.status, head.reason) == (expected.status, expected.reason)
    assert list(head.headers) == [(name, value) for name, value in expected.headers.items()]
    has_body = method != "HEAD" and status not in (204, 304)
    assert head.is_chunked == (expected.chunked and has_body)
    assert head.length == (expected.length if has_body else 0)
    assert head.is_last == expected.will_close


def test_interim_responses_are_skipped_and_a_change_of_protocols_is_not():
    interim = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
    head = read(f"{interim}{OK}\r\nA: b\r\n\r\n")
    assert (head.status, head.headers) == (200, (("A", "b"),))
    assert read("HTTP/1.1 101 Switching Protocols\r\n\r\n").length == 0


def test_a_value_goes_on_in_the_next_line():
    assert head_of(OK, "A: b", "  c", "\td ", "E: f").headers == (("A", "b c d"), ("E", "f"))


def test_blanks_around_a_value_are_no_part_of_it():
    assert head_of(OK, "A: \t b c \t").headers == (("A", "b c"),)


@pytest.mark.parametrize(
    "line", ["no colon", ": no name", "Name : blank", "Näme: x", " before: all", "\x00: x"]
)
def test_lines_that_are_no_headers_are_passed_over_alone(line):
    assert head_of(OK, line, "A: b").headers == (("A", "b"),)


def test_a_bare_carriage_return_ends_no_line():
    assert head_of(OK, "A: b\rSet-Cookie: c", "D: e").headers == (("A", "b Set-Cookie: c"), ("D", "e"))


def test_lines_may_end_with_a_line_feed_alone():
    assert read(f"{OK}\nA: b\n\n").headers == (("A", "b"),)


@pytest.mark.parametrize(
    "length", ["+5", "1_0", "0x5", "\N{ARABIC-INDIC DIGIT FIVE}", "9" * 19, "5 5", "5,5", ""]
)
def test_a_length_that_is_no_number_leaves_the_end_to_the_connection(length):
    head = read(f"{OK}\r\nContent-Length: ".encode() + length.encode() + b"\r\n\r\n")
    assert (head.length, head.is_last) == (None, True)


@pytest.mark.parametrize(
    ("text", "kind", "words"),
    [
        ("", NoResponse, "no response"),
        ("\r\n", ProtocolError, "malformed HTTP response"),
        ("HTTP/1.1\r\n\r\n", ProtocolError, "malformed HTTP response"),
        ("HTTP/1.1 abc\r\n\r\n", ProtocolError, "malformed HTTP response"),
        ("HTTP/1.1 +20\r\n\r\n", ProtocolError, "malformed HTTP response"),
        ("HTTP/1.1 20\r\n\r\n", ProtocolError, "malformed HTTP response"),
        ("HTTP/1.1 2000\r\n\r\n", ProtocolError, "malformed HTTP response"),
        ("ICY 200 OK\r\n\r\n", ProtocolError, "malformed HTTP response"),
        ("HTTP/2 200 OK\r\n\r\n", ProtocolError, "unsupported HTTP version"),
        (f"{OK}", Truncated, "no end"),
        (f"{OK}\r\nA: b", Truncated, "no end"),
        (f"{OK}\r\nA: b\r\n", Truncated, "no end"),
        ("HTTP/1.1 200 " + "x" * 70_000, ProtocolError, "too long"),
        (f"{OK}\r\nA: " + "x" * 70_000, ProtocolError, "too long"),
        (f"{OK}\r\n" + "A: b\r\n" * 101 + "\r\n", ProtocolError, "too many headers"),
        ("HTTP/1.1 100 Continue\r\n\r\n", NoResponse, "no response"),
    ],
)
def test_what_is_no_head_is_refused_in_words_of_our_own(text, kind, words):
    with pytest.raises(kind, match=words) as caught:
        read(text)
    assert type(caught.value) is kind


@given(strategies.binary(max_size=400))
def test_any_bytes_are_a_head_or_refused(data):
    try:
        head = Head(io.BytesIO(b"HTTP/1.1 200 OK\r\n" + data), "GET")
    except ProtocolError:
        return
    assert head.status == 200
    assert all(name and "\r" not in value and "\n" not in value for name, value in head.headers)

"""Values of HTTP messages."""

from __future__ import annotations

import pytest

from imgpkg.transport.message import Origin, Request, bytes_body


def test_a_request_shows_no_header():
    assert repr(Request("GET", "http://h/", {"Authorization": "hunter2"})) == "Request(GET http://h/)"


def test_a_body_of_bytes_can_be_opened_again():
    body = bytes_body(b"abc")
    assert (body.length, body.open().read(), body.open().read()) == (3, b"abc", b"abc")


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://R.example/v2/", Origin("https", "r.example", 443)),
        ("HTTP://r.example:443", Origin("http", "r.example", 443)),
        ("http://[::1]/", Origin("http", "::1", 80)),
        ("ftp://r.example/", Origin("ftp", "r.example", 0)),
    ],
)
def test_an_origin_is_scheme_host_and_port(url, origin):
    assert Origin.of(url) == origin


@pytest.mark.parametrize("url", ["/v2/", "https:///v2/", "https://h:x/"])
def test_a_url_without_host_or_with_a_bad_port_has_no_origin(url):
    with pytest.raises(ValueError):
        Origin.of(url)


def test_origins_are_written_without_default_ports_and_with_brackets():
    assert Origin.of("https://registry.example:443/v2/").url == "https://registry.example"
    assert Origin("http", "::1", 5000).url == "http://[::1]:5000"

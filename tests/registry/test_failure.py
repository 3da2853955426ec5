"""From an unexpected response to its error."""

from __future__ import annotations

import json

import pytest
from tests.registry.scripted import Said

from imgpkg.errors import ConnectionFailed, Forbidden, ImmutableTag, NotFound, RegistryError, Unauthorized
from imgpkg.registry.failure import failure, unusable
from imgpkg.transport.message import Request

URL = "http://localhost:5001/v2/spec/nope/tags/list?n=1000&_state=secret"


def fail(status=404, body=b"", headers=(), method="GET", **options):
    said = Said(status, body, headers)
    error = failure(Request(method, URL), said, now=0.0, **options)
    assert said.closed
    return error


def text(*args, **options):
    return str(fail(*args, **options)).partition("_state=REDACTED: ")[2]


def test_reports_method_and_url_with_secret_query_values_left_out():
    error = fail()
    assert str(error).startswith("GET http://localhost:5001/v2/spec/nope/tags/list?n=1000&_state=REDACTED: ")
    assert (error.method, error.status) == ("GET", 404)


def test_reports_code_message_and_detail_of_one_error():
    body = {
        "errors": [
            {
                "code": "NAME_UNKNOWN",
                "message": "repository name not known to registry",
                "detail": {"name": "spec/nope"},
            }
        ]
    }
    error = fail(body=body)
    assert str(error).endswith(": NAME_UNKNOWN: repository name not known to registry; map[name:spec/nope]")
    assert error.codes == {"NAME_UNKNOWN"}


def test_reports_several_errors():
    body = {
        "errors": [
            {"code": "UNAVAILABLE", "message": "busy"},
            {"code": "DENIED", "message": "no", "detail": {"a": 1, "b": [1, "x", None], "c": 1.5}},
        ]
    }
    expected = "multiple errors returned: UNAVAILABLE: busy; DENIED: no; map[a:1 b:[1 x <nil>] c:1.5]"
    assert text(503, body) == expected


def test_leaves_out_a_detail_that_is_null():
    assert text(401, {"errors": [{"code": "A", "message": "b", "detail": None}]}) == "A: b"


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (404, b"", "unexpected status code 404 Not Found"),
        (404, b"gone\n", "unexpected status code 404 Not Found: gone"),
        (403, b'{"errors":[]}', 'unexpected status code 403 Forbidden: {"errors":[]}'),
        (403, b'{"errors":"x"}', 'unexpected status code 403 Forbidden: {"errors":"x"}'),
        (403, b'{"errors":["x"]}', 'unexpected status code 403 Forbidden: {"errors":["x"]}'),
        (403, b"[1]", "unexpected status code 403 Forbidden: [1]"),
        (413, b"", "unexpected status code 413 Request Entity Too Large"),
        (416, b"", "unexpected status code 416 Requested Range Not Satisfiable"),
        (599, b"", "unexpected status code 599"),
        (502, b"<html><body>bad</body></html>", "unexpected status code 502 Bad Gateway (a web page)"),
        (502, b"\n <!DOCTYPE html>bad", "unexpected status code 502 Bad Gateway (a web page)"),
        (500, b"a\x1b[31mb\r\nc\x00", r"unexpected status code 500 Internal Server Error: a\x1b[31mb c\x00"),
        (500, b"\xff", "unexpected status code 500 Internal Server Error: \ufffd"),
    ],
)
def test_reports_the_status_and_what_else_the_answer_says(status, body, expected):
    assert text(status, body) == expected


def test_leaves_out_a_body_that_calls_itself_html():
    headers = [("Content-Type", "text/HTML; charset=utf-8")]
    assert text(502, b"bad", headers) == "unexpected status code 502 Bad Gateway (a web page)"


def test_says_that_head_has_no_body():
    expected = "unexpected status code 401 Unauthorized (HEAD responses have no body, use GET for details)"
    assert text(401, method="HEAD") == expected


def test_shows_at_most_a_kibibyte_of_a_body():
    shown = text(500, b"x" * 100_000)
    assert shown.endswith("x…")
    assert shown.count("x") == 1024 + "unexpected".count("x")


def test_shows_at_most_a_kibibyte_of_each_part_of_an_error():
    shown = text(500, {"errors": [{"code": "C", "message": "m" * 5000, "detail": "d" * 5000}]})
    assert (shown.count("m"), shown.count("d")) == (1024, 1024)


def test_survives_json_nested_without_end():
    assert text(500, b"[" * 200_000).startswith("unexpected status code 500 Internal Server Error: [[")
    detail = b'{"errors":[{"code":"C","message":"m","detail":' + b"[" * 900 + b"]" * 900 + b"}]}"
    assert "500 Internal Server Error" in text(500, detail) or "C: m" in text(500, detail)


def test_shows_no_secret_that_the_server_says_again():
    body = {"errors": [{"code": "C", "message": "token hush is bad", "detail": {"hush": "hush"}}]}
    error = fail(401, body, secrets=("hush",))
    assert "hush" not in str(error)
    assert "<redacted>" in str(error)
    assert "hush" not in str(fail(500, b"got hush", secrets=("hush",)))


@pytest.mark.parametrize(
    ("status", "kind"), [(401, Unauthorized), (403, Forbidden), (404, NotFound), (500, RegistryError)]
)
def test_is_of_the_class_that_its_status_means(status, kind):
    assert type(fail(status)) is kind


def test_is_no_absence_when_something_else_was_asked():
    assert type(fail(404, can_be_absent=False)) is RegistryError


def test_carries_hints_and_the_pause_asked_for():
    error = fail(429, headers=[("Retry-After", "7")], hints=("do that",))
    assert (error.hints, error.retry_after) == (("do that",), 7.0)


def test_reports_the_status_when_the_body_breaks_off():
    said = Said(500, b"half of it", cut=4)
    error = failure(Request("GET", URL), said, now=0.0)
    assert str(error).endswith("unexpected status code 500 Internal Server Error")
    assert said.closed
    assert not isinstance(error, ConnectionFailed)


def test_an_unusable_answer_is_closed_and_told():
    said = Said(200, b"x")
    error = unusable(Request("GET", URL), said, "no list")
    assert str(error).endswith("_state=REDACTED: no list")
    assert (error.status, said.closed) == (200, 1)


def test_prints_codes_that_are_no_text():
    assert text(400, json.loads('{"errors":[{"code":7,"message":null}]}')) == "7: "


def changing(status, said, *, method="PUT", path="manifests/v1"):
    body = {"errors": [{"code": "TAG_INVALID", "message": said}]}
    return type(failure(Request(method, f"https://r.example/v2/a/{path}"), Said(status, body), now=0.0))


class TestAnImmutableTag:
    @pytest.mark.parametrize(
        ("status", "said"),
        [
            (
                400,
                "The image tag 'v1' already exists and cannot be overwritten because the tag is immutable.",
            ),
            (412, "Failed to process request due to 'app:v1' configured as immutable."),
            (403, "Tag immutability is enabled for the repository"),
            (400, "Repository does not allow updating assets: docker"),
            (409, "IMMUTABLE"),
        ],
    )
    @pytest.mark.parametrize("method", ["PUT", "DELETE"])
    def test_is_named_whatever_the_status(self, method, status, said):
        assert changing(status, said, method=method) is ImmutableTag

    @pytest.mark.parametrize(
        "said", ["team/immutable-config is full", "immutable/app", "x.immutable", "immutables", "no"]
    )
    def test_is_not_a_name_with_the_word_in_it(self, said):
        assert changing(400, said) is RegistryError

    def test_is_about_changes_of_manifests_alone(self):
        assert changing(403, "immutable", method="GET") is Forbidden
        assert changing(400, "immutable", path="blobs/uploads/1") is RegistryError
        assert changing(404, "immutable") is NotFound
        assert changing(401, "immutable") is Unauthorized

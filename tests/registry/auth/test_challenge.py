"""WWW-Authenticate headers as servers send them, and the challenges that are parsed from them."""

from __future__ import annotations

import pytest

from imgpkg.registry.auth.challenge import parse_challenges


def read(*lines):
    return [(c.scheme, dict(c.parameters), c.token68) for c in parse_challenges(lines)]


BEARER = ("bearer", {"realm": "https://a/t", "service": "s"}, "")
BASIC = ("basic", {"realm": "b"}, "")


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ('Bearer realm="https://a/t",service="s"', [BEARER]),
        ('bEaReR REALM="https://a/t",Service="s"', [BEARER]),
        ('Bearer realm = "https://a/t" , service\t=\t"s"', [BEARER]),
        ('Bearer realm="https://a/t" service="s"', [BEARER]),
        ("Bearer realm=https://a/t,service=s", [BEARER]),
        ("Bearer realm=https://a/t service=s", [BEARER]),
        ('Bearer ,,realm="https://a/t",, service=s,', [BEARER]),
        ('Bearer realm="https:\\/\\/a/t",service="\\s"', [BEARER]),
        ('Bearer realm="https://a/t",service="s",realm="https://evil/"', [BEARER]),
        ('Basic realm="b", Bearer realm="https://a/t",service="s"', [BASIC, BEARER]),
        ('Bearer realm="https://a/t",service="s", Basic realm="b"', [BEARER, BASIC]),
        ('Bearer realm="https://a/t",service="s",Basic realm=b', [BEARER, BASIC]),
        (
            'Bearer service="",realm="https://a/t",scope=""',
            [("bearer", {"service": "", "realm": "https://a/t", "scope": ""}, "")],
        ),
        ("Bearer realm=", [("bearer", {"realm": ""}, "")]),
        ("Bearer service=,realm=x", [("bearer", {"service": "", "realm": "x"}, "")]),
        ("Negotiate", [("negotiate", {}, "")]),
        ("Negotiate YWJj==", [("negotiate", {}, "YWJj==")]),
        ('Negotiate YWJj==, Basic realm="b"', [("negotiate", {}, "YWJj=="), BASIC]),
        ('Negotiate, Basic realm="b"', [("negotiate", {}, ""), BASIC]),
        ('Digest realm="d"', [("digest", {"realm": "d"}, "")]),
        ('Basic realm="a \\"quoted\\", word"', [("basic", {"realm": 'a "quoted", word'}, "")]),
        ('Basic realm="open', [("basic", {"realm": "open"}, "")]),
        ('Basic realm="open\\', [("basic", {"realm": "open"}, "")]),
        ('realm="of nobody"', []),
        ('"a, b" @ Basic realm="b"', [BASIC]),
        ("@@@", []),
        ("", []),
        (" , ", []),
    ],
)
def test_reads_a_line_as_servers_write_it(line, expected):
    assert read(line) == expected


def test_reads_several_lines_in_their_order():
    assert read('Basic realm="b"', 'Bearer realm="https://a/t",service="s"') == [BASIC, BEARER]


def test_gives_what_a_challenge_leaves_out_as_empty():
    (challenge,) = parse_challenges(["Negotiate"])
    assert (challenge.realm, challenge.service, challenge.scope, challenge.error) == ("", "", "", "")


def test_gives_the_parameters_that_a_token_needs():
    (challenge,) = parse_challenges(['Bearer realm="r",service="s",scope="x y",error="insufficient_scope"'])
    assert (challenge.realm, challenge.service, challenge.scope) == ("r", "s", "x y")
    assert challenge.error == "insufficient_scope"


def test_passes_over_a_line_that_is_too_long():
    assert read("Basic" + " " * (64 << 10), "Bearer") == [("bearer", {}, "")]

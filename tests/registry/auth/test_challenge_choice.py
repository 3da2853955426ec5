"""Which challenge is answered."""

from __future__ import annotations

import pytest
from tests.registry.scripted import LOGIN

from imgpkg.auth.keychain import ANONYMOUS, Credential
from imgpkg.errors import ChallengeError
from imgpkg.registry.auth.challenge import (
    choose,
    is_insufficient,
    must_choose,
    named_scopes,
    parse_challenges,
)

BASIC, BEARER, NAKED = 'Basic realm="b"', 'Bearer realm="r"', 'Bearer service="s"'
IDENTITY = Credential(identity_token="i")
BOTH = Credential("u", "p", identity_token="i")


@pytest.mark.parametrize(
    ("lines", "credential", "expected"),
    [
        ([BASIC, BEARER], LOGIN, "basic"),
        ([BEARER, BASIC], LOGIN, "bearer"),
        ([BASIC, BEARER], IDENTITY, "bearer"),
        ([BASIC, BEARER], BOTH, "bearer"),
        ([BASIC, BEARER], ANONYMOUS, "bearer"),
        (["Negotiate", BASIC], LOGIN, "basic"),
        ([NAKED, BASIC], LOGIN, "basic"),
        ([NAKED, BASIC], ANONYMOUS, "basic"),
        ([NAKED], LOGIN, "bearer"),
        (["Negotiate"], LOGIN, None),
        ([], LOGIN, None),
    ],
)
def test_chooses_by_what_there_is_to_show(lines, credential, expected):
    challenge = choose(parse_challenges(lines), credential)
    assert (challenge and challenge.scheme) == expected


@pytest.mark.parametrize(
    ("lines", "credential", "text"),
    [
        (["Negotiate"], LOGIN, "unsupported challenge Negotiate"),
        (["NTLM", "Negotiate"], LOGIN, "unsupported challenge Negotiate, Ntlm"),
        ([BASIC], IDENTITY, "holds only an identity token"),
        ([NAKED], LOGIN, r"malformed www-authenticate, missing realm: map\[service:s\]"),
    ],
)
def test_says_why_a_challenge_cannot_be_answered(lines, credential, text):
    with pytest.raises(ChallengeError, match=text):
        must_choose(parse_challenges(lines), credential)


def test_takes_a_challenge_that_can_be_answered():
    assert must_choose(parse_challenges([BASIC]), BOTH).scheme == "basic"
    assert must_choose(parse_challenges([BASIC]), ANONYMOUS).scheme == "basic"


def test_reads_scopes_of_bearer_challenges_only():
    lines = ['Basic realm="b",scope="x:y:z"', 'Bearer realm="r",scope="repository:a:pull repository:b:pull"']
    assert list(map(str, named_scopes(parse_challenges(lines)))) == ["repository:a:pull", "repository:b:pull"]


def test_sees_an_insufficient_scope():
    assert is_insufficient(parse_challenges(['Bearer realm="r",error="insufficient_scope"']))
    assert not is_insufficient(parse_challenges(['Bearer realm="r",error="invalid_token"']))

"""What a JSON web token says of itself is read where it can be, and nothing is made of the rest."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgpkg.auth.web_token import Claims, claims_of


def token_of(payload):
    text = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    return f"head.{base64.urlsafe_b64encode(text).decode().rstrip('=')}.signature"


@pytest.mark.parametrize(
    ("payload", "claims"),
    [
        ({"iss": "https://id.example", "exp": 1000}, Claims("https://id.example", 1000.0)),
        ({"exp": 1000.5}, Claims("", 1000.5)),
        ({"iss": "i"}, Claims("i")),
        ({"iss": "line\nbreak", "exp": 1}, Claims("", 1.0)),
        ({"iss": "\x1b[31m"}, Claims()),
        ({"iss": "i" * 201}, Claims()),
        ({"iss": 5, "exp": True}, Claims()),
        ({"exp": None}, Claims()),
        ({"exp": "soon"}, Claims()),
        ({"exp": []}, Claims()),
        ({"exp": 10**400}, Claims()),
        ({}, Claims()),
        ([], Claims()),
        ("text", Claims()),
        (b"[" * 100_000, Claims()),
        (b"\xff", Claims()),
    ],
)
def test_claims_are_read_from_the_payload(payload, claims):
    assert claims_of(token_of(payload)) == claims


@pytest.mark.parametrize("token", ["", "opaque", "a.", "a.!.b", "a.ü.b", "..", "a.A.b"])
def test_a_token_of_another_kind_says_nothing(token):
    assert claims_of(token) == Claims()


@given(st.text() | st.text(alphabet='abcAB.={}-_"0159'))
def test_any_text_can_be_asked(text):
    assert isinstance(claims_of(text), Claims)


def test_no_part_of_the_token_is_in_its_representation():
    assert "signature" not in repr(claims_of(token_of({"iss": "i", "exp": 1})))


def test_an_enormous_token_is_not_taken_apart():
    assert claims_of(f"a.{'A' * (1 << 20)}.b") == Claims()

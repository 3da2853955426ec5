"""Requests to token services, driven by hand."""

from __future__ import annotations

import base64
from dataclasses import replace

import pytest
from tests.registry.scripted import LOGIN, Asked, Headers, Said, drive

from imgpkg.auth.keychain import Credential
from imgpkg.errors import ChallengeError, Forbidden, RegistryError, Unauthorized
from imgpkg.registry.auth.challenge import parse_scopes
from imgpkg.registry.auth.token import TokenRequest, basic, fetch_token
from imgpkg.transport.message import Origin

REALM = "https://auth.example/token"
SCOPES = parse_scopes("repository:a/b:pull repository:c:pull,push")
INQUIRY = TokenRequest(
    REALM, "lab svc", SCOPES, Origin("https", "registry.example", 443), 1000.0, headers={"X": "y"}
)
GOOD = b'{"token":"T"}'


def ask(inquiry, *answers):
    requests, reply = drive(fetch_token(inquiry), *answers)
    return [
        Asked(
            r.method, r.url, Headers(r.headers.items()), r.body.open().read() if r.body is not None else b""
        )
        for r in requests
    ], reply


def test_asks_anonymously_without_a_login():
    (asked,), reply = ask(INQUIRY, Said(200, GOOD))
    expected = (
        "GET https://auth.example/token?scope=repository%3Aa%2Fb%3Apull"
        "&scope=repository%3Ac%3Apull%2Cpush&service=lab+svc"
    )
    assert asked.line == expected
    assert asked.authorization == ""
    assert asked.headers["X"] == "y"
    assert (reply.token.value, reply.token.scopes, reply.token.ends_at) == ("T", SCOPES, 1060.0)


def test_shows_a_login_as_basic_and_names_the_account():
    (asked,), _ = ask(replace(INQUIRY, credential=LOGIN), Said(200, GOOD))
    assert asked.authorization == "Basic " + base64.b64encode(b"user:pass-word").decode()
    assert asked.query["account"] == ["user"]


def test_half_a_login_is_none():
    (asked,), _ = ask(replace(INQUIRY, credential=Credential("user")), Said(200, GOOD))
    assert asked.authorization == ""
    assert "account" not in asked.query


def test_posts_a_refresh_token():
    (asked,), reply = ask(replace(INQUIRY, refresh_token="IDT"), Said(200, b'{"access_token":"T"}'))
    assert asked.line == f"POST {REALM}"
    assert asked.body.decode() == (
        "client_id=imgpkg&grant_type=refresh_token&refresh_token=IDT"
        "&scope=repository%3Aa%2Fb%3Apull+repository%3Ac%3Apull%2Cpush&service=lab+svc"
    )
    assert asked.headers["Content-Type"] == "application/x-www-form-urlencoded"
    assert asked.authorization == ""
    assert not reply.is_refused


def test_leaves_out_a_service_that_was_not_named():
    inquiry = replace(INQUIRY, service="")
    (asked,), _ = ask(inquiry, Said(200, GOOD))
    assert "service" not in asked.query
    (asked,), _ = ask(replace(inquiry, refresh_token="I"), Said(200, GOOD))
    assert "service" not in asked.form


def test_every_request_is_secret():
    for inquiry in (INQUIRY, replace(INQUIRY, refresh_token="I")):
        requests, _ = drive(fetch_token(inquiry), Said(200, GOOD))
        assert all(request.secret for request in requests)
        assert all(request.body is None or request.body.secret for request in requests)


@pytest.mark.parametrize("status", [404, 405, 400, 401])
def test_asks_with_the_login_when_the_refresh_token_is_of_no_use(status):
    inquiry = replace(INQUIRY, refresh_token="I", credential=LOGIN)
    (first, second), reply = ask(inquiry, Said(status), Said(200, GOOD))
    assert (first.method, second.method) == ("POST", "GET")
    assert second.authorization.startswith("Basic ")
    assert reply.is_refused


@pytest.mark.parametrize("status", [404, 405])
def test_asks_anonymously_where_post_is_not_spoken_and_there_is_no_login(status):
    (_, second), _ = ask(replace(INQUIRY, refresh_token="I"), Said(status), Said(200, GOOD))
    assert (second.method, second.authorization) == ("GET", "")


@pytest.mark.parametrize("status", [400, 401, 403, 500])
def test_a_refused_refresh_token_without_a_login_is_an_error(status):
    explained = []

    def explain(error, *, secret, service):
        explained.append((error, secret, service))

    with pytest.raises(RegistryError) as caught:
        ask(replace(INQUIRY, refresh_token="IDT", explain=explain), Said(status, b"IDT is bad"))
    assert caught.value.status == status
    assert "IDT" not in str(caught.value)
    assert explained == [(caught.value, "Refresh IDT", "auth.example")]


@pytest.mark.parametrize(("status", "kind"), [(401, Unauthorized), (403, Forbidden), (404, RegistryError)])
def test_a_service_that_says_no_is_reported_with_its_url(status, kind):
    with pytest.raises(RegistryError, match=r"^GET https://auth\.example/token\?") as caught:
        ask(INQUIRY, Said(status))
    assert type(caught.value) is kind


def test_a_busy_service_says_when_to_come_again():
    with pytest.raises(RegistryError) as caught:
        ask(INQUIRY, Said(429, headers=[("Retry-After", "3")]))
    assert caught.value.retry_after == 3.0


def test_a_realm_that_must_not_be_asked_is_not_asked():
    with pytest.raises(ChallengeError):
        ask(replace(INQUIRY, realm="http://auth.example/token", credential=LOGIN))


def test_reads_no_more_of_a_reply_than_its_limit():
    said = Said(200, b" " * (1 << 20))
    with pytest.raises(ChallengeError, match="longer than 128 KiB"):
        ask(INQUIRY, said)
    assert said.read() != b""
    assert said.closed


class TestRedirects:
    def test_are_followed_at_the_same_origin_with_the_secret(self):
        answers = Said(307, headers={"Location": "/v2/token?x=1"}), Said(200, GOOD)
        (_, second), _ = ask(replace(INQUIRY, credential=LOGIN), *answers)
        assert second.line == "GET https://auth.example/v2/token?x=1"
        assert second.authorization.startswith("Basic ")
        answers = Said(308, headers={"Location": "/v2/token"}), Said(200, GOOD)
        (_, second), _ = ask(replace(INQUIRY, refresh_token="I"), *answers)
        assert (second.method, second.form["refresh_token"]) == ("POST", "I")

    @pytest.mark.parametrize("secret", [{"credential": LOGIN}, {"refresh_token": "I"}])
    @pytest.mark.parametrize("location", ["https://evil.example/token", "https://auth.example:444/token"])
    @pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
    def test_to_another_origin_are_refused_with_a_secret(self, secret, location, status):
        said = Said(status, headers={"Location": location})
        with pytest.raises(ChallengeError, match="refusing the redirect of a token request"):
            ask(replace(INQUIRY, **secret), said)
        assert said.closed

    def test_to_another_origin_are_followed_without_a_secret(self):
        answers = Said(302, headers={"Location": "https://other.example/token"}), Said(200, GOOD)
        (_, second), _ = ask(INQUIRY, *answers)
        assert second.host == "other.example"

    @pytest.mark.parametrize(
        "location", ["http://auth.example/token", "https://169.254.169.254/", "https://localhost/"]
    )
    def test_obey_the_rules_of_realms(self, location):
        with pytest.raises(ChallengeError, match="refusing the realm"):
            ask(INQUIRY, Said(302, headers={"Location": location}))

    @pytest.mark.parametrize("status", [301, 302, 303])
    def test_that_would_lose_the_body_are_refused(self, status):
        with pytest.raises(ChallengeError, match="would lose its body"):
            ask(replace(INQUIRY, refresh_token="I"), Said(status, headers={"Location": "/other"}))

    def test_end_after_ten(self):
        answers = [Said(302, headers={"Location": f"/{n}"}) for n in range(11)]
        with pytest.raises(ChallengeError, match="stopped after 10 redirects"):
            ask(INQUIRY, *answers)

    def test_without_a_target_are_answers(self):
        with pytest.raises(RegistryError, match="302 Found"):
            ask(INQUIRY, Said(302))


def test_a_login_may_have_any_characters():
    login = Credential("ü", "p:\udcff")
    assert base64.b64decode(basic(login).removeprefix("Basic ")) == b"\xc3\xbc:p:\xff"


def test_no_secret_shows_in_the_repr_of_an_inquiry():
    assert "IDT" not in repr(replace(INQUIRY, refresh_token="IDT", credential=LOGIN))
    assert "pass-word" not in repr(replace(INQUIRY, refresh_token="IDT", credential=LOGIN))


@pytest.mark.parametrize(
    ("body", "what"),
    [
        (b"<html>Sign in</html>", "a web page in place of a token: the bearer response is not JSON"),
        (b" ", "an empty answer in place of a token: the bearer response is not JSON"),
        (b"{}", "no usable token: no token in bearer response"),
    ],
)
def test_a_reply_without_a_token_names_the_service_and_what_came_back(body, what):
    with pytest.raises(ChallengeError) as caught:
        ask(INQUIRY, Said(200, body))
    assert str(caught.value) == f"the token service {REALM} sent {what}"
    assert len(caught.value.hints) == 1

"""Redirects: which request is sent next, and with which credential."""

from __future__ import annotations

import base64
import json

import jwt
import pytest
from tests.registry.scripted import LOGIN, Bench, Said, Source, TokenRegistry, Wire

from imgpkg.auth.keychain import ANONYMOUS, Credential
from imgpkg.errors import ChallengeError, Forbidden, NotTLS, RegistryError, Unauthorized
from imgpkg.oci.reference import Repository
from imgpkg.registry.auth.challenge import Access
from imgpkg.transport.message import Request, bytes_body

A = Repository.parse("r.example/a/b")
TOKEN = Credential(registry_token="RTOK")
GET = Request("GET", "/v2/a/b/blobs/x", {"Range": "bytes=5-"})


def to(location, status=307):
    return Said(status, headers={"Location": location})


def bench(handle, credential=TOKEN):
    return Bench(Wire(handle), Source(credential))


def send(made, request=GET):
    answer = made.exchange.send(request, Access.read(A))
    answer.response.close()
    made.transport.assert_all_closed()
    return answer.response.status


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_reading_follows_every_kind_of_redirect(status):
    made = bench(
        lambda asked: to("https://cdn.example/x?sig=1", status) if asked.host == "r.example" else Said()
    )
    assert send(made) == 200
    here, there = made.transport.asked
    assert (here.authorization, there.authorization) == ("Bearer RTOK", "")
    assert there.url == "https://cdn.example/x?sig=1"
    assert there.headers["Range"] == "bytes=5-"
    assert "Imgpkg-Session-Id" not in there.headers


def test_the_registry_s_own_origin_sees_the_credential_again():
    made = bench(lambda asked: to("/v2/a/b/other") if asked.path.endswith("x") else Said())
    assert send(made) == 200
    assert [asked.authorization for asked in made.transport.asked] == ["Bearer RTOK"] * 2


@pytest.mark.parametrize(
    "location",
    [
        "https://r.example:444/x",
        "https://x.r.example/x",
        "https://r.example.evil/x",
        "http://r.example:80800/x",
    ],
)
def test_another_port_or_name_is_another_origin(location):
    made = bench(lambda asked: to(location) if asked.host == "r.example" else Said())
    try:
        send(made)
    except ChallengeError:
        assert location.endswith("80800/x")
    assert [asked.authorization for asked in made.transport.asked[1:]] in ([], [""])


def test_http_on_the_registry_s_own_host_is_taken_for_https():
    made = bench(lambda asked: to("http://r.example/v2/x2") if asked.path.endswith("blobs/x") else Said())
    assert send(made) == 200
    assert made.transport.asked[1].url == "https://r.example/v2/x2"


def test_going_there_and_back_shows_the_credential_only_at_home():
    def handle(asked):
        if asked.host == "cdn.example":
            return to("https://r.example/v2/back")
        return to("https://cdn.example/x") if asked.path.endswith("blobs/x") else Said()

    made = bench(handle)
    assert send(made) == 200
    assert [asked.authorization for asked in made.transport.asked] == ["Bearer RTOK", "", "Bearer RTOK"]


def test_ten_redirects_are_followed_and_no_more():
    made = bench(lambda asked: to(asked.path + "x") if len(asked.path) < len(GET.url) + 10 else Said())
    assert send(made) == 200
    made = bench(lambda asked: to(asked.path + "x"))
    with pytest.raises(RegistryError, match="stopped after 10 redirects"):
        send(made)
    assert len(made.transport.asked) == 11
    made.transport.assert_all_closed()


@pytest.mark.parametrize(
    "location",
    [
        "http://169.254.169.254/latest",
        "https://localhost/x",
        "https://u:p@cdn.example/",
        "ftp://cdn.example/",
        "https:///x",
        "https://cdn.example/\\x",
        "//[/x",
    ],
)
def test_targets_that_a_registry_must_not_name_are_not_asked(location):
    made = bench(lambda asked: to(location))
    with pytest.raises(ChallengeError, match="refusing the redirect target"):
        send(made)
    assert len(made.transport.asked) == 1
    made.transport.assert_all_closed()


def test_a_redirect_without_a_target_is_an_answer():
    assert send(bench(lambda asked: Said(307))) == 307


@pytest.mark.parametrize("status", [307, 308])
def test_writing_follows_redirects_that_keep_the_body(status):
    made = bench(lambda asked: to("https://up.example/x", status) if asked.host == "r.example" else Said(201))
    assert send(made, Request("PUT", "/v2/a/b/manifests/v", body=bytes_body(b"body"))) == 201
    assert [(asked.method, asked.body) for asked in made.transport.asked] == [("PUT", b"body")] * 2


@pytest.mark.parametrize("status", [301, 302, 303])
def test_writing_follows_no_redirect_that_would_lose_the_body(status):
    made = bench(lambda asked: to("/elsewhere", status))
    assert send(made, Request("PUT", "/v2/a/b/manifests/v", body=bytes_body(b"body"))) == status
    assert len(made.transport.asked) == 1


def test_http_redirected_to_https_goes_on_with_https_and_the_credential():
    def handle(asked):
        if asked.url.startswith("http:"):
            return to(asked.url.replace("http:", "https:"))
        return Said() if len(made.transport.asked) > 1 else NotTLS

    made = Bench(Wire(handle), Source(TOKEN))
    local = Access.read(Repository.parse("reg.local/a/b"))
    for _ in range(2):
        made.exchange.send(GET, local).response.close()
    assert [asked.url.partition(":")[0] for asked in made.transport.asked] == [
        "https",
        "http",
        "https",
        "https",
    ]
    assert made.transport.asked[-1].authorization == "Bearer RTOK"


def test_a_challenge_of_a_redirect_target_changes_nothing_at_home():
    """Scope injection: the target's scope must not be asked for at the registry's own token service."""
    registry = TokenRegistry("https://auth.example/token")
    foreign = 'Bearer realm="https://auth.example/token",scope="repository:victim/private:pull,push"'

    def handle(asked):
        if asked.host == "evil.example":
            return Said(401, headers=[("WWW-Authenticate", foreign)])
        return registry(asked)

    registry.content = lambda asked: to("https://evil.example/x")
    made = bench(handle, LOGIN)
    with pytest.raises(Unauthorized) as caught:
        made.exchange.call(GET, Access.read(A), (200,))
    assert caught.value.hints == ("evil.example is not the registry r.example: no credential was sent to it",)
    tokens = [asked for asked in made.transport.asked if asked.path == "/token"]
    assert [(asked.query["scope"], bool(asked.authorization)) for asked in tokens] == [
        (["repository:a/b:pull"], True),
        (["repository:victim/private:pull,push"], False),
    ]
    assert all(
        asked.authorization in ("", "Bearer T2") for asked in made.transport.asked if "evil" in asked.host
    )


class TestHints:
    def hints(self, status, credential, *, name="flags", registry=None):
        made = Bench(Wire(registry or (lambda asked: Said(status))), Source(credential, name=name))
        with pytest.raises((Unauthorized, Forbidden)) as caught:
            made.exchange.call(GET, Access.read(A), (200,))
        return caught.value.hints

    def test_say_which_credential_was_there(self):
        remedy, *trail = self.hints(403, LOGIN)
        assert remedy.startswith("Check the address: ")
        assert trail == [
            "credential for r.example/a/b from flags: the test (user 'user')",
            "flags: matched: was told so",
        ]

    def test_say_where_a_proxy_finds_its_login(self):
        made = bench(lambda asked: Said(407))
        with pytest.raises(RegistryError, match="407 Proxy Authentication Required") as caught:
            made.exchange.call(GET, Access.read(A), (200,))
        (hint,) = caught.value.hints
        assert "HTTPS_PROXY" in hint

    def test_say_that_the_request_was_anonymous(self):
        first, second = self.hints(401, None, name="environment")
        assert second == "environment: no match: knows nothing"
        assert first == (
            "To log in: imgpkg auth login r.example, or set IMGPKG_REGISTRY_HOSTNAME_0=r.example with "
            "IMGPKG_REGISTRY_USERNAME_0 and IMGPKG_REGISTRY_PASSWORD_0."
        )

    @pytest.mark.parametrize(
        ("claims", "said"),
        [
            (
                {"iss": "https://id.example", "exp": 4102444800},
                "the registry token, issued by https://id.example, ends at 2100-01-01 00:00:00 UTC",
            ),
            ({"exp": 1e12}, None),
            ({"exp": 4102444800}, "the registry token ends at 2100-01-01 00:00:00 UTC"),
            ({"iss": "me"}, "the registry token is issued by me"),
            ({"exp": 1e300}, None),
            ({}, None),
        ],
    )
    def test_say_what_a_token_says_of_itself(self, claims, said):
        payload = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
        hints = self.hints(401, Credential(registry_token=f"e30.{payload}.hunter2"))
        assert [hint for hint in hints if hint.startswith("the registry token")] == [said] * bool(said)
        assert "hunter2" not in str(hints)

    def test_say_nothing_more_of_a_token_that_has_ended(self):
        token = jwt.encode({"exp": 999}, "hunter2" * 5, algorithm="HS256")
        remedy, *trail = self.hints(401, Credential(registry_token=token))
        assert remedy == "Put a valid one into the test."
        assert not any("ended" in hint for hint in trail)

    def test_offer_nothing_to_users_who_want_to_be_anonymous(self):
        first, second = self.hints(401, ANONYMOUS)
        assert first.startswith("Leave out the test. To log in: ")
        assert second == "flags: matched: was told so"

    def test_say_which_scope_was_asked_for_and_where(self):
        registry = TokenRegistry()
        registry.content = lambda asked: Said(403)
        hints = self.hints(403, LOGIN, name="docker config", registry=registry)
        assert hints[3:] == (
            "requested scope: repository:a/b:pull",
            "r.example sends its clients to the token service https://auth.example/token",
        )

    def test_say_nothing_of_a_token_service_at_home_or_of_one_refused(self):
        registry = TokenRegistry("/token")
        registry.content = lambda asked: Said(403)
        assert self.hints(403, LOGIN, name="x", registry=registry)[3:] == (
            "requested scope: repository:a/b:pull",
        )
        registry = TokenRegistry("http://auth.example/token")
        hints = self.hints(401, TOKEN, name="x", registry=registry)
        assert hints[3:] == (
            "requested scope: repository:a/b:pull",
            "r.example refused this credential; to lock no account, this run does not send it there again",
        )

    def test_show_no_secret(self):
        for credential in (LOGIN, TOKEN, Credential(identity_token="IDT")):
            shown = " ".join(self.hints(403, credential))
            assert not any(secret in shown for secret in credential.secrets())

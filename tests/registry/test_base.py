"""The base endpoint: what counts as an accepted credential, and where a bearer token is had."""

from __future__ import annotations

import base64
import json

import pytest
from tests.registry.scripted import LOGIN, Bench, Said, Source, TokenRegistry, Wire, www

from imgpkg.auth.keychain import Credential
from imgpkg.errors import ChallengeError, Forbidden, NotFound, RegistryError, Unauthorized
from imgpkg.oci.reference import Repository, WholeRegistry
from imgpkg.registry.auth.challenge import Access, Scope

WHOLE = Access(WholeRegistry("r.example"), ())
PART = Access.read(Repository.parse("r.example/a/b"))
BASE, TAGS = "GET https://r.example/v2/", "GET https://r.example/v2/a/b/tags/list?n=1"
BASIC = Said(401, b"", www("Basic realm=x"))


def answering(answers, **options):
    """Return a bench of a registry with an answer for each path, in a tuple where it wants the login."""

    def handle(asked):
        answer = answers[asked.path]
        if isinstance(answer, tuple):
            return answer[0] if asked.authorization else BASIC
        return answer

    return Bench(Wire(handle), Source(LOGIN), **options)


@pytest.mark.parametrize("access", [WHOLE, PART])
def test_a_login_that_the_base_accepts_is_accepted(access):
    made = answering({"/v2/": (Said(200),)})
    assert made.client.accepts(access)
    assert made.transport.lines == [BASE, BASE]
    made.transport.assert_all_closed()


@pytest.mark.parametrize("access", [WHOLE, PART])
def test_a_login_that_the_base_refuses_is_refused(access):
    made = answering({"/v2/": BASIC})
    with pytest.raises(Unauthorized):
        made.client.accepts(access)
    made.transport.assert_all_closed()


@pytest.mark.parametrize(
    ("base", "tags", "is_accepted"),
    [
        (Said(200), Said(200), False),
        (Said(200), Said(404), False),
        (Said(200), (Said(200),), True),
        (Said(200), (Said(404),), True),
        ((Said(403),), (Said(200),), True),
        ((Said(404),), (Said(404),), True),
    ],
)
def test_where_the_base_does_not_tell_the_repository_does(base, tags, is_accepted):
    made = answering({"/v2/": base, "/v2/a/b/tags/list": tags})
    assert made.client.accepts(PART) == is_accepted
    assert TAGS in made.transport.lines
    made.transport.assert_all_closed()


def test_an_open_base_does_not_tell_about_the_whole_registry():
    assert not answering({"/v2/": Said(200)}).client.accepts(WHOLE)


@pytest.mark.parametrize(
    ("base", "tags", "error"),
    [
        ((Said(403),), (Said(403),), Forbidden),
        (Said(404), Said(404), NotFound),
        (Said(302), Said(200), RegistryError),
    ],
    ids=["forbidden", "no registry", "a redirect to nowhere"],
)
def test_other_answers_are_errors(base, tags, error):
    made = answering({"/v2/": base, "/v2/a/b/tags/list": tags})
    with pytest.raises(error):
        made.client.accepts(PART)
    made.transport.assert_all_closed()


def test_temporary_failures_are_repeated():
    waiting = [Said(503), BASIC, Said(503), Said(200)]
    made = Bench(Wire(lambda asked: waiting.pop(0)), Source(LOGIN), retry_count=3)
    assert made.client.accepts(WHOLE)
    assert len(made.clock.slept) == 2


class TestTokens:
    def made(self, **reply):
        registry = TokenRegistry(content=lambda asked: Said(200, {}))
        registry.wanted = lambda asked: set()
        registry.reply = reply
        registry.tokens[reply.get("access_token")] = set()
        return Bench(Wire(registry), Source(LOGIN))

    def test_are_had_from_the_service_of_the_registry(self):
        made = self.made(expires_in=500, scope="repository:a/b:pull")
        token = made.client.token(PART)
        assert (token.value, token.service, token.ends_at) == ("T2", "the service", made.clock.now + 500)
        assert token.scopes == token.granted == PART.scopes
        assert "T2" not in repr(token)
        made.transport.assert_all_closed()

    def test_are_for_the_scopes_that_are_asked_for(self):
        made = self.made()
        scopes = (Scope.parse("repository:a/b:pull,push"), Scope.parse("repository:c/d:pull"))
        token = made.client.token(Access(PART.repository, scopes))
        assert token.scopes == scopes
        assert token.granted is None

    def test_name_what_they_grant(self):
        access = [
            {"type": "repository", "name": "a/b", "actions": ["pull"]},
            {"type": "registry", "name": "catalog", "actions": "*"},
            "nonsense",
        ]
        payload = base64.urlsafe_b64encode(json.dumps({"access": access}).encode()).decode().rstrip("=")
        made = self.made(access_token=f"e30.{payload}.")
        granted = made.client.token(PART).granted
        assert list(map(str, granted)) == ["registry:catalog:", "repository:a/b:pull"]

    def test_of_a_credential_are_taken_as_they_are(self):
        made = Bench(Wire(lambda asked: Said(500)), Source(Credential(registry_token="given")))
        token = made.client.token(PART)
        assert (token.value, token.ends_at, token.granted) == ("given", None, None)
        assert made.transport.lines == []

    def test_are_had_where_only_a_repository_asks_for_one(self):
        registry = TokenRegistry(content=lambda asked: Said(200, {}))
        made = Bench(
            Wire(lambda asked: Said(200) if asked.path == "/v2/" else registry(asked)), Source(LOGIN)
        )
        assert made.client.token(PART).value == "T1"
        made.transport.assert_all_closed()

    def test_are_none_where_the_login_itself_is_wanted(self):
        made = answering({"/v2/": (Said(200),)})
        with pytest.raises(ChallengeError) as caught:
            made.client.token(PART)
        assert str(caught.value) == "r.example wants the login itself (Basic) and takes no token"
        (hint,) = caught.value.hints
        assert hint.endswith("curl -u user https://r.example/v2/a/b/tags/list")
        made.transport.assert_all_closed()

    def test_are_none_where_nothing_is_wanted(self):
        made = answering({"/v2/": Said(200), "/v2/a/b/tags/list": Said(404)})
        with pytest.raises(ChallengeError, match="asks for no credential, so there is no token"):
            made.client.token(PART)

    def test_are_none_where_the_login_is_refused(self):
        made = answering({"/v2/": BASIC})
        with pytest.raises(Unauthorized):
            made.client.token(PART)
        made.transport.assert_all_closed()

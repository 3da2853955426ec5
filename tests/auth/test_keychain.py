"""The keychain: order of sources, what ends the search, the trail; and the claims of JSON web tokens."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgpkg.auth.docker import DockerConfigSource
from imgpkg.auth.environment import EnvironmentSource
from imgpkg.auth.flags import ExplicitSource
from imgpkg.auth.keychain import (
    ANONYMOUS,
    Anonymity,
    Credential,
    Finding,
    Keychain,
    NearMiss,
    Outcome,
    TokenClaims,
    claims_of,
)
from imgpkg.errors import CredentialError
from imgpkg.oci.reference import Repository
from imgpkg.settings import Login

ENVIRON = {
    "IMGPKG_REGISTRY_HOSTNAME_0": "gcr.io/team",
    "IMGPKG_REGISTRY_USERNAME_0": "from-set",
    "IMGPKG_REGISTRY_PASSWORD_0": "hunter2",
    "DOCKER_AUTH_CONFIG": json.dumps(
        {"auths": {"quay.io": {"username": "from-file", "password": "hunter2"}}}
    ),
}


def resolve(repository, environ, login=None):
    sources = (
        EnvironmentSource(environ, print),
        ExplicitSource(login or Login(), environ),
        DockerConfigSource(environ, print),
    )
    return Keychain(sources).resolve(Repository.parse(repository))


@pytest.mark.parametrize(
    ("repository", "login", "username"),
    [
        ("gcr.io/team/x", None, "from-set"),
        ("gcr.io/team/x", Login("from-flag", "p"), "from-set"),
        ("gcr.io/team/x", Login(anonymous=True), "from-set"),
        ("quay.io/team/x", None, "from-file"),
        ("quay.io/team/x", Login("from-flag", "p"), "from-flag"),
        ("quay.io/team/x", Login(anonymous=True), ""),
        ("other.io/team/x", None, ""),
    ],
)
def test_the_first_source_that_matches_wins(repository, login, username):
    assert resolve(repository, ENVIRON, login).credential.username == username


@pytest.mark.parametrize("login", [Login("u", "p"), Login(token="t"), Login(anonymous=True)])
def test_flags_keep_the_docker_config_closed(login):
    decision = resolve("quay.io/p/i", {"DOCKER_AUTH_CONFIG": "{"}, login)
    assert [finding.source for finding in decision.trail] == ["environment", "flags"]


def test_a_set_with_only_a_hostname_exempts_a_registry_from_the_flags():
    decision = resolve(
        "localhost:5110/foo/bar", {"IMGPKG_REGISTRY_HOSTNAME": "localhost:5110"}, Login("u", "p")
    )
    assert decision.credential.is_anonymous
    assert decision.winner.source == "environment"


def test_an_unknown_variable_fails_for_every_registry_also_with_flags():
    with pytest.raises(
        CredentialError, match=r"^Unable retrieve credentials for registry: Unknown env variable 'IMG"
    ):
        resolve("quay.io/p/i", {"IMGPKG_REGISTRY_X": ""}, Login(anonymous=True))


def test_a_decision_shows_its_whole_way_and_no_secret():
    decision = resolve("quay.io/p/i", ENVIRON)
    assert decision.explain() == (
        'credential for quay.io/p/i from docker config: $DOCKER_AUTH_CONFIG: auths "quay.io" '
        "(user 'from-file')\n"
        "  environment: no match: IMGPKG_REGISTRY_HOSTNAME_0=gcr.io/team: another host\n"
        "  flags: not applicable: neither a username nor a token is given, nor anonymous access asked for\n"
        "  docker config: matched: the key is for quay.io/p/i; gives the login"
    )
    assert "hunter2" not in repr(decision)


@pytest.mark.parametrize("found", [Credential("ci", "s3cret-word"), None])
def test_a_source_that_returns_no_finding_is_named(found):
    class Vault:
        name = "vault"

        def lookup(self, _):
            return found

    with pytest.raises(TypeError) as caught:
        Keychain([Vault()]).resolve(Repository.parse("a.io/bb"))
    expected = f"The credential source 'vault' returned {type(found).__name__}, and not an imgpkg.Finding"
    assert str(caught.value) == expected


def test_nothing_found_is_stated():
    decision = resolve("other.io/p/i", {})
    assert decision.credential == ANONYMOUS
    assert decision.winner is None
    assert decision.summary() == "no credential found for other.io/p/i; requests are anonymous"


def test_a_credential_without_user_has_no_user_in_its_summary():
    decision = resolve("other.io/p/i", {"IMGPKG_TOKEN": "hunter2"})
    assert decision.summary() == "credential for other.io/p/i from flags: $IMGPKG_TOKEN"


@pytest.mark.parametrize("kind", ["REGISTRY_TOKEN", "IDENTITY_TOKEN"])
def test_a_user_who_is_not_sent_is_not_in_the_summary(kind):
    environ = {"IMGPKG_REGISTRY_HOSTNAME": "other.io", "IMGPKG_REGISTRY_USERNAME": "bob"}
    decision = resolve("other.io/p/i", {**environ, f"IMGPKG_REGISTRY_{kind}": "hunter2"})
    assert decision.summary().endswith("from environment: IMGPKG_REGISTRY_HOSTNAME=other.io")


@pytest.mark.parametrize(
    ("environ", "login", "anonymity", "summary"),
    [
        (
            {"IMGPKG_REGISTRY_HOSTNAME": "other.io"},
            None,
            Anonymity.ASKED_FOR,
            (
                "no credential for other.io/p/i, anonymous access is asked for by environment: "
                "IMGPKG_REGISTRY_HOSTNAME=other.io"
            ),
        ),
        (
            {},
            Login(anonymous=True),
            Anonymity.ASKED_FOR,
            "no credential for other.io/p/i, anonymous access is asked for by flags: --registry-anon",
        ),
        (
            {"IMGPKG_REGISTRY_HOSTNAME": "other.io", "IMGPKG_REGISTRY_USERNAME": "bob"},
            None,
            Anonymity.INCOMPLETE,
            (
                "no complete credential for other.io/p/i from environment: "
                "IMGPKG_REGISTRY_HOSTNAME=other.io; requests are anonymous"
            ),
        ),
        (
            {},
            None,
            Anonymity.NOTHING_FOUND,
            "no credential found for other.io/p/i; requests are anonymous",
        ),
        (
            {},
            Login("u", "p"),
            None,
            "credential for other.io/p/i from flags: --registry-username, --registry-password (user 'u')",
        ),
    ],
)
def test_deliberate_anonymity_differs_from_nothing_found(environ, login, anonymity, summary):
    decision = resolve("other.io/p/i", environ, login)
    assert (decision.anonymity, decision.summary()) == (anonymity, summary)


def test_a_credential_knows_its_secrets_and_shows_none():
    credential = Credential("u", "p1", "i2", "r3")
    assert credential.secrets() == ("p1", "i2", "r3")
    assert ANONYMOUS.secrets() == ()
    assert repr(credential) == "Credential(username='u', expires_at=None)"


def token_of(payload):
    text = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    return f"head.{base64.urlsafe_b64encode(text).decode().rstrip('=')}.signature"


@pytest.mark.parametrize(
    ("payload", "claims"),
    [
        ({"iss": "https://id.example", "exp": 1000}, TokenClaims("https://id.example", 1000.0)),
        ({"exp": 1000.5}, TokenClaims("", 1000.5)),
        ({"iss": "i"}, TokenClaims("i")),
        ({"iss": "line\nbreak", "exp": 1}, TokenClaims("", 1.0)),
        ({"iss": "\x1b[31m"}, TokenClaims()),
        ({"iss": "i" * 201}, TokenClaims()),
        ({"iss": 5, "exp": True}, TokenClaims()),
        ({"exp": None}, TokenClaims()),
        ({"exp": "soon"}, TokenClaims()),
        ({"exp": []}, TokenClaims()),
        ({"exp": 10**400}, TokenClaims()),
        ({}, TokenClaims()),
        ([], TokenClaims()),
        ("text", TokenClaims()),
        (b"[" * 100_000, TokenClaims()),
        (b"\xff", TokenClaims()),
    ],
)
def test_claims_are_read_from_the_payload(payload, claims):
    assert claims_of(token_of(payload)) == claims


@pytest.mark.parametrize("token", ["", "opaque", "a.", "a.!.b", "a.ü.b", "..", "a.A.b"])
def test_a_token_of_another_kind_says_nothing(token):
    assert claims_of(token) == TokenClaims()


@given(st.text() | st.text(alphabet='abcAB.={}-_"0159'))
def test_any_text_can_be_asked(text):
    assert isinstance(claims_of(text), TokenClaims)


def test_no_part_of_the_token_is_in_its_representation():
    assert "signature" not in repr(claims_of(token_of({"iss": "i", "exp": 1})))


def test_an_enormous_token_is_not_taken_apart():
    assert claims_of(f"a.{'A' * (1 << 20)}.b") == TokenClaims()


class Telling:
    name = "telling"

    def __init__(self, *misses, fails=False):
        self._misses, self._fails = misses, fails

    def lookup(self, repository):
        return Finding(self.name, Outcome.NO_MATCH, "never")

    def near_misses(self, decision):
        yield from self._misses
        if self._fails:
            raise CredentialError("the file is broken")


class Silent:
    """A source of a program, which explains no near misses."""

    name = "silent"

    def lookup(self, repository):
        return Finding(self.name, Outcome.NO_MATCH, "never")


def test_near_misses_of_all_sources_are_reported_once_and_also_of_those_never_asked():
    one, other = NearMiss("telling", "one", "type this"), NearMiss("unasked", "other")
    silent = Silent()
    keychain = Keychain([silent, Telling(one, one), Telling(one, fails=True)], unasked=[Telling(other)])
    decision = keychain.resolve(Repository.parse("quay.io/p/i"))
    assert keychain.near_misses(decision) == (other, one)
    assert (str(one), str(other)) == ("one: type this", "other")

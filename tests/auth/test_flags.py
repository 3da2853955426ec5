"""Flags and the variables that replace them: what wins, what is refused."""

from __future__ import annotations

import pytest

from imgpkg.auth.flags import ExplicitSource, validate
from imgpkg.auth.keychain import ANONYMOUS, Credential, Outcome
from imgpkg.errors import UsageError
from imgpkg.oci.reference import Repository
from imgpkg.settings import Login

USER, PASSWORD, TOKEN, ANON = (f"IMGPKG_{name}" for name in ("USERNAME", "PASSWORD", "TOKEN", "ANON"))


def look_up(login, **environ):
    return ExplicitSource(login, environ).lookup(Repository.parse("gcr.io/p/i"))


@pytest.mark.parametrize(
    ("login", "environ", "credential", "origin"),
    [
        (Login("u", "p"), {}, Credential("u", "p"), "--registry-username, --registry-password"),
        (Login("u"), {PASSWORD: "p"}, Credential("u", "p"), "--registry-username, $IMGPKG_PASSWORD"),
        (Login(password="p"), {USER: "u"}, Credential("u", "p"), "$IMGPKG_USERNAME, --registry-password"),
        (
            Login("u"),
            {USER: "x", PASSWORD: "p"},
            Credential("u", "p"),
            "--registry-username, $IMGPKG_PASSWORD",
        ),
        (Login(), {USER: "u", PASSWORD: "p"}, Credential("u", "p"), "$IMGPKG_USERNAME, $IMGPKG_PASSWORD"),
        (Login(token="t"), {}, Credential(registry_token="t"), "--registry-token"),
        (Login(), {TOKEN: "t"}, Credential(registry_token="t"), "$IMGPKG_TOKEN"),
        (Login(token="t"), {USER: "u", PASSWORD: "p"}, Credential(registry_token="t"), "--registry-token"),
        (Login(token="t"), {USER: "u"}, Credential(registry_token="t"), "--registry-token"),
        (Login("u", "p"), {TOKEN: "t"}, Credential("u", "p"), "--registry-username, --registry-password"),
        (
            Login(),
            {TOKEN: "t", USER: "u", PASSWORD: "p"},
            Credential("u", "p"),
            "$IMGPKG_USERNAME, $IMGPKG_PASSWORD",
        ),
        (Login(username=""), {USER: "u", TOKEN: "t"}, Credential(registry_token="t"), "$IMGPKG_TOKEN"),
        (Login(token="t"), {ANON: "true"}, Credential(registry_token="t"), "--registry-token"),
        (Login("ü", "p:ö = \n"), {}, Credential("ü", "p:ö = \n"), "--registry-username, --registry-password"),
        (Login(anonymous=True), {}, ANONYMOUS, "--registry-anon"),
        (Login(anonymous=True), {USER: "u", PASSWORD: "p", TOKEN: "t"}, ANONYMOUS, "--registry-anon"),
        (Login(anonymous=True), {USER: "u"}, ANONYMOUS, "--registry-anon"),
        (
            Login(anonymous=False),
            {USER: "u", PASSWORD: "p"},
            Credential("u", "p"),
            "$IMGPKG_USERNAME, $IMGPKG_PASSWORD",
        ),
        (Login(username="", anonymous=True), {}, ANONYMOUS, "--registry-anon"),
        (Login(password="p"), {ANON: "1"}, ANONYMOUS, "$IMGPKG_ANON"),
        (Login(), {TOKEN: "t", ANON: "true"}, Credential(registry_token="t"), "$IMGPKG_TOKEN"),
        (
            Login(),
            {USER: "u", PASSWORD: "p", ANON: "true"},
            Credential("u", "p"),
            "$IMGPKG_USERNAME, $IMGPKG_PASSWORD",
        ),
        (Login("u", "p"), {ANON: "true"}, Credential("u", "p"), "--registry-username, --registry-password"),
    ],
)
def test_a_combination_of_the_table_gives_its_credential(login, environ, credential, origin):
    finding = look_up(login, **environ)
    assert finding.outcome is Outcome.MATCHED
    assert (finding.credential, finding.origin) == (credential, origin)
    assert "docker config is not consulted" in finding.detail


@pytest.mark.parametrize(
    ("login", "environ", "detail"),
    [
        (Login(), {}, "neither a username nor a token is given, nor anonymous access asked for"),
        (Login(username=""), {USER: "u", PASSWORD: "p"}, "$IMGPKG_PASSWORD counts only with a username"),
        (Login(token=""), {TOKEN: "t"}, "neither"),
        (Login(password="p"), {}, "--registry-password counts only with a username"),
        (Login(anonymous=False), {ANON: "true"}, "neither"),
        (Login(), {ANON: "yes"}, "$IMGPKG_ANON is no boolean and counts for nothing"),
        (Login(), {ANON: " true"}, "$IMGPKG_ANON is no boolean"),
    ],
)
def test_where_nothing_usable_is_given_the_docker_config_is_next(login, environ, detail):
    finding = look_up(login, **environ)
    assert finding.outcome is Outcome.NOT_APPLICABLE
    assert finding.credential is None
    assert detail in finding.detail


@pytest.mark.parametrize(
    ("login", "environ", "message"),
    [
        (Login("u"), {}, "password missing: --registry-username is given"),
        (Login(), {USER: "u"}, "password missing: $IMGPKG_USERNAME is given"),
        (Login("u", ""), {PASSWORD: "p"}, "password missing"),
        (Login(), {USER: "u", TOKEN: "t"}, "password missing"),
        (Login("u", "p", "t"), {}, "--registry-username and --registry-token exclude each other"),
        (Login("u:v", "p"), {}, "--registry-username must not contain a colon"),
        (Login(), {USER: "u:v", PASSWORD: "p"}, "$IMGPKG_USERNAME must not contain a colon"),
        (Login("u", "p", anonymous=True), {}, "--registry-anon and --registry-username exclude each other"),
        (Login(token="t", anonymous=True), {}, "--registry-anon and --registry-token exclude each other"),
    ],
)
def test_options_that_do_not_go_together_are_refused_at_the_start(login, environ, message):
    for attempt in (validate, ExplicitSource):
        with pytest.raises(UsageError) as caught:
            attempt(login, environ)
        assert message in str(caught.value)


def test_options_that_go_together_pass():
    assert validate(Login("u", "p"), {}) is None


@pytest.mark.parametrize("text", ["1", "t", "T", "true", "TRUE", "True", "tRuE"])
def test_anon_is_asked_for_by_every_true_of_go(text):
    assert look_up(Login(), IMGPKG_ANON=text).credential == ANONYMOUS


@pytest.mark.parametrize("text", ["", "0", "f", "F", "false", "FALSE", "False"])
def test_anon_is_not_asked_for_by_any_false_of_go(text):
    finding = look_up(Login(), IMGPKG_ANON=text)
    assert finding.credential is None
    assert "boolean" not in finding.detail

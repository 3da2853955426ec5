"""Oddities of a secret are reported without any part of it, for each source."""

from __future__ import annotations

import base64
import json

import pytest

from imgpkg.auth.diagnosis.secret import secret_misses
from imgpkg.auth.keychain import Credential, Decision, Finding, Outcome
from imgpkg.oci.reference import Repository

NOW = 1_700_000_000.0


def misses(credential, source="vault", origin="registry/ci"):
    trail = (Finding(source, Outcome.MATCHED, "has it", origin, credential),)
    decision = Decision(Repository("registry.example.com", "team/app"), credential, trail)
    return [(miss.text, miss.remedy) for miss in secret_misses(decision, NOW)]


def token(end):
    payload = base64.urlsafe_b64encode(json.dumps({"exp": end}).encode()).decode().rstrip("=")
    return f"head.{payload}.signature"


@pytest.mark.parametrize(
    ("secret", "reason"),
    [
        ("s3cret\n", "ends in a newline, which is sent as a part of it"),
        ("s3cret\r", "ends in a newline, which is sent as a part of it"),
        (" s3cret", "begins or ends with a space, which is sent as a part of it"),
        ("'s3cret'", "stands in quotes, which are sent as a part of it"),
        ("$PASSWORD", "is the name of a variable and not its value"),
        ("${PASSWORD}", "is the name of a variable and not its value"),
        ("{{ password }}", "is the name of a variable and not its value"),
    ],
)
def test_unintended_characters_in_a_secret_are_reported(secret, reason):
    assert misses(Credential("ci", secret)) == [(f"the password of registry/ci {reason}", "")]


@pytest.mark.parametrize("secret", ["s3cret", "{abc}", "'", "$3cret", "'s3cret", "$", "pa'ss", "s3cret'"])
def test_a_secret_may_be_odd(secret):
    assert misses(Credential("ci", secret)) == []


@pytest.mark.parametrize(("end", "is_told"), [(NOW - 1, True), (NOW, True), (NOW + 1, False), (-1, False)])
def test_a_token_that_has_ended_is_reported_with_the_time(end, is_told):
    told = [text.partition(" has ended at ")[0] for text, _ in misses(Credential(registry_token=token(end)))]
    assert told == ["the registry token of registry/ci"] * is_told


@pytest.mark.parametrize("credential", [Credential(), Credential("ci", ""), Credential("", "s3cret\n")])
def test_what_is_not_sent_is_not_told(credential):
    assert misses(credential) == []


def test_a_decision_without_winner_has_no_secret():
    decision = Decision(Repository("registry.example.com", "team/app"), Credential())
    assert list(secret_misses(decision, NOW)) == []


@pytest.mark.parametrize(
    ("credential", "source", "origin", "remedy"),
    [
        (
            Credential("ci", "s3cret\n"),
            "environment",
            "IMGPKG_REGISTRY_HOSTNAME=r.example",
            'IMGPKG_REGISTRY_PASSWORD="$(cat FILE)"',
        ),
        (
            Credential(registry_token="t0ken\n"),
            "environment",
            "IMGPKG_REGISTRY_HOSTNAME_HOSTNAME=r.example",
            'IMGPKG_REGISTRY_REGISTRY_TOKEN_HOSTNAME="$(cat FILE)"',
        ),
        (
            Credential("ci", "$PASSWORD"),
            "environment",
            "IMGPKG_REGISTRY_HOSTNAME_0=r.example, IMGPKG_REGISTRY_PASSWORD_FILE_0=/run/secrets/ci",
            "write another one into /run/secrets/ci",
        ),
        (
            Credential("ci", "s3cret\n"),
            "flags",
            "--registry-username, $IMGPKG_PASSWORD",
            'IMGPKG_PASSWORD="$(cat FILE)"',
        ),
    ],
)
def test_the_remedy_replaces_the_secret_where_it_is(credential, source, origin, remedy):
    assert [one for _, one in misses(credential, source, origin)] == [remedy]


@pytest.mark.parametrize(
    ("source", "origin"),
    [
        ("environment", "IMGPKG_REGISTRY_HOSTNAME_0=a.io, IMGPKG_REGISTRY_PASSWORD_FILE_0=/run/password"),
        ("flags", "--registry-username, --registry-password-file=/run/password"),
        ("flags", "$IMGPKG_USERNAME, $IMGPKG_PASSWORD_FILE=/run/password"),
    ],
)
def test_an_odd_secret_of_a_file_is_to_be_replaced_there(source, origin):
    ((_, remedy),) = misses(Credential("ci", " s3cret"), source, origin)
    assert remedy == "write another one into /run/password"

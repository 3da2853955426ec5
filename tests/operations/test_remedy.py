"""What a failure of a check means, and the one sentence on what to do."""

from __future__ import annotations

import socket

import pytest

from imgpkg.auth.keychain import Credential, Decision, Finding, Outcome
from imgpkg.errors import (
    CertificateRejected,
    ChallengeError,
    ConnectionFailed,
    InvalidManifest,
    NotFound,
    NotTLS,
    RegistryError,
    TimedOut,
)
from imgpkg.oci.reference import Repository
from imgpkg.operations.remedy import Trouble, meaning, moment
from imgpkg.registry.probe import Surroundings

APP = Repository("registry.example.com", "team/app")
URL = "https://registry.example.com/v2/"
LOGIN = Credential("ci", "very-secret-word")
FOUND = Finding("environment", Outcome.MATCHED, "why", "$WHERE", LOGIN)


def trouble(error, *, at_service=False, page="", verb="pull from", credential=LOGIN):
    decision = Decision(APP, credential, (FOUND,) if credential is LOGIN else ())
    known = Surroundings(URL, service="https://auth.example.com/token")
    return Trouble(error, APP, decision, verb, at_service, page, None, known, 0.0)


def caused(error, cause):
    error.__cause__ = cause
    return error


def answered(status, kind=RegistryError, **options):
    return kind(f"GET {URL}: no", method="GET", url=URL, status=status, **options)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (NotTLS("GET", URL, "http: server gave HTTP response"), "add --registry-insecure"),
        (TimedOut("GET", URL, "i/o timeout"), "registry.example.com did not answer in time"),
        (ConnectionFailed("GET", URL, "connection reset"), "broke: check the network and the proxy"),
        (
            ConnectionFailed("GET", URL, "407", hints=("The proxy wants a login.",)),
            "The proxy wants a login.",
        ),
        (
            caused(ConnectionFailed("GET", URL, "x"), socket.gaierror()),
            "There is no host registry.example.com",
        ),
        (
            caused(ConnectionFailed("GET", URL, "x"), caused(OSError(), ConnectionRefusedError())),
            "Nothing listens at registry.example.com",
        ),
        (CertificateRejected("GET", URL, "alert"), "The server wants a client certificate"),
        (CertificateRejected("GET", URL, "expired", hints=("Check the clock.", "b")), "Check the clock."),
        (answered(407, hints=("Write HTTPS_PROXY.",)), "Write HTTPS_PROXY."),
        (answered(429), "Try again later"),
        (answered(502), "no credential helps"),
        (answered(418), "Check the host and the port of registry.example.com"),
        (ChallengeError("unsupported challenge Negotiate"), "Ask who runs the registry"),
        (ChallengeError("refused", hints=("Tell it its address.",)), "Tell it its address."),
        (InvalidManifest("no manifest"), "a web server, a proxy or a sign-in page answers there"),
    ],
    ids=lambda given: given if isinstance(given, str) else type(given).__name__,
)
def test_each_failure_has_a_sentence_on_what_to_do(error, words):
    found = meaning(trouble(error))
    assert words in found.remedy
    assert found.text
    assert "very-secret-word" not in found.text + found.remedy


def test_a_chain_of_causes_may_go_in_circles():
    first, second = ConnectionFailed("GET", URL, "x"), OSError()
    caused(first, caused(second, first))
    assert "broke" in meaning(trouble(first)).remedy


def test_a_transport_error_at_the_token_service_names_it():
    url = "https://auth.example.com/token"
    found = meaning(trouble(TimedOut("GET", url, "i/o timeout"), at_service=True))
    assert found.text == f"the token service {url}: i/o timeout"
    assert found.remedy.startswith("auth.example.com did not answer in time")


def test_a_token_service_may_refuse_with_400():
    found = meaning(trouble(answered(400), at_service=True))
    assert "refused user 'ci', whose password is from $WHERE (400)" in found.text


def test_a_token_service_that_there_is_not_is_a_wrong_realm():
    found = meaning(trouble(answered(404, NotFound), at_service=True))
    assert found.text == "the token service https://auth.example.com/token does not exist (404)"


def test_a_registry_that_there_is_not_is_a_wrong_address():
    found = meaning(trouble(answered(404, NotFound), verb="log in to"))
    assert found.text == "there is no registry at this address (404)"


def test_a_login_that_may_too_little_names_its_place():
    found = meaning(trouble(answered(403), verb="push to"))
    assert found.text == "the login is accepted, and may not push to team/app (403)"
    assert found.remedy.endswith("this one is from $WHERE.")


def test_a_page_in_an_error_has_its_status():
    found = meaning(trouble(answered(503), page=URL))
    assert found.text == f"the registry answered with a web page in place of JSON (503): {URL}"


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "1970-01-01 00:00:00 UTC"), (1e30, f"{1e30:.0f} s after 1970")]
)
def test_a_time_is_shown_also_when_no_calendar_has_it(seconds, text):
    assert moment(seconds) == text


def test_a_registry_of_a_cloud_is_advised_to_use_its_keychain_and_no_login_that_ends():
    ecr = Repository("123456789012.dkr.ecr.eu-west-1.amazonaws.com", "team/app")
    unauthorized = answered(401)
    case = Trouble(
        unauthorized, ecr, Decision(ecr, Credential()), "pull from", False, "", None, Surroundings(), 0.0
    )
    remedy = meaning(case).remedy
    assert "IMGPKG_ACTIVE_KEYCHAINS=ecr" in remedy
    assert "auth login" not in remedy

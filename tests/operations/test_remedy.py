"""What a failure of a check means, and the one sentence on what to do."""

from __future__ import annotations

import pytest

from imgpkg.auth.keychain import Credential, Decision, Finding, Outcome
from imgpkg.errors import (
    CertificateRejected,
    ChallengeError,
    ConnectionFailed,
    ConnectionTimedOut,
    Diagnostic,
    InvalidManifest,
    NotFound,
    NotTLS,
    Refusal,
    RefusalKind,
    RegistryError,
)
from imgpkg.oci.reference import Repository
from imgpkg.operations.remedy import Meaning, Trouble, meaning
from imgpkg.registry.probe import Surroundings

APP = Repository("registry.example.com", "team/app")
URL = "https://registry.example.com/v2/"
LOGIN = Credential("ci", "very-secret-word")
FOUND = Finding("environment", Outcome.MATCHED, "why", "$WHERE", LOGIN)


def trouble(error, *, at_service=False, page="", verb="pull from", clock_skew=None):
    decision = Decision(APP, LOGIN, (FOUND,))
    known = Surroundings(URL, clock_skew=clock_skew, service="https://auth.example.com/token")
    return Trouble(error, APP, decision, verb, at_service, page, known)


def answered(status, kind=RegistryError, **options):
    return kind(f"GET {URL}: no", method="GET", url=URL, status=status, **options)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (NotTLS("GET", URL, "http: server gave HTTP response", hints=("Allow http.",)), "Allow http."),
        (ConnectionTimedOut("GET", URL, "i/o timeout"), "registry.example.com did not answer in time"),
        (ConnectionFailed("GET", URL, "connection reset"), "broke: check the network and the proxy"),
        (
            ConnectionFailed("GET", URL, "407", hints=("The proxy wants a login.",)),
            "The proxy wants a login.",
        ),
        (CertificateRejected("GET", URL, "alert"), "The server requires a client certificate"),
        (CertificateRejected("GET", URL, "expired", hints=("Check the clock.", "b")), "Check the clock."),
        (answered(407, hints=("Write HTTPS_PROXY.",)), "Write HTTPS_PROXY."),
        (answered(429), "Try again later"),
        (answered(502), "no credential helps"),
        (answered(418), "Check the host and the port of registry.example.com"),
        (ChallengeError("unsupported challenge Negotiate"), "Report it to the administrator of the registry"),
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


def test_a_transport_error_at_the_token_service_names_it():
    url = "https://auth.example.com/token"
    found = meaning(trouble(ConnectionTimedOut("GET", url, "i/o timeout"), at_service=True))
    assert found.text == f"the token service {url}: i/o timeout"
    assert found.remedy.startswith("auth.example.com did not answer in time")


def test_a_refused_credential_has_the_sentence_and_the_remedy_of_its_error():
    error = answered(400, diagnostics=(Diagnostic("DENIED", "no"),))
    error.refusal = Refusal(RefusalKind.REFUSED, "the login was refused", "Check it.")
    assert meaning(trouble(error, at_service=True)) == Meaning(
        "the login was refused (400: DENIED: no)", "Check it."
    )


def test_a_wrong_clock_comes_before_the_remedy_of_a_refusal():
    error = answered(401)
    error.refusal = Refusal(RefusalKind.REFUSED, "the token was refused", "Check it.")
    found = meaning(trouble(error, clock_skew=3600.0))
    assert found.remedy == "Set the clock of this machine first: with it, tokens are not valid. Check it."


def test_a_403_of_a_storage_that_received_no_credential_has_the_hint_of_its_error():
    found = meaning(trouble(answered(403, hints=("No credential was sent to it.",))))
    assert found == Meaning("the registry answered 403", "No credential was sent to it.")


def test_a_missing_token_service_is_a_wrong_realm():
    found = meaning(trouble(answered(404, NotFound), at_service=True))
    assert found.text == "the token service https://auth.example.com/token does not exist (404)"


def test_a_missing_registry_is_a_wrong_address():
    found = meaning(trouble(answered(404, NotFound), verb="log in to"))
    assert found.text == "there is no registry at this address (404)"


def test_a_page_in_an_error_has_its_status():
    found = meaning(trouble(answered(503), page=URL))
    assert found.text == f"the registry answered with a web page in place of JSON (503): {URL}"


def test_an_image_of_a_cloud_registry_that_is_hidden_is_advised_to_use_its_keychain():
    ecr = Repository("123456789012.dkr.ecr.eu-west-1.amazonaws.com", "team/app")
    case = Trouble(
        answered(404, NotFound), ecr, Decision(ecr, Credential()), "pull from", False, "", Surroundings()
    )
    remedy = meaning(case).remedy
    assert "IMGPKG_ACTIVE_KEYCHAINS=ecr" in remedy
    assert "auth login" not in remedy

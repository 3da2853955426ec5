"""The URLs that a registry may name, and those it may not."""

from __future__ import annotations

import pytest

from imgpkg.errors import ChallengeError
from imgpkg.registry.auth.challenge import parse_scopes
from imgpkg.registry.endpoint import (
    check_realm,
    check_url,
    resolve_location,
    token_url,
    with_query,
)
from imgpkg.transport.message import Origin

HTTPS = Origin("https", "registry.example", 443)
LOCAL = Origin("http", "127.0.0.1", 5000)


@pytest.mark.parametrize(
    ("realm", "expected"),
    [
        ("https://auth.example/token", "https://auth.example/token"),
        ("https://auth.example:8443/token?x=1#part", "https://auth.example:8443/token?x=1"),
        ("/token", "https://registry.example/token"),
        ("service/token", "https://registry.example/service/token"),
        ("//auth.example/token", "https://auth.example/token"),
        ("HTTPS://AUTH.example/token", "https://AUTH.example/token"),
        ("https://10.0.0.7/token", "https://10.0.0.7/token"),
    ],
)
def test_a_realm_is_taken_as_an_absolute_url(realm, expected):
    assert check_realm(realm, HTTPS) == expected


@pytest.mark.parametrize(
    ("realm", "reason"),
    [
        ("http://auth.example/token", "must be too"),
        ("http://registry.example/token", "must be too"),
        ("ftp://auth.example/token", "unsupported protocol scheme 'ftp'"),
        ("file:///etc/passwd", "names no host"),
        ("https:///token", "names no host"),
        ("//[/token", "names no host"),
        ("https://auth.example:99999/", "names no host"),
        ("https://user@auth.example/token", "user information"),
        ("https://registry.example@evil.example/token", "user information"),
        ("https://@evil.example/token", "user information"),
        ("https://auth.example\\@evil.example/", "characters that no URL may have"),
        ("https://auth.example/ token", "characters that no URL may have"),
        ("https://auth.example/\ttoken", "characters that no URL may have"),
        ("https://exämple.example/", "characters that no URL may have"),
        ("https://169.254.169.254/latest/meta-data", "no business"),
        ("https://metadata.google.internal/", "no business"),
        ("https://0.0.0.0/", "no business"),
        ("https://[fe80::1]/", "no business"),
        ("https://localhost/token", "on this machine"),
        ("https://127.0.0.1/token", "on this machine"),
        ("https://2130706433/token", "on this machine"),
        ("https://[::ffff:127.0.0.1]/token", "on this machine"),
    ],
)
def test_a_realm_that_must_not_be_asked_is_refused_with_its_reason(realm, reason):
    with pytest.raises(ChallengeError, match=reason):
        check_realm(realm, HTTPS)


def test_a_registry_on_this_machine_may_name_its_neighbours():
    assert check_realm("http://localhost:5001/token", LOCAL) == "http://localhost:5001/token"


def test_not_even_a_local_registry_may_name_a_metadata_service():
    with pytest.raises(ChallengeError, match="no business"):
        check_realm("http://169.254.169.254/token", LOCAL)


def test_a_host_may_always_name_itself():
    own = Origin("http", "169.254.1.1", 5000)
    assert check_realm("http://169.254.1.1:5001/token", own) == "http://169.254.1.1:5001/token"


def test_a_refusal_shows_no_query_value():
    with pytest.raises(ChallengeError) as caught:
        check_url("https://u:secret@evil.example/?key=secret", HTTPS, "location")
    assert "secret" not in str(caught.value)
    assert str(caught.value).startswith("refusing the location 'https://REDACTED@evil.example/?key=REDACTED'")


@pytest.mark.parametrize(
    ("location", "expected"),
    [
        ("/v2/x", "https://registry.example/v2/x"),
        ("?state=1", "https://registry.example/v2/up?state=1"),
        ("https://cdn.example/x#part", "https://cdn.example/x"),
        ("http://registry.example/v2/x?a=b", "https://registry.example/v2/x?a=b"),
        ("http://registry.example:443/v2/x", "https://registry.example/v2/x"),
        ("http://registry.example:8080/v2/x", "http://registry.example:8080/v2/x"),
        ("http://cdn.example/x", "http://cdn.example/x"),
    ],
)
def test_a_location_is_resolved_and_kept_on_https_where_it_is_the_registry_s_own(location, expected):
    assert resolve_location(location, "https://registry.example/v2/up", HTTPS) == expected


def test_a_location_of_a_registry_on_http_stays_there():
    url = "http://127.0.0.1:5000/v2/x"
    assert resolve_location(url, url, LOCAL) == url


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("/up", "/up?digest=sha256%3Aab"),
        ("/up?", "/up?digest=sha256%3Aab"),
        ("/up?_state=a%2Bb", "/up?_state=a%2Bb&digest=sha256%3Aab"),
        ("/up?_state=a&", "/up?_state=a&digest=sha256%3Aab"),
    ],
)
def test_a_query_is_added_to_without_a_change_to_what_is_there(url, expected):
    assert with_query(url, digest="sha256:ab") == expected


def test_a_token_url_has_sorted_keys_and_a_parameter_per_scope():
    scopes = parse_scopes("repository:b:pull repository:a:pull,push")
    url = token_url("https://a/t?x=1&scope=old&service=old", scopes, "the service", "me")
    assert url == (
        "https://a/t?account=me&scope=repository%3Aa%3Apull%2Cpush&scope=repository%3Ab%3Apull"
        "&service=the+service&x=1"
    )


def test_a_token_url_says_only_what_it_knows():
    assert token_url("https://a/t?account=theirs", (), "", "") == "https://a/t?account=theirs"


def test_service_and_account_cannot_add_parameters():
    url = token_url("https://a/t", (), "s&scope=repository:x:push", "me&x=1")
    assert url == "https://a/t?account=me%26x%3D1&service=s%26scope%3Drepository%3Ax%3Apush"

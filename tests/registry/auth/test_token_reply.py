"""What token services answer."""

from __future__ import annotations

import json

import pytest

from imgpkg.errors import ChallengeError
from imgpkg.registry.auth.token import MAX_REPLY, read_token_reply

NOW = 1_700_000_000.0  # 2023-11-14T22:13:20Z


def read(**document):
    return read_token_reply(json.dumps({"token": "t", **document}).encode(), (), NOW)


def life(**document):
    return read(**document).token.ends_at - NOW


def test_access_token_wins_over_token():
    assert read(access_token="a").token.value == "a"


def test_a_token_without_an_access_token_is_taken():
    assert read(access_token="").token.value == "t"


@pytest.mark.parametrize(
    ("expires_in", "expected"),
    [
        (300, 300),
        (300.5, 300.5),
        ("300", 300),
        ("300.0", 300),
        (None, 60),
        (5, 60),
        (0, 60),
        (-1, 60),
        (True, 60),
        ("soon", 60),
        ([1], 60),
        (float("nan"), 60),
        (float("inf"), 10 * 365 * 86400),
        (10**400, 60),
    ],
)
def test_a_token_lives_as_long_as_the_service_says_and_at_least_a_minute(expires_in, expected):
    assert life(expires_in=expires_in) == expected


def test_a_token_lives_a_minute_when_nothing_is_said():
    assert life() == 60


@pytest.mark.parametrize(
    ("issued_at", "expected"),
    [
        ("2023-11-14T22:12:20Z", 240),
        ("2023-11-14T22:12:20.123456789Z", 240),
        ("2023-11-14t23:12:20+01:00", 240),
        ("2023-11-14T22:17:20Z", 540),
        ("2023-11-14T22:19:20Z", 300),
        ("2023-11-14T21:13:20Z", 300),
        ("2023-13-45T22:12:20Z", 300),
        ("yesterday", 300),
        (12345, 300),
    ],
)
def test_the_time_of_issue_counts_when_it_is_within_five_minutes(issued_at, expected):
    assert life(expires_in=300, issued_at=issued_at) == expected


def test_a_token_that_has_ended_on_arrival_lives_a_minute():
    assert life(expires_in=60, issued_at="2023-11-14T22:10:20Z") == 60


def test_a_token_is_renewed_ten_seconds_before_it_ends():
    token = read(expires_in=100).token
    assert token.is_live(NOW + 89)
    assert not token.is_live(NOW + 90)


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"{}", "no token in bearer response"),
        (b'{"token":""}', "no token in bearer response"),
        (b'{"token":7}', "no token in bearer response"),
        (b'{"token":"a\\r\\nX: y"}', "characters that no token may have"),
        (b"secret-but-no-json", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b'["secret"]', "not a JSON object"),
        (b" " * (MAX_REPLY + 1), "longer than 128 KiB"),
    ],
)
def test_a_reply_without_a_usable_token_is_an_error_that_shows_nothing_of_it(body, text):
    with pytest.raises(ChallengeError, match=text) as caught:
        read_token_reply(body, (), NOW)
    assert "secret" not in repr(caught.value)
    assert caught.value.__cause__ is None


def test_a_refresh_token_is_taken_only_as_text():
    assert read(refresh_token="R").refresh_token == "R"
    assert read(refresh_token=5).refresh_token == ""


def test_no_token_shows_in_a_repr():
    assert "SECRET" not in repr(read(access_token="SECRET", refresh_token="SECRET"))

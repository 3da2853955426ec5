"""The cache of tokens."""

from __future__ import annotations

from imgpkg.auth.keychain import ANONYMOUS, Credential
from imgpkg.registry.auth.cache import Holder, Token, Tokens
from imgpkg.registry.auth.challenge import parse_scopes

ONE = Holder.of("r.example", Credential("u", "p"))
PULL = parse_scopes("repository:a:pull")
PUSH = parse_scopes("repository:a:pull,push")


def test_finds_a_token_that_covers_what_is_wanted():
    tokens, token = Tokens(), Token("T", PUSH, 100.0)
    tokens.keep(ONE, token)
    assert tokens.find(ONE, PULL, 0.0) is token
    assert tokens.find(ONE, parse_scopes("repository:b:pull"), 0.0) is None


def test_finds_nothing_for_another_credential_or_registry():
    tokens = Tokens()
    tokens.keep(ONE, Token("T", PUSH, 100.0))
    assert tokens.find(Holder.of("r.example", ANONYMOUS), PULL, 0.0) is None
    assert tokens.find(Holder.of("s.example", ONE.credential), PULL, 0.0) is None


def test_finds_no_token_that_has_ended():
    tokens = Tokens()
    tokens.keep(ONE, Token("T", PUSH, 100.0))
    assert tokens.find(ONE, PULL, 90.0) is None
    assert tokens.secrets(ONE) == ()


def test_forgets_the_token_that_was_refused_and_no_other():
    tokens, old, new = Tokens(), Token("A", PUSH, 100.0), Token("B", PUSH, 100.0)
    tokens.keep(ONE, old)
    tokens.keep(ONE, new)
    tokens.drop(ONE, old)
    tokens.drop(ONE, old)
    assert tokens.find(ONE, PULL, 0.0) is new


def test_a_credential_given_again_is_the_same_holder():
    assert Holder.of("r", Credential("u", "p", expires_at=5.0)) == Holder.of("r", Credential("u", "p"))


def test_a_rotated_refresh_token_takes_the_place_of_the_old_one():
    tokens, holder = Tokens(), Holder.of("r", Credential(identity_token="first"))
    assert tokens.refresh_token(holder) == "first"
    tokens.replace_refresh_token(holder, "second")
    assert tokens.refresh_token(holder) == "second"
    assert tokens.secrets(holder) == ("second",)
    tokens.replace_refresh_token(holder, "")
    assert tokens.refresh_token(holder) == ""


def test_refresh_tokens_are_used_by_one_at_a_time_and_logins_by_scope():
    tokens, refreshing = Tokens(), Holder.of("r", Credential(identity_token="i"))
    assert tokens.turn(refreshing, PULL) is tokens.turn(refreshing, PUSH)
    assert tokens.turn(ONE, PULL) is tokens.turn(ONE, PULL)
    assert tokens.turn(ONE, PULL) is not tokens.turn(ONE, PUSH)


def test_a_holder_shows_no_secret():
    assert repr(ONE) == "Holder(r.example)"

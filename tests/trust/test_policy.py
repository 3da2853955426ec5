"""Policies: which rule counts, which patterns match, and requirements that cannot be meant."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.servers import signatures as made

from imgpkg.errors import InvalidSettings
from imgpkg.oci.reference import Repository
from imgpkg.trust.identity import SignerIdentity
from imgpkg.trust.key import PublicKey
from imgpkg.trust.policy import Match, Policy, PolicyRule, Requirement, check_pattern, matches

KEY = PublicKey.parse(made.public_pem(made.MAKERS["p256"]()), "cosign.pub")
SIGNER = SignerIdentity("me@example.com", "https://login.example.com", "root.json")


@pytest.mark.parametrize(
    ("pattern", "repository", "is_match"),
    [
        ("**", "registry.example.com/team/app", True),
        ("registry.example.com/**", "registry.example.com/team/app", True),
        ("registry.example.com/**", "registry.example.com.attacker.example/team/app", False),
        ("registry.example.com/team/*", "registry.example.com/team/app", True),
        ("registry.example.com/team/*", "registry.example.com/team/app/deep", False),
        ("registry.example.com/team/**", "registry.example.com/team", True),
        ("registry.example.com/team/app-*", "registry.example.com/team/app-1", True),
        ("registry.example.com/**/app", "registry.example.com/a/b/app", True),
        ("registry.example.com/**/app", "registry.example.com/app", True),
        ("*.example.com/team/app", "registry.example.com/team/app", True),
        ("*.example.com/team/app", "example.com/team/app", False),
        ("*/team/app", "registry.example.com:5000/team/app", True),
        ("docker.io/library/nginx", "index.docker.io/library/nginx", True),
        ("docker.io/**", "index.docker.io/library/nginx", True),
        ("registry.example.com/Team/*", "registry.example.com/team/app", False),
    ],
)
def test_patterns_of_repositories(pattern, repository, is_match):
    check_pattern(pattern)
    assert matches(pattern, repository) is is_match
    assert PolicyRule((pattern,)).applies_to(Repository.parse(repository)) is is_match


def expression_of(pattern):
    """Return another reading of a pattern: a regular expression over `/part/part…`."""
    parts = (re.escape(part).replace(r"\*", "[^/]*") for part in pattern.split("/"))
    # `**` is escaped and replaced as two wildcards.
    return re.compile("".join("(/[^/]*)*" if part == "[^/]*[^/]*" else f"/{part}" for part in parts))


PART = st.text("ab*", min_size=1, max_size=4).filter(lambda part: "**" not in part) | st.just("**")
PATTERN = st.lists(PART, min_size=1, max_size=5).map("/".join)
REPOSITORY = st.lists(st.text("ab", min_size=1, max_size=4), min_size=1, max_size=5).map("/".join)


@given(PATTERN, REPOSITORY)
def test_a_pattern_matches_what_its_expression_matches(pattern, repository):
    assert matches(pattern, repository) == bool(expression_of(pattern).fullmatch(f"/{repository}"))


@given(REPOSITORY)
def test_a_name_matches_itself(repository):
    assert matches(repository, repository)


def test_matching_takes_no_more_than_the_product_of_both_lengths():
    text = "a" * 2000
    assert not matches("x/" + "*a" * 1000 + "b", f"x/{text}")
    assert not matches("**/a/" * 500 + "b", "/".join(text))


@pytest.mark.parametrize(
    ("pattern", "why"),
    [
        ("", "empty part"),
        ("registry.example.com/", "empty part"),
        ("registry.example.com//app", "empty part"),
        ("registry.example.com/team**", "beside other characters"),
        ("registry.example.com/***", "beside other characters"),
        ("registry.example.com/app@sha256:00", "names a digest"),
        ("registry.example.com/a b", "has blanks"),
        ("registry.example.com", "has no path"),
        ("*", "has no path"),
    ],
)
def test_patterns_that_cannot_be_meant(pattern, why):
    with pytest.raises(InvalidSettings, match=re.escape(why)):
        PolicyRule((pattern,))
    with pytest.raises(InvalidSettings, match="pattern"):
        Requirement((KEY,), reference=pattern or "/")


def test_the_first_rule_that_applies_counts():
    strict, free = PolicyRule(("r.example/team/**",), (Requirement((KEY,)),)), PolicyRule(("r.example/**",))
    policy = Policy((strict, free))
    assert policy.rule(Repository.parse("r.example/team/app")) is strict
    assert policy.rule(Repository.parse("r.example/other")) is free
    assert policy.rule(Repository.parse("other.example/team/app")) is None


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({}, "no key and no identity is given for a signature"),
        ({"keys": (KEY, KEY)}, "given twice"),
        ({"identities": (SIGNER, SIGNER)}, "given twice"),
        ({"keys": (KEY,), "predicate_type": "a:b", "reference": "r/a"}, "are for signatures"),
        ({"keys": (KEY,), "predicate_type": "a:b", "annotations": {"k": "v"}}, "are for signatures"),
        ({"keys": (KEY,), "predicate_type": made.SIGN}, "is the type of signatures"),
    ],
)
def test_requirements_that_cannot_be_meant(options, why):
    with pytest.raises(InvalidSettings, match=why):
        Requirement(**options)


def test_one_key_under_two_names_is_one_key():
    again = PublicKey(KEY.der, "other name")
    with pytest.raises(InvalidSettings, match="given twice"):
        Requirement((KEY, again), match=Match.ALL)


def test_without_keys_and_identities_there_is_no_policy():
    with pytest.raises(InvalidSettings):
        Policy.signed_by()

"""References: a value in hand prints as a name that reads as the same value."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgpkg.errors import InvalidReference, printable
from imgpkg.oci.descriptor import Digest
from imgpkg.oci.reference import Reference, Repository, parse_any, without_login

PATH = "abcdefghijklmnopqrstuvwxyz0123456789_-./"
TAG = "abcdefghijklmnopqrstuvwxyz0123456789_-.ABCDEFGHIJKLMNOPQRSTUVWXYZ"

registries = st.sampled_from(["", "docker.io/", "gcr.io/", "localhost:5000/", "[::1]:5000/", "A.b:1/"])
paths = st.text(PATH, min_size=2, max_size=40) | st.integers(240, 256).map(lambda n: "p" * n)
tags = st.just("") | st.text(TAG, max_size=130).map(lambda tag: f":{tag}")
digests = st.just("") | st.binary(max_size=8).map(lambda data: f"@{Digest.of(data)}")
references = st.tuples(registries, paths, tags, digests).map("".join)
anything = st.text("ab:/@.%[]-_A é\n" + "sha256", max_size=30) | st.text(max_size=20)


def parsed(text):
    try:
        return Reference.parse(text)
    except InvalidReference:
        return None


@given(references | anything)
def test_the_canonical_name_is_a_fixed_point(text):
    """The rule: "Canonical name: registry/repository:tag or registry/repository@digest"."""
    reference = parsed(text)
    if reference is None:
        return
    assert Reference.parse(str(reference)) == reference
    assert str(Reference.parse(str(reference))) == str(reference)
    assert (reference.tag is None) is (reference.digest is not None)


@given(references | anything)
def test_any_text_is_a_reference_or_one_error(text):
    """The rule: "ParseReference failing: could not parse reference: <s>"."""
    try:
        outcome = parse_any(text)
    except InvalidReference as error:
        outcome = str(error)
    assert outcome == (parsed(text) or f"could not parse reference: {printable(without_login(text))}")


@given(references)
def test_a_tag_beside_a_digest_changes_nothing(text):
    """The rule: "the left side is first tried as a tag reference … its TAG IS DROPPED"."""
    reference = parsed(text)
    if reference is None or reference.tag is None:
        return
    digest = Digest.of(b"")
    assert Reference.parse(f"{reference}@{digest}") == reference.repository.digest(digest)


@given(st.sampled_from(["", "gcr.io/", "localhost:5000/"]), st.text(PATH, min_size=2, max_size=247))
def test_a_repository_has_its_defaults_filled_in(registry, path):
    """The rule: "If the registry is index.docker.io and the repository has no /, library/ is put"."""
    try:
        repository = Repository.parse(registry + path)
    except InvalidReference:
        # `a./b`: the first part of the path has the look of a registry, and what is left is too short.
        assert not registry
        return
    assert Repository.parse(str(repository)) == repository
    assert repository.registry
    assert repository.registry != "docker.io"
    assert "/" in repository.path or repository.registry != "index.docker.io"


WORDS = st.text("abcXYZ019!#$%&*+,;=._-", min_size=1, max_size=12)


@given(st.sampled_from(["", "https://", "http://", "oci://", "//"]), WORDS, WORDS, references)
def test_a_login_before_a_reference_is_refused_and_not_shown(scheme, user, secret, text):
    """RFC 3986, 3.2.1: user information stands before the host; a reference has none."""
    password = f"S3cret{secret}"
    for written in (f"{scheme}{user}:{password}@{text}", f"{scheme}{password}@a.example/{text}"):
        for parse in (parse_any, Reference.parse, Repository.parse):
            said = refusal(parse, written)
            assert password not in said
            assert "no scheme and no login" in said


def refusal(parse, text):
    with pytest.raises(InvalidReference) as caught:
        parse(text)
    return "\n".join((str(caught.value), *caught.value.hints))

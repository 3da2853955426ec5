"""How places differ a little: by a letter, a port, a path; and the distance between two names."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgpkg.auth.diagnosis.lookalike import distance, likeness
from imgpkg.auth.pattern import Address

LETTERS = st.text("ab.", max_size=6)


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("", "", 0),
        ("abc", "abc", 0),
        ("abc", "abd", 1),
        ("abc", "ab", 1),
        ("abc", "xabc", 1),
        ("abc", "acb", 1),
        ("abc", "cab", 2),
        ("", "abc", 3),
    ],
)
def test_the_distance_is_the_number_of_edits(one, other, expected):
    assert distance(one, other) == distance(other, one) == expected


@given(one=LETTERS, other=LETTERS)
def test_the_distance_is_zero_for_equal_names_only(one, other):
    assert (distance(one, other) == 0) is (one == other)
    assert distance(one, other) <= max(len(one), len(other))


@pytest.mark.parametrize(
    ("place", "target", "corrected"),
    [
        (Address("r.example"), Address("r.example", "", ("a",)), None),
        (Address("docker.io", "", ("a",)), Address("index.docker.io", "", ("a", "b")), None),
        (Address("other.test"), Address("r.example"), None),
        (Address("example"), Address("r.example"), None),
        (Address("*"), Address("r.example"), "r.example"),
        (Address("[z"), Address("r.example"), None),
        (Address("r.exampl"), Address("r.example", "", ("a",)), "r.example"),
        (Address("r.exampl", "", ("a",)), Address("r.example", "", ("a", "b")), "r.example/a"),
        (Address("r.exampl", "", ("z",)), Address("r.example", "", ("a", "b")), "r.example"),
        (Address("r.example", "80", ("a",)), Address("r.example", "81", ("a", "b")), "r.example:81/a"),
        (Address("r.example", "80", ("z",)), Address("r.example", "", ("a", "b")), "r.example"),
        (Address("docker.io", "", ("z",)), Address("docker.io", "", ("a", "b")), "index.docker.io/a"),
        (Address("x" * 300), Address("x" * 299), None),
    ],
)
def test_the_corrected_place_is_for_what_was_asked(place, target, corrected):
    like = likeness(place, target)
    assert (like.corrected if like else None) == corrected

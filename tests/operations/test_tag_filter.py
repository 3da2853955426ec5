"""Which tags of a list are wanted."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies

from imgpkg.errors import UsageError
from imgpkg.oci.tag_version import TagVersion
from imgpkg.operations.tag_filter import TagFilter

NAMES = ["latest", "v1.9", "v1.10", "v1.10.0", "v2.0.0-rc.1", "1.9-alpine", "main", "V1.9"]


def wanted(names, **options):
    return TagFilter.make(**options).apply(names)


@pytest.mark.parametrize(
    ("match", "found"),
    [
        ("v*", ["v1.9", "v1.10", "v1.10.0", "v2.0.0-rc.1"]),
        (["v1.?", "main"], ["v1.9", "main"]),
        ("[!vV]*", ["latest", "1.9-alpine", "main"]),
        ("v1", []),
        ([], NAMES),
    ],
)
def test_a_pattern_has_the_grammar_of_fnmatch_and_the_order_stays(match, found):
    assert wanted(NAMES, match=match) == found
    assert wanted(NAMES, match=iter([match] if isinstance(match, str) else match)) == found


def test_a_predicate_gets_the_names_that_match():
    asked = []

    def has_two_dots(name):
        asked.append(name)
        return name.count(".") == 2

    assert wanted(NAMES, match="v1*", where=has_two_dots) == ["v1.10.0"]
    assert asked == ["v1.9", "v1.10", "v1.10.0"]


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ({"newest": 1}, ["v1.10.0"]),
        ({"newest": 2}, ["v1.10.0", "v1.9"]),
        ({"newest": 9}, ["v1.10.0", "v1.9"]),
        ({"newest": 9, "prereleases": True}, ["v2.0.0-rc.1", "v1.10.0", "v1.9", "1.9-alpine"]),
        ({"newest": 1, "prereleases": True, "match": "*-alpine"}, ["1.9-alpine"]),
        ({"newest": 1, "match": "main"}, []),
    ],
)
def test_the_newest_are_versions_each_by_its_most_exact_tag(options, found):
    assert wanted(NAMES, **options) == found


def test_builds_of_one_version_are_each_wanted():
    assert wanted(["1.0_b1", "1.0_b2", "1.0", "1"], newest=9) == ["1.0_b2", "1.0_b1", "1.0"]


@pytest.mark.parametrize(
    ("names", "found"),
    [
        # Hashes of commits, of which one has no letter.
        (["1.2.3", "1a2b3c4", "7654321"], ["1.2.3"]),
        (["1.2.3", "deadbeef", "98765432"], ["1.2.3"]),
        # Without others of its length it is a number: a build, a day.
        (["1.2.3", "7654321"], ["7654321", "1.2.3"]),
        (["1.2.3", "deadbeefd", "7654321"], ["7654321", "1.2.3"]),
        (["1.2.3", "123456", "abcdef"], ["123456", "1.2.3"]),
        # Days are none, whatever else there is.
        (["20240501", "20240430", "deadbeef"], ["20240501", "20240430"]),
        (["202405011230", "deadbeef1234"], ["202405011230"]),
        (["20241301", "deadbeef"], []),
    ],
)
def test_a_hash_is_no_version(names, found):
    assert wanted(names, newest=9) == found


@given(strategies.lists(strategies.text("v1290.-a", max_size=6)))
def test_the_newest_come_down_and_none_of_them_is_left_out(names):
    found = [TagVersion(name) for name in wanted(names, newest=len(names) + 1, prereleases=True)]
    assert found == sorted(found, reverse=True)
    versions = filter(None, map(TagVersion.parse, names))
    assert {each.precedence for each in found} == {each.precedence for each in versions}
    assert wanted(names, newest=2, prereleases=True) == [each.tag for each in found[:2]]


@pytest.mark.parametrize(
    ("options", "said"),
    [({"newest": -1}, "newest to be >= 0, but was -1"), ({"prereleases": True}, "with newest only")],
)
def test_options_that_mean_nothing_are_errors(options, said):
    with pytest.raises(UsageError, match=said):
        TagFilter.make(**options)

"""Tags as versions: which are, and their order."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, strategies

from imgpkg.errors import InvalidReference
from imgpkg.oci.tag_version import TagVersion

NUMBERS = strategies.lists(strategies.integers(0, 20), min_size=1, max_size=4)
LETTERS = strategies.sampled_from(["", "v", "V"])


def part(mark, characters, shortest):
    """Return a part of a version behind `mark`, or nothing."""
    return strategies.one_of(
        strategies.just(""), strategies.text(characters, min_size=shortest, max_size=6).map(mark.__add__)
    )


VERSIONS = strategies.builds(
    lambda letter, numbers, prerelease, build: TagVersion(
        f"{letter}{'.'.join(map(str, numbers))}{prerelease}{build}"
    ),
    LETTERS,
    strategies.lists(strategies.integers(0, 3), min_size=1, max_size=3),
    part("-", "0129ab.-", 1),
    part("_", "01a", 0),
)

ASCENDING = [
    "0.9",
    "1.2.3-0",
    "1.2.3-1",
    "1.2.3-2",
    "1.2.3-10",
    "1.2.3-alpha",
    "1.2.3-alpha.1",
    "1.2.3-alpha.beta",
    "1.2.3-beta.2",
    "1.2.3-beta.11",
    "1.2.3-rc.1",
    "1.2.3-rc.1.1",
    "1.2.3-rc.2",
    "v1.2.3-rc10",
    "1.2.3-rc9",
    "1.2.3",
    "1.2.3_build1",
    "1.2.3_build2",
    "v1.2.3",
    "1.2.3.1",
    "1.9-alpine",
    "1.9",
    "1.9.0",
    "1.10-alpine",
    "1.10",
    "v2",
    "2.0",
    "2.0.0",
    "v2.0.0",
    "3",
    "2024.05",
    "2024.5.1",
    "2024.10",
    "20240501",
]


def version(text):
    return TagVersion(text)


def test_the_order_is_that_of_the_docstring():
    assert sorted(map(version, reversed(ASCENDING))) == [version(text) for text in ASCENDING]
    assert sorted(map(version, ASCENDING), key=lambda each: each.sort_key) == [*map(version, ASCENDING)]


@given(NUMBERS, strategies.booleans())
def test_numbers_are_compared_as_numbers(numbers, has_letter):
    text = ".".join(map(str, numbers))
    made = version(f"v{text}" if has_letter else text)
    assert made.precedence == version(f"{text}.0").precedence
    assert made < version(".".join(map(str, [*numbers[:-1], numbers[-1] + 1])))
    assert version(f"{text}-rc.1") < version(f"{text}-rc.1.1") < version(f"{text}-rc.2") < made
    assert version(f"{text}-2") < version(f"{text}-10") < version(f"{text}-alpha") < made


@given(strategies.lists(VERSIONS, min_size=3, max_size=3))
def test_the_order_is_total(three):
    for one, other in itertools.permutations(three, 2):
        assert (one == other) + (one < other) + (one > other) == 1
    low, middle, high = sorted(three)
    assert low <= middle <= high
    assert low <= high


@given(LETTERS, NUMBERS, part("-", "09AZaz.-", 1), part("_", "09AZaz._-", 0))
def test_a_tag_that_is_made_of_parts_has_them(letter, numbers, prerelease, build):
    made = version(f"{letter}{'.'.join(map(str, numbers))}{prerelease}{build}")
    assert made.numbers == tuple(numbers)
    assert (made.prerelease, made.build) == (prerelease[1:], build[1:])
    assert str(made) == made.tag


@pytest.mark.parametrize(
    ("tag", "numbers", "prerelease", "build"),
    [
        ("v1.2.3", (1, 2, 3), "", ""),
        ("1.2", (1, 2), "", ""),
        ("1.2.3-rc.1", (1, 2, 3), "rc.1", ""),
        ("2024.05", (2024, 5), "", ""),
        ("V7", (7,), "", ""),
        ("1.2.3-rc.1_b-5", (1, 2, 3), "rc.1", "b-5"),
        ("2024-01-01", (2024,), "01-01", ""),
    ],
)
def test_a_version_has_parts(tag, numbers, prerelease, build):
    made = version(tag)
    assert (made.numbers, made.prerelease, made.build) == (numbers, prerelease, build)


@pytest.mark.parametrize(
    "tag",
    ["", "v", "latest", "1.", "1..2", ".1", "v1.0+5", "1.x", "a1", "1-", "9" * 19, "1.0-ü", "1\n", "\u0661"],
)
def test_what_is_no_version_is_none(tag):
    assert TagVersion.parse(tag) is None
    with pytest.raises(InvalidReference, match="is no version"):
        TagVersion(tag)


@pytest.mark.parametrize("tag", ["1.0_build", f"1.0-{'9' * 90}", "2024-01-01", "1.0--", "1-.."])
def test_odd_versions_can_be_compared(tag):
    assert version(tag) < version("3000")


def test_other_values_are_not_compared():
    with pytest.raises(TypeError):
        _ = version("1") < "2"

"""Where a placement puts an image, by its name."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgpkg.bundle.placement import KeptNames, MapRule, PlacedName, Placement
from imgpkg.errors import InvalidReference, UsageError
from imgpkg.oci.reference import Repository

HOME = Repository.parse("inside.example/mirror")


def place(name, *rules, keep=KeptNames.NONE, read=None):
    names = [Repository.parse(text) for text in (name, read) if text]
    return Placement(tuple(map(MapRule.parse, rules)), keep).place(names, HOME)


RULES = [
    # A registry, with and without a path of the target.
    ("docker.io/team/app", ["docker.io=inside.example/hub"], "inside.example/hub/team/app"),
    ("docker.io/team/app", ["docker.io=inside.example"], "inside.example/team/app"),
    ("docker.io/team/app", ["index.docker.io=inside.example/hub"], "inside.example/hub/team/app"),
    ("localhost:5000/app", ["localhost:5000=inside.example/x"], "inside.example/x/app"),
    # A part of a path, and a whole repository.
    ("quay.io/team/app/web", ["quay.io/team=inside.example/q"], "inside.example/q/app/web"),
    ("quay.io/team/app", ["quay.io/team/app=inside.example/qq"], "inside.example/qq"),
    ("quay.io/team/app", ["quay.io/team/=inside.example/q/"], "inside.example/q/app"),
    # Only whole components.
    ("quay.io/teams/app", ["quay.io/team=inside.example/q"], "inside.example/mirror"),
    ("quay.io.evil.example/team/app", ["quay.io=inside.example/q"], "inside.example/mirror"),
    ("quay.io:443/team/app", ["quay.io=inside.example/q"], "inside.example/mirror"),
    # The longest one, in any order.
    (
        "quay.io/a/b/c",
        ["quay.io=i.example/1", "quay.io/a/b=i.example/2", "quay.io/a=i.example/3"],
        "i.example/2/c",
    ),
    (
        "quay.io/a/b/c",
        ["quay.io/a/b=i.example/2", "quay.io/a=i.example/3", "quay.io=i.example/1"],
        "i.example/2/c",
    ),
    # Official images of Docker Hub have two names.
    ("nginx", ["docker.io/library=inside.example/official"], "inside.example/official/nginx"),
    ("nginx", ["docker.io/library/nginx=inside.example/web"], "inside.example/web"),
    ("nginx", ["docker.io/nginx=inside.example/web"], "inside.example/web"),
    ("nginx", ["docker.io=inside.example/hub"], "inside.example/hub/library/nginx"),
    # Another registry as the target.
    ("quay.io/team/app", ["quay.io=other.example:5000/q"], "other.example:5000/q/team/app"),
]


@pytest.mark.parametrize(("name", "rules", "expected"), RULES)
def test_is_that_of_the_rule_with_the_longest_prefix(name, rules, expected):
    assert str(place(name, *rules).repository) == expected


KEPT = [
    ("docker.io/team/app", KeptNames.PATHS, "inside.example/mirror/team/app"),
    ("docker.io/team/app", KeptNames.HOSTS, "inside.example/mirror/docker.io/team/app"),
    ("nginx", KeptNames.PATHS, "inside.example/mirror/library/nginx"),
    ("localhost:5000/app", KeptNames.HOSTS, "inside.example/mirror/localhost-5000/app"),
    ("REGISTRY.example/app", KeptNames.HOSTS, "inside.example/mirror/registry.example/app"),
    ("[::1]:5000/app", KeptNames.HOSTS, "inside.example/mirror/1-5000/app"),
    ("docker.io/team/app", KeptNames.NONE, "inside.example/mirror"),
]


@pytest.mark.parametrize(("name", "keep", "expected"), KEPT)
def test_without_a_rule_is_below_the_destination(name, keep, expected):
    assert str(place(name, keep=keep).repository) == expected


def test_says_whether_the_name_is_a_part_of_it():
    assert place("quay.io/a/b", "quay.io/a=i.example/x") == PlacedName(
        Repository.parse("i.example/x/b"), True
    )
    assert place("quay.io/a/b", "quay.io/a/b=i.example/xx") == PlacedName(Repository.parse("i.example/xx"))


def test_is_by_the_place_that_an_image_is_read_from_if_no_rule_has_its_name():
    rules = ("staging.example=inside.example/s", "quay.io=inside.example/q")
    assert str(place("quay.io/a/b", *rules, read="staging.example/xx").repository) == "inside.example/q/a/b"
    assert str(place("gcr.io/a/b", *rules, read="staging.example/xx").repository) == "inside.example/s/xx"


@pytest.mark.parametrize(
    "text",
    [
        "docker.io",
        "docker.io=",
        "=inside.example",
        "team/app=inside.example/x",
        "docker.io=mirror/x",
        "docker.io/UPPER=inside.example/x",
        "docker.io/a:v1=inside.example/x",
        "https://docker.io=inside.example/x",
        "docker.io=user:pass-word@inside.example/x",
    ],
)
def test_of_a_text_that_is_no_rule_does_not_exist(text):
    with pytest.raises(InvalidReference) as caught:
        MapRule.parse(text)
    assert "pass-word" not in f"{caught.value}{caught.value.hints}"


def test_needs_a_name_of_its_own_in_a_registry():
    with pytest.raises(InvalidReference, match=r"needs a name, and inside\.example is a registry"):
        place("quay.io/team/app", "quay.io/team/app=inside.example")


def test_is_refused_for_two_rules_of_one_prefix():
    with pytest.raises(UsageError, match="Expected one rule for"):
        place("quay.io/a/b", "docker.io=i.example/1", "index.docker.io/=i.example/2")


COMPONENT = st.from_regex(r"[a-z0-9]{1,5}", fullmatch=True)
PATH = st.lists(COMPONENT, min_size=2, max_size=5)
HOST = st.sampled_from(["quay.io", "gcr.io", "localhost:5000", "registry.example"])


@given(HOST, PATH, st.integers(0, 5), PATH)
def test_of_any_prefix_ends_with_the_rest_of_the_name(host, path, length, target):
    rule = MapRule("/".join([host, *path[:length]]), "/".join(["inside.example", *target]))
    found = Placement((rule,)).place([Repository(host, "/".join(path))], HOME)
    assert str(found.repository) == "/".join(["inside.example", *target, *path[length:]])
    assert found.is_kept == bool(path[length:])


@given(HOST, PATH, st.sets(st.integers(0, 5)), HOST)
def test_is_that_of_the_longest_of_all_rules_that_match(host, path, lengths, other):
    rules = {
        n: MapRule("/".join([host, *path[:n]]), f"inside.example/rule{n}") for n in lengths if n <= len(path)
    }
    found = Placement(tuple(rules.values())).place([Repository(other, "/".join(path))], HOME)
    expected = HOME if other != host or not rules else None
    if expected is None:
        longest = max(rules)
        expected = Repository("inside.example", "/".join([f"rule{longest}", *path[longest:]]))
    assert found.repository == expected


@given(st.lists(st.tuples(HOST, PATH), min_size=2, max_size=2, unique_by=str))
def test_with_the_registry_in_the_name_is_another_one_for_each_repository(two):
    found = {Placement(keep=KeptNames.HOSTS).place([Repository(h, "/".join(p))], HOME) for h, p in two}
    assert len(found) == 2

"""Scopes: read, merged, compared."""

from __future__ import annotations

import pytest

from imgpkg.oci.reference import Repository
from imgpkg.registry.auth.challenge import Access, Scope, covers, merge, parse_scopes


@pytest.mark.parametrize(
    "text",
    [
        "repository:a/b:pull",
        "repository:a/b:pull,push",
        "registry:catalog:*",
        "repository:localhost:5000/a:pull",
        "repository(plugin):a/b:pull",
        "openid",
        "odd:",
        "repository:a:",
    ],
)
def test_prints_what_it_read(text):
    assert str(Scope.parse(text)) == text


def test_sorts_the_actions():
    assert str(Scope.parse("repository:a:push,pull,,delete")) == "repository:a:delete,pull,push"


def test_merges_the_actions_of_one_resource_and_sorts_resources():
    merged = parse_scopes("repository:b:pull repository:a:push repository:a:pull repository:b:pull")
    assert list(map(str, merged)) == ["repository:a:pull,push", "repository:b:pull"]


@pytest.mark.parametrize(
    ("held", "wanted", "expected"),
    [
        ("repository:a:pull,push", "repository:a:pull", True),
        ("repository:a:pull", "repository:a:pull,push", False),
        ("repository:a:*", "repository:a:delete", True),
        ("repository:a:pull", "repository:b:pull", False),
        ("repository:a:pull", "registry:a:pull", False),
        ("repository:a:pull repository:b:pull", "repository:b:pull", True),
        ("repository:a:pull", "", True),
        ("", "repository:a:pull", False),
    ],
)
def test_covers_what_it_allows_and_nothing_else(held, wanted, expected):
    assert covers(parse_scopes(held), parse_scopes(wanted)) is expected


def test_asks_for_pull_and_push_to_write_and_for_pull_of_each_source():
    to, source = Repository.parse("r.example/dst/x"), Repository.parse("r.example/src/y")
    assert list(map(str, Access.read(to).scopes)) == ["repository:dst/x:pull"]
    assert list(map(str, Access.write(to, source).scopes)) == [
        "repository:dst/x:pull,push",
        "repository:src/y:pull",
    ]


def test_names_library_images_of_docker_hub_in_full():
    access = Access.read(Repository.parse("ubuntu"))
    assert list(map(str, access.scopes)) == ["repository:library/ubuntu:pull"]


def test_merging_is_the_same_in_any_order():
    scopes = parse_scopes("repository:b:pull repository:a:push")
    assert merge(reversed(scopes)) == scopes

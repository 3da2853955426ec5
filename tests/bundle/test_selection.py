"""The choice of images by patterns over their references and annotations."""

from __future__ import annotations

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgpkg import errors
from imgpkg.bundle.lock import LockedImage
from imgpkg.bundle.selection import Selection
from imgpkg.oci.reference import Reference

DIGEST = f"sha256:{'a1' * 32}"


def image(name="registry.example.com/team/app", **annotations):
    return LockedImage(Reference.parse(f"{name}@{DIGEST}"), annotations)


class TestAPattern:
    @pytest.mark.parametrize(
        ("pattern", "is_match"),
        [
            ("registry.example.com/team/app", True),
            ("registry.example.com/team/*", True),
            ("registry.example.com/*", True),
            ("*/app", True),
            ("*@sha256:a1a1*", True),
            (f"registry.example.com/team/app@{DIGEST}", True),
            ("registry.example.com/team/ap?", True),
            ("registry.example.com/team/[ab]pp", True),
            ("registry.example.com/team", False),
            ("team/app", False),
            ("registry.example.com/team/APP", False),
        ],
    )
    def test_is_compared_with_the_whole_name(self, pattern, is_match):
        assert Selection(include=(pattern,)).chooses(image()) is is_match
        assert Selection(exclude=(pattern,)).chooses(image()) is not is_match

    @pytest.mark.parametrize("host", ["docker.io", "index.docker.io"])
    def test_names_docker_hub_by_either_name(self, host):
        assert Selection(include=(f"{host}/library/nginx",)).chooses(image("nginx"))

    def test_is_also_compared_with_the_reference_that_was_locked(self):
        found = image("nginx", **{"kbld.carvel.dev/id": "nginx:1.27-alpine"})
        assert Selection(include=("nginx:1.*",)).chooses(found)
        assert not Selection(exclude=("*-alpine",)).chooses(found)


class TestAnAnnotation:
    @pytest.mark.parametrize(
        ("pattern", "is_match"),
        [("tier", True), ("tier=web", True), ("tier=w*", True), ("tier=", False), ("t*=web", False)],
    )
    def test_is_named_by_its_key_and_perhaps_a_pattern_of_its_value(self, pattern, is_match):
        assert Selection(include_annotations=(pattern,)).chooses(image(tier="web")) is is_match

    def test_may_have_the_signs_of_a_pattern_in_its_value(self):
        assert Selection(include_annotations=("expression=a=b",)).chooses(image(expression="a=b"))


class TestASelection:
    def test_without_patterns_is_everything(self):
        assert Selection().is_everything
        assert Selection().chooses(image())

    def test_leaves_out_what_is_included_and_excluded(self):
        selection = Selection(include=("*",), exclude_annotations=("tier=db",))
        assert selection.chooses(image(tier="web"))
        assert not selection.chooses(image(tier="db"))

    def test_includes_by_a_reference_or_an_annotation(self):
        selection = Selection(include=("other/*",), include_annotations=("tier",))
        assert selection.chooses(image(tier="web"))
        assert not selection.chooses(image())

    def test_names_the_patterns_without_effect(self):
        selection = Selection(("*/app", "typo/*"), ("x",), ("tier",), ("none=1",))
        assert selection.without_effect([image(tier="web")]) == ("typo/*", "x", "none=1")

    def test_is_a_value(self):
        selection = Selection(include=["a", "b"])
        assert selection == Selection(include=("a", "b"))
        assert pickle.loads(pickle.dumps(selection)) == selection
        assert len({selection, Selection(include=("a", "b"))}) == 1

    @pytest.mark.parametrize("patterns", [{"exclude": ("",)}, {"include_annotations": ("=x",)}])
    def test_has_no_empty_pattern(self, patterns):
        with pytest.raises(errors.UsageError, match="one is empty"):
            Selection(**patterns)

    def test_is_not_the_letters_of_a_text(self):
        with pytest.raises(
            errors.UsageError, match="Expected a list of patterns to exclude annotations, and"
        ):
            Selection(exclude_annotations="tier")


NAMES = st.from_regex(r"[a-z]{1,5}\.example/[a-z]{1,5}/[a-z0-9]{1,5}", fullmatch=True)


@given(NAMES, st.lists(NAMES, max_size=4), st.lists(NAMES, max_size=4))
def test_a_name_without_wildcards_chooses_itself_and_nothing_else(name, include, exclude):
    chosen = Selection(include=tuple(include), exclude=tuple(exclude)).chooses(image(name))
    assert chosen is ((not include or name in include) and name not in exclude)


@given(NAMES, st.data())
def test_a_star_stands_for_any_part_of_a_name(name, data):
    start, end = sorted((data.draw(st.integers(0, len(name))), data.draw(st.integers(0, len(name)))))
    assert Selection(include=(f"{name[:start]}*{name[end:]}",)).chooses(image(name))

"""The words of pictures: names that people know, sizes, and lengths that fit."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.drawing.making import HOST, bundle, deep, image, part, shop

from imgpkg.drawing.labels import (
    fitted,
    human_size,
    listed,
    markup,
    name_of,
    names_of,
    place_of,
    short,
    summary_of,
    width_of,
)
from imgpkg.drawing.sharing import Sharing
from imgpkg.operations.breakdown import BundlePart, PartKind


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 bytes"),
        (1, "1 byte"),
        (999, "999 bytes"),
        (1000, "1.0 kB"),
        (999_949, "999.9 kB"),
        (999_950, "1.0 MB"),
        (1_234_567_890, "1.2 GB"),
        (10**18, "1.0 EB"),
        (10**24, "1,000,000.0 EB"),
    ],
)
def test_sizes_have_one_unit(size, text):
    assert human_size(size) == text


class TestNames:
    @pytest.mark.parametrize(
        ("named", "name"),
        [
            (f"{HOST}/team/app:v1", "team/app:v1"),
            ("localhost:5000/app:v1", "app:v1"),
            ("team/app:v1", "team/app:v1"),
            ("nginx", "nginx"),
        ],
    )
    def test_an_image_has_the_name_it_was_locked_by(self, named, name):
        assert name_of(image("x", annotations={"kbld.carvel.dev/id": named})) == name

    def test_an_image_is_named_after_its_origin_without_one(self):
        assert name_of(image("team/app")) == "team/app"

    def test_a_platform_is_one_unless_it_is_a_record_of_the_build(self):
        made = {"vnd.docker.reference.type": "attestation-manifest"}
        names = [
            name_of(part(PartKind.PLATFORM, "a", platform="linux/arm64")),
            name_of(part(PartKind.PLATFORM, "a", platform="unknown/unknown", annotations=made)),
            name_of(part(PartKind.PLATFORM, "a")),
        ]
        assert names == ["linux/arm64", "attestation of the build", "no platform"]

    def test_what_is_attached_is_named_by_what_it_is(self):
        assert name_of(part(PartKind.SBOM, "a")) == "SBOM"
        assert name_of(part(PartKind.REFERRER, "a")) == "referrer"
        assert name_of(part(PartKind.REFERRER, "a", artifact_type="application/x")) == "application/x"

    def test_several_parts_of_one_name_are_named_once(self):
        platform = part(PartKind.PLATFORM, "a/b", platform="linux/amd64")
        assert names_of([image("a"), platform, image("a")]) == ["a", "a/b linux/amd64"]

    def test_a_digest_may_be_unknown(self):
        assert short(None) == ""
        assert place_of(BundlePart(PartKind.SIGNATURE, "host/a:b")) == "host/a:b"


@hypothesis.settings(max_examples=40)
@given(st.text(max_size=40))
def test_any_text_is_content_of_xml(text):
    """XML 1.0 §2.2 has no place for most control characters, surrogates and U+FFFE."""
    element = ET.fromstring(f'<a b="{markup(text)}">{markup(text)}</a>')
    assert element.text == element.attrib["b"] or not text
    assert not list(element)


@given(st.text(max_size=80), st.floats(20, 600))
def test_a_text_is_shortened_to_its_room(text, room):
    shown = fitted(text, room, 14)
    assert width_of(shown, 14) <= room


def test_a_shortened_name_keeps_its_ends():
    shown = fitted("a-long-team/" * 8 + "component:v1.2.3", 200, 14)
    assert shown.startswith("a-")
    assert shown.endswith("component:v1.2.3")


def test_a_wide_character_needs_more_room():
    assert width_of("漢字", 10) == pytest.approx(21)
    assert width_of("ii", 10) < width_of("aa", 10) < width_of("AA", 10) < width_of("MM", 10)


@pytest.mark.parametrize("text", ["one, two, threescore", "one, two and 1 more", "one and 2 more"])
def test_names_that_do_not_fit_are_counted(text):
    names = ["one", "two", "threescore"]
    assert listed(names, width_of(text, 10) + 0.1, 10) == text
    assert listed(names, width_of(text, 10) - 0.1, 10) != text


def test_one_name_alone_is_shortened():
    assert listed(["a-very-long-name"], 60, 10).count("…") == 1


def test_a_summary_counts_each_image_once():
    twice = image("twice", ("l", 5000))
    inner = bundle("inner", twice)
    said = summary_of(Sharing(bundle("outer", inner, twice)))
    # Two manifests, two configurations and two layers of bundles, and those of the image.
    assert said == ["1 image", "1 nested bundle", "10.8 kB"]


def test_a_summary_names_what_is_attached_and_what_is_wrong():
    said = summary_of(Sharing(shop()))
    assert said[:-1] == ["3 images", "1 nested bundle", "2 signatures", "1 referrer", "1 could not be read"]
    assert said[-1] == "18.7 MB, 28.8 MB if nothing were shared"
    assert summary_of(Sharing(deep(2)))[1] == "2 nested bundles"

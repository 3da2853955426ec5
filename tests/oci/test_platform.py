"""Platforms have one spelling, and entries of an index are chosen by it, attestations with their images."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgpkg.errors import UsageError
from imgpkg.oci import media
from imgpkg.oci.descriptor import Digest
from imgpkg.oci.manifest import Manifest
from imgpkg.oci.platform import Platform, entries_for, parse_platforms, platforms_of


def entry(name, platform=None, *, about="", **more):
    fields = dict(zip(("os", "architecture", "variant"), (platform or "").split("/"), strict=False))
    notes = {"vnd.docker.reference.digest": str(Digest.of(about.encode()))} if about else {}
    return {
        "mediaType": media.OCI_MANIFEST,
        "digest": str(Digest.of(name.encode())),
        "size": 3,
        **({"platform": fields} if platform else {}),
        **({"annotations": notes} if notes else {}),
        **more,
    }


def index(*entries):
    return Manifest.parse(json.dumps({"mediaType": media.OCI_INDEX, "manifests": entries}).encode())


def kept(found, *wanted):
    return [one.digest.hex for one in entries_for(found, parse_platforms(wanted))]


def digests(*names):
    return [Digest.of(name.encode()).hex for name in names]


class TestAPlatform:
    @pytest.mark.parametrize(
        ("text", "canonical"),
        [
            ("linux/amd64", "linux/amd64/v1"),
            ("Linux/AMD64", "linux/amd64/v1"),
            ("linux/x86_64", "linux/amd64/v1"),
            ("linux/amd64/v3", "linux/amd64/v3"),
            ("linux/arm64", "linux/arm64/v8"),
            ("linux/aarch64", "linux/arm64/v8"),
            ("linux/arm64/8", "linux/arm64/v8"),
            ("linux/arm64/v9", "linux/arm64/v9"),
            ("linux/arm", "linux/arm/v7"),
            ("linux/armhf", "linux/arm/v7"),
            ("linux/armel", "linux/arm/v6"),
            ("linux/arm/6", "linux/arm/v6"),
            ("linux/i386", "linux/386"),
            ("macos/arm64", "darwin/arm64/v8"),
            ("windows/amd64", "windows/amd64/v1"),
            ("linux/s390x", "linux/s390x"),
        ],
    )
    def test_has_one_canonical_form(self, text, canonical):
        assert str(Platform.parse(text).canonical) == canonical
        assert Platform.parse(canonical).canonical == Platform.parse(text).canonical

    @pytest.mark.parametrize(
        "text", ["", "linux", "linux/", "/amd64", "linux/arm/v7/x", "linux/am d64", "*/amd64"]
    )
    def test_has_two_or_three_names(self, text):
        with pytest.raises(UsageError, match="Expected a platform such as linux/amd64") as caught:
            Platform.parse(text)
        assert f"but was '{text}'" in str(caught.value)

    def test_is_one_of_a_list_that_commas_divide(self):
        found = parse_platforms(["linux/amd64, linux/arm64/v8", "linux/amd64"])
        assert list(map(str, found)) == ["linux/amd64", "linux/arm64/v8"]


class TestTheEntriesOfAnIndex:
    def test_are_those_of_the_platforms_in_their_order(self):
        found = index(entry("a", "linux/arm64"), entry("b", "linux/s390x"), entry("c", "linux/amd64"))
        assert kept(found, "linux/amd64", "linux/arm64/v8") == digests("a", "c")
        assert list(map(str, platforms_of(found))) == ["linux/arm64", "linux/s390x", "linux/amd64"]

    def test_have_their_attestations(self):
        found = index(
            entry("a", "linux/amd64"),
            entry("b", "linux/arm64"),
            entry("sbom of b", "unknown/unknown", about="b"),
            entry("sbom of a", "unknown/unknown", about="a"),
        )
        assert kept(found, "linux/arm64") == digests("b", "sbom of b")
        assert list(map(str, platforms_of(found))) == ["linux/amd64", "linux/arm64"]

    def test_without_a_platform_are_for_all(self):
        found = index(
            entry("none"),
            entry("strange", "unknown/unknown"),
            entry("half", "/amd64"),
            entry("about something else", "unknown/unknown", about="nothing here"),
            entry("a", "linux/amd64"),
        )
        names = ("none", "strange", "half", "about something else")
        assert kept(found, "linux/arm64") == digests(*names)

    def test_may_have_one_image_for_several_platforms(self):
        found = index(entry("a", "linux/arm/v6"), entry("a", "linux/arm/v7"), entry("b", "linux/arm/v5"))
        assert kept(found, "linux/arm") == digests("a", "a")

    @given(st.lists(st.sampled_from(["linux/amd64", "linux/arm64/v8", "linux/arm/v7", "windows/amd64"])))
    def test_are_chosen_independently_of_each_other(self, platforms):
        found = index(*(entry(str(number), platform) for number, platform in enumerate(platforms)))
        wanted = [digests(str(n))[0] for n, one in enumerate(platforms) if one == "linux/amd64"]
        assert kept(found, "linux/amd64") == wanted

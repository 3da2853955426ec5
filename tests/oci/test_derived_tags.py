"""Tags that are made from digests, read back."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies

from imgpkg.bundle.image import internal_tag, locations_tag, repository_based_tag, signature_tag
from imgpkg.oci.derived_tags import DerivedTag, TagKind
from imgpkg.oci.descriptor import Digest

DIGESTS = strategies.binary(max_size=8).map(Digest.of)
HEX = "0" * 64


@given(DIGESTS, strategies.from_regex(r"[a-z0-9]{1,30}(/[a-z0-9_.-]{1,60}[a-z0-9]){0,2}", fullmatch=True))
def test_each_tag_that_is_made_is_recognised(digest, path):
    assert DerivedTag.parse(internal_tag(digest)) == DerivedTag(TagKind.IMAGE, digest)
    assert DerivedTag.parse(locations_tag(digest)) == DerivedTag(TagKind.LOCATIONS, digest)
    assert DerivedTag.parse(signature_tag(digest)) == DerivedTag(TagKind.SIGNATURES, digest)
    based = repository_based_tag(f"registry.example.com/{path}@{digest}", digest)
    assert DerivedTag.parse(based) == DerivedTag(TagKind.IMAGE, digest)


@pytest.mark.parametrize("kind", TagKind)
def test_each_kind_has_its_end(kind):
    assert DerivedTag.parse(f"sha256-{HEX}{kind.value}") == DerivedTag(kind, Digest("sha256", HEX))


@pytest.mark.parametrize(
    "tag",
    [
        "v1",
        "latest",
        f"sha256-{HEX[1:]}.sig",
        f"sha256-{HEX}.other",
        f"sha256-{HEX}.sig.imgpkg",
        f"sha512-{HEX}",
        f"app-sha256-{HEX}",
        f"app-sha256-{HEX}.sig",
        f"sha256-{'A' * 64}.sig",
        f"{'a' * 50}-sha256-{HEX}.imgpkg",
        "",
    ],
)
def test_tags_that_people_chose_are_none_of_them(tag):
    assert DerivedTag.parse(tag) is None

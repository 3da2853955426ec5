"""Tags that are made from digests, read back."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies

from imgpkg.bundle.image import internal_tag, locations_tag, repository_based_tag, signature_tag
from imgpkg.oci import media
from imgpkg.oci.derived_tags import DerivedTag, TagKind, attached_to
from imgpkg.oci.descriptor import Descriptor, Digest
from imgpkg.oci.manifest import Manifest

DIGESTS = strategies.binary(max_size=8).map(Digest.of)
HEX = "0" * 64
SUBJECT = Descriptor.of(b"{}", media.OCI_MANIFEST)
PLAIN = Manifest.build(artifact_type="application/x-test")
REFERRING = Manifest.build(artifact_type="application/x-test", subject=SUBJECT)


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


@pytest.mark.parametrize("kind", TagKind)
def test_cosigns_tags_say_what_a_manifest_is_attached_to(kind):
    is_attached = kind in (TagKind.SIGNATURES, TagKind.ATTESTATIONS, TagKind.SBOM)
    found = attached_to(f"sha256-{HEX}{kind.value}", PLAIN)
    assert found == (Digest("sha256", HEX) if is_attached else None)


@pytest.mark.parametrize(
    ("tag", "manifest", "is_attached"),
    [("", REFERRING, True), ("", PLAIN, False), ("v1", REFERRING, False), ("v1", PLAIN, False)],
)
def test_a_subject_counts_where_people_have_chosen_no_tag(tag, manifest, is_attached):
    assert attached_to(tag, manifest) == (SUBJECT.digest if is_attached else None)

"""List and resolve tags."""

from __future__ import annotations

import pytest
from tests.operations.making import make_image

from imgpkg import errors
from imgpkg.operations.copy.copy import copy
from imgpkg.operations.copy.values import CopySource
from imgpkg.operations.tag import Tag, list_tags, resolve
from imgpkg.session import Session


@pytest.fixture
def image(embedded_registry, session):
    where = f"{embedded_registry.address}/tagged/app"
    for tag in ("v1", "v2", "sha256-aa.imgpkg"):
        found = make_image(session, where, ["x"], tag=tag)
    return found


def test_are_listed_whatever_the_reference_says(image, session):
    listed = list_tags(f"{image.repository}:nosuch", session=session)
    assert listed.tags == (Tag("v1"), Tag("v2"))


def test_of_imgpkg_itself_are_listed_when_asked_for(image, session):
    listed = list_tags(str(image), session=session, imgpkg_internal_tags=True)
    assert [tag.name for tag in listed.tags] == ["sha256-aa.imgpkg", "v1", "v2"]
    assert [tag.is_internal for tag in listed.tags] == [True, False, False]
    assert {tag.digest for tag in listed.tags} == {None}


@pytest.mark.parametrize(("internal", "shown"), [(False, 2), (True, 3)])
def test_are_listed_with_digests_for_one_request_each(embedded_registry, image, session, internal, shown):
    before = len(embedded_registry.requests)
    listed = list_tags(str(image), session=session, digests=True, imgpkg_internal_tags=internal)
    assert Tag("v1", image.digest) in listed.tags
    assert len(listed.tags) == shown
    assert len(embedded_registry.requests) - before == 1 + shown


def test_are_resolved_to_a_digest_reference(image, session):
    assert resolve(f"{image.repository}:v1", session=session) == image
    assert resolve(str(image), session=session) == image


def test_that_do_not_exist_are_not_resolved(image, session):
    with pytest.raises(errors.NotFound):
        resolve(f"{image.repository}:nosuch", session=session)


@pytest.fixture(scope="module")
def versions(embedded_registry):
    """A repository with tags that are versions, and others."""
    where = f"{embedded_registry.address}/tagged/versions"
    with Session() as session:
        for tag in ("1.9", "1.10.0", "1.10", "2.0.0-rc.1", "latest", "3.imgpkg"):
            make_image(session, where, [tag], tag=tag)
    return where


class TestFiltered:
    def test_by_pattern_and_predicate(self, versions, session):
        listed = list_tags(versions, match="*1*", where=lambda name: "-" not in name, session=session)
        assert listed.tags == (Tag("1.10"), Tag("1.10.0"), Tag("1.9"))

    def test_only_the_newest_are_resolved(self, versions, session, embedded_registry):
        before = len(embedded_registry.requests)
        (tag,) = list_tags(versions, newest=1, digests=True, session=session).tags
        assert (tag.name, tag.digest) == ("1.10.0", resolve(f"{versions}:1.10.0", session=session).digest)
        assert len(embedded_registry.requests) - before == 3

    def test_wrong_options_send_nothing(self, versions, session, embedded_registry):
        before = len(embedded_registry.requests)
        for options in ({"newest": -1}, {"prereleases": True}):
            with pytest.raises(errors.UsageError):
                list_tags(versions, session=session, **options)
        assert len(embedded_registry.requests) == before

    def test_in_a_file_of_several_repositories(self, versions, session, tmp_path, embedded_registry):
        other = f"{embedded_registry.address}/tagged/others"
        for tag in ("1.10.0", "0.1"):
            make_image(session, other, [tag], tag=tag)
        names = [f"{versions}:1.9", f"{versions}:1.10.0", f"{other}:0.1", f"{other}:1.10.0"]
        tar = tmp_path / "images.tar"
        copy(CopySource(images=names), to_tar=tar, session=session)
        found = [tag.name for tag in list_tags(tar=tar, newest=2, session=session).tags]
        assert sorted(found[:2]) == sorted([f"{other}:1.10.0", f"{versions}:1.10.0"])
        assert found[2:] == [f"{versions}:1.9"]
        assert [tag.name for tag in list_tags(other, tar=tar, match="0*", session=session).tags] == ["0.1"]

"""List and resolve tags."""

from __future__ import annotations

import pytest
from tests.operations.making import make_image

from imgpkg import errors
from imgpkg.operations.tag import Tag, list_tags, resolve


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

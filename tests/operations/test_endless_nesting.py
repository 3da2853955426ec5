"""What a hostile registry may make up: indexes in indexes and bundles in bundles without end."""

from __future__ import annotations

import pytest
from tests.operations.making import make_bundle, make_image, put_manifest

from imgpkg import errors
from imgpkg.oci import media
from imgpkg.oci.reference import Repository
from imgpkg.operations.copy import copy_to_layout, copy_to_repository, copy_to_tar
from imgpkg.operations.copy_values import CopySource
from imgpkg.operations.describe import describe
from imgpkg.operations.pull import pull


def make_nested(session, where, depth, *, times=1):
    """Put an index in an index and so on, each naming the one before `times` times."""
    repository = Repository.parse(where)
    reference = make_image(session, where, ["deep inside"])
    for _ in range(depth):
        found = session.client.manifest(reference)
        child = {"mediaType": found.media_type, "digest": str(found.digest), "size": len(found.raw)}
        entries = [{**child, "annotations": {"n": str(number)}} for number in range(times)]
        document = {"schemaVersion": 2, "mediaType": media.OCI_INDEX, "manifests": entries}
        reference = put_manifest(session, repository, document)
    return reference


@pytest.fixture
def doubled(embedded_registry, session):
    """An index that lists its image a million times, in twenty manifests."""
    return make_nested(session, f"{embedded_registry.address}/endless/doubled", 20, times=2)


class TestAnIndexThatListsTheSameAgainAndAgain:
    def test_is_copied_for_what_is_in_it(self, doubled, another_registry, session):
        before = len(another_registry.requests)
        to = f"{another_registry.address}/endless/doubled"
        copy_to_repository(CopySource(image=str(doubled)), to, session=session)
        assert len(another_registry.requests) - before < 40

    def test_finds_no_place_in_a_tar_file(self, doubled, session, tmp_path):
        with pytest.raises(errors.ArchiveError, match="lists more than 100000 manifests"):
            copy_to_tar(CopySource(image=str(doubled)), tmp_path / "x.tar", session=session)

    def test_goes_to_a_layout_and_back(self, doubled, another_registry, session, tmp_path):
        copy_to_layout(CopySource(image=str(doubled)), tmp_path / "layout", session=session)
        to = f"{another_registry.address}/endless/back"
        result = copy_to_repository(CopySource(layout=str(tmp_path / "layout")), to, session=session)
        assert [copied.destination.digest for copied in result.images] == [doubled.digest]


def test_an_index_that_goes_too_deep_is_refused(embedded_registry, another_registry, session):
    index = make_nested(session, f"{embedded_registry.address}/endless/deep", 40)
    with pytest.raises(errors.InvalidManifest, match="nested more than 32 deep"):
        copy_to_repository(
            CopySource(image=str(index)), f"{another_registry.address}/endless/deep", session=session
        )


def test_an_index_that_is_listed_at_the_top_and_in_the_deep_is_refused(embedded_registry, session, tmp_path):
    """Reading it level by level takes two levels only, for all are listed at the top."""
    where = f"{embedded_registry.address}/endless/known"
    chain = [make_nested(session, where, depth) for depth in range(40)]
    entries = [
        {"mediaType": found.media_type, "digest": str(found.digest), "size": len(found.raw)}
        for found in map(session.client.manifest, chain)
    ]
    document = {"schemaVersion": 2, "mediaType": media.OCI_INDEX, "manifests": entries}
    index = put_manifest(session, Repository.parse(where), document)
    with pytest.raises(errors.InvalidManifest, match="nested more than 32 deep"):
        copy_to_tar(CopySource(image=str(index)), tmp_path / "x.tar", session=session)


def test_bundles_that_go_too_deep_are_refused(embedded_registry, session, tmp_path):
    address = embedded_registry.address
    bundle = make_bundle(session, f"{address}/endless/b0", {}, tmp_path / "0")
    for number in range(1, 70):
        inside = {bundle: {}}
        bundle = make_bundle(session, f"{address}/endless/b{number}", inside, tmp_path / str(number))
    with pytest.raises(errors.InvalidLock, match="nested more than 64 deep"):
        describe(str(bundle), session=session)
    with pytest.raises(errors.InvalidLock, match="nested more than 64 deep"):
        pull(tmp_path / "out", bundle=str(bundle), recursive=True, session=session)

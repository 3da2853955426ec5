"""Dry runs: what would move, and nothing does."""

from __future__ import annotations

import pytest
from tests.operations.making import make_bundle, make_image, thirty

from imgpkg import errors
from imgpkg.bundle.placement import Placement
from imgpkg.events import BlobFinished, BlobOutcome
from imgpkg.oci import media
from imgpkg.operations.copy.copy import copy_to_repository, copy_to_tar
from imgpkg.operations.copy.preview import preview_copy
from imgpkg.operations.copy.values import CopyOptions, CopySource
from imgpkg.session import explain


@pytest.fixture
def bundle(embedded_registry, session, tmp_path):
    image = make_image(session, f"{embedded_registry.address}/seen/app", ["one", "two"])
    return make_bundle(session, f"{embedded_registry.address}/seen/bundle:v1", {image: {}}, tmp_path / "b")


def test_writes_nothing_and_counts_each_blob_once(bundle, another_registry, session):
    before = len(another_registry.requests)
    to = f"{another_registry.address}/x/y"
    preview = preview_copy(CopySource(bundle=f"{bundle.repository}:v1"), to, session=session)
    asked = {request.method for request in another_registry.requests[before:]}
    assert asked <= {"GET", "HEAD"}
    assert [(image.tag, image.blobs) for image in preview.images] == [("", 3), ("v1", 2)]
    assert preview.blobs == 5
    assert preview.size == sum(image.size for image in preview.images)
    assert (preview.mountable, preview.mountable_size) == (0, 0)


def test_knows_what_can_be_mounted(bundle, session):
    preview = preview_copy(
        CopySource(bundle=str(bundle)), f"{bundle.repository.registry}/x/y", session=session
    )
    assert (preview.mountable, preview.mountable_size) == (preview.blobs, preview.size)


def test_names_the_credential_of_each_repository(bundle, another_registry, open_session):
    session = open_session(environ={})
    to = f"{another_registry.address}/x/y"
    preview = preview_copy(CopySource(bundle=str(bundle)), to, session=session)
    assert [str(decision.repository) for decision in preview.credentials] == [
        f"{bundle.repository.registry}/seen/app",
        f"{bundle.repository.registry}/seen/bundle",
        to,
    ]


def test_reads_tar_files_without_asking_any_source(
    bundle, embedded_registry, another_registry, session, tmp_path
):
    copy_to_tar(CopySource(bundle=str(bundle)), tmp_path / "b.tar", session=session)
    before = len(embedded_registry.requests)
    to = f"{another_registry.address}/x/y"
    preview = preview_copy(CopySource(tar=str(tmp_path / "b.tar")), to, session=session)
    assert len(embedded_registry.requests) == before
    assert len(preview.images) == 2
    assert [str(decision.repository) for decision in preview.credentials] == [to]


def test_reports_what_stays_behind(embedded_registry, session):
    image = make_image(
        session, f"{embedded_registry.address}/seen/foreign", ["x"], layer_type=media.DOCKER_FOREIGN_LAYER
    )
    preview = preview_copy(CopySource(image=str(image)), session=session)
    assert [left.reference for left in preview.left_out] == [image]
    assert preview.credentials[-1].repository == image.repository


def test_refuses_what_the_copy_would_refuse(session, open_session):
    with pytest.raises(errors.UsageError):
        preview_copy(CopySource(), session=session)
    with pytest.raises(errors.InvalidReference):
        preview_copy(CopySource(image="a/b"), "a/b:tag", session=session)
    with pytest.raises(errors.UsageError, match="--concurrency to be >= 1"):
        preview_copy(CopySource(image="a/b"), session=open_session(concurrency=0))


@pytest.mark.parametrize(
    ("to", "more", "text"),
    [
        ("127.0.0.1:1/a/b", {"since": ["base.tar"]}, "--since and --since-inventory"),
        ("", {"options": CopyOptions(to_tags=("v1",))}, "--to-tag"),
        ("", {"options": CopyOptions(placement=Placement())}, "--map"),
        ("127.0.0.1:1/a/b", {"options": CopyOptions(split=1000)}, "--split"),
    ],
)
def test_refuses_what_does_not_fit_the_destination(to, more, text, session):
    with pytest.raises(errors.UsageError, match=text):
        preview_copy(CopySource(image="127.0.0.1:1/a/c"), to, session=session, **more)


def test_reports_what_the_destination_has_as_the_copy_will_find_it(
    embedded_registry, another_registry, open_session, tmp_path
):
    address = embedded_registry.address
    bundle = thirty(open_session(), address, tmp_path / "v1", count=10, layers=1)
    to = f"{another_registry.address}/seen/versions"
    copy_to_repository(CopySource(bundle=str(bundle)), to, session=open_session())
    new = make_image(open_session(), f"{address}/seen/new", ["0-0", "new"])
    later = make_bundle(open_session(), f"{address}/seen/later", {bundle: {}, new: {}}, tmp_path / "v2")
    preview = preview_copy(CopySource(bundle=str(later)), to, session=open_session())
    assert {image.reference for image in preview.images if not image.is_there} == {new, later}
    planned = []
    copy_to_repository(CopySource(bundle=str(later)), to, session=open_session(), on_event=planned.append)
    moved = [
        event for event in planned if isinstance(event, BlobFinished) and event.outcome is BlobOutcome.MOVED
    ]
    # Of the image a layer and the configuration, for the other layer is there; of the bundle both.
    assert preview.blobs == len({event.digest for event in moved}) == 4
    again = preview_copy(CopySource(bundle=str(later)), to, session=open_session())
    assert (again.blobs, again.size) == (0, 0)
    assert all(image.is_there for image in again.images)


def test_explaining_a_credential_sends_nothing(session, embedded_registry):
    before = len(embedded_registry.requests)
    decision = explain(f"{embedded_registry.address}/team/app:v1", session=session)
    assert decision.winner is None
    assert str(decision.repository) == f"{embedded_registry.address}/team/app"
    assert len(embedded_registry.requests) == before

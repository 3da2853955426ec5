"""Further tags at the destination, for what a copy was asked for."""

from __future__ import annotations

import pytest
from tests.operations.making import make_bundle, make_image, make_index

from imgpkg.bundle.lock import BundleLock, ImagesLock
from imgpkg.errors import InvalidReference, UsageError
from imgpkg.oci.reference import Repository
from imgpkg.operations.copy.copy import copy, copy_to_layout, copy_to_repository, copy_to_tar
from imgpkg.operations.copy.preview import preview_copy
from imgpkg.operations.copy.values import CopyOptions, CopySource

STABLE = CopyOptions(to_tags=("stable", "v1.2"))


@pytest.fixture
def bundle(embedded_registry, session, tmp_path):
    """A bundle with the tag v1 that names an image."""
    address = embedded_registry.address
    image = make_image(session, f"{address}/tags/app", ["a"], tag="v7")
    return make_bundle(session, f"{address}/tags/bundle:v1", {image: {}}, tmp_path / "bundle")


@pytest.fixture
def to(another_registry, tmp_path):
    # The registry is that of all tests.
    return f"{another_registry.address}/tags/{tmp_path.name.replace('_', '-')}"


def own_tags(session, to):
    tags = session.client.tags(Repository.parse(to))
    return {tag for tag in tags if not tag.startswith("sha256-")}


def tagged(session, to):
    repository = Repository.parse(to)
    return {tag: session.client.resolve(repository.tag(tag)).digest for tag in own_tags(session, to)}


def writes(server):
    return [record for record in server.requests if record.method in ("PUT", "POST", "PATCH")]


@pytest.mark.parametrize("way", ["registry", "tar", "layout"])
def test_name_the_bundle_besides_the_tag_that_it_has(bundle, to, session, tmp_path, way):
    source = CopySource(bundle=f"{bundle.repository}:v1")
    if way == "tar":
        copy_to_tar(source, tmp_path / "x.tar", session=session)
        source = CopySource(tar=tmp_path / "x.tar")
    elif way == "layout":
        copy_to_layout(source, tmp_path / "x", session=session)
        source = CopySource(layout=tmp_path / "x")
    result = copy_to_repository(source, to, session=session, options=STABLE)
    assert tagged(session, to) == dict.fromkeys(("v1", "stable", "v1.2"), bundle.digest)
    assert [one.tag for one in result.images if one.source.digest == bundle.digest] == [
        "v1",
        "stable",
        "v1.2",
    ]
    assert result.bundle.tag == "v1"


def test_are_the_only_ones_of_what_is_named_by_its_digest(bundle, to, session, tmp_path):
    lock = tmp_path / "lock.yml"
    copy_to_repository(CopySource(bundle=str(bundle)), to, session=session, options=STABLE, lock_output=lock)
    assert tagged(session, to) == dict.fromkeys(("stable", "v1.2"), bundle.digest)
    assert BundleLock.from_path(lock).tag == "stable"


def test_move_from_another_image(embedded_registry, to, session):
    where = f"{embedded_registry.address}/tags/moving"
    for text in ("old", "new"):
        image = make_image(session, where, [text])
        copy_to_repository(CopySource(image=str(image)), to, session=session, options=STABLE)
    assert set(tagged(session, to).values()) == {image.digest}


def test_name_an_index_and_no_signature(embedded_registry, to, session):
    where = f"{embedded_registry.address}/tags/index"
    index = make_index(session, where, {"linux/amd64": make_image(session, where, ["amd"])}, tag="v1")
    make_image(session, where, ["signature"], tag=f"sha256-{index.digest.hex}.sig")
    options = CopyOptions(cosign_signatures=True, to_tags=("stable",))
    copy_to_repository(CopySource(image=f"{where}:v1"), to, session=session, options=options)
    assert tagged(session, to) == dict.fromkeys(("v1", "stable"), index.digest)


def test_leave_an_images_lock_without_repetitions(embedded_registry, to, session, tmp_path):
    image = make_image(session, f"{embedded_registry.address}/tags/one", ["one"], tag="v1")
    lock = tmp_path / "images.yml"
    source = CopySource(image=f"{image.repository}:v1")
    copy_to_repository(source, to, session=session, options=STABLE, lock_output=lock)
    assert [str(one.reference) for one in ImagesLock.from_path(lock).images] == [f"{to}@{image.digest}"]


def test_are_refused_for_several_images_before_anything_is_written(
    embedded_registry, another_registry, to, session, tmp_path
):
    images = [make_image(session, f"{embedded_registry.address}/tags/many", [text]) for text in "abcdefg"]
    lines = "".join(f"- image: {image}\n" for image in images)
    lock = tmp_path / "images.yml"
    lock.write_text(f"apiVersion: imgpkg.carvel.dev/v1alpha1\nkind: ImagesLock\nimages:\n{lines}")
    before = len(writes(another_registry))
    with pytest.raises(UsageError, match=r"there are 7 to copy: .* and 2 more"):
        copy_to_repository(CopySource(lock=lock), to, session=session, options=STABLE)
    assert len(writes(another_registry)) == before


@pytest.mark.parametrize(
    ("tag", "kind"),
    [("not a tag", InvalidReference), (f"sha256-{'0' * 64}.imgpkg", UsageError), ("", InvalidReference)],
)
def test_are_checked_before_anything_is_read(embedded_registry, to, session, tag, kind):
    before = len(embedded_registry.requests)
    with pytest.raises(kind):
        copy_to_repository(
            CopySource(bundle=f"{embedded_registry.address}/tags/bundle:v1"),
            to,
            session=session,
            options=CopyOptions(to_tags=(tag,)),
        )
    assert len(embedded_registry.requests) == before


@pytest.mark.parametrize("file", ["to_tar", "to_layout"])
def test_are_for_repositories(session, tmp_path, file):
    with pytest.raises(UsageError, match="--to-tag can only be used when copying to a repository"):
        copy(CopySource(image="host.example/a/b"), session=session, options=STABLE, **{file: tmp_path / "x"})


def test_are_in_the_preview(bundle, to, session):
    preview = preview_copy(CopySource(bundle=f"{bundle.repository}:v1"), to, session=session, options=STABLE)
    assert [one.tag for one in preview.images if one.reference == bundle] == ["v1", "stable", "v1.2"]

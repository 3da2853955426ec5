"""Copies of what a lock file names, and the lock files that copies write."""

from __future__ import annotations

import io
import json
import tarfile

import pytest
from tests.operations.making import make_bundle, make_image

from imgpkg import errors
from imgpkg.bundle.lock import BundleLock, ImagesLock, LockedImage
from imgpkg.oci.reference import Repository
from imgpkg.operations.copy.copy import copy, copy_to_layout, copy_to_repository, copy_to_tar
from imgpkg.operations.copy.values import CopyOptions, CopySource
from imgpkg.operations.pull import pull


@pytest.fixture
def address(embedded_registry):
    return embedded_registry.address


@pytest.fixture
def images_lock(address, session, tmp_path):
    """A lock of two images, the second named twice with other annotations."""
    one, two = (make_image(session, f"{address}/locked/{name}", [name]) for name in ("one", "two"))
    lock = ImagesLock((LockedImage(two, {"x": "1"}), LockedImage(one), LockedImage(two, {"x": "2"})))
    lock.write(tmp_path / "images.yml")
    return lock


class TestAnImagesLock:
    def test_is_copied_and_written_again_with_the_new_places(
        self, address, images_lock, another_registry, session, tmp_path
    ):
        to = f"{another_registry.address}/copy/locked"
        source = CopySource(lock=str(tmp_path / "images.yml"))
        result = copy_to_repository(source, to, session=session, lock_output=str(tmp_path / "out.yml"))
        assert len(result.images) == 2
        written = ImagesLock.from_path(tmp_path / "out.yml")
        assert [(str(image.reference), dict(image.annotations)) for image in written.images] == [
            (f"{to}@{image.digest}", dict(image.annotations)) for image in images_lock.images
        ]

    @pytest.mark.parametrize("way", ["tar", "layout"])
    def test_comes_whole_through_a_file(self, way, images_lock, another_registry, session, tmp_path):
        """With every annotation, in its order, and an image twice that stands in it twice."""
        source, file = CopySource(lock=tmp_path / "images.yml"), tmp_path / "file"
        copy(source, session=session, **{f"to_{way}": file})
        to, out = f"{another_registry.address}/copy/lock-by-{way}", tmp_path / "out.yml"
        copy_to_repository(CopySource(**{way: file}), to, session=session, lock_output=out)
        assert ImagesLock.from_path(out) == images_lock.relocated(Repository.parse(to))
        assert [dict(image.annotations) for image in ImagesLock.from_path(out).images] == [
            {"x": "1"},
            {},
            {"x": "2"},
        ]

    def test_of_one_image_in_two_repositories_comes_whole_through_a_layout(
        self, address, another_registry, session, tmp_path
    ):
        """The layout keeps one of the two, for both have one digest."""
        twins = [make_image(session, f"{address}/locked/{name}", ["twin"]) for name in "ab"]
        lock = ImagesLock(tuple(LockedImage(twin, {"n": twin.repository.path}) for twin in twins))
        lock.write(tmp_path / "images.yml")
        copy_to_layout(CopySource(lock=tmp_path / "images.yml"), tmp_path / "oci", session=session)
        to, out = f"{another_registry.address}/copy/twins", tmp_path / "out.yml"
        copy_to_repository(CopySource(layout=tmp_path / "oci"), to, session=session, lock_output=out)
        notes = [dict(image.annotations) for image in ImagesLock.from_path(out).images]
        assert notes == [{"n": "locked/a"}, {"n": "locked/b"}]

    def test_with_signatures_comes_through_a_file_as_it_does_without_one(
        self, address, images_lock, another_registry, session, tmp_path
    ):
        signed = images_lock.images[0]
        tag = f"sha256-{signed.digest.hex}.sig"
        make_image(session, str(signed.reference.repository), ["signature"], tag=tag)
        source, tar = CopySource(lock=tmp_path / "images.yml"), tmp_path / "x.tar"
        options = CopyOptions(cosign_signatures=True)
        copy_to_tar(source, tar, session=session, options=options)
        to = f"{another_registry.address}/copy/lock-signed"
        for number, asked in enumerate([source, CopySource(tar=tar)]):
            out = tmp_path / f"{number}.yml"
            copy_to_repository(asked, to, session=session, options=options, lock_output=out)
        assert (tmp_path / "0.yml").read_bytes() == (tmp_path / "1.yml").read_bytes()
        assert session.client.exists(Repository.parse(to).tag(tag)) is not None

    def test_without_annotations_leaves_no_label_in_a_file(self, address, session, tmp_path):
        image = make_image(session, f"{address}/locked/bare")
        ImagesLock((LockedImage(image),)).write(tmp_path / "images.yml")
        copy_to_tar(CopySource(lock=tmp_path / "images.yml"), tmp_path / "x.tar", session=session)
        with tarfile.open(tmp_path / "x.tar") as tar:
            (item,) = json.load(tar.extractfile("manifest.json"))
        assert item["Image"]["Labels"] is None

    @pytest.mark.parametrize("label", ["x", "1", "[1]", '[["a",{}]]', "[[1,[]]]", "[" * 100_000])
    def test_that_a_file_remembers_wrongly_is_an_error(
        self, label, images_lock, another_registry, session, tmp_path
    ):
        tar = tmp_path / "x.tar"
        copy_to_tar(CopySource(lock=tmp_path / "images.yml"), tar, session=session)
        relabelled(tar, {"dev.carvel.imgpkg.copy.images-lock": label})
        to = f"{another_registry.address}/copy/damaged"
        with pytest.raises(
            errors.ArchiveError, match=r"the label dev\.carvel\.imgpkg\.copy\.images-lock of .* is"
        ):
            copy_to_repository(CopySource(tar=tar), to, session=session)

    def test_without_images_copies_nothing(self, address, session, tmp_path):
        ImagesLock(()).write(tmp_path / "images.yml")
        source, out = CopySource(lock=str(tmp_path / "images.yml")), tmp_path / "out.yml"
        result = copy_to_repository(source, f"{address}/copy/none", session=session, lock_output=str(out))
        assert result.images == ()
        assert ImagesLock.from_path(out).images == ()
        tar = copy_to_tar(source, tmp_path / "none.tar", session=session)
        assert tar.images == ()
        empty = CopySource(tar=str(tmp_path / "none.tar"))
        assert copy_to_repository(empty, f"{address}/copy/none", session=session).images == ()

    def test_that_names_a_bundle_is_refused(self, address, session, tmp_path):
        bundle = make_bundle(session, f"{address}/locked/bundle:v1", {}, tmp_path / "b")
        ImagesLock((LockedImage(bundle),)).write(tmp_path / "images.yml")
        with pytest.raises(errors.IsABundle, match="Unable to copy bundles using an Images Lock file"):
            copy_to_repository(
                CopySource(lock=str(tmp_path / "images.yml")), f"{address}/copy/x", session=session
            )


class TestABundleLock:
    def test_names_the_bundle_and_its_tag(self, address, another_registry, session, tmp_path):
        image = make_image(session, f"{address}/locked/inside")
        bundle = make_bundle(session, f"{address}/locked/root:v7", {image: {}}, tmp_path / "b")
        BundleLock(bundle, "v7").write(tmp_path / "bundle.lock.yml")
        to = f"{another_registry.address}/copy/root"
        out = tmp_path / "out.yml"
        source = CopySource(lock=str(tmp_path / "bundle.lock.yml"))
        copy_to_repository(source, to, session=session, lock_output=str(out))
        written = BundleLock.from_path(out)
        assert (str(written.reference), written.tag) == (f"{to}@{bundle.digest}", "v7")
        assert pull(tmp_path / "pulled", lock=str(out), session=session).reference.digest == bundle.digest

    def test_of_a_plain_image_is_refused(self, address, session, tmp_path):
        BundleLock(make_image(session, f"{address}/locked/plain")).write(tmp_path / "lock.yml")
        with pytest.raises(errors.NotABundle, match="Expected bundle image but found plain image"):
            copy_to_repository(CopySource(lock=str(tmp_path / "lock.yml")), f"{address}/c/x", session=session)

    def test_that_is_missing_is_named(self, address, session):
        with pytest.raises(errors.LocalIOError, match="Trying to read bundle or images lock file: "):
            copy_to_repository(CopySource(lock="nosuch.yml"), f"{address}/c/x", session=session)


class TestTheLockThatIsWritten:
    def test_lists_what_was_copied_when_no_lock_was_given(self, address, session, tmp_path):
        image = make_image(session, f"{address}/locked/single")
        out = tmp_path / "out.yml"
        copy_to_repository(
            CopySource(image=str(image)), f"{address}/c/single", session=session, lock_output=str(out)
        )
        (only,) = ImagesLock.from_path(out).images
        assert str(only.reference) == f"{address}/c/single@{image.digest}"

    def test_cannot_be_written_when_the_root_is_unknown(self, address, session, tmp_path):
        bundle = make_bundle(session, f"{address}/locked/old:v1", {}, tmp_path / "b")
        tar = tmp_path / "old.tar"
        copy_to_tar(CopySource(bundle=str(bundle)), tar, session=session)
        relabelled(tar, {})
        with pytest.raises(errors.UsageError, match="try re-generating the tarball"):
            copy_to_repository(
                CopySource(tar=str(tar)), f"{address}/c/old", session=session, lock_output="out.yml"
            )
        # Everything was copied before that was found out.
        assert str(bundle.digest) in str(
            pull(tmp_path / "o", bundle=f"{address}/c/old@{bundle.digest}", session=session).reference
        )


def relabelled(tar, labels):
    """Give every image other labels; without any the file is as versions before the root label wrote it."""
    with tarfile.open(tar) as old:
        members = [(member, old.extractfile(member).read()) for member in old]
    with tarfile.open(tar, "w") as new:
        for member, data in members:
            if member.name == "manifest.json":
                items = json.loads(data)
                for item in items:
                    (item["Image"] or item["ImageIndex"])["Labels"] = labels
                data = json.dumps(items).encode()  # noqa: PLW2901 - the rest goes as it came
            member.size = len(data)
            new.addfile(member, io.BytesIO(data))


class TestOneVerb:
    @pytest.mark.parametrize(
        ("options", "text"),
        [
            ({}, "Expected either --to-tar or --to-repo"),
            ({"to_repo": "a/b", "to_tar": "x"}, "Expected either --to-tar or --to-repo"),
            ({"to_tar": "x", "lock_output": "y"}, "Cannot output lock file with tar destination"),
            ({"to_repo": "a/b", "resume": True}, "Flag --resume can only be used when copying to tar"),
        ],
    )
    def test_refuses_what_does_not_go_together(self, session, options, text):
        with pytest.raises(errors.UsageError) as caught:
            copy(CopySource(image="a/b"), session=session, **options)
        assert str(caught.value) == text

    def test_goes_to_each_kind_of_destination(self, address, session, tmp_path):
        image = make_image(session, f"{address}/locked/verb")
        source = CopySource(image=str(image))
        copy(source, session=session, to_tar=str(tmp_path / "x.tar"))
        copy(source, session=session, to_layout=str(tmp_path / "oci"))
        result = copy(source, session=session, to_repo=f"{address}/c/verb")
        assert (tmp_path / "x.tar").is_file()
        assert (tmp_path / "oci" / "index.json").is_file()
        assert str(result.images[0].destination) == f"{address}/c/verb@{image.digest}"

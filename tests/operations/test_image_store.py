"""Images of a tar file or layout are pulled, described and listed as those of a registry are."""

from __future__ import annotations

import pytest
from tests.operations.conftest import read_tree
from tests.operations.making import make_image

from imgpkg import errors
from imgpkg.events import Warned
from imgpkg.operations.copy.copy import copy_to_layout, copy_to_repository, copy_to_tar
from imgpkg.operations.copy.values import CopyOptions, CopySource
from imgpkg.operations.describe import describe, read_bundle
from imgpkg.operations.image_store import open_images
from imgpkg.operations.pull import pull
from imgpkg.operations.push import push
from imgpkg.operations.tag import Tag, list_tags


def plain_image(bundle, session):
    members = read_bundle(str(bundle), session=session).members
    return next(m.locked.reference for m in members if m.image.manifest.is_image and not m.bundle)


@pytest.fixture(params=["tar", "layout"])
def stored(request, tmp_path):
    """Copy a source into a file of each kind; return the argument that names it."""
    numbers = iter(range(100))

    def store(source, session, options=None):
        path = tmp_path / f"stored{next(numbers)}"
        copy = copy_to_tar if request.param == "tar" else copy_to_layout
        copy(source, path, session=session, options=options or CopyOptions())
        return {request.param: path}

    return store


@pytest.fixture
def without_network(open_session, embedded_registry):
    """A session of its own, and the promise that the registry is not asked."""
    before = len(embedded_registry.requests)
    yield open_session()
    assert len(embedded_registry.requests) == before


class TestAPull:
    def test_brings_the_files_that_a_pull_from_the_registry_brings(
        self, nested, session, stored, request, tmp_path
    ):
        file = stored(CopySource(bundle=f"{nested.repository}:v1"), session)
        pull(tmp_path / "registry", bundle=str(nested), recursive=True, session=session)
        offline = request.getfixturevalue("without_network")
        result = pull(tmp_path / "file", recursive=True, session=offline, **file)
        assert read_tree(tmp_path / "file") == read_tree(tmp_path / "registry")
        assert (result.reference, result.is_bundle) == (nested, True)
        assert len(result.nested) == 1

    @pytest.mark.parametrize("name", ["v1", "{digest}", "{repository}:v1", "{repository}@{digest}"])
    def test_takes_the_bundle_by_tag_digest_or_reference(self, nested, session, stored, tmp_path, name):
        file = stored(CopySource(bundle=f"{nested.repository}:v1"), session)
        named = name.format(digest=nested.digest, repository=nested.repository)
        assert pull(tmp_path / "out", bundle=named, session=session, **file).reference == nested

    def test_takes_an_image_by_the_reference_that_the_bundle_names(
        self, nested, another_registry, session, stored, tmp_path
    ):
        image = plain_image(nested, session)
        to = f"{another_registry.address}/relocated"
        copy_to_repository(CopySource(bundle=str(nested)), to, session=session)
        # In the repository that it is read from, the image has another reference than in the lock.
        file = stored(CopySource(bundle=f"{to}@{nested.digest}"), session)
        found = pull(tmp_path / "out", image=str(image), session=session, **file)
        assert found.reference.digest == image.digest

    def test_of_a_single_image_needs_no_name(self, embedded_registry, session, stored, tmp_path):
        image = make_image(session, f"{embedded_registry.address}/app/single", ["text"], tag="v1")
        file = stored(CopySource(image=f"{image.repository}:v1"), session)
        assert pull(tmp_path / "out", session=session, **file).is_bundle is False
        assert read_tree(tmp_path / "out") == {"file": b"text"}

    def test_of_several_images_lists_them(self, nested, session, stored, tmp_path):
        file = stored(CopySource(bundle=f"{nested.repository}:v1"), session)
        with pytest.raises(errors.UsageError, match="'v2' names no image") as caught:
            pull(tmp_path / "out", bundle="v2", session=session, **file)
        assert f"{nested.repository}:v1" in caught.value.hints[0]
        assert not (tmp_path / "out").exists()

    def test_keeps_to_the_kind_that_was_asked_for(self, nested, session, stored, tmp_path):
        file = stored(CopySource(bundle=f"{nested.repository}:v1"), session)
        with pytest.raises(errors.IsABundle):
            pull(tmp_path / "out", image="v1", session=session, **file)
        plain = plain_image(nested, session)
        with pytest.raises(errors.NotABundle):
            pull(tmp_path / "out", bundle=str(plain), session=session, **file)

    def test_of_damaged_bytes_leaves_the_output_as_it_was(self, nested, session, tmp_path):
        tar = tmp_path / "bundle.tar"
        copy_to_tar(CopySource(bundle=str(nested)), tar, session=session)
        (layer,) = read_bundle(session=session, tar=tar).image.manifest.layers
        with open_images(tar=tar) as store:
            ((_, place),) = next(b.parts for b in store.blobs if b.descriptor.digest == layer.digest)
        with open(tar, "r+b") as file:
            file.seek(place.offset + place.size - 1)
            last = file.read(1)
            file.seek(-1, 1)
            file.write(bytes([last[0] ^ 1]))
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "mine").write_text("kept")
        with pytest.raises(errors.ImgpkgError):
            pull(tmp_path / "out", session=session, tar=tar)
        assert read_tree(tmp_path / "out") == {"mine": b"kept"}

    def test_of_both_kinds_of_file_is_refused(self, session, tmp_path):
        with pytest.raises(errors.UsageError, match="only one of --tar and --from-oci-layout"):
            pull(tmp_path / "out", session=session, tar="a.tar", layout="b")

    def test_of_nothing_is_still_refused(self, session, tmp_path):
        with pytest.raises(errors.UsageError, match="either image or bundle"):
            pull(tmp_path / "out", session=session)


class TestADescription:
    def test_is_that_of_the_bundle_in_the_registry(self, nested, session, stored, request):
        signature = f"sha256-{nested.digest.hex}.sig"
        make_image(session, str(nested.repository), ["signature"], tag=signature)
        options = CopyOptions(cosign_signatures=True)
        file = stored(CopySource(bundle=f"{nested.repository}:v1"), session, options)
        expected = describe(str(nested), session=session)
        assert any(info.image_type.value == "Signature" for info in expected.images)
        assert describe(session=request.getfixturevalue("without_network"), **file) == expected

    def test_has_the_referrers_of_the_file(self, nested, session, stored):
        subject = {
            "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
            "digest": str(nested.digest),
            "size": len(session.client.manifest(nested).raw),
        }
        make_image(session, str(nested.repository), ["sbom"], subject=subject, artifactType="an/sbom")
        file = stored(CopySource(bundle=f"{nested.repository}:v1"), session, CopyOptions(referrers=True))
        wanted = {"session": session, "referrers": True, "cosign_artifacts": False}
        expected = describe(str(nested), **wanted)
        assert any(info.image_type.value == "Referrer" for info in expected.images)
        assert describe(**wanted, **file) == expected

    def test_names_the_bundle_inside_by_its_digest(self, nested, session, stored):
        file = stored(CopySource(bundle=f"{nested.repository}:v1"), session)
        inner = next(m.bundle for m in read_bundle(str(nested), session=session).members if m.bundle)
        found = describe(str(inner.image.manifest.digest), session=session, **file)
        assert found.digest == inner.image.manifest.digest

    def test_of_an_image_is_refused(self, embedded_registry, session, stored):
        image = make_image(session, f"{embedded_registry.address}/app/plain", ["text"], tag="v1")
        file = stored(CopySource(image=f"{image.repository}:v1"), session)
        with pytest.raises(errors.NotABundle, match="Only bundles can be described"):
            describe(session=session, **file)


class TestAListOfTags:
    def test_has_the_tags_of_the_file(self, nested, session, stored, request):
        file = stored(CopySource(bundle=f"{nested.repository}:v1"), session)
        listed = list_tags(session=request.getfixturevalue("without_network"), **file)
        assert (listed.repository, listed.tags) == (nested.repository, (Tag("v1", nested.digest),))

    def test_of_several_repositories_names_them(self, nested, session, stored):
        image = plain_image(nested, session)
        tag = f"sha256-{image.digest.hex}.sig"
        make_image(session, str(image.repository), ["signature"], tag=tag)
        options = CopyOptions(cosign_signatures=True)
        file = stored(CopySource(bundle=f"{nested.repository}:v1"), session, options)
        names = {tag.name for tag in list_tags(session=session, **file).tags}
        assert names >= {f"{nested.repository}:v1", f"{image.repository}:{tag}"}
        one = list_tags(str(image.repository), session=session, **file)
        assert [found.name for found in one.tags] == [tag]

    def test_of_a_file_without_tags_is_empty(self, nested, session, stored):
        file = stored(CopySource(bundle=str(nested)), session)
        listed = list_tags(session=session, **file)
        assert listed.repository == nested.repository
        assert listed.tags == ()


class TestAPushIntoAFile:
    @pytest.fixture
    def folder(self, write_tree):
        return write_tree({"config.yml": "a: 1", "deep/other.yml": "b: 2"})

    @pytest.mark.parametrize("kind", ["tar", "layout"])
    def test_gives_the_image_the_digest_of_a_push(
        self, folder, open_session, embedded_registry, tmp_path, kind
    ):
        where = f"{embedded_registry.address}/pushed/config:v1"
        before = len(embedded_registry.requests)
        file = tmp_path / "file"
        written = push([folder], image=where, session=open_session(), **{f"to_{kind}": file})
        assert len(embedded_registry.requests) == before
        copy_to_repository(
            CopySource(**{kind: file}), f"{embedded_registry.address}/pushed/copy", session=open_session()
        )
        pushed = push([folder], image=where, session=open_session())
        assert written == pushed
        out = tmp_path / "out"
        to = f"{embedded_registry.address}/pushed/copy:v1"
        assert pull(out, image=to, session=open_session()).reference.digest == pushed.reference.digest
        assert read_tree(out) == read_tree(folder)

    def test_has_the_bytes_of_a_copy_of_the_pushed_bundle(
        self, write_tree, session, embedded_registry, tmp_path
    ):
        lock = "apiVersion: imgpkg.carvel.dev/v1alpha1\nkind: ImagesLock\n"
        folder = write_tree({".imgpkg/images.yml": lock, "a": "1"})
        where = f"{embedded_registry.address}/pushed/bundle:v1"
        push([folder], bundle=where, session=session, to_tar=tmp_path / "a.tar")
        push([folder], bundle=where, session=session)
        copy_to_tar(CopySource(bundle=where), tmp_path / "b.tar", session=session)
        assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes()

    def test_of_a_bundle_leaves_its_images_where_they_are(
        self, write_tree, session, open_session, embedded_registry, another_registry, tmp_path
    ):
        image = make_image(session, f"{embedded_registry.address}/app/elsewhere", ["text"])
        lock = f"apiVersion: imgpkg.carvel.dev/v1alpha1\nkind: ImagesLock\nimages:\n- image: {image}\n"
        folder = write_tree({".imgpkg/images.yml": lock})
        tar = tmp_path / "bundle.tar"
        push([folder], bundle="registry.example.com/team/bundle:v1", session=session, to_tar=tar)
        (described,) = describe(session=session, tar=tar).images
        assert (described.origin, described.error) == (
            str(image),
            "not in the file that the bundle is read from",
        )
        seen = []
        to = f"{another_registry.address}/alone"
        copy_to_repository(CopySource(tar=tar), to, session=session, on_event=seen.append)
        (warned,) = [event.text for event in seen if isinstance(event, Warned)]
        assert "names 1 images that are not in" in warned
        # Without a record of locations, which would promise an image that is not there.
        assert pull(tmp_path / "out", bundle=f"{to}:v1", session=session).images_lock.is_updated is False
        assert str(image) in (tmp_path / "out" / ".imgpkg" / "images.yml").read_text()

    def test_writes_no_lock(self, folder, session, tmp_path):
        with pytest.raises(errors.UsageError, match="Cannot output lock file with tar destination"):
            push(
                [folder],
                bundle="registry.example.com/app:v1",
                session=session,
                to_tar=tmp_path / "a.tar",
                lock_output=tmp_path / "lock.yml",
            )

    def test_goes_into_one_file(self, folder, session, tmp_path):
        with pytest.raises(errors.UsageError, match="only one of --to-tar and --to-oci-layout"):
            push(
                [folder],
                image="registry.example.com/app:v1",
                session=session,
                to_tar=tmp_path / "a.tar",
                to_layout=tmp_path / "b",
            )

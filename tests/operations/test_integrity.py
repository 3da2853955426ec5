"""A verification reads every byte, follows every reference, and names every defect."""

from __future__ import annotations

import json
import pickle
import shutil

import pytest
from tests.operations.making import make_bundle, make_image, make_index
from tests.servers.docker import docker_registry_process

import imgpkg
from imgpkg import errors
from imgpkg.events import BlobAdvanced, Planned
from imgpkg.oci import media
from imgpkg.operations.image_store import open_images
from imgpkg.operations.integrity.report import DefectKind
from imgpkg.operations.integrity.verify import verify


@pytest.fixture
def nested(embedded_registry, session, tmp_path):
    """A bundle in a bundle, an image of both, an index, and a signature of the image."""
    address = embedded_registry.address
    image = make_image(session, f"{address}/verify/app", ["n1", "n2"])
    make_image(session, f"{address}/verify/app", ["signed"], tag=f"sha256-{image.digest.hex}.sig")
    platforms = {"linux/amd64": make_image(session, f"{address}/verify/multi", ["amd"])}
    index = make_index(session, f"{address}/verify/multi", platforms)
    inner = make_bundle(session, f"{address}/verify/inner:v1", {image: {}}, tmp_path / "inner")
    images = {inner: {}, index: {}, image: {}}
    return make_bundle(session, f"{address}/verify/outer:v1", images, tmp_path / "outer")


@pytest.fixture
def tar(nested, session, tmp_path):
    path = tmp_path / "bundle.tar"
    imgpkg.copy_to_tar(
        imgpkg.CopySource(bundle=f"{nested.repository}:v1"),
        path,
        session=session,
        options=imgpkg.CopyOptions(cosign_signatures=True),
    )
    return path


@pytest.fixture
def layout(nested, session, tmp_path):
    path = tmp_path / "layout"
    imgpkg.copy_to_layout(imgpkg.CopySource(bundle=f"{nested.repository}:v1"), path, session=session)
    return path


def places(tar):
    """Return the parts of the file that have blobs, in their order."""
    with open_images(tar=tar) as store:
        found = {blob.descriptor.digest: blob.parts[0][1] for blob in store.blobs if blob.parts}
    return sorted(found.items(), key=lambda item: item[1].offset)


def flip(path, offset):
    with open(path, "r+b") as file:
        file.seek(offset)
        byte = file.read(1)
        file.seek(offset)
        file.write(bytes([byte[0] ^ 1]))


def kinds(report):
    return [defect.kind for defect in report.defects]


class TestAWholeFile:
    @pytest.mark.parametrize("kind", ["tar", "layout"])
    def test_has_no_defects_and_no_request_is_sent(
        self, request, kind, nested, open_session, embedded_registry
    ):
        path = request.getfixturevalue(kind)
        before = len(embedded_registry.requests)
        seen = []
        report = verify(**{kind: path}, session=open_session(), on_event=seen.append)
        assert len(embedded_registry.requests) == before
        assert (report.is_ok, report.defects, report.unreferenced, report.dangling) == (True, (), (), ())
        assert nested in report.roots
        (planned,) = [event for event in seen if isinstance(event, Planned)]
        moved = sum(event.count for event in seen if isinstance(event, BlobAdvanced))
        assert (planned.blobs, planned.size, moved) == (report.blobs, report.size, report.size)

    def test_is_read_to_the_last_blob(self, tar, session):
        report = verify(tar=tar, session=session)
        # Outer and inner bundle, image, index and its child, signature.
        assert report.manifests == 6
        assert report.blobs >= len(places(tar))

    def test_is_a_value(self, tar, session):
        report = verify(tar=tar, session=session)
        assert pickle.loads(pickle.dumps(report)) == report
        assert hash(report) == hash(verify(tar=tar, session=session))


class TestATarFile:
    def test_names_every_damaged_blob_and_who_names_it(self, tar, session):
        damaged = [(digest, extent) for digest, extent in places(tar) if extent.size][:3]
        for _, extent in damaged:
            flip(tar, extent.offset + extent.size // 2)
        report = verify(tar=tar, session=session)
        found = {defect.subject: defect for defect in report.defects if defect.kind is DefectKind.DAMAGED}
        assert found.keys() == {str(digest) for digest, _ in damaged}
        assert all(defect.named_by for defect in found.values())

    def test_that_is_truncated_says_so_and_names_what_is_missing(self, tar, session):
        (last, _) = places(tar)[-1]
        (gone, before) = places(tar)[-2]
        with open(tar, "r+b") as file:
            file.truncate(before.offset + before.size - 1)
        report = verify(tar=tar, session=session)
        assert not report.is_ok
        assert report.defects[0].subject == str(tar)
        subjects = {defect.subject for defect in report.defects}
        assert {str(last), str(gone)} <= subjects

    def test_with_one_damaged_manifest_still_verifies_the_others(self, tar, session, nested):
        data = tar.read_bytes()
        raw = session.client.manifest(nested).raw
        # In manifest.json the document is text in JSON.
        inside = json.dumps(raw.decode())[1:-1].encode()
        assert inside in data
        tar.write_bytes(data.replace(inside, inside.replace(b"schemaVersion", b"schemaVersioN")))
        report = verify(tar=tar, session=session)
        (defect,) = [each for each in report.defects if "does not match" in each.reason]
        assert defect.kind is DefectKind.DAMAGED
        assert report.manifests == 5
        # The layer of the bundle is read although no manifest names it any more.
        assert report.unreferenced

    def test_that_is_none_is_a_defect(self, tmp_path, session):
        path = tmp_path / "text.tar"
        path.write_text("not a tar file" * 100)
        report = verify(tar=path, session=session)
        assert [defect.subject for defect in report.defects] == [str(path), str(path)]
        assert set(kinds(report)) == {DefectKind.DAMAGED}

    def test_that_does_not_exist_is_an_error(self, tmp_path, session):
        with pytest.raises(errors.LocalIOError, match="no such file"):
            verify(tar=tmp_path / "nosuch.tar", session=session)

    def test_without_its_non_distributable_layers_is_whole(self, embedded_registry, session, tmp_path):
        where = f"{embedded_registry.address}/verify/windows"
        kind = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
        image = make_image(session, where, ["base"], layer_type=kind)
        path = tmp_path / "windows.tar"
        imgpkg.copy_to_tar(imgpkg.CopySource(image=str(image)), path, session=session)
        report = verify(tar=path, session=session)
        assert report.is_ok
        assert [layer.named_by for layer in report.left_out] == [(str(image),)]

    def test_of_a_bundle_without_its_images_names_each(self, embedded_registry, session, tmp_path):
        image = make_image(session, f"{embedded_registry.address}/verify/elsewhere", ["text"])
        lock = f"apiVersion: imgpkg.carvel.dev/v1alpha1\nkind: ImagesLock\nimages:\n- image: {image}\n"
        (tmp_path / "b" / ".imgpkg").mkdir(parents=True)
        (tmp_path / "b" / ".imgpkg" / "images.yml").write_text(lock)
        path = tmp_path / "alone.tar"
        imgpkg.push([tmp_path / "b"], bundle="registry.example.com/alone:v1", session=session, to_tar=path)
        (defect,) = verify(tar=path, session=session).defects
        assert (defect.kind, defect.subject) == (DefectKind.MISSING, str(image))
        assert defect.named_by[0].startswith("registry.example.com/alone@sha256:")


class TestADelta:
    @pytest.fixture
    def old(self, tar, tmp_path):
        return tar.rename(tmp_path / "old.tar")

    @pytest.mark.parametrize("kind", ["tar", "layout"])
    def test_says_which_blobs_it_relies_on(self, nested, old, session, tmp_path, kind):
        source, new = imgpkg.CopySource(bundle=f"{nested.repository}:v1"), tmp_path / "new"
        imgpkg.copy(source, session=session, since=[old], **{f"to_{kind}": new})
        report = verify(**{kind: new}, session=session)
        assert report.defects == ()
        # The layers of bundles travel again, since an import reads them.
        assert len(report.relied_on) == 3
        assert report.left_out == ()

    def test_cannot_pass_through_a_pipe(self, nested, old, session, another_registry, tmp_path):
        source, new = imgpkg.CopySource(bundle=f"{nested.repository}:v1"), tmp_path / "new"
        imgpkg.copy_to_tar(source, new, session=session, since=[old])
        with pytest.raises(errors.ArchiveError, match="--since"), new.open("rb") as stream:
            imgpkg.copy_from_stream(stream, f"{another_registry.address}/verify/delta", session=session)


class TestALayout:
    def test_names_missing_damaged_and_short_files(self, layout, session, nested):
        manifest = session.client.manifest(nested)
        report = verify(layout=layout, session=session)
        blobs = layout / "blobs" / "sha256"
        (layer,) = manifest.layers
        (blobs / layer.digest.hex).unlink()
        others = [
            path
            for path in sorted(blobs.iterdir())
            if path.name != manifest.digest.hex and path.read_bytes()[:2] == b"\x1f\x8b"
        ]
        flip(others[0], 12)
        others[1].write_bytes(others[1].read_bytes()[:-1])
        damaged = verify(layout=layout, session=session)
        found = {defect.subject.rpartition(":")[2]: defect.kind for defect in damaged.defects}
        assert found[layer.digest.hex] is DefectKind.MISSING
        assert found[others[0].name] is DefectKind.DAMAGED
        assert found[others[1].name] is DefectKind.DAMAGED
        assert report.is_ok

    def test_reads_blobs_that_nothing_names(self, layout, session):
        (layout / "blobs" / "sha256" / ("0" * 64)).write_bytes(b"extra")
        report = verify(layout=layout, session=session)
        assert kinds(report) == [DefectKind.DAMAGED]
        assert [digest.hex for digest in report.unreferenced] == ["0" * 64]

    def test_without_a_manifest_that_an_index_lists_names_both(self, layout, session):
        index = next(
            path
            for path in sorted((layout / "blobs" / "sha256").iterdir())
            if path.read_bytes()[:1] == b"{" and media.OCI_INDEX in path.read_text()
        )
        child = json.loads(index.read_text())["manifests"][0]["digest"]
        (layout / "blobs" / "sha256" / child.partition(":")[2]).unlink()
        (defect,) = verify(layout=layout, session=session).defects
        assert defect.kind is DefectKind.MISSING
        assert defect.subject.endswith(child)
        assert index.name in defect.named_by[0]

    def test_with_a_damaged_index_still_reads_the_blobs(self, layout, session):
        (layout / "index.json").write_text("{")
        report = verify(layout=layout, session=session)
        assert [defect.subject for defect in report.defects] == ["index.json"]
        assert report.blobs == len(list((layout / "blobs" / "sha256").iterdir()))

    def test_that_is_none_is_an_error(self, tmp_path, session):
        with pytest.raises(errors.ImgpkgError):
            verify(layout=tmp_path, session=session)

    def test_says_which_attachments_have_lost_their_image(self, layout, session, nested):
        index = json.loads((layout / "index.json").read_text())
        entry = dict(index["manifests"][0])
        entry["annotations"] = {"org.opencontainers.image.ref.name": f"sha256-{'1' * 64}.sig"}
        index["manifests"].append(entry)
        (layout / "index.json").write_text(json.dumps(index))
        report = verify(layout=layout, session=session)
        assert report.is_ok
        assert len(report.dangling) == 1


class TestARegistry:
    @pytest.fixture(params=["embedded_registry", "docker_registry"])
    def relocated(self, request, nested, session):
        registry = request.getfixturevalue(request.param)
        to = f"{registry.address}/verify/relocated{nested.digest.hex[:8]}"
        imgpkg.copy_to_repository(
            imgpkg.CopySource(bundle=f"{nested.repository}:v1"),
            to,
            session=session,
            options=imgpkg.CopyOptions(cosign_signatures=True),
        )
        return f"{to}:v1"

    def test_has_all_that_a_bundle_names(self, relocated, session):
        report = verify(bundle=relocated, session=session)
        assert report.defects == ()
        # As in the file, with two records of locations.
        assert report.manifests == 8

    def test_has_what_a_bundle_names_in_other_repositories(self, nested, another_registry, session):
        to = f"{another_registry.address}/verify/spread{nested.digest.hex[:8]}"
        placement = imgpkg.Placement(keep=imgpkg.KeptNames.PATHS)
        result = imgpkg.copy_to_repository(
            imgpkg.CopySource(bundle=f"{nested.repository}:v1"),
            to,
            session=session,
            options=imgpkg.CopyOptions(placement=placement),
        )
        report = verify(bundle=str(result.bundle.destination), session=session)
        assert report.defects == ()

    def test_names_the_images_that_were_deleted(self, relocated, session, nested):
        repository = imgpkg.Reference.parse(relocated).repository
        (layer,) = session.client.manifest(nested).layers
        bundle = imgpkg.read_bundle(relocated, session=session)
        gone = next(member for member in bundle.members if member.bundle is None).locked.digest
        session.client.delete_manifest(repository, gone)
        report = verify(bundle=relocated, session=session)
        assert {(each.kind, each.subject) for each in report.defects} == {
            (DefectKind.MISSING, str(repository.digest(gone)))
        }
        assert layer.digest not in report.unreferenced

    def test_is_asked_for_one_image_too(self, embedded_registry, session):
        image = make_image(session, f"{embedded_registry.address}/verify/one", ["a", "b"], tag="v1")
        report = verify(image=f"{image.repository}:v1", session=session)
        assert (report.roots, report.manifests, report.blobs, report.is_ok) == ((image,), 1, 3, True)

    def test_without_the_image_is_an_error(self, embedded_registry, session):
        with pytest.raises(errors.NotFound):
            verify(image=f"{embedded_registry.address}/verify/nosuch:v1", session=session)

    def test_of_an_image_as_a_bundle_is_refused(self, embedded_registry, session):
        image = make_image(session, f"{embedded_registry.address}/verify/one", ["a"], tag="v2")
        with pytest.raises(errors.NotABundle):
            verify(bundle=str(image), session=session)

    def test_whose_disk_has_other_bytes_is_found_out(self, session, tmp_path):
        (tmp_path / "registry").mkdir()
        with docker_registry_process(tmp_path / "registry") as address:
            image = make_image(session, f"{address}/verify/disk", ["damaged on disk"])
            (layer,) = session.client.manifest(image).layers
            (stored,) = (tmp_path / "registry").rglob(f"{layer.digest.hex}/data")
            flip(stored, 12)
            (defect,) = verify(image=str(image), session=session).defects
        assert (defect.kind, defect.subject) == (DefectKind.DAMAGED, str(layer.digest))
        assert defect.named_by == (str(image),)


@pytest.mark.parametrize("given", [{}, {"tar": "a", "layout": "b"}, {"image": "a", "bundle": "b"}])
def test_exactly_one_thing_is_verified_at_a_time(session, given):
    with pytest.raises(errors.UsageError, match="Expected one of"):
        verify(session=session, **given)


def test_a_copy_of_the_layout_to_another_place_is_as_whole(layout, session, tmp_path):
    shutil.copytree(layout, tmp_path / "moved")
    assert verify(layout=tmp_path / "moved", session=session).is_ok

"""Copies through tar files and layouts: nothing is lost, nothing half-done is taken for whole."""

from __future__ import annotations

import json
import random
import socket
import tarfile
from functools import partial
from urllib.parse import parse_qs

import pytest
from tests.operations.conftest import read_tree
from tests.operations.making import make_bundle, make_image
from tests.servers.raw import RawServer

from imgpkg import errors
from imgpkg.content.archive.manifest import ArchiveImage, ArchiveIndex, Marks
from imgpkg.content.archive.writer import ArchiveWriter
from imgpkg.embedded.routes import Features
from imgpkg.embedded.server import serve
from imgpkg.events import BlobStarted, Message
from imgpkg.oci import media
from imgpkg.oci.descriptor import Digest
from imgpkg.oci.manifest import Manifest
from imgpkg.oci.reference import Repository
from imgpkg.operations.copy.copy import copy_to_layout, copy_to_repository, copy_to_tar
from imgpkg.operations.copy.preview import preview_copy
from imgpkg.operations.copy.values import CopyOptions, CopySource
from imgpkg.operations.pull import pull

EVERYTHING = CopyOptions(include_non_distributable_layers=True)


def believe(sent, conversation):
    """Take blobs as a registry that checks nothing; `sent` gets how many bytes came for each digest."""
    if conversation.sock.recv(1, socket.MSG_PEEK) == b"\x16":
        conversation.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        return
    while (head := conversation.receive_head()) is not None:
        body = conversation._file.read(int(head.header("Content-Length") or 0))
        if head.method == "PUT":
            sent[parse_qs(head.target.partition("?")[2])["digest"][0]] = len(body)
        status = {"POST": "202 Accepted", "PUT": "201 Created"}.get(head.method, "404 Not Found")
        conversation.respond(status=status, headers=[("Location", "/upload")])


class TestATarFile:
    def test_brings_a_bundle_to_another_registry_as_it_was(self, nested, another_registry, session, tmp_path):
        tar = tmp_path / "bundle.tar"
        copy_to_tar(CopySource(bundle=f"{nested.repository}:v1"), tar, session=session)
        to = f"{another_registry.address}/from-tar/nested"
        result = copy_to_repository(CopySource(tar=str(tar)), to, session=session)
        assert (str(result.bundle.destination), result.bundle.tag) == (f"{to}@{nested.digest}", "v1")
        pull(tmp_path / "out", bundle=f"{to}:v1", recursive=True, session=session)
        files = read_tree(tmp_path / "out")
        assert files["f"] == b"x"
        assert files[".imgpkg/images.yml"].decode().count(f"image: {to}@sha256:") == 3

    def test_reports_each_member_in_the_words_of_the_original(self, nested, session, tmp_path):
        seen = []
        tar = tmp_path / "said.tar"
        copy_to_tar(CopySource(bundle=str(nested)), tar, session=session, on_event=seen.append)
        said = [event.text for event in seen if isinstance(event, Message)]
        done = [text for text in said[said.index("copy | writing layers...\n") + 1 :] if "done" in text]
        with tarfile.open(tar) as whole:
            names = whole.getnames()
        assert done[0].startswith("copy | done: file 'manifest.json' (")
        assert sorted(text.split("'")[1] for text in done) == sorted(names)

    def test_asks_the_destination_alone_when_it_is_imported(
        self, nested, embedded_registry, another_registry, session, open_session, tmp_path
    ):
        tar = tmp_path / "bundle.tar"
        copy_to_tar(CopySource(bundle=str(nested)), tar, session=session)
        before = len(embedded_registry.requests)
        copy_to_repository(
            CopySource(tar=str(tar)), f"{another_registry.address}/from-tar/alone", session=open_session()
        )
        assert len(embedded_registry.requests) == before

    def test_has_the_same_bytes_however_many_jobs_wrote_it(self, nested, open_session, tmp_path):
        for jobs in (1, 50):
            copy_to_tar(
                CopySource(bundle=str(nested)),
                tmp_path / f"{jobs}.tar",
                session=open_session(concurrency=jobs),
            )
        assert (tmp_path / "1.tar").read_bytes() == (tmp_path / "50.tar").read_bytes()

    def test_holds_manifest_json_first_and_each_layer_once_in_order(self, nested, session, tmp_path):
        copy_to_tar(CopySource(bundle=str(nested)), tmp_path / "t.tar", session=session)
        with tarfile.open(tmp_path / "t.tar") as tar:
            names = tar.getnames()
            items = json.load(tar.extractfile("manifest.json"))
        assert names[0] == "manifest.json"
        assert names[1:] == sorted(set(names[1:]))
        assert all(name.startswith("sha256-") and name.endswith(".tar.gz") for name in names[1:])
        labels = [item["Image"]["Labels"] for item in items if item["Image"]]
        assert labels.count({"dev.carvel.imgpkg.copy.root-bundle": ""}) == 1

    def test_that_is_resumed_fetches_only_what_is_missing(self, nested, open_session, tmp_path):
        tar, session = tmp_path / "r.tar", open_session()
        copy_to_tar(CopySource(bundle=str(nested)), tar, session=session)
        whole = tar.read_bytes()
        seen = []
        copy_to_tar(CopySource(bundle=str(nested)), tar, session=session, resume=True, on_event=seen.append)
        assert [event for event in seen if isinstance(event, BlobStarted)] == []
        assert any("Going to reuse " in event.text for event in seen if isinstance(event, Message))
        assert tar.read_bytes() == whole

    def test_that_was_cancelled_is_no_tar_file_and_can_be_resumed(self, nested, open_session, tmp_path):
        tar, started = tmp_path / "c.tar", []

        def stop(event):
            if isinstance(event, BlobStarted):
                started.append(event)
                if len(started) == 3:
                    raise errors.Cancelled

        with pytest.raises(errors.Cancelled):
            copy_to_tar(
                CopySource(bundle=str(nested)), tar, session=open_session(concurrency=1), on_event=stop
            )
        assert not tar.exists()
        again = []
        copy_to_tar(
            CopySource(bundle=str(nested)), tar, session=open_session(), resume=True, on_event=again.append
        )
        fetched = sum(1 for event in again if isinstance(event, BlobStarted))
        copy_to_tar(CopySource(bundle=str(nested)), tmp_path / "all.tar", session=open_session())
        assert tar.read_bytes() == (tmp_path / "all.tar").read_bytes()
        with tarfile.open(tar) as whole:
            assert 0 < fetched <= len(whole.getnames()) - 1 - 2

    def test_with_a_damaged_layer_publishes_no_tag(self, nested, another_registry, session, tmp_path):
        tar = tmp_path / "damaged.tar"
        copy_to_tar(CopySource(bundle=f"{nested.repository}:v1"), tar, session=session)
        with tarfile.open(tar) as whole:
            victim = whole.getmembers()[1]
        damaged = bytearray(tar.read_bytes())
        damaged[victim.offset_data + 20] ^= 1
        tar.write_bytes(damaged)
        to = Repository.parse(f"{another_registry.address}/from-tar/damaged")
        with pytest.raises(errors.VerificationError):
            copy_to_repository(CopySource(tar=str(tar)), str(to), session=session)
        assert session.client.exists(to.tag("v1")) is None

    def test_with_a_damaged_layer_is_named(self, embedded_registry, another_registry, session, tmp_path):
        tar = tmp_path / "damaged.tar"
        image = make_image(session, f"{embedded_registry.address}/app/damaged", ["whole"])
        copy_to_tar(CopySource(image=str(image)), tar, session=session)
        layer = session.client.manifest(image).layers[0]
        tar.write_bytes(tar.read_bytes().replace(b"\x1f\x8b", b"\x1f\x00"))
        with pytest.raises(
            errors.VerificationError, match=f"^Reading blob {layer.digest} of {tar}: error verifying sha256"
        ):
            copy_to_repository(
                CopySource(tar=str(tar)), f"{another_registry.address}/from-tar/named", session=session
            )

    @pytest.mark.parametrize("write", [copy_to_tar, copy_to_layout])
    def test_with_a_damaged_layer_never_sends_all_of_it(self, embedded_registry, session, tmp_path, write):
        path, text = tmp_path / "copied", random.Random(5).randbytes(2_000_000).hex()
        image = make_image(session, f"{embedded_registry.address}/app/withheld", [text])
        write(CopySource(image=str(image)), path, session=session)
        (layer,) = session.client.manifest(image).layers
        is_tar = path.is_file()
        damaged = path if is_tar else path / "blobs" / "sha256" / layer.digest.hex
        damaged.write_bytes(damaged.read_bytes().replace(b"\x1f\x8b", b"\x1f\x00"))
        source = CopySource(tar=path) if is_tar else CopySource(layout=path)
        sent = {}
        with RawServer(partial(believe, sent)) as server, pytest.raises(errors.VerificationError) as caught:
            copy_to_repository(source, f"{server.address}/from/withheld", session=session)
        assert str(caught.value).startswith(f"Reading blob {layer.digest} of {path}: error verifying sha256")
        assert 0 < sent[str(layer.digest)] < layer.size

    def test_without_the_left_out_layers_cannot_be_imported_with_them(
        self, embedded_registry, another_registry, session, tmp_path
    ):
        image = make_image(
            session,
            f"{embedded_registry.address}/app/foreign",
            ["f"],
            layer_type=media.DOCKER_FOREIGN_LAYER,
        )
        copy_to_tar(CopySource(image=str(image)), tmp_path / "f.tar", session=session)
        source, to = CopySource(tar=tmp_path / "f.tar"), f"{another_registry.address}/from-tar/foreign"
        before = len(another_registry.requests)
        for act in (copy_to_repository, preview_copy):
            with pytest.raises(errors.ArchiveError, match="not found in tar") as caught:
                act(source, to, session=session, options=EVERYTHING)
            layer = session.client.manifest(image).layers[0]
            assert caught.value.hints[-1] == (
                f"{layer.digest} is not in {to} either: make the file again with "
                "--include-non-distributable-layers, or copy it without that flag."
            )
        # Nothing was begun at the destination.
        assert {r.method for r in another_registry.requests[before:]} == {"HEAD"}

    @pytest.mark.parametrize(
        ("reference", "error", "text"),
        [
            ("host/some/bundle", errors.InvalidLock, "Expected bundle to only have a single layer, got 0"),
            ("x", errors.InvalidReference, r"^file manifest\.json in tar: repository must be"),
        ],
        ids=["a bundle without a layer", "a reference that is none"],
    )
    def test_made_by_hand_is_checked(self, session, tmp_path, reference, error, text):
        config = json.dumps({"config": {"Labels": {"dev.carvel.imgpkg.bundle": ""}}}).encode()
        blob = {"mediaType": media.DOCKER_CONFIG, "digest": str(Digest.of(config)), "size": len(config)}
        raw = json.dumps({"schemaVersion": 2, "config": blob, "layers": []}).encode()
        marks = Marks(reference, labels={"dev.carvel.imgpkg.copy.root-bundle": ""})
        image = ArchiveImage(Manifest.parse(raw, media.DOCKER_MANIFEST), config, marks)
        tar = str(tmp_path / "made.tar")
        with ArchiveWriter(tar, [image], []):
            pass
        with pytest.raises(error, match=text):
            copy_to_repository(CopySource(tar=tar), "host:1/a/b", session=session)

    def test_without_a_manifest_that_an_index_lists_is_not_whole(self, session, tmp_path):
        child = {"mediaType": media.OCI_MANIFEST, "digest": f"sha256:{'a' * 64}", "size": 2}
        raw = json.dumps({"schemaVersion": 2, "manifests": [child]}).encode()
        index = ArchiveIndex(Manifest.parse(raw, media.OCI_INDEX), (), (), Marks("host/some/index"))
        tar = str(tmp_path / "made.tar")
        with ArchiveWriter(tar, [index], []):
            pass
        with pytest.raises(
            errors.ArchiveError, match=f"manifest {child['digest']}, which .* not found in tar"
        ):
            copy_to_repository(CopySource(tar=tar), "host:1/a/b", session=session)

    def test_is_no_way_from_file_to_file(self, session, tmp_path):
        with pytest.raises(errors.UsageError, match="Cannot use tar source"):
            copy_to_tar(CopySource(tar="x.tar"), tmp_path / "y.tar", session=session)

    def test_is_missing(self, session):
        with pytest.raises(errors.LocalIOError, match=r"open nosuch\.tar: no such file or directory"):
            copy_to_repository(CopySource(tar="nosuch.tar"), "host:1/a/b", session=session)


class TestALayerThatAFileWasMadeWithout:
    """It may be at the destination, or where the image came from; only then is it missing."""

    @pytest.fixture
    def image(self, embedded_registry, session):
        return make_image(
            session,
            f"{embedded_registry.address}/left/app",
            ["not to be passed on"],
            layer_type=media.DOCKER_FOREIGN_LAYER,
        )

    @pytest.fixture(params=["tar", "layout"])
    def source(self, image, open_session, tmp_path, request):
        if request.param == "tar":
            copy_to_tar(CopySource(image=str(image)), tmp_path / "f.tar", session=open_session())
            return CopySource(tar=tmp_path / "f.tar")
        copy_to_layout(CopySource(image=str(image)), tmp_path / "oci", session=open_session())
        return CopySource(layout=tmp_path / "oci")

    def test_is_mounted_from_where_the_image_came_from(self, source, image, embedded_registry, open_session):
        to = f"{embedded_registry.address}/left/{'tar' if source.tar else 'layout'}"
        preview = preview_copy(source, to, session=open_session(), options=EVERYTHING)
        assert preview.mountable == 1
        copy_to_repository(source, to, session=open_session(), options=EVERYTHING)
        session, repository = open_session(), Repository.parse(to)
        layer = session.client.manifest(repository.digest(image.digest)).layers[0]
        assert session.client.has_blob(repository, layer.digest)

    def test_is_used_where_the_destination_has_it(self, source, image, another_registry, open_session):
        to = f"{another_registry.address}/left/{'tar' if source.tar else 'layout'}"
        make_image(open_session(), to, ["not to be passed on", "of another image"])
        copy_to_repository(source, to, session=open_session(), options=EVERYTHING)
        session, repository = open_session(), Repository.parse(to)
        assert session.client.manifest(repository.digest(image.digest)).layers

    def test_is_missing_where_it_cannot_be_mounted_either(self, session, tmp_path):
        with serve(features=Features(mount=False)) as server:
            where, kind = f"{server.address}/left/app", media.DOCKER_FOREIGN_LAYER
            image = make_image(session, where, ["not to be passed on"], layer_type=kind)
            copy_to_tar(CopySource(image=str(image)), tmp_path / "f.tar", session=session)
            source, to = CopySource(tar=tmp_path / "f.tar"), f"{server.address}/left/nowhere"
            with pytest.raises(errors.ArchiveError, match="not found in tar") as caught:
                copy_to_repository(source, to, session=session, options=EVERYTHING)
        assert f"is not in {to} either, and could not be mounted from {where}" in caught.value.hints[-1]


class TestALayout:
    def test_brings_a_bundle_to_another_registry_as_it_was(self, nested, another_registry, session, tmp_path):
        copy_to_layout(CopySource(bundle=f"{nested.repository}:v1"), tmp_path / "oci", session=session)
        to = f"{another_registry.address}/from-layout/nested"
        result = copy_to_repository(CopySource(layout=str(tmp_path / "oci")), to, session=session)
        assert (str(result.bundle.destination), result.bundle.tag) == (f"{to}@{nested.digest}", "v1")
        pulled = pull(tmp_path / "out", bundle=f"{to}:v1", recursive=True, session=session)
        assert pulled.images_lock.is_updated
        assert len(pulled.nested) == 1

    def test_is_not_fetched_twice(self, nested, session, tmp_path):
        copy_to_layout(CopySource(bundle=str(nested)), tmp_path / "oci", session=session)
        seen = []
        copy_to_layout(
            CopySource(bundle=str(nested)), tmp_path / "oci", session=session, on_event=seen.append
        )
        assert [event for event in seen if isinstance(event, BlobStarted)] == []

    def test_of_two_bundles_brings_both_and_knows_no_root(
        self, nested, embedded_registry, another_registry, session, tmp_path
    ):
        other = make_bundle(
            session, f"{embedded_registry.address}/bundles/second:v2", {}, tmp_path / "second"
        )
        for bundle in (nested, other):
            copy_to_layout(CopySource(bundle=str(bundle)), tmp_path / "oci", session=session)
        to = f"{another_registry.address}/from-layout/two"
        with pytest.raises(errors.UsageError, match="Unable to determine correct root bundle"):
            copy_to_repository(
                CopySource(layout=str(tmp_path / "oci")),
                to,
                session=session,
                lock_output=str(tmp_path / "lock.yml"),
            )
        for bundle in (nested, other):
            pulled = pull(tmp_path / "out", bundle=f"{to}@{bundle.digest}", session=session)
            assert pulled.is_cacheable
            tag = Repository.parse(to).tag(f"sha256-{bundle.digest.hex}.image-locations.imgpkg")
            assert session.client.exists(tag) is not None

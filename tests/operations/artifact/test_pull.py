"""Artifacts of ORAS and of this library come into a folder, whatever their titles say."""

from __future__ import annotations

import dataclasses
import json
import os

import pytest
from tests.content.tars import file, folder, tar, tree
from tests.operations.making import make_image, put_blob, put_manifest
from tests.servers.faults import always

import imgpkg
from imgpkg import errors
from imgpkg.embedded.message import Fault, ServerResponse
from imgpkg.embedded.server import serve
from imgpkg.events import BlobAdvanced, BlobFinished, Planned
from imgpkg.oci import media

TITLE, UNPACK = "org.opencontainers.image.title", "io.deis.oras.content.unpack"


def put_artifact(session, where, layers):
    """Put a manifest with layers of {annotations: bytes}, as any program may write it; return its name."""
    repository = imgpkg.Repository.parse(where)
    document = {
        "schemaVersion": 2,
        "mediaType": media.OCI_MANIFEST,
        "artifactType": "a/b",
        "config": put_blob(session, repository, b"{}", media.OCI_EMPTY),
        "layers": [
            {**put_blob(session, repository, data, media.OCI_LAYER), "annotations": notes}
            for notes, data in layers
        ],
    }
    return str(put_manifest(session, repository, document))


def push_index(session, where, platforms):
    """Push an index of one artifact for each platform, whose file names it; return its name."""
    entries = []
    for platform in platforms:
        files = {"platform.txt": platform.encode()}
        pushed = imgpkg.push_artifact(files, image=where, session=session)
        entries.append(dataclasses.replace(pushed.manifest.descriptor, platform=platform))
    repository = imgpkg.Repository.parse(where)
    session.client.push_manifest(repository.tag("index"), imgpkg.Manifest.build_index(entries))
    return str(repository.tag("index"))


class TestAnArtifact:
    def test_comes_back_as_it_was(self, embedded_registry, session, write_tree, tmp_path):
        where = f"{embedded_registry.address}/pulls/whole:v1"
        root = write_tree({"d/x": "1", "y": "2"})
        (root / "link").symlink_to("d/x")
        (root / "empty").mkdir()
        files = [
            root,
            imgpkg.ArtifactFile(b"\0" * 3_000_000, title="big/zeros.bin"),
            imgpkg.ArtifactFile(b"", title="empty.txt"),
            imgpkg.ArtifactFile(b"hidden"),
        ]
        pushed = imgpkg.push_artifact(files, image=where, annotations={"k": "v"}, session=session)
        out = tmp_path / "out"
        pulled = imgpkg.pull_artifact(out, image=where, session=session)
        assert tree(out / root.name) == tree(root)
        assert (out / "big" / "zeros.bin").read_bytes() == b"\0" * 3_000_000
        assert (out / "empty.txt").read_bytes() == b""
        assert (pulled.reference, pulled.manifest) == (pushed.reference, pushed.manifest)
        assert [pulled_file.title for pulled_file in pulled.files] == [
            root.name,
            "big/zeros.bin",
            "empty.txt",
        ]
        assert all(os.path.exists(pulled_file.path) for pulled_file in pulled.files)
        form = json.loads(json.dumps(imgpkg.as_json(pulled)))
        assert (form["annotations"], len(form["files"]), form["subject"]) == ({"k": "v"}, 3, None)

    @pytest.mark.parametrize("kind", [str, imgpkg.Platform.parse])
    def test_of_an_index_is_the_one_for_the_platform(self, embedded_registry, session, tmp_path, kind):
        where = f"{embedded_registry.address}/pulls/platforms"
        index = push_index(session, where, ["", "linux/amd64", "linux/arm64/v8"])
        pulled = imgpkg.pull_artifact(
            tmp_path / "out", image=index, platform=kind("linux/arm64"), session=session
        )
        assert tree(tmp_path / "out") == {"platform.txt": b"linux/arm64/v8"}
        assert pulled.reference.digest == pulled.manifest.digest

    def test_says_how_far_it_is(self, embedded_registry, session, tmp_path):
        where = f"{embedded_registry.address}/pulls/events:v1"
        files = [imgpkg.ArtifactFile(bytes([number]) * 10, title=f"f{number}") for number in range(9)]
        imgpkg.push_artifact(files, image=where, session=session)
        seen = []
        imgpkg.pull_artifact(tmp_path / "out", image=where, session=session, on_event=seen.append)
        assert seen[0] == Planned(9, 90)
        assert sum(event.count for event in seen if isinstance(event, BlobAdvanced)) == 90
        assert sum(isinstance(event, BlobFinished) for event in seen) == 9

    @pytest.mark.parametrize(("titles", "text"), [("", "3 blobs"), ("a", "2 blobs"), ("ab", "1 blob")])
    def test_says_what_has_no_title(self, embedded_registry, session, tmp_path, titles, text):
        where = f"{embedded_registry.address}/pulls/untitled"
        layers = [({TITLE: title}, title.encode()) for title in titles]
        layers += [({}, f"{number}".encode()) for number in range(3 - len(titles))]
        image, seen = put_artifact(session, where, layers), []
        pulled = imgpkg.pull_artifact(tmp_path / "out", image=image, session=session, on_event=seen.append)
        assert imgpkg.Warned(f"{text} of {image} without a title: pulled into no file") in seen
        assert [one.title for one in pulled.files] == list(titles)

    def test_of_nothing_is_an_empty_folder(self, embedded_registry, session, tmp_path):
        where, seen = f"{embedded_registry.address}/pulls/nothing:v1", []
        imgpkg.push_artifact([], image=where, session=session)
        imgpkg.pull_artifact(tmp_path / "out", image=where, session=session, on_event=seen.append)
        assert seen == [Planned(0, 0)]
        assert list((tmp_path / "out").iterdir()) == []

    def test_is_added_to_what_is_there(self, embedded_registry, session, tmp_path):
        where = f"{embedded_registry.address}/pulls/added:v1"
        imgpkg.push_artifact(imgpkg.ArtifactFile(b"new", title="x"), image=where, session=session)
        out = tmp_path / "out"
        out.mkdir()
        (out / "kept").write_text("kept")
        (out / "x").write_text("old")
        with pytest.raises(errors.LocalIOError, match="file exists"):
            imgpkg.pull_artifact(out, image=where, overwrite=False, session=session)
        assert (out / "x").read_text() == "old"
        imgpkg.pull_artifact(out, image=where, session=session)
        assert tree(out) == {"kept": b"kept", "x": b"new"}

    def test_may_be_the_working_directory_of_oras(self, embedded_registry, session, tmp_path):
        notes = {TITLE: ".", UNPACK: "true"}
        data = tar(folder("."), file("x", b"1"))
        image = put_artifact(session, f"{embedded_registry.address}/pulls/dot", [(notes, data)])
        imgpkg.pull_artifact(tmp_path / "out", image=image, session=session)
        assert tree(tmp_path / "out") == {"x": b"1"}

    def test_comes_from_docker_registry_too(self, docker_registry, session, write_tree, tmp_path):
        where = f"{docker_registry.address}/pulls/docker:v1"
        image = make_image(session, where.rpartition(":")[0])
        root = write_tree({"a": "1"})
        imgpkg.push_artifact(root, image=where, subject=str(image), session=session)
        pulled = imgpkg.pull_artifact(tmp_path / "out", image=where, session=session)
        assert tree(tmp_path / "out" / root.name) == {"a": b"1"}
        (referrer,) = session.client.referrers(image.repository, image.digest)
        assert referrer.digest == pulled.manifest.digest


class TestWhatCannotBePulled:
    @pytest.mark.parametrize("title", ["../x", "/etc/x", "a/../../x", "a\0b", ".", "\ud800"], ids=repr)
    def test_a_title_that_leads_out_of_the_folder(self, embedded_registry, session, tmp_path, title):
        where = f"{embedded_registry.address}/pulls/out"
        image = put_artifact(session, where, [({TITLE: "good"}, b"1"), ({TITLE: title}, b"2")])
        with pytest.raises(errors.UnpackError):
            imgpkg.pull_artifact(tmp_path / "in" / "out", image=image, session=session)
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize(("one", "other"), [("a", "a"), ("a", "a/b"), ("a/b", "./a//b")])
    def test_two_files_in_one_place(self, embedded_registry, session, tmp_path, one, other):
        where = f"{embedded_registry.address}/pulls/two"
        image = put_artifact(session, where, [({TITLE: one}, b"1"), ({TITLE: other}, b"2")])
        with pytest.raises(errors.UnpackError, match="in places of their own"):
            imgpkg.pull_artifact(tmp_path / "out", image=image, session=session)

    def test_a_tar_that_leads_out_of_the_folder(self, embedded_registry, session, tmp_path):
        notes = {TITLE: "d", UNPACK: "true"}
        layers = [({TITLE: "good"}, b"1"), (notes, tar(file("d/../../x", b"2")))]
        image = put_artifact(session, f"{embedded_registry.address}/pulls/tar", layers)
        with pytest.raises(errors.UnpackError, match=r"Pulling artifact .* to stay within"):
            imgpkg.pull_artifact(tmp_path / "out", image=image, session=session)
        assert list(tmp_path.iterdir()) == []

    def test_content_of_another_digest(self, session, tmp_path):
        wrong = always(Fault(answer=ServerResponse(200, body=b"evil")), method="GET", path="/blobs/")
        with serve(faults=wrong) as server:
            image = f"{server.address}/team/wrong:v1"
            files = [imgpkg.ArtifactFile(name.encode() * 4, title=name) for name in ("a", "b")]
            imgpkg.push_artifact(files, image=image, session=session)
            with pytest.raises(errors.VerificationError):
                imgpkg.pull_artifact(tmp_path / "out", image=image, session=session)
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize(
        ("platforms", "hints"),
        [
            (["linux/amd64", "linux/arm64"], ["Choose a platform: linux/amd64, linux/arm64."]),
            ([""], ["Name one of its manifests by digest: sha256:"]),
            ([], []),
        ],
    )
    def test_an_index_without_a_platform(self, embedded_registry, session, tmp_path, platforms, hints):
        where = f"{embedded_registry.address}/pulls/index"
        index = push_index(session, where, platforms)
        with pytest.raises(errors.InvalidManifest, match="is an index") as caught:
            imgpkg.pull_artifact(tmp_path / "out", image=index, session=session)
        assert [found[: len(hint)] for found, hint in zip(caught.value.hints, hints, strict=True)] == hints

    @pytest.mark.parametrize(
        ("platforms", "hints"), [(["linux/arm64"], ("It is there for linux/arm64.",)), ([""], ())]
    )
    def test_an_index_that_is_for_other_platforms(
        self, embedded_registry, session, tmp_path, platforms, hints
    ):
        index = push_index(session, f"{embedded_registry.address}/pulls/others", platforms)
        with pytest.raises(errors.UsageError, match="is not there for linux/s390x") as caught:
            imgpkg.pull_artifact(tmp_path / "out", image=index, platform="linux/s390x", session=session)
        assert caught.value.hints == hints

    def test_an_index_in_an_index(self, embedded_registry, session, tmp_path):
        where = f"{embedded_registry.address}/pulls/nested"
        inner = session.client.resolve(imgpkg.Reference.parse(push_index(session, where, [])))
        outer = imgpkg.Manifest.build_index([dataclasses.replace(inner, platform="linux/amd64")])
        session.client.push_manifest(imgpkg.Reference.parse(f"{where}:outer"), outer)
        with pytest.raises(errors.InvalidManifest, match="is no artifact that can be pulled"):
            imgpkg.pull_artifact(
                tmp_path / "out", image=f"{where}:outer", platform="linux/amd64", session=session
            )

    def test_the_hook_stops_it_and_nothing_is_there(self, embedded_registry, session, tmp_path):
        where = f"{embedded_registry.address}/pulls/stopped:v1"
        files = [imgpkg.ArtifactFile(bytes([number]) * 10, title=f"f{number}") for number in range(3)]
        imgpkg.push_artifact(files, image=where, session=session)

        def stop(event):
            if isinstance(event, BlobFinished):
                raise errors.Cancelled

        with pytest.raises(errors.Cancelled):
            imgpkg.pull_artifact(tmp_path / "out", image=where, session=session, on_event=stop)
        assert list(tmp_path.iterdir()) == []

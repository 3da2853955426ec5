"""An artifact is what ORAS would have pushed, in one call."""

from __future__ import annotations

import dataclasses
import io
import json
import subprocess
from functools import partial

import pytest
from tests.operations.conftest import read_tree
from tests.operations.making import make_image
from tests.servers.faults import always

import imgpkg
from imgpkg import errors
from imgpkg.embedded.message import Fault, ServerResponse
from imgpkg.embedded.server import serve
from imgpkg.events import BlobAdvanced, BlobOutcome, BlobStarted, PackAdvanced, PackStarted, Planned
from imgpkg.oci import media
from imgpkg.oci.encoding import EMPTY_BLOB

HELLO = "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03"


@pytest.fixture
def where(embedded_registry, tmp_path):
    """A repository of its own for each test."""
    return f"{embedded_registry.address}/artifacts/{tmp_path.name}"


@pytest.fixture
def hello(tmp_path):
    (tmp_path / "hello.txt").write_text("hello\n")
    return tmp_path / "hello.txt"


class TestAnArtifact:
    def test_of_one_file_is_the_manifest_of_oras(self, where, hello, session):
        pushed = imgpkg.push_artifact(
            [hello],
            image=f"{where}:v1",
            artifact_type="application/vnd.example",
            media_type="text/plain",
            annotations={"org.opencontainers.image.created": "2000-01-01T00:00:00Z"},
            session=session,
        )
        # `oras push --artifact-type application/vnd.example --annotation … REF hello.txt:text/plain`
        assert pushed.manifest.raw.decode() == (
            '{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json",'
            '"artifactType":"application/vnd.example",'
            '"config":{"mediaType":"application/vnd.oci.empty.v1+json",'
            '"digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a",'
            '"size":2,"data":"e30="},'
            f'"layers":[{{"mediaType":"text/plain","digest":"sha256:{HELLO}","size":6,'
            '"annotations":{"org.opencontainers.image.title":"hello.txt"}}],'
            '"annotations":{"org.opencontainers.image.created":"2000-01-01T00:00:00Z"}}'
        )
        assert (pushed.tag, str(pushed.reference)) == ("v1", f"{where}@{pushed.manifest.digest}")
        assert session.client.manifest(imgpkg.Reference.parse(f"{where}:v1")) == pushed.manifest

    def test_has_what_was_said_of_each_file(self, where, hello, session):
        files = [
            imgpkg.ArtifactFile(hello, title="docs/a.txt", annotations={"k": "v"}),
            imgpkg.ArtifactFile(b"{}", title="b.json", media_type="application/json"),
            imgpkg.ArtifactFile(b"no name"),
            imgpkg.ArtifactFile(b"1", annotations={"org.opencontainers.image.title": "c"}),
        ]
        pushed = imgpkg.push_artifact(files, image=f"{where}:v1", session=session)
        assert [dict(layer.annotations) for layer in pushed.manifest.layers] == [
            {"k": "v", "org.opencontainers.image.title": "docs/a.txt"},
            {"org.opencontainers.image.title": "b.json"},
            {},
            {"org.opencontainers.image.title": "c"},
        ]
        types = [layer.media_type for layer in pushed.manifest.layers]
        assert types == [media.OCI_LAYER, "application/json", media.OCI_LAYER, media.OCI_LAYER]
        assert pushed.manifest.artifact_type == "application/vnd.unknown.artifact.v1"

    @pytest.mark.parametrize("content", [b"{}", imgpkg.ArtifactFile(b"{}", title="other")])
    def test_may_be_of_contents_by_their_titles(self, where, hello, session, content):
        pushed = imgpkg.push_artifact({"a/b.json": content, "c": hello}, image=where, session=session)
        found = [(layer.digest.hex, dict(layer.annotations)) for layer in pushed.manifest.layers]
        assert found == [
            (EMPTY_BLOB.digest.hex, {"org.opencontainers.image.title": "a/b.json"}),
            (HELLO, {"org.opencontainers.image.title": "c"}),
        ]

    @pytest.mark.parametrize("files", [b"hello\n", [b"hello\n"], {"": b"hello\n"}])
    def test_may_be_of_bytes_alone(self, where, session, files):
        pushed = imgpkg.push_artifact(files, image=where, media_type="text/plain", session=session)
        (layer,) = pushed.manifest.layers
        assert (layer.digest.hex, layer.media_type, layer.annotations) == (HELLO, "text/plain", {})

    def test_of_nothing_has_the_empty_descriptor(self, where, session):
        pushed = imgpkg.push_artifact([], image=f"{where}:v1", artifact_type="a/b", session=session)
        assert pushed.manifest.blobs() == (EMPTY_BLOB, EMPTY_BLOB)
        with session.client.blob(pushed.reference.repository, EMPTY_BLOB) as stream:
            assert stream.read(9) == b"{}"

    def test_may_have_a_configuration_and_no_type(self, where, tmp_path, session):
        (tmp_path / "config.json").write_text('{"a": 1}')
        config = imgpkg.ArtifactFile(tmp_path / "config.json", annotations={"k": "v"})
        pushed = imgpkg.push_artifact([], image=f"{where}:v1", config=config, session=session)
        assert pushed.manifest.artifact_type == ""
        found = pushed.manifest.config
        assert (found.media_type, dict(found.annotations)) == (
            "application/vnd.unknown.config.v1+json",
            {"k": "v"},
        )
        with session.client.blob(pushed.reference.repository, found) as stream:
            assert stream.read(99) == b'{"a": 1}'

    @pytest.mark.parametrize("kind", ["path", "bytes"])
    def test_may_have_a_configuration_of_which_nothing_is_said(self, where, hello, session, kind):
        config = hello if kind == "path" else b"hello\n"
        pushed = imgpkg.push_artifact([], image=where, config=config, session=session)
        expected = imgpkg.Descriptor.of(b"hello\n", "application/vnd.unknown.config.v1+json")
        assert pushed.manifest.config == expected

    def test_has_folders_as_tars_to_unpack(self, where, write_tree, session):
        root = write_tree({"a/b": "1"})
        pushed = imgpkg.push_artifact(root, image=f"{where}:v1", session=session)
        (layer,) = pushed.manifest.layers
        assert layer.media_type == media.OCI_LAYER_GZIP
        assert set(layer.annotations) == {
            "io.deis.oras.content.digest",
            "io.deis.oras.content.unpack",
            "org.opencontainers.image.title",
        }
        assert layer.annotations["org.opencontainers.image.title"] == root.name

    def test_without_a_tag_has_its_digest_alone(self, where, hello, session):
        pushed = imgpkg.push_artifact(hello, image=where, session=session)
        assert pushed.tag == ""
        assert list(session.client.tags(pushed.reference.repository)) == []
        assert session.client.exists(pushed.reference) is not None

    @pytest.mark.parametrize("kind", ["text", "reference", "descriptor", "digest", "text of a digest"])
    def test_refers_to_its_subject(self, where, hello, session, kind):
        image = make_image(session, where, tag="v1")
        found = session.client.resolve(image)
        subject = {
            "text": f"{where}:v1",
            "reference": imgpkg.Reference.parse(f"{where}:v1"),
            "descriptor": found,
            "digest": found.digest,
            "text of a digest": str(found.digest),
        }[kind]
        pushed = imgpkg.push_artifact(
            hello, image=where, artifact_type="a/b", subject=subject, session=session
        )
        assert pushed.manifest.subject.digest == image.digest
        (referrer,) = session.client.referrers(image.repository, image.digest)
        assert (referrer.digest, referrer.artifact_type) == (pushed.manifest.digest, "a/b")

    def test_has_one_digest_at_any_time_and_is_sent_once(self, where, embedded_registry, hello, open_session):
        first = imgpkg.push_artifact(hello, image=f"{where}:v1", session=open_session())
        before = len(embedded_registry.requests)
        seen = []
        again = imgpkg.push_artifact(hello, image=f"{where}:v1", session=open_session(), on_event=seen.append)
        assert again == first
        assert [request.method for request in embedded_registry.requests[before:]] == ["HEAD"]
        assert Planned(0, 0, 2, 8) in seen

    def test_sends_equal_files_once(self, where, embedded_registry, session):
        files = [imgpkg.ArtifactFile(b"same", title=name) for name in ("a", "b")]
        before = len(embedded_registry.requests)
        imgpkg.push_artifact(files, image=f"{where}:v1", session=session)
        sent = [r for r in embedded_registry.requests[before:] if r.method == "POST"]
        assert len(sent) == 2

    def test_reports_all_its_bytes(self, where, hello, session):
        seen = []
        imgpkg.push_artifact(hello, image=f"{where}:v1", session=session, on_event=seen.append)
        assert PackStarted(6) in seen
        assert sum(event.count for event in seen if isinstance(event, PackAdvanced)) == 6
        assert Planned(2, 8) in seen
        started = {event.digest: event.size for event in seen if isinstance(event, BlobStarted)}
        assert sorted(started.values()) == [2, 6]
        moved = sum(event.count for event in seen if isinstance(event, BlobAdvanced))
        finished = [event.outcome for event in seen if type(event).__name__ == "BlobFinished"]
        assert moved == 8
        assert finished == [BlobOutcome.MOVED, BlobOutcome.MOVED]

    def test_of_many_files_arrives(self, where, tmp_path, session):
        (tmp_path / "in").mkdir()
        for number in range(20):
            (tmp_path / "in" / f"f{number}").write_bytes(bytes([number]) * 100_000 * (number % 3))
        paths = sorted((tmp_path / "in").iterdir())
        imgpkg.push_artifact(paths, image=f"{where}:v1", session=session)
        imgpkg.pull_artifact(tmp_path / "out", image=f"{where}:v1", session=session)
        assert read_tree(tmp_path / "out") == read_tree(tmp_path / "in")

    def test_is_json(self, where, hello, session):
        pushed = imgpkg.push_artifact(hello, image=f"{where}:v1", session=session)
        form = json.loads(json.dumps(imgpkg.as_json(pushed)))
        assert (form["tags"], form["subject"], form["blobs"][0]["size"]) == (["v1"], None, 6)


class TestWhatCannotBePushed:
    @pytest.mark.parametrize(
        ("files", "text"),
        [
            ("hello.txt", "Expected a list of files, but was the one name 'hello.txt'"),
            ({"../a": b""}, "to stay within output directory"),
            ([imgpkg.ArtifactFile(b"", title="/a")], "to stay within output directory"),
            ([imgpkg.ArtifactFile(b"", title="../a")], "to stay within output directory"),
            ([imgpkg.ArtifactFile(b"", title="\udcff")], "to be text"),
            ([imgpkg.ArtifactFile(b"", title=name) for name in ("a", "./a")], "two files with one title"),
            ([imgpkg.ArtifactFile(b"", title=name) for name in ("a", "a/b")], "'a/b', which is inside of"),
        ],
    )
    def test_is_refused_before_any_request(self, files, text, session):
        with pytest.raises(errors.UsageError, match=text):
            imgpkg.push_artifact(files, image="127.0.0.1:1/a/b:v1", session=session)

    def test_a_digest_is_no_place(self, session):
        with pytest.raises(errors.InvalidReference, match=r"Parsing 'r\.example.*not to a digest") as caught:
            imgpkg.push_artifact([], image=f"r.example/ab@sha256:{HELLO}", session=session)
        assert caught.value.hints == ("r.example/ab alone writes no tag: the artifact has its digest.",)

    def test_a_missing_file_is_named(self, where, session, tmp_path):
        with pytest.raises(errors.LocalIOError, match=r"stat .*/nosuch: no such file"):
            imgpkg.push_artifact(tmp_path / "nosuch", image=where, session=session)

    def test_a_device_is_no_file(self, where, session):
        with pytest.raises(errors.LocalIOError, match="to be a regular file"):
            imgpkg.push_artifact(["/dev/null"], image=where, session=session)

    def test_a_folder_is_no_configuration(self, where, session, tmp_path):
        config = imgpkg.ArtifactFile(tmp_path)
        with pytest.raises(errors.UsageError, match="Expected a file as configuration"):
            imgpkg.push_artifact([], image=where, config=config, session=session)

    @pytest.mark.parametrize("given", [{"media_type": "text"}, {"artifact_type": "sbom"}])
    def test_a_media_type_is_one(self, where, hello, session, given):
        with pytest.raises(errors.InvalidManifest, match=r"Pushing artifact .*: expected a media type"):
            imgpkg.push_artifact(hello, image=where, session=session, **given)

    @pytest.mark.parametrize("of_file", [False, True])
    @pytest.mark.parametrize("notes", [{"build": 17}, {"build": None}, {17: "build"}])
    def test_an_annotation_is_text(self, where, session, of_file, notes):
        files = [imgpkg.ArtifactFile(b"", annotations=notes if of_file else {})]
        with pytest.raises(errors.InvalidManifest, match=r"expected texts as annotation .*(17|None)"):
            imgpkg.push_artifact(files, image=where, annotations={} if of_file else notes, session=session)
        assert session.client.exists(imgpkg.Reference.parse(where)) is None

    def test_a_subject_is_in_the_same_repository(self, where, session):
        with pytest.raises(errors.UsageError, match="Expected the subject to be in"):
            imgpkg.push_artifact([], image=where, subject="r.example/other/app:v1", session=session)

    def test_a_subject_that_is_not_there_is_named(self, where, session):
        with pytest.raises(errors.NotFound):
            imgpkg.push_artifact([], image=where, subject=f"{where}:nosuch", session=session)

    def test_a_file_that_changes_meanwhile_is_not_published(self, where, hello, session):
        def change(event):
            if isinstance(event, Planned):
                hello.write_text("other\n")

        with pytest.raises(errors.VerificationError):
            imgpkg.push_artifact(hello, image=f"{where}:v1", session=session, on_event=change)
        assert session.client.exists(imgpkg.Reference.parse(f"{where}:v1")) is None

    def test_a_registry_that_keeps_nothing_is_not_believed(self, hello, session):
        forgetful = always(Fault(answer=ServerResponse(201)), method="PUT", path="/manifests/v1")
        with serve(faults=forgetful) as server:
            image = f"{server.address}/team/forgotten:v1"
            with pytest.raises(errors.VerificationError, match="does not have it"):
                imgpkg.push_artifact(hello, image=image, session=session)


def skopeo(*arguments):
    """Run a client that knows nothing of us; return what it prints."""
    done = subprocess.run(
        ["skopeo", "--insecure-policy", *arguments], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_skopeo_copies_an_artifact_with_its_digest(docker_registry, write_tree, session, tmp_path):
    where = f"{docker_registry.address}/artifacts/skopeo"
    files = [
        write_tree({"a": "1"}),
        imgpkg.ArtifactFile(b"{}", title="b.json", media_type="application/json"),
    ]
    pushed = imgpkg.push_artifact(files, image=f"{where}:v1", artifact_type="a/b", session=session)
    skopeo("copy", "--src-tls-verify=false", f"docker://{where}:v1", f"dir:{tmp_path / 'dir'}")
    assert (tmp_path / "dir" / "manifest.json").read_bytes() == pushed.manifest.raw
    names = {path.name for path in (tmp_path / "dir").iterdir()}
    assert {layer.digest.hex for layer in pushed.manifest.layers} <= names


@pytest.mark.slow
def test_skopeo_finds_the_platforms_of_an_index_that_was_built(docker_registry, session):
    repository = imgpkg.Repository.parse(f"{docker_registry.address}/artifacts/built")
    entries = []
    for architecture in ("amd64", "arm64"):
        config = json.dumps({"architecture": architecture, "os": "linux"}).encode()
        described = imgpkg.Descriptor.of(config, media.OCI_CONFIG)
        session.client.push_blob(repository, described, partial(io.BytesIO, config))
        image = imgpkg.Manifest.build(described)
        session.client.push_manifest(repository.digest(image.digest), image)
        entries.append(dataclasses.replace(image.descriptor, platform=f"linux/{architecture}"))
    session.client.push_manifest(repository.tag("v1"), imgpkg.Manifest.build_index(entries))
    for architecture in ("amd64", "arm64"):
        options = ("--override-os=linux", f"--override-arch={architecture}")
        printed = skopeo(*options, "inspect", "--tls-verify=false", f"docker://{repository}:v1")
        assert json.loads(printed)["Architecture"] == architecture

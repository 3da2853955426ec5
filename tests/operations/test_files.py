"""Files of images in registries, tar files and layouts: no layer is fetched that does not decide."""

from __future__ import annotations

import gzip
import io
import json
import os
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

import pytest
from tests.content.tars import file, folder, link, tar
from tests.operations.making import put_blob, put_manifest

import imgpkg
from imgpkg.cancellation import sleep
from imgpkg.errors import Cancelled, NotInImage, TimedOut, UnpackError, UsageError, VerificationError
from imgpkg.oci import media
from imgpkg.oci.descriptor import Digest
from imgpkg.oci.reference import Repository

RELEASE = b'NAME="Example Linux"\n'
BASE = [
    folder("etc"),
    file("etc/hosts", b"127.0.0.1 localhost\n"),
    file("etc/removed", b"gone"),
    link("etc/os-release", "../usr/lib/os-release"),
    file("usr/lib/os-release", b"old"),
    file("usr/bin/big", bytes(range(256)) * 10_000),
    link("usr/bin/same", "usr/bin/big", tarfile.LNKTYPE),
]
MIDDLE = [folder("etc"), file("etc/.wh.removed"), file("usr/lib/os-release", RELEASE)]
TOP = [file("app/main.py", b"print('hello')\n"), link("app/release", "/etc/os-release")]


def put_layers(session, where, layers, tag="v1"):
    """Put an image of these layers, as gzip; return its reference and the digests of the layers."""
    repository = Repository.parse(where)
    data = [gzip.compress(tar(*members), mtime=0) for members in layers]
    config = json.dumps({"os": "linux", "architecture": "amd64", "config": {"WorkingDir": "/app"}}).encode()
    document = {
        "schemaVersion": 2,
        "mediaType": media.OCI_MANIFEST,
        "config": put_blob(session, repository, config, media.OCI_CONFIG),
        "layers": [put_blob(session, repository, each, media.OCI_LAYER_GZIP) for each in data],
    }
    return str(put_manifest(session, repository, document, tag)), [str(Digest.of(each)) for each in data]


@pytest.fixture
def image(request, embedded_registry, session):
    """An image of three layers; and the digests of its layers, the base first."""
    where = f"{embedded_registry.address}/files/{request.node.originalname.lower()}"
    return put_layers(session, where, [BASE, MIDDLE, TOP])


@pytest.fixture
def fetched(embedded_registry, image):
    """The layers that were fetched since the last look, as numbers from the base."""
    server, digests, seen = embedded_registry.server, image[1], [len(embedded_registry.server.requests)]

    def look():
        requests = server.requests[seen[0] :]
        seen[0] += len(requests)
        blobs = [request.path.rpartition("/")[2] for request in requests if "/blobs/" in request.path]
        return [digests.index(blob) for blob in blobs if blob in digests]

    return look


@pytest.fixture(autouse=True)
def left(tmp_path, monkeypatch):
    """The folder of temporary files, which nothing may be left in."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield
    assert os.listdir(folder) == []


class TestOneFile:
    @pytest.mark.parametrize(
        ("path", "content", "layers"),
        [
            ("app/main.py", b"print('hello')\n", [2]),
            ("usr/lib/os-release", RELEASE, [2, 1]),
            ("/etc/hosts", b"127.0.0.1 localhost\n", [2, 1, 0]),
            (Path("app/release"), RELEASE, [2, 1, 0]),
            ("usr/bin/same", bytes(range(256)) * 10_000, [2, 1, 0]),
        ],
    )
    def test_is_read_from_as_few_layers_as_decide(self, image, session, fetched, path, content, layers):
        assert imgpkg.read_file(image[0], path, session=session) == content
        assert fetched() == layers

    def test_that_was_removed_is_decided_by_the_layer_that_did_it(self, image, session, fetched):
        with pytest.raises(NotInImage) as caught:
            imgpkg.read_file(image[0], "etc/removed", session=session)
        assert str(caught.value) == f"Reading files of {image[0]}: 'etc/removed' is not in the image"
        assert fetched() == [2, 1]

    def test_may_not_be_larger_than_is_allowed(self, image, session):
        assert imgpkg.read_file(image[0], "app/main.py", session=session, max_size=15)
        with pytest.raises(UnpackError, match=r"'app/main.py' of .* has more than 14 bytes") as caught:
            imgpkg.read_file(image[0], "app/main.py", session=session, max_size=14)
        assert "max_size" in caught.value.hints[0]

    def test_is_a_file(self, image, session):
        with pytest.raises(UsageError, match="'etc' is a directory in the image"):
            imgpkg.read_file(image[0], "etc", session=session)

    def test_of_an_image_that_was_read_costs_no_other_request(self, image, session, embedded_registry):
        found = imgpkg.read_image(image[0], session=session)
        before = len(embedded_registry.server.requests)
        assert imgpkg.read_file(found, "app/main.py", session=session)
        assert len(embedded_registry.server.requests) == before + 1

    def test_is_in_tar_files_and_layouts(self, image, session, tmp_path):
        source = imgpkg.CopySource(image=image[0])
        imgpkg.copy(source, to_tar=tmp_path / "a.tar", session=session)
        imgpkg.copy(source, to_layout=tmp_path / "layout", session=session)
        offline = imgpkg.Session()
        for place in ({"tar": tmp_path / "a.tar"}, {"layout": str(tmp_path / "layout")}):
            for named in ("", image[0], imgpkg.read_image("", session=offline, **place)):
                text = imgpkg.read_file(named, "app/release", session=offline, **place)
                assert text == RELEASE
            walk = imgpkg.iter_files("", session=offline, **place)
            assert next(walk)[0].path == "app/main.py"
            walk.close()
        offline.close()

    def test_of_a_layer_that_is_not_the_one_is_never_seen(self, image, session, tmp_path):
        imgpkg.copy(imgpkg.CopySource(image=image[0]), to_layout=tmp_path / "layout", session=session)
        blob = tmp_path / "layout/blobs/sha256" / image[1][2].partition(":")[2]
        blob.write_bytes(gzip.compress(tar(file("app/main.py", b"print('evil!')\n")), mtime=0))
        with pytest.raises(VerificationError, match=f"Reading layer {image[1][2]}: "):
            imgpkg.read_file("", "app/main.py", session=session, layout=tmp_path / "layout")

    @pytest.mark.parametrize(
        ("kind", "data"),
        [
            ("text/plain", b"just text\n"),
            # As ORAS writes files of whatever kind.
            (media.OCI_LAYER, b"just text\n"),
            (f"{media.OCI_LAYER_GZIP}+encrypted", bytes(range(1, 256)) * 9),
        ],
    )
    def test_is_in_no_blob_of_another_type(self, image, session, kind, data):
        repository = imgpkg.Reference.parse(image[0]).repository
        config = put_blob(session, repository, b"{}", media.OCI_EMPTY)
        layers = [put_blob(session, repository, data, kind)]
        found = put_manifest(
            session, repository, {"mediaType": media.OCI_MANIFEST, "config": config, "layers": layers}
        )
        with pytest.raises(
            UnpackError, match=r": a blob of type '[a-z./0-9+]*' is no layer of files: "
        ) as caught:
            imgpkg.read_file(str(found), "a", session=session)
        assert kind in str(caught.value)

    def test_is_in_no_damaged_layer(self, image, session):
        repository = imgpkg.Reference.parse(image[0]).repository
        config = put_blob(session, repository, b"{}", media.OCI_CONFIG)
        layers = [put_blob(session, repository, tar(file("a", b"b"))[:512], media.OCI_LAYER)]
        document = {"mediaType": media.OCI_MANIFEST, "config": config, "layers": layers}
        found = str(put_manifest(session, repository, document))
        with pytest.raises(UnpackError, match=r"Reading layer sha256:[0-9a-f]{64}: unexpected EOF$"):
            imgpkg.read_file(found, "a", session=session)

    def test_may_be_in_a_tar_file_of_any_type(self, image, session):
        repository = imgpkg.Reference.parse(image[0]).repository
        config = put_blob(session, repository, b"{}", "application/vnd.cncf.helm.config.v1+json")
        chart = gzip.compress(tar(file("chart/Chart.yaml", b"name: chart\n")))
        layers = [put_blob(session, repository, chart, "application/vnd.cncf.helm.chart.content.v1.tar+gzip")]
        document = {"mediaType": media.OCI_MANIFEST, "config": config, "layers": layers}
        found = str(put_manifest(session, repository, document))
        assert imgpkg.read_file(found, "chart/Chart.yaml", session=session) == b"name: chart\n"

    def test_is_not_looked_for_after_the_work_was_stopped(self, image, session, tmp_path):
        """A few bytes may be decompressed to gigabytes, so time limits count there too."""
        imgpkg.copy(imgpkg.CopySource(image=image[0]), to_layout=tmp_path / "layout", session=session)
        token = imgpkg.CancelToken()

        def stop(event):
            if isinstance(event, imgpkg.BlobAdvanced):
                token.cancel()

        with pytest.raises(Cancelled, match=r"the work was stopped: reading a tar file$"):
            imgpkg.read_file(
                "", "app/main.py", session=session, layout=tmp_path / "layout", on_event=stop, cancel=token
            )

    def test_reports_what_is_fetched(self, image, session):
        events = []
        imgpkg.read_file(image[0], "usr/lib/os-release", session=session, on_event=events.append)
        started = [event for event in events if isinstance(event, imgpkg.BlobStarted)]
        advanced = sum(event.count for event in events if isinstance(event, imgpkg.BlobAdvanced))
        assert [(str(event.digest), event.verb) for event in started] == [
            (image[1][2], "pull"),
            (image[1][1], "pull"),
        ]
        assert advanced == sum(event.size for event in started)
        assert sum(isinstance(event, imgpkg.BlobFinished) for event in events) == 2


class TestManyFiles:
    def test_of_one_image_share_its_layers(self, image, session, fetched):
        with imgpkg.open_files(image[0], session=session) as files:
            assert files.image.config.working_dir == "/app"
            assert files.read("app/main.py") == b"print('hello')\n"
            assert fetched() == [2]
            assert files.find("etc/os-release").path == "usr/lib/os-release"
            assert files.find("etc/os-release", follow=False).kind is imgpkg.FileKind.SYMLINK
            found = {each.path: each for each in files}
            assert "etc/removed" not in found
            assert fetched() == [1, 0]
            assert [
                path in files for path in ("etc/removed", Path("/etc/os-release"), found["etc/hosts"])
            ] == [
                False,
                True,
                True,
            ]
            with files.open("etc/hosts") as hosts, files.open(found["usr/bin/same"]) as same:
                assert [hosts.readline(), len(same.read())] == [b"127.0.0.1 localhost\n", 2_560_000]
                assert [hosts.name, same.name] == ["etc/hosts", "usr/bin/big"]
            assert files.read(found["usr/bin/big"]) == bytes(range(256)) * 10_000
        assert fetched() == []
        with pytest.raises(ValueError, match="closed"):
            files.read("etc/hosts")

    def test_are_read_until_the_work_is_stopped(self, image, session):
        token = imgpkg.CancelToken()
        options = {"session": session, "cancel": token}
        with imgpkg.open_files(image[0], **options) as files, files.open("usr/bin/big") as content:
            assert content.read(3) == bytes(range(3))
            token.cancel()
            with pytest.raises(Cancelled):
                content.read()

    def test_come_with_their_contents_in_the_order_of_the_layers(self, image, session, fetched):
        walk = imgpkg.iter_files(image[0], session=session)
        first, content = next(walk)
        assert (first.path, content.name, str(first.layer), content.read()) == (
            "app/main.py",
            "app/main.py",
            image[1][2],
            b"print('hello')\n",
        )
        assert fetched() == [2]
        texts = {each.path: stream.read(20) for each, stream in walk if each.path != "etc/hosts"}
        assert content.closed
        assert fetched() == [1, 0]
        assert texts == {
            "app/release": b"",
            "etc": b"",
            "usr/lib/os-release": RELEASE[:20],
            "etc/os-release": b"",
            "usr/bin/big": bytes(range(20)),
            "usr/bin/same": bytes(range(20)),
        }

    def test_come_until_the_time_is_over_which_goes_on_in_between(self, image, session, fetched):
        walk = imgpkg.iter_files(image[0], session=session, timeout=0.3)
        _, content = next(walk)
        assert content.read(5) == b"print"
        # Nothing else that the program does has the limit.
        sleep(0.4)
        with pytest.raises(TimedOut, match=r"iter_files: not finished within 0\.3 s"):
            content.read()
        with pytest.raises(TimedOut, match=r"iter_files: not finished within 0\.3 s"):
            next(walk)
        assert content.closed
        assert fetched() == [2]

    def test_come_until_a_token_is_cancelled(self, image, session):
        token = imgpkg.CancelToken()
        walk = imgpkg.iter_files(image[0], session=session, cancel=token)
        _, content = next(walk)
        token.cancel()
        with pytest.raises(Cancelled):
            content.read()
        with pytest.raises(Cancelled):
            next(walk)

    def test_have_the_limits_around_the_loop_too(self, image, session):
        walk = imgpkg.iter_files(image[0], session=session, timeout=60)
        next(walk)
        with imgpkg.limits() as token:
            token.cancel()
            with pytest.raises(Cancelled):
                next(walk)

    def test_are_let_go_when_nobody_wants_more(self, image, session, fetched):
        walk = imgpkg.iter_files(image[0], session=session)
        _, content = next(walk)
        assert content.read(5) == b"print"
        walk.close()
        with pytest.raises(ValueError, match="closed"):
            content.read()
        assert fetched() == [2]


def test_a_file_is_read_from_a_registry_of_others_with_a_login(docker_registry_token, open_session):
    registry = docker_registry_token
    session = open_session(username=registry.username, password=registry.password)
    image, _ = put_layers(session, f"{registry.address}/files/app", [BASE, MIDDLE, TOP])
    assert imgpkg.read_file(image, "app/release", session=session) == RELEASE
    with session.client.blob(
        imgpkg.Reference.parse(image).repository, imgpkg.read_image(image, session=session).manifest.layers[0]
    ) as stream:
        copied = io.BytesIO()
        shutil.copyfileobj(stream, copied)
    with tarfile.open(fileobj=io.BytesIO(copied.getvalue())) as archive:
        assert archive.extractfile("usr/bin/same").read() == bytes(range(256)) * 10_000


BUILD = r"""
set -e
one=$(buildah from scratch)
folder=$(buildah mount $one)
mkdir -p $folder/etc $folder/usr/lib $folder/dir/sub
echo old >$folder/usr/lib/os-release
ln -s ../usr/lib/os-release $folder/etc/os-release
ln $folder/usr/lib/os-release $folder/usr/lib/hard
ln -s usr/lib $folder/lib
echo x | tee $folder/dir/sub/x >$folder/etc/gone
buildah config --env A=b --cmd /bin/sh --entrypoint '["/e", "f"]' --port 80/tcp --history-comment base $one
buildah commit -q $one base
two=$(buildah from base)
folder=$(buildah mount $two)
rm -r $folder/etc/gone $folder/dir
mkdir $folder/dir
echo y >$folder/dir/y
echo new >$folder/usr/lib/new
buildah commit -q $two built
buildah push -q --tls-verify=false built docker://$1
buildah rm --all
"""


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("buildah") is None or os.getuid() != 0, reason="needs buildah, as root")
def test_an_image_of_another_program_has_the_files_that_it_put_there(docker_registry, session, tmp_path):
    """buildah makes the layers of two containers: with whiteouts, links and a configuration of its own."""
    image = f"{docker_registry.address}/files/built:v1"
    places = f'graphroot = "{tmp_path}/root"\nrunroot = "{tmp_path}/run"\n'
    settings = f'[storage]\ndriver = "vfs"\n{places}'
    (tmp_path / "storage.conf").write_text(settings)
    subprocess.run(
        ["sh", "-c", BUILD, "sh", image],
        check=True,
        capture_output=True,
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(tmp_path),
            "CONTAINERS_STORAGE_CONF": str(tmp_path / "storage.conf"),
        },
    )
    found = imgpkg.read_image(image, session=session)
    assert (dict(found.config.env), found.config.command) == ({"A": "b"}, ("/e", "f", "/bin/sh"))
    assert (found.config.exposed_ports, found.config.history[0].comment) == (("80/tcp",), "base")
    with imgpkg.open_files(found, session=session) as files:
        assert {file.path for file in files if file.kind is not imgpkg.FileKind.DIRECTORY} == {
            "dir/y",
            "etc/os-release",
            "lib",
            "usr/lib/hard",
            "usr/lib/new",
            "usr/lib/os-release",
        }
        paths = ("etc/os-release", "usr/lib/hard", "lib/new", "/lib/../lib/hard")
        texts = [files.read(path) for path in paths]
        assert texts == [b"old\n", b"old\n", b"new\n", b"old\n"]
        for path in ("etc/gone", "dir/sub/x"):
            with pytest.raises(NotInImage):
                files.find(path)

"""The folder of the embedded registry: what is in it, and that it outlives the server."""

from __future__ import annotations

import io
import os
import threading
from pathlib import Path

import pytest
from tests.servers.client import ask
from tests.servers.images import make_image, sha256, upload

from imgpkg.embedded.server import serve
from imgpkg.embedded.storage import FileWriter, RepositoryName, Storage, TagName
from imgpkg.embedded.uploads import UploadIsBusy
from imgpkg.errors import InvalidReference, LocalIOError, VerificationError
from imgpkg.oci.descriptor import Digest

NAME = RepositoryName("team/app")


def files(root):
    return sorted(str(path.relative_to(root)) for path in Path(root).rglob("*") if path.is_file())


class TestAFolder:
    def test_outlives_the_server(self, tmp_path):
        index = make_image(index=[make_image(), make_image(labels={"a": "b"})])
        with serve(storage=Storage(tmp_path)) as server:
            upload(index, server.address, "team/app", "v1")
        with serve(storage=Storage(tmp_path)) as server:
            assert ask(server.address, "GET", "/v2/team/app/manifests/v1").body == index.manifest
            assert ask(server.address, "GET", "/v2/_catalog").json == {"repositories": ["team/app"]}
            layer = index.images[0].layers[0]
            assert ask(server.address, "GET", f"/v2/team/app/blobs/{sha256(layer)}").body == layer

    def test_may_hold_a_manifest_that_is_refused_today_and_lose_it(self, tmp_path):
        image = make_image()
        with serve(storage=Storage(tmp_path)) as server:
            upload(image, server.address, "team/app", "v1")
            (tmp_path / "blobs" / image.digest.replace(":", "/")).write_bytes(b'{"layers":[],"manifests":[]}')
            assert ask(server.address, "DELETE", f"/v2/team/app/manifests/{image.digest}").status == 202
            assert ask(server.address, "GET", "/v2/team/app/manifests/v1").status == 404

    def test_holds_each_content_once_and_nothing_else(self, tmp_path):
        image = make_image()
        with serve(storage=Storage(tmp_path)) as server:
            upload(image, server.address, "one", "v1")
            upload(image, server.address, "two", "v1")
        contents = [path for path in files(tmp_path) if path.startswith("blobs/")]
        digests = {image.digest, *map(sha256, image.blobs)}
        assert contents == sorted("blobs/" + digest.replace(":", "/") for digest in digests)
        assert not [path for path in files(tmp_path) if path.startswith("uploads/")]

    def test_holds_nothing_of_what_was_refused(self, tmp_path):
        with serve(storage=Storage(tmp_path)) as server:
            path = f"/v2/team/app/blobs/uploads/?digest={sha256(b'other')}"
            assert ask(server.address, "POST", path, b"data").status == 400
        assert files(tmp_path) == []

    def test_that_cannot_be_made_is_an_error_with_its_path(self, tmp_path):
        (tmp_path / "file").write_text("")
        with pytest.raises(LocalIOError, match=r"mkdir .*/file/below: not a directory"):
            Storage(tmp_path / "file" / "below")

    def test_that_is_temporary_goes_with_the_server(self):
        with Storage.temporary() as storage, serve(storage=storage) as server:
            upload(make_image(), server.address, "team/app", "v1")
            root = storage.root
            assert files(root)
        assert not Path(root).exists()

    def test_forgets_unfinished_uploads_of_long_ago(self, tmp_path):
        (tmp_path / "uploads").mkdir()
        for name, age in (("old", 2 * 24 * 3600), ("young", 60)):
            path = tmp_path / "uploads" / name
            path.write_text("")
            moment = path.stat().st_mtime - age
            os.utime(path, (moment, moment))
        Storage(tmp_path)
        assert files(tmp_path) == ["uploads/young"]

    def test_that_lost_content_does_not_claim_to_have_it(self, tmp_path):
        image = make_image()
        with serve(storage=Storage(tmp_path)) as server:
            upload(image, server.address, "team/app", "v1")
            (tmp_path / "blobs" / image.digest.replace(":", "/")).unlink()
            assert ask(server.address, "GET", "/v2/team/app/manifests/v1").status == 404


class TestAnUpload:
    def test_that_is_older_than_a_day_is_forgotten_when_another_begins(self, tmp_path):
        storage = Storage(tmp_path)
        old = storage.uploads.start(NAME)
        old.started -= 2 * 24 * 3600
        new = storage.uploads.start(NAME)
        assert storage.uploads.find(NAME, old.identifier) is None
        assert storage.uploads.find(NAME, new.identifier) is new
        assert files(tmp_path) == [f"uploads/{new.identifier}"]

    def test_has_one_writer(self, tmp_path):
        upload = Storage(tmp_path, patience=0).uploads.start(NAME)
        entered, leave = threading.Event(), threading.Event()

        def hold():
            with upload.exclusive():
                entered.set()
                leave.wait(30)

        thread = threading.Thread(target=hold)
        thread.start()
        entered.wait(30)
        with pytest.raises(UploadIsBusy), upload.exclusive():
            pass
        leave.set()
        thread.join(30)

    def test_that_could_not_be_written_goes_on_from_what_is_on_disk(self, tmp_path):
        storage = Storage(tmp_path)
        upload = storage.uploads.start(NAME)
        upload.append(io.BytesIO(b"12"))
        with open(upload.path, "ab") as file:
            file.write(b"torn")
        upload.append(io.BytesIO(b"345"))
        storage.finish(upload, Digest.of(b"12345"))
        assert Path(storage.blob(NAME, Digest.of(b"12345")).path).read_bytes() == b"12345"

    def test_is_not_written_through_a_link_that_took_its_place(self, tmp_path):
        upload = Storage(tmp_path / "storage").uploads.start(NAME)
        (tmp_path / "precious").write_bytes(b"precious")
        os.unlink(upload.path)
        os.symlink(tmp_path / "precious", upload.path)
        for act in (lambda: upload.append(io.BytesIO(b"x")), lambda: upload.digest("sha512")):
            with pytest.raises(OSError, match="symbolic links"):
                act()
        assert (tmp_path / "precious").read_bytes() == b"precious"

    def test_that_was_cancelled_does_not_come_back(self, tmp_path):
        storage = Storage(tmp_path)
        upload = storage.uploads.start(NAME)
        storage.uploads.end(upload)
        with pytest.raises(FileNotFoundError):
            upload.append(io.BytesIO(b"data"))
        assert files(tmp_path) == []

    def test_is_verified_before_it_has_a_name(self, tmp_path):
        storage = Storage(tmp_path)
        upload = storage.uploads.start(NAME)
        upload.append(io.BytesIO(b"data"))
        with pytest.raises(VerificationError):
            storage.finish(upload, Digest.of(b"other"))
        assert files(tmp_path) == []


class TestAFile:
    def test_that_cannot_be_written_leaves_nothing(self, tmp_path):
        writer = FileWriter(str(tmp_path), durable=True)
        (tmp_path / "taken").write_text("")
        with pytest.raises(OSError, match=r"exists|directory"):
            writer.write(str(tmp_path / "taken" / "below"), b"x")
        assert files(tmp_path) == ["taken"]


class TestNames:
    @pytest.mark.parametrize("text", ["", "..", "a/../b", "/a", "a/", "A", "a b", "a\n", "_a", "a" * 256])
    def test_of_repositories_are_strict(self, text):
        with pytest.raises(InvalidReference, match="invalid repository name"):
            RepositoryName.parse(text)

    @pytest.mark.parametrize("text", ["", ".", "..", "a/b", "-a", "a\n", "a" * 129])
    def test_of_tags_are_strict(self, text):
        with pytest.raises(InvalidReference, match="invalid tag"):
            TagName.parse(text)

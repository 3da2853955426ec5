"""An OCI image layout folder: other tools read what is written, and what they write is read."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from tests.content.archives import layers, never, opener, parsed
from tests.content.tars import tree
from tests.servers.images import make_image

from imgpkg.content.layout import REFERENCE_NAME, Layout, output_layout
from imgpkg.errors import ArchiveError, InvalidManifest, LocalIOError, VerificationError
from imgpkg.oci.descriptor import Digest

IMAGE, OTHER = make_image(), make_image([b"other"], labels={"a": "b"})


def fill(layout, image, *tags):
    """Publish an image and all that is in it."""
    for child in image.images:
        fill(layout, child)
    if not image.images:
        config = parsed(image).config
        for blob, data in [*layers(image), (config, image.config)]:
            layout.write(blob, opener(data))
    layout.publish(parsed(image), tags)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "layout"


def index_of(path):
    return json.loads((path / "index.json").read_bytes())


def names(layout):
    return {root.annotations[REFERENCE_NAME]: str(root.digest) for root in layout.roots()}


def test_a_new_layout_is_empty_and_well_formed(path):
    assert Layout.create(str(path)).roots() == ()
    assert json.loads((path / "oci-layout").read_bytes()) == {"imageLayoutVersion": "1.0.0"}
    assert index_of(path)["schemaVersion"] == 2


def test_creating_again_keeps_what_is_there(path):
    fill(Layout.create(str(path)), IMAGE, "v1")
    assert names(Layout.create(str(path))) == {"v1": IMAGE.digest}


def test_a_folder_of_something_else_is_not_written_into(tmp_path):
    (tmp_path / "precious").write_bytes(b"1")
    with pytest.raises(ArchiveError, match="is neither empty nor an OCI image layout"):
        Layout.create(str(tmp_path))
    assert tree(tmp_path) == {"precious": b"1"}


def test_blobs_and_manifests_lie_where_the_specification_says(path):
    fill(Layout.create(str(path)), IMAGE, "v1")
    found = {name for name, data in tree(path).items() if data is not None}
    blobs = (IMAGE.manifest, IMAGE.config, *IMAGE.layers)
    assert found == {"oci-layout", "index.json"} | {f"blobs/sha256/{Digest.of(data).hex}" for data in blobs}


def test_a_tag_leaves_what_it_named(path):
    layout = Layout.create(str(path))
    fill(layout, IMAGE, "v1", "latest")
    fill(layout, OTHER, "latest")
    assert names(layout) == {"v1": IMAGE.digest, "latest": OTHER.digest}


def test_what_is_published_without_a_tag_is_stored_and_not_listed(path):
    layout = Layout.create(str(path))
    fill(layout, IMAGE)
    assert layout.roots() == ()
    assert layout.manifest(parsed(IMAGE).digest).raw == IMAGE.manifest


def test_annotations_go_beside_the_tag(path):
    layout = Layout.create(str(path))
    layout.publish(parsed(IMAGE), ["v1"], annotations={"x": "y"})
    assert layout.roots()[0].annotations == {"x": "y", REFERENCE_NAME: "v1"}


def test_entries_of_other_tools_are_kept_as_they_are(path):
    layout = Layout.create(str(path))
    entry = {
        "mediaType": "x",
        "digest": f"sha256:{'0' * 64}",
        "size": 1,
        "strange": [1],
        "platform": {"os": "z"},
    }
    document = {**index_of(path), "annotations": {"k": "v"}, "manifests": [entry]}
    (path / "index.json").write_text(json.dumps(document))
    layout.publish(parsed(IMAGE), ["v1"])
    assert index_of(path)["manifests"][0] == entry
    assert index_of(path)["annotations"] == {"k": "v"}


def test_many_threads_lose_no_tag(path):
    layout = Layout.create(str(path))
    with ThreadPoolExecutor(8) as workers:
        list(workers.map(lambda number: layout.publish(parsed(IMAGE), [f"v{number}"]), range(40)))
    assert len(layout.roots()) == 40


def test_no_file_of_a_failed_blob_stays(path):
    layout = Layout.create(str(path))
    blob, data = layers(IMAGE)[0]
    with pytest.raises(VerificationError):
        layout.write(blob, opener(data[:-1]))
    assert tree(path / "blobs") == {"sha256/": None}


def test_a_blob_of_the_wrong_size_is_written_again(path):
    layout = Layout.create(str(path))
    fill(layout, IMAGE)
    blob, data = layers(IMAGE)[0]
    place = path / "blobs" / "sha256" / blob.digest.hex
    place.write_bytes(data[:5])
    layout.write(blob, opener(data))
    assert place.read_bytes() == data
    layout.write(blob, never)


def stopped(path, number):
    """Run code that kills its own process when it renames for the `number`th time, from 0 on."""
    program = (
        "import os, signal, sys\n"
        "from tests.content.test_layout import *\n"
        "left = int(sys.argv[2])\n"
        "def hook(event, arguments):\n"
        "    global left\n"
        # Others rename too, and to kill is an event itself.
        "    ours = event == 'os.rename' and str(arguments[1]).startswith(sys.argv[1])\n"
        "    left -= ours\n"
        "    if ours and left < 0:\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "sys.addaudithook(hook)\n"
        "fill(Layout.create(sys.argv[1]), IMAGE, 'v1')\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(path), str(number)], check=False)
    return done.returncode


def test_a_process_killed_at_any_step_leaves_what_the_next_one_goes_on_with(path):
    number = 0
    while stopped(path, number) != 0:
        assert any(name.rpartition("/")[2].startswith(".imgpkg-") for name in tree(path))
        fill(Layout.create(str(path)), IMAGE, "v1")
        assert not any(name.rpartition("/")[2].startswith(".imgpkg-") for name in tree(path))
        assert names(Layout(str(path))) == {"v1": IMAGE.digest}
        shutil.rmtree(path)
        number += 1
    assert number > 5


def test_what_a_living_process_writes_is_left_alone(path):
    layout = Layout.create(str(path))
    blob, data = layers(IMAGE)[0]

    @contextmanager
    def meanwhile():
        Layout.create(str(path))
        yield io.BytesIO(data)

    layout.write(blob, meanwhile)
    assert layout.has(blob)


@pytest.mark.parametrize("named", ["sub/../oci", "oci/", "sub/up/oci", "link"])
def test_its_place_is_one_path_however_it_is_named(tmp_path, named, monkeypatch):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "up").symlink_to("..")
    (tmp_path / "link").symlink_to("sub/../oci")
    monkeypatch.chdir(tmp_path)
    assert output_layout(named) == str(tmp_path / "oci")


def test_a_place_that_cannot_be_a_layout_is_refused_before_anything_is_written(tmp_path, monkeypatch):
    (tmp_path / "file").write_bytes(b"1")
    with pytest.raises(ArchiveError, match=rf"^{tmp_path} is neither empty nor an OCI image layout$"):
        output_layout(str(tmp_path))
    with pytest.raises(LocalIOError, match=r"mkdir .*/file: not a directory"):
        output_layout(str(tmp_path / "file"))
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with pytest.raises(LocalIOError, match="getwd: no such file or directory"):
        output_layout("oci")
    assert tree(tmp_path) == {"file": b"1"}


def test_a_changed_manifest_is_not_believed(path):
    layout = Layout.create(str(path))
    fill(layout, IMAGE)
    digest = parsed(IMAGE).digest
    (path / "blobs" / "sha256" / digest.hex).write_bytes(IMAGE.manifest + b" ")
    with pytest.raises(VerificationError):
        layout.manifest(digest)


def test_a_blob_that_is_no_manifest_is_none(path):
    layout = Layout.create(str(path))
    fill(layout, IMAGE)
    with pytest.raises(InvalidManifest):
        layout.manifest(layers(IMAGE)[0][0].digest)


def test_an_enormous_manifest_is_not_read(path):
    layout = Layout.create(str(path))
    digest = Digest("sha256", "0" * 64)
    (path / "blobs" / "sha256").mkdir(parents=True)
    with (path / "blobs" / "sha256" / digest.hex).open("wb") as file:
        file.truncate((100 << 20) + 1)
    with pytest.raises(ArchiveError, match="too large"):
        layout.manifest(digest)


@pytest.mark.parametrize("name", ["oci-layout", "index.json"])
def test_an_enormous_document_is_not_read(path, name):
    Layout.create(str(path))
    os.truncate(path / name, (100 << 20) + 1)
    with pytest.raises(ArchiveError, match="has more than 100 MiB"):
        Layout(str(path)).roots()


@pytest.mark.parametrize(
    ("name", "content", "text"),
    [
        ("oci-layout", "{", "is damaged"),
        ("oci-layout", "[]", "not a JSON object"),
        ("oci-layout", '{"imageLayoutVersion":"2.0.0"}', "version 2.0.0, which is unknown"),
        ("index.json", "nul", "is damaged"),
        ("index.json", '{"manifests":[{"size":-1}]}', "is damaged"),
    ],
)
def test_damaged_documents_are_named(path, name, content, text):
    Layout.create(str(path))
    (path / name).write_text(content)
    with pytest.raises(ArchiveError, match=text):
        Layout(str(path)).roots()


def test_a_folder_that_is_no_layout_is_refused(tmp_path):
    with pytest.raises(LocalIOError, match=r"open .*oci-layout: no such file or directory"):
        Layout(str(tmp_path))


def test_a_failed_replacement_of_the_index_leaves_the_old_one(path):
    layout = Layout.create(str(path))
    with pytest.raises(TypeError):
        layout.publish(parsed(IMAGE), ["v1"], annotations={"x": object()})
    assert layout.roots() == ()
    assert {each.name for each in path.iterdir()} == {"blobs", "index.json", "oci-layout"}


@pytest.mark.skipif(shutil.which("skopeo") is None, reason="needs skopeo")
class TestWithSkopeo:
    def copy(self, source, target):
        command = ["skopeo", "--insecure-policy", "copy", "--all", "--preserve-digests", "-q", source, target]
        subprocess.run(command, check=True, capture_output=True)

    def test_skopeo_reads_what_was_written(self, path, tmp_path):
        fill(Layout.create(str(path)), make_image(index=[IMAGE, OTHER]), "v1")
        self.copy(f"oci:{path}:v1", f"oci:{tmp_path / 'copy'}:v2")
        assert names(Layout(str(tmp_path / "copy"))) == {"v2": make_image(index=[IMAGE, OTHER]).digest}

    def test_what_skopeo_wrote_is_read(self, path, tmp_path):
        fill(Layout.create(str(path)), IMAGE, "v1")
        self.copy(f"oci:{path}:v1", f"oci:{tmp_path / 'copy'}:v1")
        layout = Layout(str(tmp_path / "copy"))
        manifest = layout.manifest(layout.roots()[0].digest)
        for blob in manifest.blobs():
            with layout.blob(blob) as stream:
                assert len(b"".join(iter(lambda: stream.read(100), b""))) == blob.size

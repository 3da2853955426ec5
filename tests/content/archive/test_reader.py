"""A tar file is read whoever wrote it, and nothing in it is believed before it has verified."""

from __future__ import annotations

import gzip
import io
import json
import os
import tarfile

import pytest
from tests.content.archives import item, layers, parsed, write
from tests.servers.images import make_image

from imgpkg.content.archive.manifest import decode, encode
from imgpkg.content.archive.reader import Archive
from imgpkg.errors import ArchiveError, ImgpkgError, LocalIOError, VerificationError
from imgpkg.oci.descriptor import Descriptor, Digest

ONE, TWO = make_image([b"one" * 1000]), make_image([b"two" * 700, b"one" * 1000])
INDEX = make_image(index=[TWO, make_image(index=[ONE])])
HINT = (
    r"\(hint: This may be because when copying to a tarball, the --include-non-distributable-layers flag "
    r"should have been provided\.\)"
)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "a.tar"


def read(path, blob):
    with Archive(str(path)) as archive, archive.blob(blob) as stream:
        return b"".join(iter(lambda: stream.read(100), b""))


def repacked(path, *, kind=tarfile.PAX_FORMAT, rename=lambda name: name, reverse=False, extra=()):
    """Write the members again, as some other tool would."""
    with tarfile.open(path) as old:
        members = [(member.name, old.extractfile(member).read()) for member in old]
    members = [*extra, *members]
    with tarfile.open(path, "w", format=kind) as new:
        for name, data in members[::-1] if reverse else members:
            info = tarfile.TarInfo(rename(name))
            info.size, info.mtime, info.uname = len(data), 1_600_000_000, "somebody"
            new.addfile(info, io.BytesIO(data))


def with_manifest(path, text):
    data = text if isinstance(text, bytes) else text.encode()
    with tarfile.open(path, "w") as new:
        info = tarfile.TarInfo("manifest.json")
        info.size = len(data)
        new.addfile(info, io.BytesIO(data))


class TestWhatIsThere:
    def test_items_manifests_configurations_and_layers_come_back(self, path):
        write(path, TWO, INDEX)
        with Archive(str(path)) as archive:
            assert sorted(archive.items, key=lambda each: each.sort_key) == sorted(
                [item(TWO), item(INDEX)], key=lambda each: each.sort_key
            )
            for image in (ONE, TWO, INDEX):
                assert archive.manifest(parsed(image).digest) == parsed(image)
            archive.verify(blob for image in (ONE, TWO) for blob in parsed(image).blobs())
            assert all(archive.has(blob) for blob in parsed(TWO).blobs())
        assert read(path, parsed(ONE).config) == ONE.config
        assert [read(path, blob) for blob in parsed(TWO).layers] == list(TWO.layers)

    @pytest.mark.parametrize("kind", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
    @pytest.mark.parametrize("reverse", [False, True], ids=["first", "last"])
    @pytest.mark.parametrize("prefix", ["", "./"])
    def test_a_tar_that_was_packed_again_is_read(self, path, kind, reverse, prefix):
        write(path, TWO, INDEX)
        extra = [("README", b"hello"), ("blobs/other", bytes(5000))]
        repacked(path, kind=kind, reverse=reverse, rename=lambda name: prefix + name, extra=extra)
        with Archive(str(path)) as archive:
            archive.verify(blob for blob, _ in layers(TWO, INDEX))

    def test_the_case_of_keys_and_unknown_keys_are_ignored(self, path):
        def lowered(value):
            if isinstance(value, dict):
                return {"Surprise": 1, **{key.lower(): lowered(each) for key, each in value.items()}}
            return [lowered(each) for each in value] if isinstance(value, list) else value

        document = json.loads(encode([item(TWO), item(INDEX)]))
        for entry in document:
            assert decode(json.dumps([lowered(entry)]).encode()) == decode(json.dumps([entry]).encode())

    def test_labels_keep_their_case(self, path):
        marked = item(TWO, labels={"Some.Label": "Value"})
        assert decode(encode([marked]))[0].marks.labels == {"Some.Label": "Value"}

    def test_missing_keys_are_empty(self):
        document = json.loads(encode([item(ONE)]))
        for key in ("Refs", "Layers", "Tag", "OrigRef", "Labels"):
            del document[0]["Image"][key]
        del document[0]["ImageIndex"]
        (image,) = decode(json.dumps(document).encode())
        assert image.manifest == parsed(ONE)
        assert (image.marks.reference, image.marks.tag, image.marks.labels) == ("", "", {})

    def test_the_first_of_two_members_of_a_name_counts(self, path):
        write(path, TWO)
        blob = parsed(TWO).layers[0]
        repacked(path, extra=[(f"sha256-{blob.digest.hex}.tar.gz", b"x" * blob.size)])
        with pytest.raises(VerificationError):
            read(path, blob)


class TestWhatIsWrong:
    def test_a_missing_file(self, path):
        with pytest.raises(LocalIOError, match=rf"^open {path}: no such file or directory$"):
            Archive(str(path))

    def test_a_folder(self, tmp_path):
        with pytest.raises(LocalIOError, match=rf"^read {tmp_path}: is a directory$"):
            Archive(str(tmp_path))

    @pytest.mark.parametrize(
        ("data", "text"),
        [
            (b"short", "unexpected EOF"),
            (b"no tar".ljust(2000, b"."), "archive/tar: invalid tar header"),
            (b"", f"file manifest.json not found in tar {HINT}"),
            (bytes(1024), f"file manifest.json not found in tar {HINT}"),
        ],
    )
    def test_what_is_no_tar_of_ours(self, path, data, text):
        path.write_bytes(data)
        with pytest.raises(ArchiveError, match=f"^{text}$"):
            Archive(str(path))

    def test_a_compressed_tar_is_recognised(self, path):
        write(path, ONE)
        path.write_bytes(gzip.compress(path.read_bytes()))
        with pytest.raises(ArchiveError) as caught:
            Archive(str(path))
        assert "gunzip" in caught.value.hints[0]

    @pytest.mark.parametrize("kept", [300, 600, 5000])
    def test_a_tar_cut_short_is_noticed_before_anything_is_used(self, path, kept):
        write(path, ONE, TWO)
        os.truncate(path, kept)
        with pytest.raises(ArchiveError, match=r"^unexpected EOF$") as caught:
            Archive(str(path))
        assert caught.value.hints

    @pytest.mark.parametrize(
        "text",
        [
            "nul",
            "",
            "{",
            "[1]",
            "{}x",
            '"text"',
            "[{}]",
            '[{"Image":1}]',
            '[{"Image":{"Manifest":{}}}]',
            b"\xff",
            "[" * 100_000,
        ],
        ids=lambda text: str(text)[:20],
    )
    def test_a_manifest_json_that_is_none(self, path, text):
        with_manifest(path, text)
        with pytest.raises(ImgpkgError, match=r"manifest\.json") as caught:
            Archive(str(path))
        assert "object" not in str(caught.value)

    def test_a_missing_member(self, path):
        write(path, ONE)
        digest = Digest.of(b"missing")
        blob = Descriptor("x", digest, 7)
        text = f"^file sha256-{digest.hex}.tar.gz not found in tar {HINT}$"
        with Archive(str(path)) as archive:
            assert not archive.has(blob)
            with pytest.raises(ArchiveError, match=text):
                archive.blob(blob)

    def test_a_missing_manifest(self, path):
        write(path, ONE)
        with Archive(str(path)) as archive, pytest.raises(ArchiveError, match="not found in"):
            archive.manifest(parsed(TWO).digest)

    def test_a_corrupt_member_is_never_handed_out_whole(self, path):
        write(path, ONE)
        data = path.read_bytes()
        path.write_bytes(data.replace(b"oneone", b"onetwo", 1))
        blob = parsed(ONE).layers[0]
        with pytest.raises(
            VerificationError, match="error verifying sha256 checksum after reading 3000 bytes"
        ):
            read(path, blob)
        with Archive(str(path)) as archive, pytest.raises(VerificationError):
            archive.verify([blob])

    def test_a_member_of_another_size(self, path):
        write(path, ONE)
        blob = parsed(ONE).layers[0]
        wrong = Descriptor(blob.media_type, blob.digest, 1)
        with Archive(str(path)) as archive, pytest.raises(VerificationError, match="got 3000, want 1"):
            archive.blob(wrong)

    @pytest.mark.parametrize("key", ["Manifest", "Config"])
    def test_a_manifest_or_configuration_that_was_changed(self, key):
        document = json.loads(encode([item(ONE)]))
        document[0]["Image"][key]["Raw"] += " "
        with pytest.raises(VerificationError, match="does not match requested digest"):
            decode(json.dumps(document).encode())

    def test_an_index_that_was_changed(self):
        document = json.loads(encode([item(INDEX)]))
        document[0]["ImageIndex"]["Raw"] += " "
        with pytest.raises(VerificationError):
            decode(json.dumps(document).encode())

    def test_text_that_is_no_unicode_is_no_traceback(self):
        document = json.loads(encode([item(ONE)]))
        document[0]["Image"]["Config"]["Raw"] = "\ud800"
        with pytest.raises(VerificationError):
            decode(json.dumps(document).encode())

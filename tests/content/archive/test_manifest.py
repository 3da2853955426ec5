"""The tar file that is written is the original's, byte for byte, whatever the order and the threads."""

from __future__ import annotations

import json
import tarfile
from concurrent.futures import ThreadPoolExecutor

import pytest
from tests.content.archives import item, layers, opener, parsed, write, writer
from tests.servers.images import make_image, sha256

from imgpkg.content.archive.manifest import ArchiveImage, Marks, decode, encode
from imgpkg.content.archive.partial_file import plan_archive
from imgpkg.content.archive.pieces import PieceFiles
from imgpkg.content.archive.reader import Archive, read_members
from imgpkg.errors import ArchiveError
from imgpkg.oci import media
from imgpkg.oci.descriptor import Descriptor, Digest
from imgpkg.oci.manifest import Manifest

ONE, TWO, THREE = (make_image([bytes([number]) * number * 700]) for number in (1, 2, 3))


def expected_tar(images, manifest_json):
    """Write what section 5.7 says, with the standard library's headers and Go's device numbers in them."""
    pairs = [("manifest.json", manifest_json)]
    pairs += sorted((f"sha256-{blob.digest.hex}.tar.gz", data) for blob, data in layers(*images))
    parts = []
    for name, data in pairs:
        info = tarfile.TarInfo(name)
        info.size, info.mode = len(data), 0o644
        header = bytearray(info.tobuf(tarfile.USTAR_FORMAT))
        header[329:345] = b"0000000\0" * 2
        header[148:156] = b"%06o\0 " % (sum(header[:148]) + sum(header[156:]) + 8 * 32)
        parts += [bytes(header), data, bytes(-len(data) % 512)]
    return b"".join(parts) + bytes(1024)


def test_the_file_is_as_the_specification_says_to_the_last_byte(tmp_path):
    write(tmp_path / "a.tar", ONE, TWO, THREE)
    text = encode([item(image) for image in (ONE, TWO, THREE)])
    assert (tmp_path / "a.tar").read_bytes() == expected_tar((ONE, TWO, THREE), text)


def test_order_and_threads_change_no_byte(tmp_path):
    images = [make_image([bytes([number]) * 5000, b"shared"]) for number in range(20)]
    write(tmp_path / "a.tar", *images)
    with writer(tmp_path / "b.tar", *reversed(images)) as target, ThreadPoolExecutor(8) as workers:
        for done in [workers.submit(target.write, blob, opener(data)) for blob, data in layers(*images)]:
            done.result()
    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes()


def test_manifest_json_of_an_image_has_every_key_in_order():
    manifest = parsed(ONE)
    marks = Marks("localhost:5000/app@x", "v1", "localhost:1/o@x", {"dev.carvel.imgpkg.copy.root-bundle": ""})
    layer = manifest.layers[0]
    assert encode([ArchiveImage(manifest, ONE.config, marks)]).decode() == (
        '[{"ImageIndex":null,"Image":{"Refs":["localhost:5000/app@x"],"Layers":[{"MediaType":'
        f'"{media.OCI_LAYER_GZIP}","Digest":"{layer.digest}","DiffID":"{sha256(ONE.layers[0])}",'
        f'"Size":{layer.size}}}],"Config":{{"Digest":"{manifest.config.digest}","Raw":'
        f'{json.dumps(ONE.config.decode())}}},"Manifest":{{"MediaType":"{manifest.media_type}",'
        f'"Digest":"{manifest.digest}","Raw":{json.dumps(ONE.manifest.decode())}}},"Tag":"v1",'
        '"OrigRef":"localhost:1/o@x","Labels":{"dev.carvel.imgpkg.copy.root-bundle":""}}}]'
    )


def test_manifest_json_of_an_index_has_every_key_in_order():
    index = make_image(index=[ONE])
    listed = item(index, tag="v2")
    child = json.dumps(json.loads(encode([item(ONE, tag="v2")]))[0]["Image"], separators=(",", ":"))
    assert encode([listed]).decode() == (
        f'[{{"ImageIndex":{{"Refs":["{listed.marks.reference}"],"Images":[{child}],"Indexes":null,'
        f'"MediaType":"{media.OCI_INDEX}","Digest":"{index.digest}","Raw":'
        f'{json.dumps(index.manifest.decode())},"Tag":"v2","OrigRef":"","Labels":null}},"Image":null}}]'
    )


def test_a_manifest_json_that_is_too_large_to_be_read_is_not_written():
    whole = encode([item(ONE)])
    assert encode([item(ONE)], most=len(whole)) == whole
    with pytest.raises(
        ArchiveError, match=f"would have {len(whole)} bytes; at most {len(whole) - 1} are read"
    ):
        encode([item(ONE)], most=len(whole) - 1)


def test_no_images_are_written_as_null(tmp_path):
    assert encode([]) == b"null"
    write(tmp_path / "a.tar")
    with Archive(str(tmp_path / "a.tar")) as archive:
        assert archive.items == ()


def test_no_layers_are_written_as_null():
    assert b'"Layers":null' in encode([item(make_image([]))])


def test_items_stand_in_the_order_of_their_digests():
    index = make_image(index=[ONE])
    items = [item(image) for image in (ONE, TWO, THREE, index)]
    digests = [entry.manifest.digest for entry in decode(encode(items))]
    assert digests == sorted(digests)
    assert encode(items) == encode(items[::-1])


def test_characters_are_escaped_as_go_does():
    image = item(ONE, tag="v1", origin='<a>&\u2028\u2029é\b\f\x01\x7f"\\')
    assert rb'"OrigRef":"\u003ca\u003e\u0026\u2028\u2029' in encode([image])
    assert 'é\\b\\f\\u0001\x7f\\"\\\\"'.encode() in encode([image])
    assert decode(encode([image])) == (image,)


def test_a_layer_without_diff_id_or_of_an_unknown_type_has_none():
    config = b'{"rootfs":{"diff_ids":["sha256:one","sha256:two"]}}'
    kinds = ("application/x-signature", media.OCI_LAYER, media.OCI_LAYER)
    manifest = {
        "schemaVersion": 2,
        "mediaType": media.OCI_MANIFEST,
        "config": {"mediaType": media.OCI_CONFIG, "digest": sha256(config), "size": len(config)},
        "layers": [{"mediaType": kind, "digest": sha256(b"x"), "size": 1} for kind in kinds],
    }
    image = ArchiveImage(Manifest.parse(json.dumps(manifest).encode()), config, Marks("r"))
    written = json.loads(encode([image]))[0]["Image"]["Layers"]
    assert [layer["DiffID"] for layer in written] == ["", "sha256:two", ""]


def test_what_json_text_cannot_keep_is_refused_not_damaged():
    config = b"\xff\xfe binary"
    document = {
        "schemaVersion": 2,
        "mediaType": media.OCI_MANIFEST,
        "config": {"mediaType": "x", "digest": sha256(config), "size": len(config)},
        "layers": [],
    }
    image = ArchiveImage(Manifest.parse(json.dumps(document).encode()), config, Marks("r"))
    with pytest.raises(ArchiveError, match="is not UTF-8 text and cannot be kept in a tar"):
        encode([image])


def test_what_is_no_image_has_no_place_in_a_tar():
    schema_1 = Manifest.parse(b'{"schemaVersion":1}', media.DOCKER_SCHEMA_1)
    with pytest.raises(ArchiveError, match="unsupported MediaType"):
        encode([ArchiveImage(schema_1, b"", Marks("r"))])


def test_long_digests_and_enormous_blobs_get_headers_that_every_tar_reads(tmp_path):
    long_one = Descriptor(media.OCI_LAYER, Digest("sha512", "ab" * 64), 700)
    huge = Descriptor(media.OCI_LAYER, Digest("sha256", "cd" * 32), 9 << 30)
    both = Descriptor(media.OCI_LAYER, Digest("sha512", "ef" * 64), (8 << 30) + 5)
    plan = plan_archive([], [long_one, huge, both])
    path = tmp_path / "sparse.tar"
    with path.open("wb") as file:
        file.truncate(plan.size)
        for at, data in plan.fixed:
            file.seek(at)
            file.write(data)
    expected = {
        f"{blob.digest.algorithm}-{blob.digest.hex}.tar.gz": (plan.places[blob.digest].offset, blob.size)
        for blob in (long_one, huge, both)
    }
    with tarfile.open(path) as archive:
        found = {member.name: (member.offset_data, member.size) for member in archive}
        assert all(member.mode == 0o644 and member.mtime == 0 for member in archive)
    found.pop("manifest.json")
    assert found == expected
    with PieceFiles.open((str(path),)) as files:
        members = read_members(files)
    assert {name: (each.offset, each.size) for name, each in members.items() if name in expected} == expected

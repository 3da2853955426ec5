"""Images of given files: the same bytes each time, and what the specification says."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile

from imgpkg.oci.manifest import Manifest
from imgpkg.testing import make_image, make_index
from imgpkg.testing.image import tar_layer

FILES = {"etc/os-release": b"ID=example\n", "empty": b""}


def test_the_same_files_are_the_same_image():
    assert make_image(FILES, labels={"a": "b"}) == make_image(FILES, labels={"a": "b"})
    assert make_image(FILES).digest != make_image({**FILES, "empty": b"no more"}).digest


def test_a_layer_has_the_files():
    (layer,) = make_image(FILES).layers
    with tarfile.open(fileobj=io.BytesIO(layer)) as archive:
        assert {member.name: archive.extractfile(member).read() for member in archive} == FILES


def test_the_manifest_names_its_blobs():
    image = make_image(FILES, {"more": b"x"}, annotations={"k": "v"})
    manifest = Manifest.parse(image.manifest, image.media_type)
    assert str(manifest.digest) == image.digest
    assert [each.size for each in (manifest.config, *manifest.layers)] == list(map(len, image.blobs))
    assert [str(each.digest).partition(":")[2] for each in manifest.layers] == [
        hashlib.sha256(layer).hexdigest() for layer in image.layers
    ]
    assert manifest.annotations == {"k": "v"}


def test_the_configuration_has_what_was_asked_for():
    image = make_image(
        FILES, labels={"team": "a"}, platform="linux/arm64/v8", config={"Env": ["A=b"], "Cmd": ["run"]}
    )
    config = json.loads(image.config)
    assert (config["os"], config["architecture"], config["variant"]) == ("linux", "arm64", "v8")
    assert config["config"] == {"Labels": {"team": "a"}, "Env": ["A=b"], "Cmd": ["run"]}
    inflated = gzip.decompress(image.layers[0])
    assert config["rootfs"]["diff_ids"] == ["sha256:" + hashlib.sha256(inflated).hexdigest()]


def test_a_layer_may_be_bytes_of_any_kind():
    packed, noise = tar_layer(FILES), b"no tar file"
    image = make_image(packed, noise)
    assert image.layers == (packed, noise)
    assert json.loads(image.config)["rootfs"]["diff_ids"][1].endswith(hashlib.sha256(noise).hexdigest())


def test_a_layer_may_be_a_plain_tar_file():
    plain = gzip.decompress(tar_layer(FILES))
    image = make_image(plain, FILES)
    kinds = [layer.media_type for layer in Manifest.parse(image.manifest, image.media_type).layers]
    assert [kind.rpartition(".")[2] for kind in kinds] == ["tar", "tar+gzip"]
    assert len(set(json.loads(image.config)["rootfs"]["diff_ids"])) == 1


def test_an_index_has_an_image_for_each_platform():
    images = make_image(FILES), make_image(FILES, platform="windows/amd64")
    index = make_index(*images, annotations={"k": "v"})
    manifest = Manifest.parse(index.manifest, index.media_type)
    assert [str(each.platform) for each in manifest.manifests] == ["linux/amd64", "windows/amd64"]
    assert [str(each.digest) for each in manifest.manifests] == [image.digest for image in images]
    assert (index.images, index.blobs) == (images, ())
    assert manifest.annotations == {"k": "v"}


def test_an_index_may_have_an_index():
    inner = make_index(make_image(FILES))
    (descriptor,) = json.loads(make_index(inner).manifest)["manifests"]
    assert descriptor == inner.descriptor()

"""Configuration and manifest are Go's bytes, on which digests depend."""

from __future__ import annotations

import os
from dataclasses import dataclass

from imgpkg.content.image import build_image
from imgpkg.oci import media
from imgpkg.oci.config import ImageConfig
from imgpkg.oci.descriptor import Descriptor, Digest


@dataclass(frozen=True)
class Layer:
    diff_id: Digest
    descriptor: Descriptor


TAR, GZIP = Digest.of(b"tar"), Digest.of(b"gzip")
LAYER = Layer(TAR, Descriptor(media.DOCKER_LAYER, GZIP, 4))
CONFIG = (
    '{"architecture":"","created":"0001-01-01T00:00:00Z","history":[{"author":"imgpkg",'
    '"created":"0001-01-01T00:00:00Z","created_by":"imgpkg"}],"os":"",'
    f'"rootfs":{{"type":"layers","diff_ids":["{TAR}"]}},"config":{{%s}}}}'
)


def labelled(**labels):
    return build_image(LAYER, labels).config.decode()


class TestAConfiguration:
    def test_without_labels_has_none(self):
        assert build_image(LAYER, {}).config.decode() == CONFIG % ""

    def test_has_its_labels_sorted_by_bytes(self):
        labels = {"b": "1", "a.b": "2", "a": "3", "B": "4", "\U0001f600": "5", "\uffee": "6", "é": ""}
        expected = '"B":"4","a":"3","a.b":"2","b":"1","é":"","\uffee":"6","\U0001f600":"5"'
        assert labelled(**labels) == CONFIG % f'"Labels":{{{expected}}}'

    def test_sorts_labels_that_are_no_text_by_their_bytes_too(self):
        labels = {
            os.fsdecode(key): value for key, value in ((b"\xff", "1"), (b"\x80", "2"), (b"\xc3\xa9", "3"))
        }
        expected = r'"Labels":{"\ufffd":"2","é":"3","\ufffd":"4","\ufffd":"1"}'
        labels[chr(0xD800)] = "4"
        assert labelled(**labels) == CONFIG % expected

    def test_is_the_same_in_whatever_order_labels_come(self):
        assert labelled(a="1", b="2") == labelled(b="2", a="1")

    def test_escapes_labels_as_go_does(self):
        expected = r'"Labels":{"<k>":"a\u0026b \"c\" \\ \u2028\n"}'.replace("<", r"\u003c").replace(
            ">", r"\u003e"
        )
        assert labelled(**{"<k>": 'a&b "c" \\ \u2028\n'}) == CONFIG % expected

    def test_is_read_back_with_the_same_labels(self):
        labels = {"dev.carvel.imgpkg.bundle": "true", "<ü>": "\x7f\0\u2029"}
        assert dict(ImageConfig.parse(build_image(LAYER, labels).config).labels) == labels

    def test_has_no_part_in_how_an_image_is_shown(self):
        assert "architecture" not in repr(build_image(LAYER, {}))


class TestAManifest:
    def test_names_configuration_and_layer(self):
        image = build_image(LAYER, {"k": "v"})
        config = Digest.of(image.config)
        assert image.config_descriptor == Descriptor(media.DOCKER_CONFIG, config, len(image.config))
        assert image.manifest.raw.decode() == (
            '{"schemaVersion":2,"mediaType":"application/vnd.docker.distribution.manifest.v2+json",'
            '"config":{"mediaType":"application/vnd.docker.container.image.v1+json",'
            f'"size":{len(image.config)},"digest":"{config}"}},'
            '"layers":[{"mediaType":"application/vnd.docker.image.rootfs.diff.tar.gzip",'
            f'"size":4,"digest":"{GZIP}"}}]}}'
        )

    def test_is_parsed_already(self):
        manifest = build_image(LAYER, {}).manifest
        assert manifest.media_type == media.DOCKER_MANIFEST
        assert manifest.digest == Digest.of(manifest.raw)
        assert manifest.layers == (LAYER.descriptor,)

    def test_changes_with_each_label(self):
        digests = {build_image(LAYER, labels).manifest.digest for labels in ({}, {"a": ""}, {"a": "b"})}
        assert len(digests) == 3

"""Manifests: the bytes stay as they came; whatever is wrong in them is one kind of error."""

from __future__ import annotations

import base64
import json

import pytest

from imgpkg.errors import InvalidManifest
from imgpkg.oci import media
from imgpkg.oci.descriptor import EMPTY, Descriptor, Digest
from imgpkg.oci.manifest import Manifest, diff_ids_of, labels_of

CONFIG, LAYER, CHILD = Digest.of(b"config"), Digest.of(b"layer"), Digest.of(b"child")


def descriptor(digest=LAYER, size=5, media_type=media.OCI_LAYER_GZIP, **more):
    return {"mediaType": media_type, "digest": str(digest), "size": size, **more}


def image(**more):
    config = descriptor(CONFIG, 6, media.OCI_CONFIG)
    return {"schemaVersion": 2, "config": config, "layers": [descriptor()], **more}


def raw(document):
    return json.dumps(document).encode()


def refusal(data, media_type=media.OCI_MANIFEST):
    with pytest.raises(InvalidManifest) as caught:
        Manifest.parse(data if isinstance(data, bytes) else raw(data), media_type)
    return str(caught.value)


class TestAnImageManifest:
    @pytest.mark.parametrize("media_type", sorted(media.IMAGES))
    def test_lists_config_and_layers(self, media_type):
        data = raw(image())
        found = Manifest.parse(data, media_type)
        assert (found.raw, found.digest, found.descriptor.size) == (data, Digest.of(data), len(data))
        assert (found.media_type, found.is_image, found.is_index) == (media_type, True, False)
        assert [blob.digest for blob in found.blobs()] == [CONFIG, LAYER]
        assert (found.manifests, found.subject, found.artifact_type) == ((), None, "")
        assert found.annotations == EMPTY

    def test_keeps_every_byte_as_it_came(self):
        data = b' {"layers":[],"config":' + raw(descriptor(CONFIG, 6)) + b',\n"x":1.50}\t'
        assert Manifest.parse(data, media.OCI_MANIFEST).raw == data

    @pytest.mark.parametrize("layers", [{}, {"layers": None}, {"layers": []}])
    def test_may_have_no_layers(self, layers):
        document = {"config": descriptor(CONFIG, 6), **layers}
        assert Manifest.parse(raw(document), media.OCI_MANIFEST).layers == ()

    def test_may_say_what_it_is_and_what_it_is_about(self):
        subject = descriptor(CHILD, 7, media.OCI_MANIFEST)
        document = image(subject=subject, artifactType="a/b", annotations={"k": "v", "none": None})
        found = Manifest.parse(raw(document), media.OCI_MANIFEST)
        assert found.subject == Descriptor(media.OCI_MANIFEST, CHILD, 7)
        assert found.artifact_type == "a/b"
        assert dict(found.annotations) == {"k": "v", "none": ""}

    def test_keeps_the_digest_it_was_asked_for_by(self):
        data = raw(image())
        digest = Digest.parse("sha512:" + "b" * 128)
        assert Manifest.parse(data, media.OCI_MANIFEST, digest).digest == digest

    def test_may_name_layers_by_sha512(self):
        digest = Digest.parse("sha512:" + "c" * 128)
        document = image(layers=[descriptor(digest)])
        assert Manifest.parse(raw(document), media.OCI_MANIFEST).layers[0].digest == digest

    def test_has_its_type_from_a_header_with_parameters(self):
        data = raw(image())
        assert Manifest.parse(data, f"{media.OCI_MANIFEST} ; charset=utf-8").is_image


def test_annotations_that_a_program_gives_cannot_be_changed_later():
    given = {"k": "v"}
    found = Manifest(media.OCI_MANIFEST, Descriptor("", Digest.of(b""), 0), b"", annotations=given)
    given["k"] = "w"
    assert dict(found.annotations) == {"k": "v"}
    assert hash(found) == hash(found)


class TestAnIndex:
    @pytest.mark.parametrize(
        ("variant", "platform"),
        [({}, "linux/arm"), ({"variant": "v7"}, "linux/arm/v7"), ({"variant": ""}, "linux/arm")],
    )
    def test_a_platform_has_its_variant(self, variant, platform):
        named = {"os": "linux", "architecture": "arm", **variant}
        child = descriptor(CHILD, 7, media.OCI_MANIFEST, platform=named)
        found = Manifest.parse(raw({"mediaType": media.OCI_INDEX, "manifests": [child]}))
        assert [one.platform for one in found.manifests] == [platform]

    @pytest.mark.parametrize("media_type", sorted(media.INDEXES))
    def test_lists_manifests(self, media_type):
        platform = {"os": "linux", "architecture": "amd64"}
        child = descriptor(CHILD, 7, media.OCI_MANIFEST, platform=platform)
        found = Manifest.parse(raw({"manifests": [child, descriptor()]}), media_type)
        assert (found.is_image, found.is_index, found.blobs()) == (False, True, ())
        assert [(m.digest, m.platform) for m in found.manifests] == [(CHILD, "linux/amd64"), (LAYER, "")]
        assert found.children + found.parts() == found.manifests


class TestAManifestWithoutAHeader:
    @pytest.mark.parametrize(
        ("document", "media_type"),
        [
            ({**image(), "mediaType": media.DOCKER_MANIFEST}, media.DOCKER_MANIFEST),
            ({"mediaType": "x/y"}, "x/y"),
            ({"schemaVersion": 1}, media.DOCKER_SCHEMA_1_SIGNED),
            ({"manifests": []}, media.OCI_INDEX),
            (image(), media.OCI_MANIFEST),
            ({**image(), "mediaType": 5}, media.OCI_MANIFEST),
        ],
    )
    def test_is_what_it_says_or_looks_like(self, document, media_type):
        assert Manifest.parse(raw(document)).media_type == media_type

    def test_of_a_foreign_type_has_no_blobs(self):
        found = Manifest.parse(raw({**image(), "mediaType": "x/y"}))
        assert (found.is_image, found.is_index, found.blobs()) == (False, False, ())


class TestAManifestThatIsTwoThings:
    """CVE-2021-41190: one digest, and two programs that see two different things."""

    @pytest.mark.parametrize("media_type", ["", *sorted(media.IMAGES | media.INDEXES), "x/y"])
    @pytest.mark.parametrize(
        "document",
        [
            image(manifests=[]),
            {"layers": [], "manifests": []},
            {"config": descriptor(), "manifests": []},
            {"Layers": [], "manifests": []},
            {**image(), "MANIFESTS": []},
        ],
    )
    def test_is_none_whatever_it_came_as(self, document, media_type):
        assert refusal(document, media_type).endswith(": it can be read as an image and as an index")

    @pytest.mark.parametrize("media_type", sorted(media.INDEXES))
    @pytest.mark.parametrize("document", [{"layers": []}, {"config": descriptor()}])
    def test_is_no_index_when_it_looks_like_an_image(self, document, media_type):
        assert "as an image and as an index" in refusal(document, media_type)

    def test_is_no_image_when_it_lists_manifests(self):
        assert "as an image and as an index" in refusal({"manifests": []}, media.OCI_MANIFEST)

    @pytest.mark.parametrize(
        ("own", "came_as"),
        [
            (media.OCI_INDEX, media.OCI_MANIFEST),
            (media.OCI_MANIFEST, media.DOCKER_MANIFEST),
            (media.OCI_MANIFEST, media.DOCKER_SCHEMA_1_SIGNED),
            ("x/y", media.OCI_MANIFEST),
        ],
    )
    def test_is_refused_when_it_came_as_another_type_than_its_own(self, own, came_as):
        text = refusal({**image(), "mediaType": own}, came_as)
        assert text.endswith(f": it was received as {came_as}, but its mediaType is {own}")

    def test_is_not_what_says_nothing_in_the_place_of_the_other(self):
        assert Manifest.parse(raw(image(manifests=None))).is_image
        assert Manifest.parse(raw({"manifests": [], "layers": None, "config": None})).is_index
        assert Manifest.parse(raw({**image(), "mediaType": ""}), media.DOCKER_MANIFEST).is_image


class TestAMalformedManifest:
    @pytest.mark.parametrize(
        ("data", "message"),
        [(b"", "not JSON: "), (b"{", "not JSON: "), (b"\xff", "not JSON: "), (b"[" * 10**5, "not JSON: ")],
    )
    def test_is_not_json(self, data, message):
        assert refusal(data).startswith(message)

    @pytest.mark.parametrize("data", [b"[]", b'"x"', b"null", b"1"])
    def test_is_no_object(self, data):
        assert refusal(data) == "not a JSON object"

    @pytest.mark.parametrize(
        ("document", "reason"),
        [
            ({}, "no config"),
            (image(config={"size": 1}), "no digest"),
            (image(config={"digest": str(CONFIG)}), "no size"),
            (image(layers={}), "layers is not a list"),
            (image(layers=[descriptor(urls="http://x")]), "urls is not a list"),
            (image(layers=[descriptor(size=-1)]), "size is not a count of bytes: -1"),
            (image(layers=[descriptor(size=True)]), "size is not a count of bytes: True"),
            (image(layers=[descriptor(size=1.5)]), "size is not a count of bytes: 1.5"),
            (image(layers=[descriptor(size="5")]), "size is not a count of bytes: '5'"),
            (image(layers=[descriptor("md5:x")]), "unsupported digest algorithm: md5:x"),
        ],
    )
    def test_is_named_by_digest_with_the_reason(self, document, reason):
        assert refusal(document) == f"malformed manifest {Digest.of(raw(document))}: {reason}"

    @pytest.mark.parametrize(
        "document",
        [
            image(config=None),
            image(config="x"),
            image(config=5),
            image(layers=["x"]),
            image(layers=[None]),
            image(layers=[descriptor(5)]),
            image(layers=[{**descriptor(), "digest": 5}]),
            image(layers=[descriptor(data="?")]),
            image(layers=[descriptor(annotations=["x"])]),
            image(annotations=[1]),
            image(subject=[]),
            image(subject={}),
        ],
    )
    def test_is_never_anything_else_than_an_invalid_manifest(self, document):
        assert refusal(document).startswith("malformed manifest sha256:")


class TestADescriptor:
    def test_carries_what_was_written(self):
        data = base64.b64encode(b"layer").decode()
        document = descriptor(data=data, urls=["u"], annotations={"k": "v"}, artifactType="t", platform="x")
        found = Manifest.parse(raw(image(layers=[document])), media.OCI_MANIFEST).layers[0]
        assert (found.data, found.urls, dict(found.annotations)) == (b"layer", ("u",), {"k": "v"})
        assert (found.artifact_type, found.platform, found.size) == ("t", "", 5)

    @pytest.mark.parametrize(
        ("media_type", "expected"),
        [
            (media.DOCKER_FOREIGN_LAYER, False),
            (media.OCI_RESTRICTED_LAYER, False),
            (media.OCI_RESTRICTED_LAYER_GZIP, False),
            (media.DOCKER_LAYER, True),
            (media.OCI_LAYER_ZSTD, True),
            ("", True),
        ],
    )
    def test_knows_whether_it_may_be_passed_on(self, media_type, expected):
        assert Descriptor(media_type, LAYER, 1).is_distributable is expected

    @pytest.mark.parametrize(
        ("media_type", "expected"),
        [
            (media.OCI_MANIFEST, True),
            (f"{media.DOCKER_LIST}; charset=utf-8", True),
            (media.DOCKER_SCHEMA_1, True),
            (media.ORAS_ARTIFACT, True),
            ("", True),
            (media.OCI_LAYER_GZIP, False),
            ("application/vnd.buildkit.cacheconfig.v0", False),
        ],
    )
    def test_knows_whether_it_is_of_a_manifest(self, media_type, expected):
        assert Descriptor(media_type, LAYER, 1).is_manifest is expected


class TestMediaTypes:
    def test_are_asked_for_in_the_order_of_the_original(self):
        """The order is that of go-containerregistry."""
        assert [kind.removeprefix("application/vnd.") for kind in media.MANIFEST_ACCEPT] == [
            "docker.distribution.manifest.v1+json",
            "docker.distribution.manifest.v1+prettyjws",
            "docker.distribution.manifest.v2+json",
            "oci.image.manifest.v1+json",
            "docker.distribution.manifest.list.v2+json",
            "oci.image.index.v1+json",
        ]

    def test_of_manifests_and_layers_are_apart(self):
        assert not media.IMAGES & media.INDEXES
        assert not media.LAYERS & (media.IMAGES | media.INDEXES)
        assert media.NON_DISTRIBUTABLE < media.LAYERS


class TestLabelsAndDiffIds:
    def test_are_those_of_the_configuration(self):
        data = raw({"rootfs": {"diff_ids": ["sha256:x", None]}})
        assert diff_ids_of(data) == diff_ids_of(json.loads(data)) == ("sha256:x", "None")
        data = raw({"config": {"Labels": {"a": "b", "n": None, "i": 1}}})
        assert dict(labels_of(data)) == dict(labels_of(json.loads(data))) == {"a": "b", "n": "", "i": "1"}

    @pytest.mark.parametrize(
        "data",
        [
            b"",
            b"hello",
            b"[]",
            b"{}",
            b'{"config": "x"}',
            b'{"config": {}}',
            b'{"config": {"Labels": ["a"]}}',
            b'{"config": {"Labels": null}, "rootfs": {"diff_ids": null}}',
            b'{"rootfs": []}',
        ],
    )
    def test_of_anything_else_are_none(self, data):
        """An artifact may have a configuration of its own form: it is not a bundle."""
        assert (dict(labels_of(data)), diff_ids_of(data)) == ({}, ())

"""Manifests and indexes that are built have the bytes of Go, and so the digests of ORAS and Docker."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imgpkg.errors import InvalidManifest
from imgpkg.oci import media
from imgpkg.oci.descriptor import Descriptor, Digest
from imgpkg.oci.encoding import EMPTY_BLOB, encode_json
from imgpkg.oci.manifest import Manifest
from imgpkg.testing import strategies

CREATED = {"org.opencontainers.image.created": "2000-01-01T00:00:00Z"}
CONFIG = Descriptor.of(b"config", media.OCI_CONFIG)
LAYER = Descriptor.of(b"layer", media.OCI_LAYER_GZIP)


class TestAnImageManifest:
    def test_has_the_digest_that_oras_go_documents(self):
        """`ExamplePackManifest_imageV11` of oras-go, with its digest and size."""
        built = Manifest.build(artifact_type="application/vnd.example+type", annotations=CREATED)
        expected = "sha256:c259a195a48d8029d75449579c81269ca6225cd5b57d36073a7de6458afdfdbd"
        assert (str(built.digest), built.descriptor.size) == (expected, 528)

    def test_has_its_fields_in_the_order_of_the_specification(self):
        noted = Descriptor.of(b"layer", "a/b", annotations={"b": "<2>", "a": "1"})
        subject = Descriptor.of(b"about", media.OCI_INDEX)
        built = Manifest.build(
            CONFIG, [noted], artifact_type="c/d", subject=subject, annotations={"é": "", "Z": "z"}
        )
        assert built.raw.decode() == (
            '{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","artifactType":"c/d",'
            f'"config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{CONFIG.digest}",'
            f'"size":6}},"layers":[{{"mediaType":"a/b","digest":"{LAYER.digest}","size":5,'
            '"annotations":{"a":"1","b":"\\u003c2\\u003e"}}],'
            f'"subject":{{"mediaType":"application/vnd.oci.image.index.v1+json","digest":"{subject.digest}",'
            '"size":5},"annotations":{"Z":"z","é":""}}'
        )

    def test_has_what_it_was_built_of(self):
        built = Manifest.build(CONFIG, iter([LAYER, LAYER]), annotations=CREATED)
        assert (built.config, built.layers, built.subject) == (CONFIG, (LAYER, LAYER), None)
        assert (built.artifact_type, dict(built.annotations)) == ("", CREATED)
        assert built.media_type == media.OCI_MANIFEST

    @pytest.mark.parametrize("notes", [{"a": 1}, {"a": None}, {1: "a"}])
    def test_has_texts_as_annotations(self, notes):
        with pytest.raises(InvalidManifest, match="expected texts as annotation and its value"):
            Manifest.build(CONFIG, annotations=notes)
        with pytest.raises(InvalidManifest, match="expected texts as annotation and its value"):
            Manifest.build(CONFIG, [Descriptor.of(b"", "a/b", annotations=notes)])

    def test_without_config_and_layers_has_the_empty_descriptor_of_the_specification(self):
        built = Manifest.build(artifact_type="a/b")
        assert built.config == EMPTY_BLOB
        assert built.layers == (EMPTY_BLOB,)
        assert EMPTY_BLOB.digest == Digest.of(EMPTY_BLOB.data)

    def test_with_a_configuration_may_have_no_layers(self):
        assert Manifest.build(CONFIG).layers == ()

    def test_of_docker_has_the_order_of_docker(self):
        config = Descriptor.of(b"config", media.DOCKER_CONFIG)
        layer = Descriptor(media.DOCKER_FOREIGN_LAYER, LAYER.digest, 5, urls=("https://x.example/?a&b",))
        built = Manifest.build(config, [layer], media_type=media.DOCKER_MANIFEST)
        assert json.loads(built.raw)["layers"][0]["urls"] == ["https://x.example/?a&b"]
        assert list(json.loads(built.raw)["config"]) == ["mediaType", "size", "digest"]

    @pytest.mark.parametrize(
        ("given", "text"),
        [
            ({}, "an artifact with an empty configuration needs an artifact type"),
            ({"config": EMPTY_BLOB}, "an artifact with an empty configuration needs an artifact type"),
            ({"artifact_type": "text; charset=utf-8"}, "but was 'text; charset=utf-8'"),
            (
                {"config": Descriptor.of(b"", "")},
                "such as application/json, but was ''",
            ),
            ({"config": CONFIG, "media_type": media.OCI_INDEX}, "not the media type of an image manifest"),
            (
                {"config": CONFIG, "media_type": media.DOCKER_MANIFEST, "annotations": {"k": "v"}},
                "has no artifact type, no subject and no annotations",
            ),
        ],
    )
    def test_is_refused_where_nobody_could_read_it(self, given, text):
        with pytest.raises(InvalidManifest, match=text):
            Manifest.build(**given)


class TestAnIndex:
    def test_lists_manifests_for_platforms(self):
        entries = [
            Descriptor(media.OCI_MANIFEST, LAYER.digest, 5, platform="linux/arm/v7"),
            Descriptor(media.OCI_MANIFEST, CONFIG.digest, 6, platform="linux/amd64"),
        ]
        built = Manifest.build_index(entries, annotations={"k": "v"}, artifact_type="a/b")
        assert built.manifests == tuple(entries)
        assert (built.artifact_type, dict(built.annotations)) == ("a/b", {"k": "v"})
        assert json.loads(built.raw)["manifests"][0]["platform"] == {
            "architecture": "arm",
            "os": "linux",
            "variant": "v7",
        }

    def test_has_all_that_is_said_of_the_platforms_of_windows(self):
        platform = {
            "architecture": "amd64",
            "os": "windows",
            "os.version": "10.0.17763.6532",
            "os.features": ["win32k"],
            "variant": "v2",
        }
        entry = {
            "mediaType": media.OCI_MANIFEST,
            "digest": str(LAYER.digest),
            "size": 5,
            "platform": platform,
        }
        read = Manifest.parse(
            json.dumps({"schemaVersion": 2, "manifests": [entry]}).encode(), media.OCI_INDEX
        )
        assert read.manifests[0].os_version == "10.0.17763.6532"
        (again,) = json.loads(Manifest.build_index(read.manifests).raw)["manifests"]
        assert json.dumps(again) == json.dumps(entry)

    def test_may_be_empty(self):
        raw = f'{{"schemaVersion":2,"mediaType":"{media.OCI_INDEX}","manifests":[]}}'
        assert Manifest.build_index([]).raw.decode() == raw

    def test_of_docker_has_the_order_of_docker(self):
        entry = Descriptor(media.DOCKER_MANIFEST, LAYER.digest, 5, platform="linux/amd64")
        built = Manifest.build_index([entry], media_type=media.DOCKER_LIST)
        (listed,) = json.loads(built.raw)["manifests"]
        assert list(listed) == ["mediaType", "size", "digest", "platform"]

    @pytest.mark.parametrize(
        ("entry", "media_type", "text"),
        [
            (LAYER, media.OCI_MANIFEST, "not the media type of an index"),
            (Descriptor("a/b", LAYER.digest, 5, platform="linux"), media.OCI_INDEX, "but was 'linux'"),
            (Descriptor("a/b", LAYER.digest, 5, platform="a/b/c/d"), media.OCI_INDEX, "but was 'a/b/c/d'"),
        ],
    )
    def test_is_refused_where_nobody_could_read_it(self, entry, media_type, text):
        with pytest.raises(InvalidManifest, match=text):
            Manifest.build_index([entry], media_type=media_type)


@settings(max_examples=20)
@given(strategies.manifests())
def test_a_manifest_that_is_read_and_built_again_has_the_same_bytes(manifest):
    again = Manifest.build(
        manifest.config,
        manifest.layers,
        artifact_type=manifest.artifact_type,
        subject=manifest.subject,
        annotations=manifest.annotations,
        media_type=manifest.media_type,
    )
    assert again == Manifest.parse(manifest.raw) == manifest


@settings(max_examples=20)
@given(strategies.indexes())
def test_an_index_that_is_read_and_built_again_has_the_same_bytes(index):
    again = Manifest.build_index(
        index.manifests,
        artifact_type=index.artifact_type,
        subject=index.subject,
        annotations=index.annotations,
        media_type=index.media_type,
    )
    assert again == Manifest.parse(index.raw) == index


class TestJSON:
    @pytest.mark.parametrize(
        ("value", "encoded"),
        [
            ("<a href='x'>&</a>", r'"\u003ca href=' + "'x'" + r'\u003e\u0026\u003c/a\u003e"'),
            ("\u2028\u2029", r'"\u2028\u2029"'),
            ("\b\f\n\r\t", r'"\b\f\n\r\t"'),
            ("\x00\x01\x1f\x0b", r'"\u0000\u0001\u001f\u000b"'),
            ("\x7f\x80é日\U0001f600\ufffe", '"\x7f\x80é日\U0001f600\ufffe"'),
            ("\udcff\ud800a\udfff", r'"\ufffd\ufffda\ufffd"'),
            ('"\\/', r'"\"\\/"'),
            ({"b": 1, "a": [True, None, -2], "&": {}}, r'{"b":1,"a":[true,null,-2],"\u0026":{}}'),
            ([], "[]"),
        ],
    )
    def test_is_go_s(self, value, encoded):
        assert encode_json(value).decode() == encoded


@given(st.text(st.characters(exclude_categories=("Cs",))))
def test_any_text_comes_back_and_is_safe_in_a_page(text):
    encoded = encode_json({"k": text})
    assert json.loads(encoded) == {"k": text}
    assert not set("<>&\u2028\u2029") & set(encoded.decode())


@given(st.text())
def test_any_string_of_python_s_can_be_encoded(text):
    json.loads(encode_json(text))

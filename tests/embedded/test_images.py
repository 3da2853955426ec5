"""Given images, served by the embedded registry: read by clients as usual, and never changed."""

from __future__ import annotations

import pytest
from tests.servers.client import ask
from tests.servers.images import make_image

from imgpkg.embedded.images import GivenImages
from imgpkg.embedded.message import FilePart
from imgpkg.embedded.server import serve
from imgpkg.embedded.storage import RepositoryName, StoredContent, TagName
from imgpkg.oci import media
from imgpkg.oci.descriptor import Digest
from imgpkg.oci.manifest import Manifest

APP, OTHER = RepositoryName("team/app"), RepositoryName("team/other")


def parsed(image):
    return Manifest.parse(image.manifest, image.media_type)


@pytest.fixture
def image():
    return make_image()


@pytest.fixture
def server(image, tmp_path):
    """Serve an image whose layer is in the middle of a file, and what refers to it."""
    manifest = parsed(image)
    referrer = make_image(
        labels={"of": "image"},
        subject={"mediaType": image.media_type, "digest": image.digest, "size": len(image.manifest)},
        artifactType="an/sbom",
    )
    layer, digest = image.layers[0], manifest.layers[0].digest
    (tmp_path / "file").write_bytes(b"before" + layer + b"after")
    # In two files, as in the pieces of a tar file.
    (tmp_path / "second").write_bytes(layer[5:])
    parts = (FilePart(str(tmp_path / "file"), 6, 5), FilePart(str(tmp_path / "second"), 0, len(layer) - 5))
    blobs = [
        StoredContent(digest, "", len(layer), parts=parts),
        StoredContent(manifest.config.digest, "", len(image.config), data=image.config),
    ]
    tags = {APP: {TagName("v1"): manifest.digest, TagName("a"): manifest.digest}, OTHER: {}}
    with serve(storage=GivenImages(tags, [manifest, parsed(referrer), manifest], blobs)) as running:
        yield running


class TestReading:
    def test_a_manifest_comes_by_tag_and_by_digest(self, server, image):
        for reference in ("v1", image.digest):
            reply = ask(server.address, "GET", f"/v2/team/app/manifests/{reference}")
            assert (reply.status, reply.body, reply.headers["content-type"]) == (
                200,
                image.manifest,
                image.media_type,
            )

    def test_every_repository_has_every_digest_and_its_own_tags(self, server, image):
        assert ask(server.address, "HEAD", f"/v2/team/other/manifests/{image.digest}").status == 200
        assert ask(server.address, "HEAD", "/v2/team/other/manifests/v1").status == 404
        assert ask(server.address, "HEAD", f"/v2/team/unknown/manifests/{image.digest}").status == 404

    def test_a_layer_is_a_part_of_its_file(self, server, image):
        path = f"/v2/team/app/blobs/{parsed(image).layers[0].digest}"
        assert ask(server.address, "GET", path).body == image.layers[0]
        part = ask(server.address, "GET", path, range="bytes=3-9")
        assert (part.status, part.body) == (206, image.layers[0][3:10])

    def test_a_configuration_is_in_memory(self, server, image):
        path = f"/v2/team/app/blobs/{parsed(image).config.digest}"
        assert ask(server.address, "GET", path).body == image.config
        assert ask(server.address, "GET", path, range="bytes=2-5").body == image.config[2:6]

    def test_another_blob_or_repository_is_unknown(self, server, image):
        absent = Digest.of(b"nothing")
        for path in (f"/v2/team/app/blobs/{absent}", f"/v2/team/unknown/blobs/{parsed(image).config.digest}"):
            assert ask(server.address, "GET", path).code == "BLOB_UNKNOWN"

    def test_tags_and_repositories_are_listed(self, server):
        assert ask(server.address, "GET", "/v2/team/app/tags/list").json["tags"] == ["a", "v1"]
        assert ask(server.address, "GET", "/v2/team/unknown/tags/list").code == "NAME_UNKNOWN"
        assert ask(server.address, "GET", "/v2/_catalog").json == {"repositories": ["team/app", "team/other"]}

    def test_referrers_are_listed(self, server, image):
        listed = ask(server.address, "GET", f"/v2/team/app/referrers/{image.digest}").json
        assert [(found["artifactType"], found["mediaType"]) for found in listed["manifests"]] == [
            ("an/sbom", media.OCI_MANIFEST)
        ]
        for path in (
            f"/v2/team/unknown/referrers/{image.digest}",
            f"/v2/team/app/referrers/{Digest.of(b'')}",
        ):
            assert ask(server.address, "GET", path).json["manifests"] == []


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v2/team/app/blobs/uploads/"),
        ("PATCH", "/v2/team/app/blobs/uploads/1"),
        ("PUT", "/v2/team/app/manifests/v2"),
        ("DELETE", "/v2/team/app/manifests/v1"),
        ("DELETE", "/v2/team/app/blobs/{digest}"),
    ],
)
def test_nothing_can_be_written(server, image, method, path):
    reply = ask(server.address, method, path.format(digest=parsed(image).config.digest))
    assert (reply.status, reply.code) == (405, "UNSUPPORTED")
    assert b"can only be read" in reply.body
    assert ask(server.address, "GET", "/v2/team/app/tags/list").json["tags"] == ["a", "v1"]

"""An image is fetched with its configuration, and says whether it is a bundle (imgpkg-spec 8.1)."""

from __future__ import annotations

import pytest
from tests.operations.making import make_bundle, make_image, make_index, put_blob, put_manifest

from imgpkg.bundle.image import BUNDLE_LABEL, MAX_CONFIG, fetch_image
from imgpkg.errors import InvalidManifest, NotFound
from imgpkg.oci import media
from imgpkg.oci.descriptor import Digest
from imgpkg.oci.reference import Repository


class TestAnImage:
    def test_comes_with_its_configuration_under_its_digest(self, embedded_registry, session):
        reference = make_image(session, f"{embedded_registry.address}/image/plain", tag="v1")
        image = fetch_image(session.client, reference.repository.tag("v1"))
        assert image.reference == reference
        assert Digest.of(image.config_raw) == image.manifest.config.digest
        assert len(image.config.diff_ids) == 2
        assert not image.is_bundle
        assert "diff_ids" not in repr(image)

    def test_is_a_bundle_by_its_label(self, embedded_registry, session, tmp_path):
        reference = make_bundle(session, f"{embedded_registry.address}/image/bundle", {}, tmp_path / "b")
        image = fetch_image(session.client, reference)
        assert image.is_bundle
        assert image.config.labels[BUNDLE_LABEL] == "true"

    def test_may_be_an_index_which_has_none_and_is_none(self, embedded_registry, session):
        where = f"{embedded_registry.address}/image/index"
        reference = make_index(session, where, {"linux/amd64": make_image(session, where)})
        image = fetch_image(session.client, reference)
        assert image.config_raw == b""
        assert not image.is_bundle

    def test_that_is_missing_is_told_with_what_was_wanted(self, embedded_registry, session):
        reference = Repository.parse(f"{embedded_registry.address}/image/none").tag("v1")
        with pytest.raises(NotFound, match=r"^Fetching image: GET http://"):
            fetch_image(session.client, reference)

    def test_may_not_have_an_endless_configuration(self, embedded_registry, session):
        repository = Repository.parse(f"{embedded_registry.address}/image/endless")
        data = bytes(MAX_CONFIG + 1)
        config = put_blob(session, repository, data, media.DOCKER_CONFIG)
        document = {"schemaVersion": 2, "mediaType": media.DOCKER_MANIFEST, "config": config, "layers": []}
        reference = put_manifest(session, repository, document)
        with pytest.raises(InvalidManifest) as caught:
            fetch_image(session.client, reference)
        expected = f"Fetching image: configuration {Digest.of(data)} of {len(data)} bytes is too large"
        assert str(caught.value) == expected

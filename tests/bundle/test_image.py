"""Images that are fetched with their configuration, and the tags that are derived from their digests."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.operations.making import make_bundle, make_image, make_index, put_blob, put_manifest

from imgpkg.bundle.image import (
    BUNDLE_LABEL,
    MAX_CONFIG,
    fetch_image,
    internal_tag,
    locations_tag,
    repository_based_tag,
    signature_tag,
)
from imgpkg.errors import InvalidManifest, NotFound
from imgpkg.oci import media
from imgpkg.oci.descriptor import Digest
from imgpkg.oci.reference import Repository

H = "36ef490788229be59bbb38ef020bff208bced1795eedad428419a9688101059f"
DIGEST = Digest("sha256", H)
END = f"sha256-{H}.imgpkg"


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

    def test_that_is_missing_is_reported_with_what_was_wanted(self, embedded_registry, session):
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


class TestTags:
    @pytest.mark.parametrize(
        ("tag_of", "suffix"),
        [
            (internal_tag, ".imgpkg"),
            (locations_tag, ".image-locations.imgpkg"),
            (signature_tag, ".sig"),
        ],
    )
    def test_name_a_digest(self, tag_of, suffix):
        assert tag_of(DIGEST) == f"sha256-{H}{suffix}"
        assert Repository.parse("a.b/cd").tag(tag_of(DIGEST)).tag == tag_of(DIGEST)


class TestARepositoryBasedTag:
    @pytest.mark.parametrize(
        ("repository", "tag"),
        [
            ("localhost:5201/app/a", f"app-a-{END}"),
            (
                "localhost:5201/deep/aaaaaaaaaa/bbbbbbbbbbbb-cccccccccccc-dddddddddddd/ccccccccc",
                f"bbbbbbbbbbbb-cccccccccccc-dddddddddddd-ccccccccc-{END}",
            ),
            (f"localhost:5201/x__y.z/{'q' * 48}", f"{'q' * 48}-{END}"),
            (f"localhost:5201/xxxx/{'y' * 49}", f"{'y' * 49}-{END}"),
            ("index.docker.io/library/nginx", f"library-nginx-{END}"),
            ("gcr.io/__a/b.c_d", f"__a-b.c_d-{END}"),
            ("gcr.io/.-/x", f"x-{END}"),
            ("gcr.io//ab", f"ab-{END}"),
            ("gcr.io/ab/", f"ab--{END}"),
            (f"gcr.io/a/{'-' * 60}", END),
            ("gcr.io/...", END),
        ],
    )
    def test_keeps_the_end_of_the_path(self, repository, tag):
        assert repository_based_tag(f"{repository}@{DIGEST}", DIGEST) == tag

    def test_drops_what_no_tag_may_have(self):
        assert repository_based_tag("gcr.io/a b/c+d:v1", DIGEST) == f"ab-cdv1-{END}"

    @given(st.text("abcdefghijklmnopqrstuvwxyz0123456789_-./", min_size=2, max_size=255) | st.text())
    def test_is_always_a_tag(self, path):
        """A tag has at most 128 characters: 49 of the path, and 79 of a hyphen and the internal tag."""
        tag = repository_based_tag(f"localhost:5201/{path}@{DIGEST}", DIGEST)
        assert Repository("a.b", "cd").tag(tag).tag == tag
        assert tag[0].isalnum() or tag[0] == "_"
        assert tag.endswith(END)

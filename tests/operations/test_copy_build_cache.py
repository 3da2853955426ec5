"""An index that lists layers, as builders write their caches: copied as it is, by every way."""

from __future__ import annotations

import tarfile

import pytest
from tests.operations.making import layer_of, make_bundle, make_image, make_index, put_blob, put_manifest

from imgpkg.oci import media
from imgpkg.oci.descriptor import Digest
from imgpkg.oci.reference import Repository
from imgpkg.operations.copy.copy import copy_to_layout, copy_to_repository, copy_to_tar
from imgpkg.operations.copy.preview import preview_copy
from imgpkg.operations.copy.values import CopyOptions, CopySource
from imgpkg.operations.describe import describe

CACHE_CONFIG = "application/vnd.buildkit.cacheconfig.v0"
PARTS = (b'{"layers":[],"records":[]}', layer_of({"a": b"one"}), layer_of({"b": b"two"}))


def make_cache(session, where, *, tag="", layer_type=media.OCI_LAYER_GZIP, more=()):
    """Put an index that lists two layers and the configuration of a cache, as BuildKit does."""
    repository = Repository.parse(where)
    kinds = (CACHE_CONFIG, media.OCI_LAYER_GZIP, layer_type)
    entries = [put_blob(session, repository, data, kind) for data, kind in zip(PARTS, kinds, strict=True)]
    document = {"schemaVersion": 2, "mediaType": media.OCI_INDEX, "manifests": [*entries, *more]}
    return put_manifest(session, repository, document, tag)


@pytest.fixture
def cache(embedded_registry, session):
    return make_cache(session, f"{embedded_registry.address}/built/cache", tag="v1")


def assert_whole(session, to, cache):
    """Check that the index and all that it lists are in the repository `to`, byte for byte."""
    repository = Repository.parse(to)
    manifest = session.client.manifest(repository.digest(cache.digest))
    for entry, data in zip(manifest.manifests, PARTS, strict=True):
        with session.client.blob(repository, entry) as stream:
            assert stream.read() == data


class TestACache:
    def test_goes_to_another_registry(self, cache, another_registry, open_session):
        to = f"{another_registry.address}/built/copy"
        result = copy_to_repository(CopySource(image=f"{cache.repository}:v1"), to, session=open_session())
        assert [(c.destination.digest, c.tag) for c in result.images] == [(cache.digest, "v1")]
        assert_whole(open_session(), to, cache)

    def test_is_mounted_within_its_registry(self, cache, embedded_registry, open_session):
        to = f"{embedded_registry.address}/built/mounted"
        before = len(embedded_registry.requests)
        copy_to_repository(CopySource(image=str(cache)), to, session=open_session())
        methods = [r.method for r in embedded_registry.requests[before:]]
        assert sorted(methods) == ["GET", "POST", "POST", "POST", "PUT"]
        assert_whole(open_session(), to, cache)

    def test_goes_from_and_to_the_registry_of_docker(self, docker_registry, open_session):
        cache = make_cache(open_session(), f"{docker_registry.address}/built/cache", tag="v1")
        to = f"{docker_registry.address}/built/copy"
        copy_to_repository(CopySource(image=f"{cache.repository}:v1"), to, session=open_session())
        assert_whole(open_session(), to, cache)

    def test_goes_through_a_tar_file(self, cache, another_registry, open_session, tmp_path):
        tar = tmp_path / "cache.tar"
        copy_to_tar(CopySource(image=f"{cache.repository}:v1"), tar, session=open_session())
        with tarfile.open(tar) as whole:
            names = whole.getnames()
        blobs = sorted(f"sha256-{Digest.of(data).hex}.tar.gz" for data in PARTS)
        assert names == ["manifest.json", *blobs]
        to = f"{another_registry.address}/built/from-tar"
        copy_to_repository(CopySource(tar=tar), to, session=open_session())
        assert_whole(open_session(), to, cache)

    def test_goes_through_a_layout(self, cache, another_registry, open_session, tmp_path):
        copy_to_layout(CopySource(image=str(cache)), tmp_path / "oci", session=open_session())
        to = f"{another_registry.address}/built/from-layout"
        copy_to_repository(CopySource(layout=tmp_path / "oci"), to, session=open_session())
        assert_whole(open_session(), to, cache)

    def test_beside_images_in_one_index_goes_with_them(
        self, embedded_registry, another_registry, open_session, tmp_path
    ):
        session, where = open_session(), f"{embedded_registry.address}/built/mixed"
        image = make_image(session, where, ["an image"])
        inner = make_index(session, where, {"linux/amd64": image})
        found = session.client.manifest(inner)
        child = {"mediaType": found.media_type, "digest": str(inner.digest), "size": len(found.raw)}
        mixed = make_cache(session, where, more=[child])
        tar = tmp_path / "mixed.tar"
        copy_to_tar(CopySource(image=str(mixed)), tar, session=session)
        to = f"{another_registry.address}/built/mixed"
        copy_to_repository(CopySource(tar=tar), to, session=open_session())
        repository = Repository.parse(to)
        for reference in (mixed, inner, image):
            copied = open_session().client.manifest(repository.digest(reference.digest))
            assert all(open_session().client.has_blob(repository, blob.digest) for blob in copied.parts())

    def test_in_a_bundle_is_described_without_layers(self, cache, embedded_registry, session, tmp_path):
        bundle = make_bundle(session, f"{embedded_registry.address}/built/b", {cache: {}}, tmp_path / "b")
        (info,) = describe(str(bundle), session=session).images
        assert (info.key, info.layers) == (str(cache.digest), ())

    def test_is_counted_by_a_preview(self, cache, another_registry, session):
        to = f"{another_registry.address}/built/preview"
        preview = preview_copy(CopySource(image=str(cache)), to, session=session)
        assert (preview.blobs, preview.size) == (3, sum(len(data) for data in PARTS))

    def test_leaves_layers_behind_that_may_not_be_passed_on(
        self, embedded_registry, another_registry, session
    ):
        where = f"{embedded_registry.address}/built/foreign"
        cache = make_cache(session, where, layer_type=media.OCI_RESTRICTED_LAYER_GZIP)
        to = f"{another_registry.address}/built/foreign"
        result = copy_to_repository(CopySource(image=str(cache)), to, session=session)
        assert [left.layer.digest for left in result.left_out] == [Digest.of(PARTS[2])]
        everything = CopyOptions(include_non_distributable_layers=True)
        copy_to_repository(CopySource(image=str(cache)), to, session=session, options=everything)
        assert_whole(session, to, cache)

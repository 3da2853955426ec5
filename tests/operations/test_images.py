"""One image with its configuration; of an index, the one for a platform, and always the same one."""

from __future__ import annotations

import json

import pytest
from tests.operations.making import layer_of, make_image, make_index, put_blob, put_manifest

import imgpkg
from imgpkg.errors import NotFound, UsageError
from imgpkg.oci import media
from imgpkg.oci.reference import Repository

PLATFORMS = ("linux/amd64", "linux/arm64/v8", "linux/arm/v6", "windows/amd64")


def put_image(session, where, platform="", layers=(), **config):
    """Put an image whose configuration names a platform; return its digest reference."""
    repository = Repository.parse(where)
    names = (
        dict(zip(("os", "architecture", "variant"), platform.split("/"), strict=False)) if platform else {}
    )
    document = {
        "schemaVersion": 2,
        "mediaType": media.OCI_MANIFEST,
        "config": put_blob(
            session, repository, json.dumps({**names, "config": config}).encode(), media.OCI_CONFIG
        ),
        "layers": [put_blob(session, repository, layer, media.OCI_LAYER_GZIP) for layer in layers],
    }
    return put_manifest(session, repository, document)


def put_index(session, where, entries, tag=""):
    """Put an index of (reference, fields of the entry)."""
    repository = Repository.parse(where)
    found = [(session.client.manifest(reference).descriptor, fields) for reference, fields in entries]
    document = {
        "schemaVersion": 2,
        "mediaType": media.OCI_INDEX,
        "manifests": [
            {"mediaType": entry.media_type, "digest": str(entry.digest), "size": entry.size, **fields}
            for entry, fields in found
        ],
    }
    return put_manifest(session, repository, document, tag)


@pytest.fixture
def where(request, embedded_registry):
    return f"{embedded_registry.address}/images/{request.node.originalname.lower()}"


@pytest.fixture
def index(session, where):
    """An index of four platforms at the tag v1, with an attestation; and the references by platform."""
    images = {platform: put_image(session, where, platform, Cmd=[platform]) for platform in PLATFORMS}
    attestation = put_image(session, where, Cmd=["attestation"])
    unknown = {"platform": {"os": "unknown", "architecture": "unknown"}}
    about = {"vnd.docker.reference.digest": str(images["linux/amd64"].digest)}
    entries = [(attestation, {**unknown, "annotations": about})]
    for platform, reference in images.items():
        names = dict(zip(("os", "architecture", "variant"), platform.split("/"), strict=False))
        entries.append((reference, {"platform": names}))
    return put_index(session, where, entries, tag="v1"), images


class TestAnImage:
    def test_comes_with_its_configuration(self, where, session):
        reference = put_image(session, where, "linux/arm64", Env=["A=b"], Labels={"x": "y"})
        found = imgpkg.read_image(str(reference), session=session)
        assert (found.reference, dict(found.config.env), dict(found.config.labels)) == (
            reference,
            {"A": "b"},
            {"x": "y"},
        )
        assert str(found.config.platform) == "linux/arm64"

    def test_may_be_asked_for_with_its_platform_and_with_no_other(self, where, session):
        reference = str(put_image(session, where, "linux/arm64"))
        for platform in ("linux/aarch64", imgpkg.Platform("linux", "arm64", "v8")):
            assert (
                str(imgpkg.read_image(reference, session=session, platform=platform).reference) == reference
            )
        with pytest.raises(UsageError, match="not there for linux/amd64: it is an image for linux/arm64"):
            imgpkg.read_image(reference, session=session, platform="linux/amd64")
        with pytest.raises(UsageError, match="Expected a platform"):
            imgpkg.read_image(reference, session=session, platform="linux")

    def test_without_a_platform_is_for_all(self, where, session):
        reference = make_image(session, where)
        assert imgpkg.read_image(str(reference), session=session, platform="a/b").reference == reference

    def test_that_is_not_there_is_an_error(self, where, session):
        with pytest.raises(NotFound, match=r"^Fetching image: GET"):
            imgpkg.read_image(f"{where}:nosuch", session=session)

    def test_is_no_manifest_of_another_type(self, where, session):
        repository = Repository.parse(where)
        document = {"mediaType": media.OCI_ARTIFACT, "blobs": []}
        place = put_manifest(session, repository, document, "artifact")
        with pytest.raises(UsageError, match=r"is not an image: it is of type application/vnd.oci.artifact"):
            imgpkg.read_image(str(place), session=session)


class TestOneOfAnIndex:
    @pytest.mark.parametrize(
        ("platform", "found"),
        [
            (None, "linux/amd64"),
            ("linux/arm64", "linux/arm64/v8"),
            ("linux/arm64/v8", "linux/arm64/v8"),
            ("Windows/amd64", "windows/amd64"),
            ("linux/arm/v6", "linux/arm/v6"),
        ],
    )
    def test_is_the_one_for_the_platform(self, index, where, session, platform, found):
        _, images = index
        chosen = imgpkg.read_image(f"{where}:v1", session=session, platform=platform)
        assert (chosen.reference, chosen.config.cmd) == (images[found], (found,))

    def test_that_is_not_there_is_an_error_with_those_that_are(self, index, where, session):
        with pytest.raises(UsageError, match=r"is not there for linux/riscv64$") as caught:
            imgpkg.read_image(f"{where}:v1", session=session, platform="linux/riscv64")
        assert caught.value.hints == (f"It is there for {', '.join(PLATFORMS)}.",)

    def test_is_the_only_one_where_nothing_is_asked_for(self, where, session):
        image = put_image(session, where, "linux/s390x")
        other = put_image(session, where, Cmd=["attestation"])
        unknown = {"platform": {"os": "unknown", "architecture": "unknown"}}
        for fields in ({}, {"platform": {"os": "linux", "architecture": "s390x"}}):
            index = put_index(session, where, [(image, fields), (other, unknown)])
            assert imgpkg.read_image(str(index), session=session).reference == image

    def test_is_found_by_its_configuration_where_the_index_does_not_say_it(self, where, session):
        images = {platform: put_image(session, where, platform) for platform in PLATFORMS}
        index = str(put_index(session, where, [(image, {}) for image in images.values()]))
        assert imgpkg.read_image(index, session=session).reference == images["linux/amd64"]
        found = imgpkg.read_image(index, session=session, platform="linux/arm64")
        assert found.reference == images["linux/arm64/v8"]
        with pytest.raises(UsageError) as caught:
            imgpkg.read_image(index, session=session, platform="linux/386")
        assert caught.value.hints == (f"It is there for {', '.join(PLATFORMS)}.",)

    def test_may_be_in_an_index_of_an_index(self, where, session):
        images = {platform: put_image(session, where, platform) for platform in PLATFORMS}
        inner = make_index(session, where, images)
        outer = str(put_index(session, where, [(inner, {})]))
        assert imgpkg.read_image(outer, session=session).reference == images["linux/amd64"]
        with pytest.raises(UsageError, match="not there for a/b"):
            imgpkg.read_image(outer, session=session, platform="a/b")

    def test_is_not_looked_for_without_end(self, where, session):
        index = put_image(session, where)
        for _ in range(12):
            index = put_index(session, where, [(index, {})])
        with pytest.raises(UsageError, match="not there for linux/amd64"):
            imgpkg.read_image(str(index), session=session)

    def test_is_found_in_files_too(self, index, where, session, tmp_path):
        _, images = index
        source = imgpkg.CopySource(image=f"{where}:v1")
        imgpkg.copy(source, to_tar=tmp_path / "a.tar", session=session)
        imgpkg.copy(source, to_layout=tmp_path / "layout", session=session)
        for place in ({"tar": tmp_path / "a.tar"}, {"layout": tmp_path / "layout"}):
            found = imgpkg.read_image("", session=session, platform="linux/arm64", **place)
            assert found.reference.digest == images["linux/arm64/v8"].digest
            assert found.config.cmd == ("linux/arm64/v8",)


@pytest.mark.parametrize("kind", ["docker_registry", "docker_registry_token"])
def test_one_platform_of_an_index_is_read_from_a_registry_of_others(kind, request, open_session):
    registry = request.getfixturevalue(kind)
    session = open_session(username=registry.username, password=registry.password)
    where = f"{registry.address}/images/platforms"
    images = {
        platform: put_image(session, where, platform, [layer_of({"etc/platform": platform.encode()})])
        for platform in PLATFORMS
    }
    index = make_index(session, where, images, tag="v1")
    for platform in PLATFORMS:
        chosen = imgpkg.read_image(f"{where}:v1", session=session, platform=platform)
        assert chosen.reference == images[platform]
        for image in (chosen, str(index)):
            text = imgpkg.read_file(image, "/etc/platform", session=session, platform=platform)
            assert text.decode() == platform

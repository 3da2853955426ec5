"""A bundle described: everything in it once, in order, for as few requests as there are things to ask."""

from __future__ import annotations

import pytest
from tests.operations.making import make_bundle, make_image, make_index, thirty
from tests.servers.faults import always, refusing

from imgpkg import errors
from imgpkg.embedded.server import serve
from imgpkg.operations.copy.copy import copy_to_repository
from imgpkg.operations.copy.values import CopySource
from imgpkg.operations.describe import describe
from imgpkg.operations.description import ImageType


class TestRequests:
    """The number of requests is within a tenth of the fewest that the protocol allows."""

    def test_thirty_images_of_two_layers(self, embedded_registry, open_session, tmp_path):
        bundle = thirty(open_session(), embedded_registry.address, tmp_path / "b")
        before = len(embedded_registry.requests)
        describe(str(bundle), session=open_session())
        assert len(embedded_registry.requests) - before < 135

    @pytest.mark.parametrize(
        ("options", "most"),
        [({}, 93), ({"layers": False}, 93), ({"layers": False, "cosign_artifacts": False}, 70)],
    )
    def test_twenty_images(self, embedded_registry, open_session, tmp_path, options, most):
        bundle = thirty(open_session(), embedded_registry.address, tmp_path / "b", count=20, layers=1)
        before = len(embedded_registry.requests)
        describe(str(bundle), session=open_session(), **options)
        assert len(embedded_registry.requests) - before <= most

    @pytest.mark.parametrize(
        ("options", "most"), [({}, 50), ({"layers": False, "cosign_artifacts": False}, 5)]
    )
    def test_twenty_collocated_images(self, embedded_registry, open_session, tmp_path, options, most):
        session = open_session()
        bundle = thirty(session, embedded_registry.address, tmp_path / "b", count=20, layers=1)
        copied = copy_to_repository(
            CopySource(bundle=str(bundle)), f"{embedded_registry.address}/copy/twenty", session=session
        )
        before = len(embedded_registry.requests)
        describe(str(copied.bundle.destination), session=open_session(), **options)
        assert len(embedded_registry.requests) - before <= most


class TestADescription:
    def test_nests_bundles_and_keeps_annotations(self, embedded_registry, session, tmp_path):
        address = embedded_registry.address
        image = make_image(session, f"{address}/app/a")
        inner = make_bundle(session, f"{address}/bundles/in", {image: {"id": "a"}}, tmp_path / "inner")
        outer = make_bundle(session, f"{address}/bundles/out", {inner: {"k": "v"}}, tmp_path / "outer")
        found = describe(f"{address}/bundles/out", session=session)
        assert found.digest == outer.digest
        assert found.images == ()
        (nested,) = found.bundles
        assert (nested.digest, dict(nested.annotations)) == (inner.digest, {"k": "v"})
        (listed,) = nested.images
        assert listed.image == str(image)
        assert listed.image_type is ImageType.IMAGE
        assert dict(listed.annotations) == {"id": "a"}
        assert listed.layers == tuple(layer.digest for layer in session.client.manifest(image).layers)

    @pytest.mark.parametrize("platform", ["linux/amd64", "linux/amd64/v2"])
    def test_shows_the_layers_of_an_index_for_linux_on_amd64(
        self, platform, embedded_registry, session, tmp_path
    ):
        where = f"{embedded_registry.address}/app/multi"
        amd, arm = make_image(session, where, ["amd"]), make_image(session, where, ["arm"])
        index = make_index(session, where, {"linux/arm64": arm, platform: amd})
        other = make_index(session, where, {"linux/arm64": arm})
        bundle = make_bundle(
            session, f"{embedded_registry.address}/bundles/i", {index: {}, other: {}}, tmp_path / "b"
        )
        layers = {info.image: info.layers for info in describe(str(bundle), session=session).images}
        assert layers[str(index)] == tuple(layer.digest for layer in session.client.manifest(amd).layers)
        assert layers[str(other)] == ()

    def test_lists_signatures_and_the_locations_record(self, embedded_registry, session, tmp_path):
        address = embedded_registry.address
        image = make_image(session, f"{address}/app/signed")
        bundle = make_bundle(session, f"{address}/bundles/s", {image: {}}, tmp_path / "b")
        to = f"{address}/copy/s"
        copy_to_repository(CopySource(bundle=str(bundle)), to, session=session)
        tag = f"sha256-{image.digest.hex}.sig"
        signature = make_image(session, to, ["signature"], tag=tag)
        found = describe(f"{to}@{bundle.digest}", session=session)
        kinds = {info.image_type: info for info in found.images}
        assert kinds[ImageType.SIGNATURE].image == str(signature)
        assert dict(kinds[ImageType.SIGNATURE].annotations) == {"tag": tag}
        assert kinds[ImageType.IMAGE].image == f"{to}@{image.digest}"
        assert kinds[ImageType.IMAGE].origin == str(image)
        assert ImageType.INTERNAL in kinds
        assert [info.key for info in found.images] == sorted(info.key for info in found.images)

    def test_of_a_plain_image_is_refused(self, embedded_registry, session):
        image = make_image(session, f"{embedded_registry.address}/app/plain")
        with pytest.raises(errors.NotABundle) as caught:
            describe(str(image), session=session)
        assert str(caught.value) == f"Only bundles can be described, and {image} is not a bundle"

    def test_of_nothing_names_what_it_tried(self, session):
        with pytest.raises(errors.InvalidReference) as caught:
            describe("", session=session)
        assert str(caught.value) == "Unable to check if  is a bundle: could not parse reference: "

    def test_lists_what_is_attached_when_asked(self, embedded_registry, session, tmp_path):
        address = embedded_registry.address
        image = make_image(session, f"{address}/app/attached")
        manifest = session.client.manifest(image)
        subject = {"mediaType": manifest.media_type, "digest": str(image.digest), "size": len(manifest.raw)}
        sbom = make_image(session, f"{address}/app/attached", ["sbom"], subject=subject)
        bundle = make_bundle(session, f"{address}/bundles/attached", {image: {}}, tmp_path / "b")
        found = describe(str(bundle), session=session, referrers=True)
        (info,) = [info for info in found.images if info.image_type is ImageType.REFERRER]
        assert info.image == str(sbom)
        assert info.annotations["subject"] == str(image.digest)
        assert ImageType.REFERRER not in {i.image_type for i in describe(str(bundle), session=session).images}

    def test_shows_a_signature_that_it_may_not_see(self, tmp_path, open_session):
        with serve(faults=always(refusing(403, "DENIED", "no"), path=r"\.sig$")) as server:
            session = open_session()
            bundle = make_bundle(session, f"{server.address}/bundles/refused", {}, tmp_path / "b")
            (info,) = describe(str(bundle), session=session).images
        assert (info.image, info.error) == ("", "access denied")
        assert info.key == f"{bundle.repository}:sha256-{bundle.digest.hex}.sig"

    def test_of_an_image_that_is_gone_names_it(self, embedded_registry, session, tmp_path):
        image = make_image(session, f"{embedded_registry.address}/app/gone")
        bundle = make_bundle(
            session, f"{embedded_registry.address}/bundles/gone", {image: {}}, tmp_path / "b"
        )
        gone = always(refusing(404, "MANIFEST_UNKNOWN", "gone"), method="GET", path=str(image.digest))
        with serve(faults=gone) as server:
            to = f"{server.address}/copy/gone"
            copy_to_repository(CopySource(bundle=str(bundle)), to, session=session)
            found = describe(f"{to}@{bundle.digest}", session=session, layers=False)
            assert str(image.digest) in {info.key for info in found.images}
            with pytest.raises(errors.NotFound) as caught:
                describe(f"{to}@{bundle.digest}", session=session)
        text = str(caught.value)
        assert text.startswith("Error: GET ")
        assert text.endswith(f" in getting remote access of image {to}@{image.digest}")

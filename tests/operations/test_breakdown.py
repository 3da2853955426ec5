"""A bundle broken down: every manifest with its size, in its place, for a request each."""

from __future__ import annotations

import pytest
from tests.operations.making import make_bundle, make_image, make_index, thirty
from tests.servers.faults import always, refusing

from imgpkg import errors
from imgpkg.embedded.server import serve
from imgpkg.oci.descriptor import Digest
from imgpkg.oci.reference import parse_any
from imgpkg.operations import breakdown
from imgpkg.operations.breakdown import PartKind, break_down
from imgpkg.operations.copy.copy import copy_to_layout, copy_to_repository, copy_to_tar
from imgpkg.operations.copy.values import CopyOptions, CopySource
from imgpkg.operations.description import Description, ImageInfo, ImageType


def kinds(root):
    return [(depth, part.kind.value) for part, depth in root.walk()]


def subject_of(session, reference):
    manifest = session.client.manifest(reference)
    return {"mediaType": manifest.media_type, "digest": str(manifest.digest), "size": len(manifest.raw)}


@pytest.fixture
def attached(embedded_registry, session, tmp_path):
    """A bundle of an index with an SBOM, which is signed, and a signature of one platform."""
    where = f"{embedded_registry.address}/app/broken-down"
    amd, arm = make_image(session, where, ["amd"]), make_image(session, where, ["arm"])
    index = make_index(session, where, {"linux/amd64": amd, "linux/arm64": arm})
    bill = make_image(
        session, where, ["bill"], subject=subject_of(session, index), artifactType="application/spdx+json"
    )
    make_image(session, where, ["signed bill"], tag=f"sha256-{bill.digest.hex}.sig")
    make_image(session, where, ["signed arm"], tag=f"sha256-{arm.digest.hex}.sig")
    return make_bundle(
        session, f"{embedded_registry.address}/bundles/broken-down:v1", {index: {}}, tmp_path / "attached"
    )


class TestTheParts:
    def test_are_in_their_places(self, attached, session):
        root = break_down(str(attached), session=session)
        assert kinds(root) == [
            (0, "bundle"),
            (1, "image"),
            (2, "platform"),
            (2, "platform"),
            (3, "signature"),
            (2, "referrer"),
            (3, "signature"),
        ]
        (index,) = root.parts
        assert [part.platform for part in index.parts] == ["linux/amd64", "linux/arm64", ""]
        assert index.parts[2].artifact_type == "application/spdx+json"

    def test_have_the_sizes_of_their_manifests(self, attached, session):
        for part, _ in break_down(str(attached), session=session).walk():
            manifest = session.client.manifest(parse_any(part.reference))
            assert part.manifest == manifest.descriptor
            assert part.manifest.size == len(manifest.raw)
            assert (part.config, part.layers) == (manifest.config, manifest.layers)
            assert part.blobs()[-1:] == (manifest.layers or (manifest.descriptor,))[-1:]

    @pytest.mark.parametrize(
        ("options", "found"),
        [
            ({"attachments": False}, {"bundle", "image", "platform"}),
            ({"attachments": False, "referrers": True}, {"bundle", "image", "platform", "referrer"}),
        ],
    )
    def test_are_attached_as_far_as_is_asked_for(self, attached, session, options, found):
        root = break_down(str(attached), session=session, **options)
        assert {kind for _, kind in kinds(root)} == found

    def test_are_the_same_in_files(self, attached, session, tmp_path):
        source, options = CopySource(bundle=str(attached)), CopyOptions(attachments=True)
        copy_to_tar(source, tmp_path / "b.tar", session=session, options=options)
        copy_to_layout(source, tmp_path / "layout", session=session, options=options)
        expected = kinds(break_down(str(attached), session=session))
        assert kinds(break_down(tar=tmp_path / "b.tar", session=session)) == expected
        assert kinds(break_down(layout=tmp_path / "layout", session=session)) == expected

    def test_of_a_copy_have_the_record_of_locations_last(self, nested, session, embedded_registry):
        to = f"{embedded_registry.address}/copy/broken-down"
        copied = copy_to_repository(CopySource(bundle=str(nested)), to, session=session)
        root = break_down(str(copied.bundle.destination), session=session)
        assert root.parts[-1].kind is PartKind.LOCATIONS
        assert root.parts[0].kind is PartKind.BUNDLE
        assert {part.origin.partition("@")[0] for part in root.parts[1:3]} != {to}

    def test_of_a_bundle_that_is_named_twice_are_given_once(self, embedded_registry, session, tmp_path):
        address = embedded_registry.address
        image = make_image(session, f"{address}/app/twice")
        inner = make_bundle(session, f"{address}/bundles/twice-inner", {image: {}}, tmp_path / "i")
        make_image(session, f"{address}/bundles/twice-inner", ["s"], tag=f"sha256-{inner.digest.hex}.sig")
        between = make_bundle(session, f"{address}/bundles/twice-a", {inner: {}}, tmp_path / "a")
        outer = make_bundle(session, f"{address}/bundles/twice", {inner: {}, between: {}}, tmp_path / "o")
        root = break_down(str(outer), session=session)
        bundles = [part for part, _ in root.walk() if part.digest == inner.digest]
        assert [(part.is_repeated, len(part.parts)) for part in bundles] == [(False, 2), (True, 0)]
        # Described in each bundle around it, the signature still has one place.
        assert [kind for _, kind in kinds(root)].count("signature") == 1


def test_what_a_description_has_left_out_is_taken_from_where_it_is():
    """Of more than ten thousand entries a bundle is described once, which need not be where it is first."""
    names = ("outer", "inner", "between", "image")
    outer, inner, between, image = (f"host.example/{name}@{Digest.of(name.encode())}" for name in names)
    shown = ImageInfo(image.partition("@")[2], image, ImageType.IMAGE, image)
    digests = [Digest.of(name.encode()) for name in names]
    whole = Description(digests[1], inner, "host/z", images=(shown,))
    left_out = Description(digests[1], inner, "host/a", is_repeated=True)
    around = Description(digests[2], between, "host/b", bundles=(whole,))
    root = Description(digests[0], outer, outer, bundles=(left_out, around))
    manifests = dict.fromkeys(map(parse_any, (outer, inner, between, image)))
    parts = [part for part, _ in breakdown._Breakdown(root, manifests).part(root).walk()]
    assert [part.reference for part in parts] == [outer, inner, image, between, inner]
    assert [part.is_repeated for part in parts] == [False, False, False, False, True]


class TestTrouble:
    def test_a_platform_that_is_gone_is_named(self, embedded_registry, session, tmp_path):
        where = f"{embedded_registry.address}/app/half"
        there, gone = make_image(session, where, ["there"]), make_image(session, where, ["gone"])
        index = make_index(session, where, {"linux/amd64": there, "linux/arm64": gone})
        where = f"{embedded_registry.address}/bundles/half"
        bundle = make_bundle(session, where, {index: {}}, tmp_path / "b")
        session.client.delete_manifest(gone.repository, gone.digest)
        (image,) = break_down(str(bundle), session=session).parts
        assert [part.problem for part in image.parts] == ["", "it is listed, but does not exist"]
        assert image.parts[1].manifest is None

    def test_a_signature_that_may_not_be_seen_is_named(self, tmp_path, open_session):
        with serve(faults=always(refusing(403, "DENIED", "no"), path=r"\.sig$")) as server:
            session = open_session()
            bundle = make_bundle(session, f"{server.address}/bundles/refused", {}, tmp_path / "b")
            (part,) = break_down(str(bundle), session=session).parts
        assert (part.kind, part.problem, part.digest) == (PartKind.SIGNATURE, "access denied", None)
        assert part.blobs() == ()

    def test_a_plain_image_is_refused(self, embedded_registry, session):
        image = make_image(session, f"{embedded_registry.address}/app/plain-broken-down")
        with pytest.raises(errors.NotABundle):
            break_down(str(image), session=session)


class TestRequests:
    def test_are_those_of_a_description_and_one_for_each_platform(
        self, embedded_registry, open_session, tmp_path
    ):
        bundle = thirty(open_session(), embedded_registry.address, tmp_path / "b", count=10, layers=1)
        counts = []
        for attachments in (False, True):
            before = len(embedded_registry.requests)
            break_down(str(bundle), session=open_session(), attachments=attachments)
            counts.append(len(embedded_registry.requests) - before)
        # Four for the bundle and eleven for signatures, then three for each image and what is attached.
        assert counts[0] <= 48
        assert counts[1] <= 48 + 3 * 11 + 11

    def test_fetch_no_layer_of_an_image(self, attached, open_session, embedded_registry):
        before = len(embedded_registry.requests)
        root = break_down(str(attached), session=open_session())
        layers = {layer.digest for part, _ in root.walk() for layer in part.layers} - {root.layers[0].digest}
        asked = [request.path for request in embedded_registry.requests[before:]]
        assert len(layers) == 5
        assert not [path for path in asked if any(str(layer) in path for layer in layers)]

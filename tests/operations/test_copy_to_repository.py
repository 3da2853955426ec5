"""Copies within one registry and between two: what arrives, under which tags, for how many requests."""

from __future__ import annotations

import io
import random

import pytest
from tests.operations.conftest import read_tree
from tests.operations.making import make_bundle, make_image, make_index, thirty
from tests.servers.faults import always, refusing

from imgpkg import errors
from imgpkg.bundle.image import read_config
from imgpkg.embedded.server import serve
from imgpkg.events import Message, Warned
from imgpkg.oci import media
from imgpkg.oci.reference import Repository
from imgpkg.operations.copy.copy import copy_to_repository, copy_to_tar
from imgpkg.operations.copy.values import CopyOptions, CopySource
from imgpkg.operations.pull import pull


@pytest.fixture
def two(embedded_registry, another_registry):
    return embedded_registry, another_registry


class Counting:
    """Counts the requests that a registry receives while the block runs."""

    def __init__(self, *registries):
        self._registries = registries

    def __enter__(self):
        self._before = [len(registry.requests) for registry in self._registries]
        return self

    def __exit__(self, *exception):
        self.counts = [len(r.requests) - b for r, b in zip(self._registries, self._before, strict=True)]
        self.total = sum(self.counts)


class TestRequests:
    """The number of requests is within a tenth of the fewest that the protocol allows."""

    def test_thirty_images_of_two_layers_within_one_registry(self, embedded_registry, open_session, tmp_path):
        source = thirty(open_session(), embedded_registry.address, tmp_path / "b")
        with Counting(embedded_registry) as requests:
            copy_to_repository(
                CopySource(bundle=str(source)),
                f"{embedded_registry.address}/copy/thirty",
                session=open_session(),
            )
        assert requests.total < 240

    @pytest.mark.parametrize("where", ["same registry", "other registry"])
    def test_a_bundle_of_ten_images(self, two, where, open_session, tmp_path):
        here, there = two
        target = here if where == "same registry" else there
        source = thirty(open_session(), here.address, tmp_path / "b", count=10, layers=1)
        to = f"{target.address}/copy/ten"
        with Counting(*{here.address: here, target.address: target}.values()) as requests:
            copy_to_repository(CopySource(bundle=str(source)), to, session=open_session())
        assert requests.total <= {"same registry": 81, "other registry": 116}[where]
        with Counting(*{here.address: here, target.address: target}.values()) as again:
            copy_to_repository(CopySource(bundle=str(source)), to, session=open_session())
        assert again.total <= 51

    def test_a_collocated_bundle_of_ten_images(self, two, open_session, tmp_path):
        here, there = two
        source = thirty(open_session(), here.address, tmp_path / "b", count=10, layers=1)
        session = open_session()
        result = copy_to_repository(
            CopySource(bundle=str(source)), f"{there.address}/copy/ten", session=session
        )
        collocated = CopySource(bundle=str(result.bundle.destination))
        with Counting(there) as within:
            copy_to_repository(collocated, f"{there.address}/again/ten", session=open_session())
        assert within.total <= 60
        with Counting(here, there) as between:
            copy_to_repository(collocated, f"{here.address}/back/ten", session=open_session())
        assert between.total <= 106

    @pytest.mark.parametrize(("where", "most"), [("same registry", 6), ("other registry", 9)])
    def test_one_image(self, two, where, most, open_session):
        here, there = two
        target = here if where == "same registry" else there
        image = make_image(open_session(), f"{here.address}/app/single", ["layer"])
        with Counting(*{here.address: here, target.address: target}.values()) as requests:
            copy_to_repository(
                CopySource(image=f"{image.repository}@{image.digest}"),
                f"{target.address}/copy/single",
                session=open_session(),
            )
        assert requests.total <= most


class TestABundle:
    def test_comes_back_with_its_images_and_points_to_them(self, two, open_session, tmp_path):
        here, there = two
        session = open_session()
        image = make_image(session, f"{here.address}/app/a")
        inner = make_bundle(session, f"{here.address}/bundles/inner:v1", {image: {}}, tmp_path / "inner")
        outer = make_bundle(
            session, f"{here.address}/bundles/outer:v1", {inner: {"x": "y"}, image: {}}, tmp_path / "outer"
        )
        result = copy_to_repository(
            CopySource(bundle=f"{here.address}/bundles/outer:v1"),
            f"{there.address}/copy/outer",
            session=session,
        )
        assert result.bundle.destination.digest == outer.digest
        assert result.bundle.tag == "v1"
        repository = Repository.parse(f"{there.address}/copy/outer")
        tags = set(session.client.tags(repository))
        assert "v1" in tags
        for reference in (image, inner, outer):
            assert f"sha256-{reference.digest.hex}.imgpkg" in tags
        for reference in (inner, outer):
            assert f"sha256-{reference.digest.hex}.image-locations.imgpkg" in tags
        assert len(tags) == 8
        pulled = pull(tmp_path / "out", bundle=f"{repository}:v1", recursive=True, session=session)
        assert pulled.images_lock.is_updated
        lock = read_tree(tmp_path / "out")[".imgpkg/images.yml"].decode()
        assert f"{repository}@{image.digest}" in lock
        assert f"{repository}@{inner.digest}" in lock
        assert [nested.reference.digest for nested in pulled.nested] == [inner.digest]

    def test_given_as_an_image_is_refused(self, embedded_registry, session, tmp_path):
        bundle = make_bundle(session, f"{embedded_registry.address}/bundles/b:v1", {}, tmp_path / "b")
        with pytest.raises(errors.IsABundle, match="Use -b instead of -i"):
            copy_to_repository(
                CopySource(image=str(bundle)), f"{embedded_registry.address}/copy/b", session=session
            )

    def test_that_names_a_missing_image_fails_with_both_places(self, two, session, tmp_path):
        here, there = two
        gone = f"{here.address}/app/gone@sha256:{'0' * 64}"
        bundle = make_bundle(session, f"{here.address}/bundles/broken:v1", {gone: {}}, tmp_path / "b")
        with pytest.raises(errors.NotFound) as caught:
            copy_to_repository(CopySource(bundle=str(bundle)), f"{there.address}/copy/x", session=session)
        text = str(caught.value)
        assert text.startswith("Reading Images from Bundle: Checking image existence: GET ")
        assert "app/gone" in text
        assert any("bundles/broken" in hint for hint in caught.value.hints)

    @pytest.mark.slow
    def test_of_two_hundred_images_arrives_whole(self, two, open_session, tmp_path):
        here, there = two
        bundle = thirty(open_session(), here.address, tmp_path / "b", count=200, layers=1)
        session = open_session(concurrency=50)
        to = f"{there.address}/copy/many"
        result = copy_to_repository(CopySource(bundle=str(bundle)), to, session=session)
        assert len(result.images) == 201
        pulled = pull(tmp_path / "out", bundle=f"{to}@{bundle.digest}", session=session)
        assert pulled.images_lock.is_updated


class TestAnImage:
    def test_that_is_an_index_brings_every_platform(self, two, session):
        here, there = two
        where = f"{here.address}/app/multi"
        children = {
            "linux/amd64": make_image(session, where, ["amd"]),
            "linux/arm64": make_image(session, where, ["arm"]),
            "unknown/unknown": make_image(session, where, ["attestation"]),
        }
        index = make_index(session, where, children, tag="v2")
        copy_to_repository(CopySource(image=f"{where}:v2"), f"{there.address}/copy/multi", session=session)
        repository = Repository.parse(f"{there.address}/copy/multi")
        assert session.client.resolve(repository.tag("v2")).digest == index.digest
        for child in children.values():
            manifest = session.client.manifest(repository.digest(child.digest))
            assert all(session.client.has_blob(repository, blob.digest) for blob in manifest.blobs())

    def test_leaves_non_distributable_layers_behind_and_reports_it(self, two, session):
        here, there = two
        image = make_image(
            session, f"{here.address}/app/windows", ["base"], layer_type=media.DOCKER_FOREIGN_LAYER
        )
        seen = []
        result = copy_to_repository(
            CopySource(image=str(image)), f"{there.address}/copy/w", session=session, on_event=seen.append
        )
        layer = session.client.manifest(image).layers[0]
        assert [left.layer.digest for left in result.left_out] == [layer.digest]
        assert not session.client.has_blob(Repository.parse(f"{there.address}/copy/w"), layer.digest)
        warned = [event.text for event in seen if isinstance(event, Warned)]
        assert len(warned) == 1
        assert str(layer.digest) in warned[0]

    def test_needs_no_layer_from_its_origin_that_the_destination_has(self, two, open_session):
        """Registries need not keep the layers that they are asked not to pass on."""
        here, there = two
        session, to = open_session(), f"{there.address}/copy/w3"
        image = make_image(session, to, ["base"], layer_type=media.DOCKER_FOREIGN_LAYER)
        manifest, origin = session.client.manifest(image), Repository.parse(f"{here.address}/app/w3")
        config = read_config(session.client, image.repository, manifest.config)
        session.client.push_blob(origin, manifest.config, lambda: io.BytesIO(config))
        session.client.push_manifest(origin.digest(image.digest), manifest)
        everything = CopyOptions(include_non_distributable_layers=True)
        source = CopySource(image=f"{origin}@{image.digest}")
        result = copy_to_repository(source, to, session=open_session(), options=everything)
        assert [str(copied.destination) for copied in result.images] == [f"{to}@{image.digest}"]

    def test_takes_non_distributable_layers_along_when_asked(self, two, session):
        here, there = two
        image = make_image(
            session, f"{here.address}/app/windows2", ["base"], layer_type=media.DOCKER_FOREIGN_LAYER
        )
        copy_to_repository(
            CopySource(image=str(image)),
            f"{there.address}/copy/w2",
            session=session,
            options=CopyOptions(include_non_distributable_layers=True),
        )
        layer = session.client.manifest(image).layers[0]
        assert session.client.has_blob(Repository.parse(f"{there.address}/copy/w2"), layer.digest)

    def test_says_what_it_does_in_the_words_of_the_original(self, two, session):
        here, there = two
        image = make_image(session, f"{here.address}/app/words", ["w"])
        seen = []
        copy_to_repository(
            CopySource(image=str(image)), f"{there.address}/copy/words", session=session, on_event=seen.append
        )
        assert [event.text for event in seen if isinstance(event, Message)] == [
            "copy | exporting 1 images...\n",
            f"copy | will export {image}\n",
            "copy | exported 1 images\n",
            "copy | importing 1 images...\n",
            "copy | Tagging images\n",
        ]


class TestSignatures:
    def test_travel_when_asked_for(self, two, session):
        here, there = two
        image = make_image(session, f"{here.address}/app/signed", ["s"])
        tag = f"sha256-{image.digest.hex}.sig"
        signature = make_image(session, f"{here.address}/app/signed", ["the signature"], tag=tag)
        repository = Repository.parse(f"{there.address}/copy/signed")
        copy_to_repository(
            CopySource(image=str(image)),
            str(repository),
            session=session,
            options=CopyOptions(cosign_signatures=True),
        )
        assert session.client.resolve(repository.tag(tag)).digest == signature.digest

    @pytest.mark.parametrize(("status", "code"), [(404, "MANIFEST_UNKNOWN"), (403, "DENIED")])
    def test_that_may_not_be_seen_are_none(self, two, session, status, code):
        with serve(faults=always(refusing(status, code, "no"), path=r"\.sig$")) as server:
            image = make_image(session, f"{server.address}/app/unsigned")
            result = copy_to_repository(
                CopySource(image=str(image)),
                f"{two[1].address}/copy/unsigned",
                session=session,
                options=CopyOptions(cosign_signatures=True),
            )
        assert [copied.source for copied in result.images] == [image]

    def test_that_need_another_login_are_an_error(self, two, session):
        refused = always(refusing(401, "UNAUTHORIZED", "no"), path=r"\.sig$")
        with serve(faults=refused) as server:
            image = make_image(session, f"{server.address}/app/hidden")
            with pytest.raises(errors.Unauthorized) as caught:
                copy_to_repository(
                    CopySource(image=str(image)),
                    f"{two[1].address}/copy/hidden",
                    session=session,
                    options=CopyOptions(cosign_signatures=True),
                )
        assert f": Fetching signature for image '{image}': " in str(caught.value)

    def test_attached_by_subject_travel_when_asked_for(self, two, session):
        here, there = two
        where = Repository.parse(f"{here.address}/app/attached")
        image = make_image(session, str(where), ["s"])
        subject = session.client.manifest(image)
        sbom = make_image(
            session,
            str(where),
            ["sbom"],
            subject={
                "mediaType": subject.media_type,
                "digest": str(subject.digest),
                "size": len(subject.raw),
            },
        )
        repository = Repository.parse(f"{there.address}/copy/attached")
        copy_to_repository(
            CopySource(image=str(image)),
            str(repository),
            session=session,
            options=CopyOptions(referrers=True),
        )
        found = session.client.referrers(repository, image.digest)
        assert [descriptor.digest for descriptor in found] == [sbom.digest]


class TestOptions:
    @pytest.mark.parametrize("source", [CopySource(), CopySource(image="a/b", tar="c.tar")])
    def test_name_a_source_and_no_file_beside_it(self, session, source):
        with pytest.raises(errors.UsageError, match=r"^Expected either --lock, --bundle"):
            copy_to_repository(source, "a/b", session=session)

    def test_name_a_plain_repository(self, session):
        with pytest.raises(errors.InvalidReference, match=r"^Building import repository ref: "):
            copy_to_repository(CopySource(image="a/b"), "a/b:tag", session=session)

    def test_refuse_no_workers_at_all(self, open_session):
        with pytest.raises(errors.UsageError, match=r"Expected --concurrency to be >= 1, but was 0"):
            copy_to_repository(CopySource(image="a/b"), "a/b", session=open_session(concurrency=0))

    def test_name_tags_after_the_origin(self, two, session):
        here, there = two
        image = make_image(session, f"{here.address}/deep/team/app", ["x"])
        repository = Repository.parse(f"{there.address}/copy/based")
        copy_to_repository(
            CopySource(image=str(image)),
            str(repository),
            session=session,
            options=CopyOptions(repo_based_tags=True),
        )
        assert list(session.client.tags(repository)) == [f"deep-team-app-sha256-{image.digest.hex}.imgpkg"]


def test_small_blobs_are_sent_between_large_ones(
    embedded_registry, another_registry, open_session, session, tmp_path
):
    """Over a long link, they wait for answers while the large ones come."""
    noise = [random.Random(n).randbytes((n + 1) << 20).hex() for n in range(2)]
    image = make_image(session, f"{embedded_registry.address}/mixed/app", [*noise, *"abcdefg"])
    copy_to_tar(CopySource(image=str(image)), tmp_path / "mixed.tar", session=session)
    before = len(another_registry.requests)
    to = f"{another_registry.address}/mixed/app"
    # One worker sends them one after the other.
    copy_to_repository(CopySource(tar=str(tmp_path / "mixed.tar")), to, session=open_session(concurrency=1))
    sent = [
        dict(request.query)["digest"]
        for request in another_registry.requests[before:]
        if request.method == "PUT" and "/blobs/" in request.path
    ]
    sizes = {str(part.digest): part.size for part in session.client.manifest(image).parts()}
    large = [place for place, digest in enumerate(sent) if sizes[digest] > 1 << 20]
    assert large == [0, 5]
    assert sizes[sent[0]] == max(sizes.values())

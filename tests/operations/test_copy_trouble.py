"""Copies to registries that refuse, fail in the middle, or keep tags as they are."""

from __future__ import annotations

import json
import threading

import pytest
from tests.operations.making import make_bundle, make_image, thirty
from tests.servers.faults import always, any_of, first, refusing

from imgpkg import errors
from imgpkg.embedded.message import NO_FAULT, Fault, ServerResponse
from imgpkg.embedded.server import serve
from imgpkg.events import BlobStarted
from imgpkg.oci.descriptor import Digest
from imgpkg.oci.reference import Repository
from imgpkg.operations.copy.copy import copy_to_repository, copy_to_tar
from imgpkg.operations.copy.values import CopySource


class KeepsTags:
    """A registry with immutable tags: the second PUT of a tag is refused, whatever it brings."""

    def __init__(self):
        self.lock, self.put = threading.Lock(), set()

    def __call__(self, request):
        if request.method != "PUT" or "/manifests/" not in request.path or "sha256:" in request.path:
            return None
        with self.lock:
            if request.path in self.put:
                return refusing(400, "TAG_INVALID", "the tag is immutable")
            self.put.add(request.path)
        return None


class TestImmutableTags:
    def test_let_the_same_copy_be_made_again(self, embedded_registry, session, tmp_path):
        image = make_image(session, f"{embedded_registry.address}/kept/app")
        bundle = make_bundle(session, f"{embedded_registry.address}/kept/b:v1", {image: {}}, tmp_path / "b")
        with serve(faults=KeepsTags()) as server:
            for _ in range(2):
                result = copy_to_repository(
                    CopySource(bundle=f"{bundle.repository}:v1"), f"{server.address}/copy/b", session=session
                )
        assert result.bundle.tag == "v1"

    def test_keep_the_record_that_is_there(self, embedded_registry, session, tmp_path):
        address = embedded_registry.address
        image = make_image(session, f"{address}/kept/app")
        bundle = make_bundle(session, f"{address}/kept/r:v1", {image: {}}, tmp_path / "b")
        with serve(faults=KeepsTags()) as server:
            to = Repository.parse(f"{server.address}/copy/r")
            tag = to.tag(f"sha256-{bundle.digest.hex}.image-locations.imgpkg")
            other = make_image(session, str(to), ["an older record"], tag=tag.tag)
            copy_to_repository(CopySource(bundle=f"{bundle.repository}:v1"), str(to), session=session)
            assert session.client.resolve(tag).digest == other.digest

    def test_refuse_to_name_something_else(self, embedded_registry, session):
        image = make_image(session, f"{embedded_registry.address}/kept/new", ["new"], tag="v1")
        with serve(faults=KeepsTags()) as server:
            to = f"{server.address}/copy/new"
            make_image(session, to, ["old"], tag="v1")
            with pytest.raises(errors.ImmutableTag, match="the tag is immutable"):
                copy_to_repository(CopySource(image=f"{image.repository}:v1"), to, session=session)


class TestAFailureInTheMiddle:
    def test_publishes_no_tag_and_ends_the_other_workers(self, embedded_registry, open_session, tmp_path):
        session = open_session(concurrency=2)
        bundle = thirty(session, embedded_registry.address, tmp_path / "b", count=20)
        started = []

        def watch(event):
            if isinstance(event, BlobStarted):
                started.append(event.digest)

        with serve(faults=always(refusing(403, "DENIED", "full"), method="POST")) as server:
            to = f"{server.address}/copy/broken"
            with pytest.raises(errors.Forbidden, match="full"):
                copy_to_repository(CopySource(bundle=str(bundle)), to, session=session, on_event=watch)
            assert [r.path for r in server.requests if r.method == "PUT"] == []
        assert len(started) < 10

    def test_names_an_image_that_is_not_there(self, session):
        with (
            serve(faults=always(refusing(404, "MANIFEST_UNKNOWN", "gone"), path="sha256:aaaa")) as server,
            pytest.raises(errors.NotFound, match=r"gone"),
        ):
            copy_to_tar(CopySource(image=f"{server.address}/a/b@sha256:{'a' * 64}"), "x.tar", session=session)


class TestAnImageOfTheOldSchema:
    """Its layers are named in a way of its own: a copy of the manifest alone would be worth nothing."""

    @pytest.fixture
    def old(self):
        kind = "application/vnd.docker.distribution.manifest.v1+prettyjws"
        raw = json.dumps({"schemaVersion": 1, "name": "old/app", "fsLayers": []}).encode()
        answer = Fault(answer=ServerResponse(200, (("Content-Type", kind),), raw))
        with serve(faults=always(answer, method="GET", path="/old/app/manifests/")) as server:
            yield f"{server.address}/old/app@{Digest.of(raw)}"

    def test_is_refused_with_the_text_of_the_original(self, old, another_registry, session, tmp_path):
        text = (
            f"Collecting packaging metadata: Working with {old}: unsupported MediaType: "
            '"application/vnd.docker.distribution.manifest.v1+prettyjws", '
            "see https://github.com/google/go-containerregistry/issues/377"
        )
        source, to = CopySource(image=old), f"{another_registry.address}/old/copy"
        with pytest.raises(errors.InvalidManifest) as caught:
            copy_to_repository(source, to, session=session)
        assert str(caught.value) == text
        with pytest.raises(errors.InvalidManifest):
            copy_to_tar(source, tmp_path / "old.tar", session=session)
        assert list(tmp_path.iterdir()) == []


class Gone:
    """A registry that has lost the images whose paths are in `paths`."""

    def __init__(self):
        self.paths = ()

    def __call__(self, request):
        is_lost = request.method == "GET" and any(path in request.path for path in self.paths)
        return refusing(404, "MANIFEST_UNKNOWN", "gone") if is_lost else None


class TestAnImageThatIsGoneFromItsBundlesRepository:
    """The locations record has its new place; the images lock has the one before."""

    @pytest.fixture
    def copied(self, session, tmp_path):
        gone = Gone()
        with serve(faults=gone) as server:
            image = make_image(session, f"{server.address}/gone/app")
            bundle = make_bundle(session, f"{server.address}/gone/b", {image: {}}, tmp_path / "b")
            to = f"{server.address}/gone/copy"
            copy_to_repository(CopySource(bundle=str(bundle)), to, session=session)
            gone.paths = (f"/gone/copy/manifests/{image.digest}",)
            yield gone, image, CopySource(bundle=f"{to}@{bundle.digest}")

    def test_is_read_where_the_lock_names_it(self, copied, another_registry, session, tmp_path):
        _, image, source = copied
        to = f"{another_registry.address}/gone/again"
        result = copy_to_repository(source, to, session=session)
        assert image.digest in {each.destination.digest for each in result.images}
        copy_to_tar(source, tmp_path / "gone.tar", session=session)

    def test_is_nowhere_with_both_places(self, copied, another_registry, session):
        gone, image, source = copied
        gone.paths = (f"/manifests/{image.digest}",)
        with pytest.raises(errors.NotFound, match="gone/app") as caught:
            copy_to_repository(source, f"{another_registry.address}/gone/never", session=session)
        assert any("gone/copy" in hint for hint in caught.value.hints)


KEEPS_NOTHING = always(Fault(answer=ServerResponse(201)), method="PUT", path="/manifests/")


class TestARegistryThatAcceptsManifestsAndKeepsNothing:
    @pytest.fixture
    def bundle(self, embedded_registry, session, tmp_path):
        image = make_image(session, f"{embedded_registry.address}/believed/app")
        return make_bundle(session, f"{embedded_registry.address}/believed/b:v1", {image: {}}, tmp_path / "b")

    def test_is_not_believed(self, bundle, session, tmp_path):
        lock = tmp_path / "lock.yml"
        with serve(faults=KEEPS_NOTHING) as server:
            to = f"{server.address}/copy/b"
            source = CopySource(bundle=f"{bundle.repository}:v1")
            with pytest.raises(errors.VerificationError) as caught:
                copy_to_repository(source, to, session=session, lock_output=lock)
        assert str(caught.value).endswith(
            f": the registry accepted the manifest {bundle.digest} for {to}:v1 and does not have it"
        )
        assert caught.value.hints
        assert not lock.exists()

    def test_is_not_believed_where_the_tag_names_something_else(self, bundle, session):
        keeps_the_first = any_of(
            first(1, NO_FAULT, method="PUT", path="/manifests/v1"),
            always(Fault(answer=ServerResponse(201)), method="PUT", path="/manifests/v1"),
        )
        with serve(faults=keeps_the_first) as server:
            to = f"{server.address}/copy/b"
            old = make_image(session, to, ["old"], tag="v1")
            with pytest.raises(errors.VerificationError, match=f"but the tag names {old.digest}"):
                copy_to_repository(CopySource(bundle=f"{bundle.repository}:v1"), to, session=session)

    def test_is_asked_again_when_it_needs_a_moment(self, bundle, session):
        late = first(1, refusing(404, "MANIFEST_UNKNOWN", "not yet"), method="HEAD", path="/manifests/v1")
        with serve(faults=late) as server:
            to = f"{server.address}/copy/b"
            copy_to_repository(CopySource(bundle=f"{bundle.repository}:v1"), to, session=session)
            asked = [r.path for r in server.requests if r.method == "HEAD"]
        assert asked == ["/v2/copy/b/manifests/v1"] * 2

    def test_is_believed_where_it_lets_nobody_read(self, bundle, session):
        blind = any_of(
            always(refusing(403, "DENIED", "write only"), method="HEAD"),
            always(refusing(403, "DENIED", "write only"), method="GET"),
        )
        with serve(faults=blind) as server:
            to = f"{server.address}/copy/b"
            result = copy_to_repository(CopySource(bundle=f"{bundle.repository}:v1"), to, session=session)
        assert result.bundle.tag == "v1"

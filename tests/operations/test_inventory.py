"""An inventory has what a place has: every blob and manifest with its size, and nothing twice."""

from __future__ import annotations

from collections import Counter

import pytest
from tests.operations.making import make_bundle, make_image, make_index, thirty
from tests.servers.faults import always, refusing

import imgpkg
from imgpkg import errors
from imgpkg.embedded.message import Fault, ServerResponse
from imgpkg.embedded.server import serve
from imgpkg.events import Warned
from imgpkg.oci import media
from imgpkg.oci.descriptor import Digest
from imgpkg.oci.reference import Repository
from imgpkg.operations.copy.copy import copy_to_layout, copy_to_repository, copy_to_tar
from imgpkg.operations.copy.values import CopySource
from imgpkg.operations.inventory import inventory


@pytest.fixture
def bundle(embedded_registry, session, tmp_path):
    """A bundle of an image and an index."""
    address = embedded_registry.address
    image = make_image(session, f"{address}/inventory/app", ["i1", "i2"])
    where = f"{address}/inventory/multi"
    platforms = {
        "linux/amd64": make_image(session, where, ["amd"]),
        "linux/arm64": make_image(session, where, ["arm"]),
    }
    index = make_index(session, where, platforms)
    images = {image: {}, index: {}}
    return make_bundle(session, f"{address}/inventory/bundle:v1", images, tmp_path / "bundle")


def all_of(client, *references):
    """Return the sizes of all manifests below `references`, and of their blobs."""
    manifests, blobs = {}, {}
    for reference in references:
        manifest = client.manifest(reference)
        manifests[str(manifest.digest)] = len(manifest.raw)
        blobs.update((str(blob.digest), blob.size) for blob in manifest.parts())
        below = all_of(client, *(reference.repository.digest(child.digest) for child in manifest.children))
        manifests.update(below[0])
        blobs.update(below[1])
    return manifests, blobs


@pytest.fixture(params=["embedded_registry", "docker_registry"])
def inside(request, bundle, session):
    """Copy the bundle to a repository of its own of each kind of registry; return its reference there."""
    address = request.getfixturevalue(request.param).address
    to = f"{address}/inventory/inside"
    copy_to_repository(CopySource(bundle=f"{bundle.repository}:v1"), to, session=session)
    return Repository.parse(to).digest(bundle.digest)


class TestOfARepository:
    def test_has_everything_that_its_tags_lead_to(self, inside, session):
        repository = inside.repository
        found = inventory(str(repository), session=session)
        tags = [repository.tag(tag) for tag in session.client.tags(repository)]
        manifests, blobs = all_of(session.client, *tags)
        assert (found.manifests, found.blobs) == (manifests, blobs)
        assert found.images == {f"{repository}:v1": str(inside.digest)}
        assert (found.name, found.repository, found.bases) == (str(repository), str(repository), ())
        assert found.size == sum(blobs.values()) > 0

    def test_asks_once_for_each_manifest(self, embedded_registry, another_registry, session, tmp_path):
        bundle = thirty(session, embedded_registry.address, tmp_path / "thirty")
        to = f"{another_registry.address}/inventory/thirty"
        copy_to_repository(CopySource(bundle=f"{bundle.repository}:v1"), to, session=session)
        before = len(another_registry.requests)
        found = inventory(to, session=session)
        sent = [(request.method, request.path) for request in another_registry.requests[before:]]
        # 31 images, the record of locations, and the list of tags.
        assert len(found.manifests) == 32
        assert len([path for method, path in sent if method == "GET" and "/manifests/" in path]) == 32
        assert max(Counter(sent).values()) == 1
        assert len([path for _, path in sent if "/blobs/" in path]) == 0

    def test_leaves_out_layers_that_registries_do_not_have(self, embedded_registry, session):
        where = f"{embedded_registry.address}/inventory/foreign"
        make_image(session, where, ["w"], layer_type=media.DOCKER_FOREIGN_LAYER, tag="v1")
        found = inventory(where, session=session)
        assert len(found.blobs) == 1

    def test_leaves_out_what_cannot_be_read_and_says_so(self, session):
        seen = []
        odd = Fault(answer=ServerResponse(200, (("Content-Type", media.OCI_MANIFEST),), b"[]"))
        with serve(faults=always(odd, method="GET", path="/manifests/odd")) as server:
            where = f"{server.address}/inventory/odd"
            good = make_image(session, where, ["good"], tag="good")
            make_image(session, where, ["odd"], tag="odd")
            found = inventory(where, session=session, on_event=seen.append)
        assert found.images == {f"{where}:good": str(good.digest)}
        assert set(found.manifests) == {str(good.digest)}
        (warned,) = [event.text for event in seen if isinstance(event, Warned)]
        assert warned.startswith(f"{where}:odd is not in the inventory: ")

    def test_skips_children_that_are_not_there(self, embedded_registry, session):
        where = f"{embedded_registry.address}/inventory/sparse"
        child = make_image(session, where, ["here"])
        index = make_index(session, where, {"linux/amd64": child}, tag="v1")
        gone = refusing(404, "MANIFEST_UNKNOWN", "gone")
        with serve(faults=always(gone, method="GET", path=str(child.digest))) as server:
            to = f"{server.address}/inventory/sparse"
            copy_to_repository(CopySource(image=f"{where}:v1"), to, session=session)
            session.client.delete_tag(imgpkg.Reference.parse(f"{to}:sha256-{child.digest.hex}.imgpkg"))
            found = inventory(to, session=session)
        assert (set(found.manifests), found.blobs) == ({str(index.digest)}, {})

    @pytest.mark.parametrize(
        "text", ["registry.example.com/app:v1", f"registry.example.com/app@{Digest.of(b'')}"]
    )
    def test_takes_no_tag_and_no_digest(self, session, text):
        with pytest.raises(errors.InvalidReference):
            inventory(text, session=session)

    def test_that_does_not_exist_is_an_error(self, embedded_registry, session):
        with pytest.raises(errors.NotFound):
            inventory(f"{embedded_registry.address}/inventory/nosuch", session=session)


class TestOfAFile:
    @pytest.fixture(params=["tar", "layout"])
    def file(self, request, bundle, session, tmp_path):
        path = tmp_path / f"bundle.{request.param}"
        copy = copy_to_tar if request.param == "tar" else copy_to_layout
        copy(CopySource(bundle=f"{bundle.repository}:v1"), path, session=session)
        return {request.param: path}

    def test_has_what_the_file_has_and_sends_nothing(
        self, file, bundle, embedded_registry, session, open_session
    ):
        references = [
            member.locked.reference for member in imgpkg.read_bundle(str(bundle), session=session).members
        ]
        manifests, blobs = all_of(session.client, bundle, *references)
        before = len(embedded_registry.requests)
        found = inventory(session=open_session(), **file)
        assert (found.manifests, found.blobs) == (manifests, blobs)
        assert found.images == {f"{bundle.repository}:v1": str(bundle.digest)}
        assert (found.repository, found.bases) == ("", ())
        assert found.name in ("bundle.tar", "bundle.layout")
        assert len(embedded_registry.requests) == before

    def test_lacks_the_layers_that_the_file_was_made_without(self, embedded_registry, session, tmp_path):
        where = f"{embedded_registry.address}/inventory/windows"
        image = make_image(session, where, ["w"], layer_type=media.DOCKER_FOREIGN_LAYER)
        copy_to_tar(CopySource(image=str(image)), tmp_path / "w.tar", session=session)
        (blob,) = inventory(session=session, tar=tmp_path / "w.tar").blobs
        assert blob == str(session.client.manifest(image).config.digest)

    def test_is_written(self, file, session, tmp_path):
        path = tmp_path / "inventory.json"
        found = inventory(session=session, output=path, **file)
        assert imgpkg.Inventory.from_path(path) == found


@pytest.mark.parametrize("given", [{}, {"tar": "a", "layout": "b"}, {"repository": "a/b", "tar": "b"}])
def test_of_nothing_or_of_two_things_is_refused(session, given):
    with pytest.raises(errors.UsageError, match="Expected either a repository, --tar or --from-oci-layout"):
        inventory(session=session, **given)

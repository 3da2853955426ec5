"""Copies to where something is already: what is there is neither sent nor written again."""

from __future__ import annotations

import json
import random
import string
from collections import Counter

import pytest
from tests.operations.making import make_bundle, make_image, make_index
from tests.servers.faults import always, any_of, refusing

from imgpkg.embedded.message import Fault, ServerResponse
from imgpkg.embedded.server import serve
from imgpkg.operations.copy.copy import copy_to_repository
from imgpkg.operations.copy.values import CopySource

# Random enough to stay large when it is compressed.
LARGE = "".join(random.Random(1).choices(string.printable, k=1_600_000))


def refusing_mounts(request):
    is_mount = request.method == "POST" and request.parameter("mount")
    return refusing(403, "DENIED", "no mounts") if is_mount else None


@pytest.fixture
def written(another_registry):
    """Return how many requests of each method the second registry received since the last call."""
    seen = [len(another_registry.requests)]

    def counts():
        fresh = another_registry.requests[seen[0] :]
        seen[0] += len(fresh)
        return Counter(request.method for request in fresh)

    return counts


@pytest.fixture
def two_versions(embedded_registry, session, tmp_path):
    """Two bundles of ten images that differ in one of them."""
    address = embedded_registry.address
    images = [make_image(session, f"{address}/grown/app{n}", [f"{n}"]) for n in range(10)]
    changed = make_image(session, f"{address}/grown/app9", ["changed"])
    first = make_bundle(session, f"{address}/grown/b:v1", {image: {} for image in images}, tmp_path / "v1")
    later = {image: {} for image in [*images[:9], changed]}
    return first, make_bundle(session, f"{address}/grown/b:v2", later, tmp_path / "v2")


def copy_of(bundle, to, session):
    return copy_to_repository(CopySource(bundle=str(bundle)), to, session=session)


class TestTheNextVersionOfABundle:
    def test_costs_what_is_new_in_it(self, two_versions, another_registry, open_session, written):
        to = f"{another_registry.address}/grown/copy"
        copy_of(two_versions[0], to, open_session())
        written()
        copy_of(two_versions[1], to, open_session())
        counts = written()
        # An image, the bundle and its record: three manifests, one of them under two tags, and five blobs
        # that are not there yet.
        assert counts["PUT"] <= 4 + 6
        assert counts["POST"] <= 6

    def test_that_was_copied_before_is_not_written_again(
        self, two_versions, another_registry, open_session, written
    ):
        to = f"{another_registry.address}/grown/twice"
        for _ in range(2):
            copy_of(two_versions[0], to, open_session())
            counts = written()
        assert set(counts) == {"GET", "HEAD"}

    @pytest.mark.parametrize(
        "answer",
        [
            refusing(403, "DENIED", "nobody may list"),
            Fault(
                answer=ServerResponse(200, body=json.dumps({"tags": [f"t{n}" for n in range(1000)]}).encode())
            ),
        ],
        ids=["nobody may list tags", "there are too many tags"],
    )
    def test_needs_no_list_of_tags(self, two_versions, open_session, answer):
        with serve(faults=always(answer, path="/tags/list")) as server:
            to = f"{server.address}/grown/listless"
            copy_of(two_versions[0], to, open_session())
            before = len(server.requests)
            copy_of(two_versions[1], to, open_session())
            counts = Counter(request.method for request in server.requests[before:])
        assert counts["PUT"] <= 4 + 6


class TestLargeBlobs:
    def test_are_mounted_without_a_question(self, embedded_registry, open_session):
        image = make_image(open_session(), f"{embedded_registry.address}/large/app", [LARGE])
        before = len(embedded_registry.requests)
        to = f"{embedded_registry.address}/large/copy"
        copy_to_repository(CopySource(image=str(image)), to, session=open_session())
        assert "HEAD" not in [request.method for request in embedded_registry.requests[before:]]

    def test_that_an_interrupted_copy_left_are_not_sent_again(
        self, embedded_registry, another_registry, open_session, written
    ):
        image = make_image(open_session(), f"{embedded_registry.address}/large/again", [LARGE])
        to = f"{another_registry.address}/large/again"
        make_image(open_session(), to, [LARGE, "another image"])
        written()
        copy_to_repository(CopySource(image=str(image)), to, session=open_session())
        # Only the configuration is sent; the layer is there.
        assert written()["POST"] == 1

    def test_that_cannot_be_mounted_are_asked_for_before_they_are_sent(self, open_session):
        with serve(faults=refusing_mounts) as server:
            image = make_image(open_session(), f"{server.address}/large/app", [LARGE])
            to = f"{server.address}/large/copy"
            make_image(open_session(), to, [LARGE, "another image"])
            before = len(server.requests)
            copy_to_repository(CopySource(image=str(image)), to, session=open_session())
            sent = [r for r in server.requests[before:] if r.method == "PUT" and "/uploads/" in r.path]
        # The configuration alone.
        assert len(sent) == 1


class TestOneManifestInTwoPlaces:
    def test_is_written_once(self, embedded_registry, another_registry, session, tmp_path):
        address = embedded_registry.address
        first = make_image(session, f"{address}/twins/a", ["same"])
        second = make_image(session, f"{address}/twins/b", ["same"])
        inner = make_bundle(session, f"{address}/twins/inner", {second: {}}, tmp_path / "inner")
        outer = make_bundle(session, f"{address}/twins/outer", {first: {}, inner: {}}, tmp_path / "outer")
        before = len(another_registry.requests)
        result = copy_of(outer, f"{another_registry.address}/twins/copy", session)
        puts = Counter(r.path for r in another_registry.requests[before:] if r.method == "PUT")
        assert set(puts.values()) == {1}
        assert {copied.source for copied in result.images} == {first, second, inner, outer}

    def test_is_written_once_at_any_depth_of_an_index(self, embedded_registry, another_registry, session):
        where = f"{embedded_registry.address}/twins/index"
        image = make_image(session, where, ["same"])
        inner = make_index(session, where, {"linux/amd64": image})
        outer = make_index(session, where, {"linux/amd64": image, "linux/arm64": inner})
        before = len(another_registry.requests)
        to = f"{another_registry.address}/twins/index"
        copy_to_repository(CopySource(image=str(outer)), to, session=session)
        puts = [r.path for r in another_registry.requests[before:] if r.method == "PUT"]
        assert len(puts) == len(set(puts))


class TestAnImageThatIsAlsoInAnIndex:
    def test_is_there_before_the_index_begins(self, embedded_registry, session, tmp_path):
        where = f"{embedded_registry.address}/twice/app"
        image = make_image(session, where, ["one"])
        inner = make_index(session, where, {"linux/amd64": image})
        outer = make_index(session, where, {"linux/amd64": inner})
        bundle = make_bundle(session, f"{where}/bundle", {outer: {}, inner: {}, image: {}}, tmp_path / "b")
        slow = any_of(
            always(Fault(delay=0.2), method="PUT", path=image.digest.hex),
            always(Fault(delay=0.2), method="PUT", path=inner.digest.hex),
        )
        with serve(faults=slow) as server:
            copy_of(bundle, f"{server.address}/twice/copy", session)
            puts = [r.path for r in server.requests if r.method == "PUT" and "/manifests/" in r.path]
        order = [
            next(at for at, path in enumerate(puts) if d.digest.hex in path) for d in (image, inner, outer)
        ]
        assert order == sorted(order)
        # Its upload tag names it for the index as well: nothing is written twice.
        assert sum(inner.digest.hex in path for path in puts) == 1

"""Walking bundles: each manifest and blob is requested once, where it is found first."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from imgpkg.bundle.graph import fetch_root, walk
from imgpkg.bundle.image import BUNDLE_LABEL, locations_tag, places_tag
from imgpkg.bundle.locations import ImageLocations, Location
from imgpkg.bundle.lock import ImagesLock, LockedImage
from imgpkg.errors import InvalidLock, NotABundle, NotFound
from imgpkg.oci import media
from imgpkg.oci.descriptor import Digest, VerifiedReader
from imgpkg.oci.manifest import Manifest
from imgpkg.oci.reference import Repository


class Threads(ThreadPoolExecutor):
    """A pool that begins single functions too."""

    def start(self, act):
        return self.submit(act).result


class Shelf:
    """Repositories in memory, with a list of all requests."""

    def __init__(self):
        self.manifests = {}
        self.blobs = {}
        self.asked = []

    def manifest(self, reference):
        self.asked.append(str(reference))
        if str(reference) not in self.manifests:
            raise NotFound(f"no {reference}", method="GET", url="http://shelf", status=404)
        return self.manifests[str(reference)]

    @contextmanager
    def blob(self, repository, blob):
        self.asked.append(f"{repository} {blob.digest}")
        yield VerifiedReader(io.BytesIO(self.blobs[blob.digest]), blob.digest, blob.size)

    def add(self, where, files, *, is_bundle=False, tag=""):
        """Put an image of one layer with these files; return its digest reference."""
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as tar:
            for name, data in files.items():
                entry = tarfile.TarInfo(name)
                entry.size = len(data)
                tar.addfile(entry, io.BytesIO(data))
        labels = {BUNDLE_LABEL: "true"} if is_bundle else {}
        config = self._blob(json.dumps({"config": {"Labels": labels}}).encode(), media.DOCKER_CONFIG)
        layer = self._blob(gzip.compress(buffer.getvalue(), mtime=0), media.DOCKER_LAYER)
        raw = json.dumps({"config": config, "layers": [layer]}).encode()
        manifest = Manifest.parse(raw, media.DOCKER_MANIFEST)
        return self.place(where, manifest, tag)

    def place(self, where, manifest, tag=""):
        repository = Repository.parse(where)
        self.manifests[str(repository.digest(manifest.digest))] = manifest
        if tag:
            self.manifests[str(repository.tag(tag))] = manifest
        return repository.digest(manifest.digest)

    def bundle(self, where, *images, lock=None):
        data = ImagesLock(tuple(LockedImage(image) for image in images)).to_bytes() if lock is None else lock
        return self.add(where, {".imgpkg/images.yml": data}, is_bundle=True)

    def record(self, bundle, **is_bundle):
        """Put a locations record beside `bundle`: {reference: is a bundle}."""
        images = tuple(Location(image, is_bundle=flag) for image, flag in is_bundle.items())
        files = {"image-locations.yml": ImageLocations(images).to_bytes()}
        return self.add(str(bundle.repository), files, tag=locations_tag(bundle.digest))

    def copy(self, reference, where):
        return self.place(where, self.manifests[str(reference)])

    def walk(self, reference):
        with Threads(4) as workers:
            return walk(self, fetch_root(self, reference, workers), workers)

    def _blob(self, data, media_type):
        digest = Digest.of(data)
        self.blobs[digest] = data
        return {"mediaType": media_type, "digest": str(digest), "size": len(data)}


@pytest.fixture
def shelf():
    return Shelf()


def text(name):
    return {name: name.encode()}


class TestARecordOfSeveralRepositories:
    @pytest.fixture
    def spread(self, shelf):
        """A bundle, and two images that the lock has elsewhere: a bundle and a plain image."""
        plain = shelf.add("out.io/app/plain", text("plain"))
        inner = shelf.bundle("out.io/app/inner", plain)
        outer = shelf.bundle("r.io/m/outer", inner, plain)
        locations = (
            Location(str(inner), is_bundle=True, place=f"r.io/m/inner@{inner.digest}"),
            Location(str(plain), is_bundle=False, place=f"other.io/m/plain@{plain.digest}"),
        )
        files = {"image-locations.yml": ImageLocations(locations).to_bytes()}
        shelf.add("r.io/m/outer", files, tag=places_tag(outer.digest))
        return outer, inner, plain

    def test_leads_to_where_they_are(self, shelf, spread):
        outer, inner, plain = spread
        shelf.copy(inner, "r.io/m/inner")
        approached = []
        with Threads(4) as workers:
            found = walk(shelf, fetch_root(shelf, outer, workers), workers, approach=approached.append)
        places = [f"r.io/m/inner@{inner.digest}", f"other.io/m/plain@{plain.digest}"]
        assert [str(member.reference) for member in found.members] == places
        assert str(inner) not in shelf.asked
        # Before anything is requested there: a login could go to a registry that only the record names.
        assert {str(reference) for reference in approached} >= set(places)

    def test_of_which_one_is_gone_leads_to_the_name_in_the_lock(self, shelf, spread):
        outer, inner, _ = spread
        found = shelf.walk(outer)
        assert found.members[0].reference == inner

    def test_comes_second_to_that_of_one_repository(self, shelf, spread):
        outer, inner, plain = spread
        here = shelf.copy(inner, "r.io/m/outer")
        shelf.copy(plain, "r.io/m/outer")
        shelf.record(outer, **{str(inner): True, str(plain): False})
        assert [member.reference for member in shelf.walk(outer).members] == [
            here,
            outer.repository.digest(plain.digest),
        ]


class TestAGraph:
    def test_has_the_members_of_the_lock_in_its_order(self, shelf):
        images = [shelf.add(f"r.io/app/{name}", text(name)) for name in ("b", "a", "c")]
        found = shelf.walk(shelf.bundle("r.io/bundles/one", *images))
        assert [member.reference for member in found.members] == images
        assert [member.locked.reference for member in found.members] == images
        assert all(member.bundle is None and member.image is not None for member in found.members)
        assert found.locations is None

    def test_asks_five_things_and_three_for_each_image(self, shelf):
        """Manifest, config, layer, two missing records; for each image a probe, a manifest and a config."""
        images = [shelf.add(f"r.io/app/{n}n", text(str(n))) for n in range(10)]
        shelf.walk(shelf.bundle("r.io/bundles/ten", *images))
        assert len(shelf.asked) == 5 + 10 * 3
        assert len(set(shelf.asked)) == len(shelf.asked)

    def test_finds_images_beside_the_bundle_first(self, shelf):
        image = shelf.add("r.io/app/image", text("a"))
        here = shelf.copy(image, "r.io/bundles/one")
        found = shelf.walk(shelf.bundle("r.io/bundles/one", image))
        assert [member.reference for member in found.members] == [here]
        assert str(image) not in shelf.asked

    def test_asks_nothing_about_images_that_the_record_knows(self, shelf):
        """An image that the record lists as no bundle is in the repository of the bundle."""
        images = [shelf.add(f"r.io/app/{n}n", text(str(n))) for n in range(10)]
        bundle = shelf.bundle("r.io/bundles/ten", *images)
        record = shelf.record(bundle, **{str(image): False for image in images})
        found = shelf.walk(bundle)
        assert len(shelf.asked) == 5
        assert found.locations is not None
        assert found.locations.reference == record
        here = [bundle.repository.digest(image.digest) for image in images]
        assert [member.reference for member in found.members] == here
        assert all(member.image is None for member in found.members)

    def test_holds_bundles_to_any_depth(self, shelf):
        image = shelf.add("r.io/app/image", text("a"))
        deep = shelf.bundle("r.io/bundles/l2", image)
        middle = shelf.bundle("r.io/bundles/l1", deep)
        found = shelf.walk(shelf.bundle("r.io/bundles/l0", middle))
        (first,) = found.members
        (second,) = first.bundle.members
        (last,) = second.bundle.members
        assert [first.reference, second.reference, last.reference] == [middle, deep, image]
        assert [bundle.image.reference for bundle in found.bundles()][1:] == [middle, deep]

    def test_reads_a_shared_bundle_once(self, shelf):
        shared = shelf.bundle("r.io/bundles/shared", shelf.add("r.io/app/image", text("a")))
        left = shelf.bundle("r.io/bundles/left", shared)
        right = shelf.bundle("r.io/bundles/right", shared, shelf.add("r.io/app/other", text("b")))
        found = shelf.walk(shelf.bundle("r.io/bundles/top", left, right))
        digests = [bundle.image.manifest.digest for bundle in found.bundles()]
        assert digests[1:] == [left.digest, right.digest, shared.digest]
        layer = shelf.manifests[str(shared)].layers[0].digest
        assert sum(1 for asked in shelf.asked if asked.endswith(str(layer))) == 1

    def test_looks_for_nested_images_where_the_nested_bundle_was_found(self, shelf):
        image = shelf.add("r.io/app/image", text("a"))
        inner = shelf.bundle("r.io/bundles/inner", image)
        shelf.copy(inner, "far.io/copy/all")
        here = shelf.copy(image, "far.io/copy/all")
        found = shelf.walk(shelf.bundle("far.io/copy/all", inner))
        assert found.members[0].bundle.members[0].reference == here
        assert all(asked.startswith("far.io/copy/all") for asked in shelf.asked)

    def test_has_one_member_for_each_digest_the_first(self, shelf):
        """Other references with the same digest stay in the lock."""
        first = shelf.add("r.io/app/first", text("a"))
        second = shelf.copy(first, "r.io/app/second")
        found = shelf.walk(shelf.bundle("r.io/bundles/one", first, second, first))
        assert [member.reference for member in found.members] == [first]
        assert len(found.lock.images) == 3

    def test_asks_once_for_an_image_that_the_lock_names_in_the_bundle_s_own_repository(self, shelf):
        image = shelf.add("r.io/bundles/one", text("a"))
        found = shelf.walk(shelf.bundle("r.io/bundles/one", image))
        assert found.members[0].reference == image
        assert shelf.asked.count(str(image)) == 1

    def test_asks_once_for_an_image_of_two_levels_in_one_repository(self, shelf):
        image = shelf.add("r.io/all", text("a"))
        inner = shelf.bundle("r.io/all", image)
        found = shelf.walk(shelf.bundle("r.io/all", image, inner))
        assert found.members[0].reference == found.members[1].bundle.members[0].reference == image
        assert shelf.asked.count(str(image)) == 1


class TestWhatGoesWrong:
    def test_is_an_image_that_is_missing_in_the_only_place_that_there_is(self, shelf):
        image = shelf.add("r.io/bundles/one", text("a"))
        bundle = shelf.bundle("r.io/bundles/one", image)
        del shelf.manifests[str(image)]
        with pytest.raises(NotFound) as caught:
            shelf.walk(bundle)
        assert str(caught.value) == f"Checking image existence: no {image}"
        assert caught.value.hints == ()

    def test_is_that_the_image_is_no_bundle(self, shelf):
        with pytest.raises(NotABundle, match="Not a Bundle"):
            shelf.walk(shelf.add("r.io/app/image", text("a")))

    def test_is_an_image_that_is_nowhere_with_both_places(self, shelf):
        image = shelf.add("r.io/app/image", text("a"))
        bundle = shelf.bundle("r.io/bundles/one", image)
        del shelf.manifests[str(image)]
        with pytest.raises(NotFound) as caught:
            shelf.walk(bundle)
        assert str(caught.value) == f"Checking image existence: no {image}"
        assert str(bundle.repository.digest(image.digest)) in caught.value.hints[-1]

    def test_deep_inside_is_reported_with_the_way_there(self, shelf):
        image = shelf.add("r.io/app/image", text("a"))
        inner = shelf.bundle("r.io/bundles/inner", image)
        outer = shelf.bundle("r.io/bundles/outer", inner)
        del shelf.manifests[str(image)]
        with pytest.raises(NotFound) as caught:
            shelf.walk(outer)
        assert "Checking image existence: " in str(caught.value)
        assert str(caught.value).startswith("Retrieving images for bundle '")

    def test_is_a_lock_that_cannot_be_read(self, shelf):
        with pytest.raises(InvalidLock) as caught:
            shelf.walk(shelf.bundle("r.io/bundles/one", lock=b"foo: bar\n"))
        assert str(caught.value).startswith("Reading ImagesLock file: ")
        assert str(caught.value).endswith('json: unknown field "foo"')

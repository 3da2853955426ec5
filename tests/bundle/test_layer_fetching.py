"""A bundle's own documents are fetched from a registry, and errors name the document."""

from __future__ import annotations

import gzip
import json

import pytest
from tests.operations.making import layer_of, put_blob, put_manifest
from tests.servers.faults import always, refusing

from imgpkg.bundle.image import BUNDLE_LABEL, fetch_image, locations_tag
from imgpkg.bundle.layer import fetch_images_lock, fetch_locations
from imgpkg.bundle.locations import ImageLocations, Location
from imgpkg.bundle.lock import ImagesLock, LockedImage
from imgpkg.embedded.message import Fault, ServerResponse
from imgpkg.embedded.server import serve
from imgpkg.errors import InvalidLock, RegistryError, UnpackError, VerificationError
from imgpkg.oci import media
from imgpkg.oci.reference import Reference, Repository

LOCK = ImagesLock((LockedImage(Reference.parse(f"r.io/app@sha256:{'a' * 64}")),))
RECORD = ImageLocations(
    (Location("r.io/app@sha256:11", is_bundle=False), Location("r.io/b@sha256:12", is_bundle=True))
)
IN_BUNDLE = {".imgpkg/images.yml": LOCK.to_bytes()}
IN_RECORD = {"image-locations.yml": RECORD.to_bytes()}
UNMARSHALING = "Unmarshaling image locations config: error converting YAML to JSON: "


class Place:
    """A repository of a registry of its own, whose requests may be made to fail."""

    def __init__(self, server, session):
        self.server = server
        self.session = session
        self.client = session.client
        self.repository = Repository.parse(f"{server.address}/bundles/one")
        self.faults = []

    def image(self, *layers, tag="", media_type=media.DOCKER_LAYER, labels=()):
        """Put an image of these layers, each given as bytes or as its files; return its reference."""
        data = [layer if isinstance(layer, bytes) else layer_of(layer) for layer in layers]
        config = json.dumps({"config": {"Labels": dict(labels)}}).encode()
        document = {
            "schemaVersion": 2,
            "mediaType": media.DOCKER_MANIFEST,
            "config": put_blob(self.session, self.repository, config, media.DOCKER_CONFIG),
            "layers": [put_blob(self.session, self.repository, layer, media_type) for layer in data],
        }
        return put_manifest(self.session, self.repository, document, tag)

    def bundle(self, *layers, **options):
        reference = self.image(*(layers or (IN_BUNDLE,)), labels={BUNDLE_LABEL: "true"}, **options)
        return fetch_image(self.client, reference)

    def record(self, bundle, *layers, **options):
        return self.image(*(layers or (IN_RECORD,)), tag=locations_tag(bundle.manifest.digest), **options)

    def fail(self, fault, **where):
        self.faults.append(always(fault, **where))


@pytest.fixture
def place(open_session):
    faults = []

    def decide(request):
        return next((fault for choice in faults if (fault := choice(request)) is not None), None)

    with serve(faults=decide) as server:
        made = Place(server, open_session())
        made.faults = faults
        yield made


def refusal(read, *arguments, error=InvalidLock):
    with pytest.raises(error) as caught:
        read(*arguments)
    return str(caught.value)


class TestTheImagesLock:
    def test_is_in_the_one_layer(self, place):
        assert fetch_images_lock(place.client, place.bundle()) == LOCK

    @pytest.mark.parametrize("name", ["./.imgpkg/images.yml", ".imgpkg/./images.yml"])
    def test_is_found_under_any_spelling(self, place, name):
        assert fetch_images_lock(place.client, place.bundle({"a": b"x", name: LOCK.to_bytes()})) == LOCK

    def test_needs_one_layer(self, place):
        bundle = place.bundle(IN_BUNDLE, {"more": b"x"})
        expected = "Expected bundle to only have a single layer, got 2"
        assert refusal(fetch_images_lock, place.client, bundle) == expected

    def test_needs_a_layer_of_a_known_type(self, place):
        bundle = place.bundle(IN_BUNDLE, media_type="application/x-other")
        expected = "Expected layer to have docker layer media type, was application/x-other"
        assert refusal(fetch_images_lock, place.client, bundle) == expected

    def test_needs_its_file(self, place):
        bundle = place.bundle({"images.yml": b"x", "x/.imgpkg/images.yml": b"x", ".imgpkg/other.yml": b"x"})
        expected = "Expected to find .imgpkg/images.yml in bundle image"
        assert refusal(fetch_images_lock, place.client, bundle) == expected

    def test_that_is_bad_is_reported_with_the_bundle_s_digest(self, place):
        bundle = place.bundle({".imgpkg/images.yml": b"kind: ImagesLock\n"})
        assert refusal(fetch_images_lock, place.client, bundle) == (
            f"Unmarshalling ImagesLock from image with Digest '{bundle.manifest.digest}': "
            "Validating images lock: Validating apiVersion: "
            "Unknown version (known: imgpkg.carvel.dev/v1alpha1)"
        )

    def test_that_is_not_there_is_reported(self, place):
        bundle = place.bundle()
        place.fail(refusing(404, "BLOB_UNKNOWN", "blob unknown"), method="GET", path="blobs/")
        text = refusal(fetch_images_lock, place.client, bundle, error=RegistryError)
        layer = bundle.manifest.layers[0].digest
        url = f"http://{place.server.address}/v2/bundles/one/blobs/{layer}"
        assert text.startswith(
            f"Could not read bundle image layer contents: GET {url}: BLOB_UNKNOWN: blob unknown"
        )

    def test_that_is_not_what_its_digest_says_is_never_believed(self, place):
        bundle = place.bundle()
        other = gzip.compress(b"\0" * 10240)[: bundle.manifest.layers[0].size]
        other += bytes(bundle.manifest.layers[0].size - len(other))
        place.fail(Fault(answer=ServerResponse(200, (), other)), method="GET", path="blobs/")
        text = refusal(fetch_images_lock, place.client, bundle, error=VerificationError)
        assert "error verifying sha256 checksum after reading" in text

    def test_in_a_broken_tar_is_reported(self, place):
        bundle = place.bundle(gzip.compress(b"no tar at all" * 100))
        text = refusal(fetch_images_lock, place.client, bundle, error=UnpackError)
        assert text.startswith("reading tar: ")

    def test_in_broken_gzip_is_reported(self, place):
        bundle = place.bundle(layer_of(IN_BUNDLE)[:40])
        text = refusal(fetch_images_lock, place.client, bundle, error=UnpackError)
        assert text.startswith("reading tar: ")


class TestALocationsRecord:
    def test_is_found_beside_its_bundle(self, place):
        bundle = place.bundle()
        reference = place.record(bundle)
        found = fetch_locations(place.client, bundle)
        assert found.record == RECORD
        assert found.reference == reference
        assert found.manifest.digest == reference.digest

    def test_may_be_in_any_folder(self, place):
        bundle = place.bundle()
        place.record(bundle, {"a/b/image-locations.yml": RECORD.to_bytes()})
        assert fetch_locations(place.client, bundle).record == RECORD

    def test_may_be_missing(self, place):
        assert fetch_locations(place.client, place.bundle()) is None

    @pytest.mark.parametrize("status", [401, 403, 404])
    def test_counts_as_missing_when_it_may_not_be_seen(self, place, status):
        bundle = place.bundle()
        place.record(bundle)
        place.fail(refusing(status, "DENIED"), path="manifests/.*image-locations")
        assert fetch_locations(place.client, bundle) is None

    def test_that_fails_otherwise_is_reported(self, place):
        bundle = place.bundle()
        place.fail(refusing(400, "BAD", "bad day"), path="manifests/.*image-locations")
        text = refusal(fetch_locations, place.client, bundle, error=RegistryError)
        tag = locations_tag(bundle.manifest.digest)
        url = f"http://{place.server.address}/v2/bundles/one/manifests/{tag}"
        assert text.startswith(f"Fetching location image: GET {url}: BAD: bad day")

    def test_needs_one_layer(self, place):
        bundle = place.bundle()
        place.record(bundle, IN_RECORD, {"more": b"x"})
        assert refusal(fetch_locations, place.client, bundle) == (
            "Reading fetched location image: Expected locations OCI Image to only have a single layer, got 2"
        )

    def test_needs_a_layer_of_a_known_type(self, place):
        bundle = place.bundle()
        place.record(bundle, media_type="application/x-other")
        assert refusal(fetch_locations, place.client, bundle) == (
            "Reading fetched location image: "
            "Expected layer to have docker layer media type, was application/x-other"
        )

    def test_needs_its_file(self, place):
        bundle = place.bundle()
        place.record(bundle, {"other.yml": b"x"})
        assert refusal(fetch_locations, place.client, bundle) == (
            "Reading fetched location image: Expected to find image-locations.yml in location image"
        )

    @pytest.mark.parametrize("status", [401, 403, 404])
    def test_whose_layer_may_not_be_seen_is_damaged(self, place, status):
        bundle = place.bundle()
        place.record(bundle)
        place.fail(refusing(status, "NO", "not you"), method="GET", path="blobs/")
        text = refusal(fetch_locations, place.client, bundle, error=RegistryError)
        url = f"http://{place.server.address}/v2/bundles/one/blobs/"
        assert (
            f"Reading fetched location image: Could not read locations image layer contents: GET {url}"
        ) in text

    def test_in_a_broken_tar_is_reported(self, place):
        bundle = place.bundle()
        place.record(bundle, gzip.compress(b"no tar at all" * 100))
        text = refusal(fetch_locations, place.client, bundle, error=UnpackError)
        assert text.startswith("Reading fetched location image: Reading tar: ")

    @pytest.mark.parametrize(
        ("data", "text"),
        [
            (
                b"kind: ImageLocations\n",
                "Validating apiVersion: Unknown version (known: imgpkg.carvel.dev/v1alpha1)",
            ),
            (
                b"apiVersion: imgpkg.carvel.dev/v1alpha1\nkind: Other\n",
                "Validating kind: Unknown kind (known: ImageLocations)",
            ),
            (
                b"a: b: c\n",
                UNMARSHALING + "yaml: mapping values are not allowed in this context",
            ),
        ],
    )
    def test_that_breaks_its_rules_is_reported(self, place, data, text):
        bundle = place.bundle()
        place.record(bundle, {"image-locations.yml": data})
        assert refusal(fetch_locations, place.client, bundle) == f"Reading fetched location image: {text}"

"""imgpkg's own files in a layer: compressed in any way, and parsed only after the layer is verified."""

from __future__ import annotations

import gzip
import io
import sys
import tarfile

import pytest

from imgpkg.bundle.layer import LOCATIONS, check_single_layer, read_image_locations, read_images_lock
from imgpkg.bundle.locations import ImageLocations, Location
from imgpkg.bundle.lock import ImagesLock, LockedImage
from imgpkg.bundle.yaml_reader import MAX_SIZE
from imgpkg.errors import InvalidLock, UnpackError, VerificationError
from imgpkg.oci import media
from imgpkg.oci.descriptor import Descriptor, Digest, VerifiedReader
from imgpkg.oci.manifest import Manifest
from imgpkg.oci.reference import Reference

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

LOCK = ImagesLock((LockedImage(Reference.parse(f"ab@sha256:{'a' * 64}")),))
RECORD = ImageLocations((Location("x", is_bundle=False),))
IMAGE = Digest.of(b"image")


def tar_of(*members):
    """Make a tar of (name, data or tar type)."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in members:
            entry = tarfile.TarInfo(name)
            data = content if len(content) > 1 else b""
            entry.type = tarfile.REGTYPE if data else content
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()


def stream(data, digest=None, size=None):
    return VerifiedReader(io.BytesIO(data), digest or Digest.of(data), len(data) if size is None else size)


def lock_in(*members):
    return read_images_lock(stream(gzip.compress(tar_of(*members))), IMAGE)


def refusal(read, error=InvalidLock):
    with pytest.raises(error) as caught:
        read()
    return str(caught.value)


class TestTheImagesLock:
    @pytest.mark.parametrize(
        "name",
        [
            ".imgpkg/images.yml",
            "./.imgpkg/images.yml",
            ".imgpkg//images.yml",
            "a/../.imgpkg/images.yml",
            ".imgpkg\\images.yml",
            ".\\.imgpkg\\images.yml",
        ],
    )
    def test_is_found_however_its_path_is_written(self, name):
        assert lock_in((".", tarfile.DIRTYPE), ("config.yml", b"--"), (name, LOCK.to_bytes())) == LOCK

    @pytest.mark.parametrize("compress", [gzip.compress, zstd.compress, bytes])
    def test_is_found_in_any_compression(self, compress):
        data = compress(tar_of((".imgpkg/images.yml", LOCK.to_bytes()), ("more", b"xy" * 100_000)))
        reader = stream(data)
        assert read_images_lock(reader) == LOCK
        assert reader.count == len(data)

    def test_is_the_first_of_several(self):
        assert (
            lock_in((".imgpkg/images.yml", LOCK.to_bytes()), ("./.imgpkg/images.yml", b"broken: [")) == LOCK
        )

    @pytest.mark.parametrize(
        "members",
        [
            (),
            (("images.yml", LOCK.to_bytes()),),
            (("a/.imgpkg/images.yml", LOCK.to_bytes()),),
            (("/.imgpkg/images.yml", LOCK.to_bytes()),),
            ((".imgpkg/images.yml", tarfile.SYMTYPE),),
            ((".imgpkg/images.yml/", tarfile.DIRTYPE),),
        ],
    )
    def test_that_is_elsewhere_is_none(self, members):
        message = "Expected to find .imgpkg/images.yml in bundle image"
        assert refusal(lambda: lock_in(*members)) == message

    def test_with_bad_content_names_the_image(self):
        assert refusal(lambda: lock_in((".imgpkg/images.yml", b"foo: bar"))) == (
            f"Unmarshalling ImagesLock from image with Digest '{IMAGE}': Unmarshaling images lock: "
            'error unmarshaling JSON: while decoding JSON: json: unknown field "foo"'
        )
        data = gzip.compress(tar_of((".imgpkg/images.yml", b"foo: bar")))
        assert refusal(lambda: read_images_lock(stream(data))).startswith("Unmarshaling images lock: ")

    @pytest.mark.parametrize(
        ("data", "message"),
        [
            (b"\x1f\x8b\x08" + b"\xff" * 600, "reading tar: "),
            (b"x" * 512, "reading tar: archive/tar: invalid tar header"),
            (b"x" * 100, "reading tar: unexpected EOF"),
        ],
    )
    def test_in_a_broken_layer_is_not_read(self, data, message):
        assert refusal(lambda: read_images_lock(stream(data)), UnpackError).startswith(message)

    def test_in_a_layer_that_is_cut_is_not_read(self):
        data = gzip.compress(tar_of((".imgpkg/images.yml", LOCK.to_bytes())))[:60]
        assert refusal(lambda: read_images_lock(stream(data)), UnpackError).startswith("reading tar: ")

    def test_is_not_believed_before_the_layer_verified(self):
        data = tar_of((".imgpkg/images.yml", LOCK.to_bytes()), ("more", b"xy" * (2 << 20)))
        wrong = stream(data[:-1] + b"!", Digest.of(data))
        assert refusal(lambda: read_images_lock(wrong), VerificationError).startswith(
            "Could not read bundle image layer contents: error verifying sha256 checksum"
        )

    def test_is_not_missed_before_the_layer_verified(self):
        data = tar_of(("other", b"xy"))
        with pytest.raises(VerificationError):
            read_images_lock(stream(data, Digest.of(b"")))

    def test_of_absurd_size_is_refused(self):
        entry = tarfile.TarInfo(".imgpkg/images.yml")
        entry.size = MAX_SIZE + 1
        message = f"reading tar: .imgpkg/images.yml has {MAX_SIZE + 1} bytes; at most {MAX_SIZE} are read"
        assert refusal(lambda: read_images_lock(stream(entry.tobuf()))) == message


class TestTheLocationsRecord:
    @pytest.mark.parametrize(
        "name", ["image-locations.yml", "./a/image-locations.yml", "a\\image-locations.yml"]
    )
    def test_is_found_in_any_folder(self, name):
        data = gzip.compress(tar_of((".", tarfile.DIRTYPE), (name, RECORD.to_bytes())))
        reader = stream(data)
        assert read_image_locations(reader) == RECORD
        assert reader.count == len(data)

    @pytest.mark.parametrize(
        ("data", "error", "message"),
        [
            (tar_of(), InvalidLock, "Expected to find image-locations.yml in location image"),
            (b"x" * 512, UnpackError, "Reading tar: archive/tar: invalid tar header"),
            (
                tar_of(("image-locations.yml", b"kind: x")),
                InvalidLock,
                "Validating apiVersion: Unknown version (known: imgpkg.carvel.dev/v1alpha1)",
            ),
        ],
    )
    def test_that_is_none_is_an_error(self, data, error, message):
        assert refusal(lambda: read_image_locations(stream(data)), error) == message

    def test_is_not_believed_before_the_layer_verified(self):
        data = tar_of(("image-locations.yml", RECORD.to_bytes()))
        assert refusal(lambda: read_image_locations(stream(data, size=len(data) + 1)), VerificationError) == (
            "Could not read locations image layer contents: "
            f"error verifying size; got {len(data)}, want {len(data) + 1}"
        )


def manifest(*media_types):
    layers = tuple(Descriptor(kind, Digest.of(b"layer"), 5) for kind in media_types)
    return Manifest(Descriptor(media.OCI_MANIFEST, Digest.of(b""), 0), b"", layers=layers)


class TestTheOneLayer:
    @pytest.mark.parametrize(
        "media_type",
        [media.DOCKER_LAYER, media.OCI_LAYER, media.OCI_LAYER_GZIP, media.OCI_LAYER_ZSTD],
    )
    def test_may_be_of_any_tar_type(self, media_type):
        assert check_single_layer(manifest(media_type)).media_type == media_type

    @pytest.mark.parametrize("count", [0, 2])
    def test_is_one(self, count):
        several = manifest(*[media.DOCKER_LAYER] * count)
        message = f"Expected bundle to only have a single layer, got {count}"
        assert refusal(lambda: check_single_layer(several)) == message
        message = f"Expected locations OCI Image to only have a single layer, got {count}"
        assert refusal(lambda: check_single_layer(several, LOCATIONS)) == message

    @pytest.mark.parametrize("media_type", ["application/json", media.DOCKER_FOREIGN_LAYER, ""])
    def test_of_another_type_is_refused(self, media_type):
        message = f"Expected layer to have docker layer media type, was {media_type}"
        assert refusal(lambda: check_single_layer(manifest(media_type))) == message

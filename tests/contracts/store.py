"""What every source and target of blobs promises: subclass `StoreContract`, fill in `target` and `source`."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import pytest
from tests.content.archives import layers, opener, parsed
from tests.servers.images import make_image

from imgpkg.errors import ImgpkgError, VerificationError
from imgpkg.oci.descriptor import Descriptor, Digest

BIG = bytes(range(256)) * 20_000
IMAGES = (
    make_image([b"x", BIG, b"ends in zeros" + bytes(2000)]),
    make_image([b"shared" * 1000, b"y"]),
    make_image([b"shared" * 1000], labels={"<label>": "ünï & \u2028"}),
)
INDEX = make_image(index=[IMAGES[1], make_image(index=[IMAGES[2]])])


def read(source, blob, size=1 << 20):
    with source.blob(blob) as stream:
        return b"".join(iter(lambda: stream.read(size), b""))


def contents(*images):
    """Map descriptors of layers and configurations to their bytes: pairs."""
    configs = [(parsed(image).config, image.config) for image in nodes(*images) if not image.images]
    return [*layers(*images), *configs]


def nodes(*images):
    """List images and indexes, children first."""
    return [node for image in images for node in (*nodes(*image.images), image)]


class StoreContract:
    """The promises of `imgpkg.content.store.Source` and `Target`."""

    def target(self, folder, images):
        """Return a context manager of a target for `images`; what is written is kept when it ends."""
        raise NotImplementedError

    def source(self, folder):
        """Return a context manager of a source over what the target in the same folder took."""
        raise NotImplementedError

    def fill(self, folder, *images):
        with self.target(folder, images) as target:
            for blob, data in contents(*images):
                target.write(blob, opener(data))
            for node in nodes(*images):
                target.publish(parsed(node), ["v1"] if node in images else [])

    def test_blobs_and_manifests_come_back_as_they_were(self, tmp_path):
        self.fill(tmp_path, IMAGES[0], INDEX)
        with self.source(tmp_path) as source:
            for node in nodes(IMAGES[0], INDEX):
                manifest = source.manifest(parsed(node).digest)
                assert (manifest.raw, manifest.media_type) == (node.manifest, node.media_type)
            for blob, data in contents(IMAGES[0], INDEX):
                assert read(source, blob) == data
                assert read(source, blob, 1000) == data

    def test_a_blob_is_there_after_it_was_written_and_then_not_read_again(self, tmp_path):
        with self.target(tmp_path, IMAGES) as target:
            for blob, data in layers(*IMAGES):
                assert not target.has(blob)
                target.write(blob, opener(data))
                assert target.has(blob)
            for blob, _ in layers(*IMAGES):
                target.write(blob, self.never)
            for blob, data in contents(*IMAGES):
                target.write(blob, opener(data))
                assert target.has(blob)

    def never(self):
        raise AssertionError("a blob was read again")

    @pytest.mark.parametrize("wrong", [b"", b"shared" * 999, b"SHARED" * 1000])
    def test_wrong_bytes_are_refused_and_the_right_ones_taken_later(self, tmp_path, wrong):
        image = IMAGES[2]
        ((blob, data),) = layers(image)
        with self.target(tmp_path, [image]) as target:
            with pytest.raises(ImgpkgError):
                target.write(blob, opener(wrong))
            assert not target.has(blob)
            target.write(blob, opener(data))
        with self.source(tmp_path) as source:
            assert read(source, blob) == data

    def test_a_failing_source_leaves_no_blob(self, tmp_path):
        blob, _ = layers(IMAGES[0])[0]
        with self.target(tmp_path, [IMAGES[0]]) as target:
            with pytest.raises(VerificationError):
                target.write(blob, self.failing)
            assert not target.has(blob)
            for each, right in layers(IMAGES[0]):
                target.write(each, opener(right))

    def failing(self):
        raise VerificationError("the source is damaged")

    def test_many_threads_write_and_read_at_once(self, tmp_path):
        images = [make_image([bytes([number]) * 70_000, b"shared" * 1000]) for number in range(12)]
        pairs = contents(*images)
        with ThreadPoolExecutor(8) as workers:
            with self.target(tmp_path, images) as target:
                list(workers.map(lambda pair: target.write(pair[0], opener(pair[1])), pairs * 2))
                list(workers.map(lambda image: target.publish(parsed(image), [image.digest[7:17]]), images))
            with self.source(tmp_path) as source:
                assert list(workers.map(lambda pair: read(source, pair[0]), pairs)) == [
                    data for _, data in pairs
                ]

    def test_what_is_not_there_is_an_error_of_ours(self, tmp_path):
        self.fill(tmp_path, IMAGES[0])
        with self.source(tmp_path) as source:
            with pytest.raises(ImgpkgError):
                read(source, Descriptor("x", Digest.of(b"missing"), 7))
            with pytest.raises(ImgpkgError):
                source.manifest(parsed(IMAGES[1]).digest)

    def test_a_descriptor_of_another_size_does_not_verify(self, tmp_path):
        self.fill(tmp_path, IMAGES[0])
        blob, data = layers(IMAGES[0])[0]
        with self.source(tmp_path) as source, pytest.raises(ImgpkgError):
            read(source, Descriptor(blob.media_type, blob.digest, len(data) + 1))


class LocalStoreContract(StoreContract):
    """The promises of stores that are files, which nobody else checks."""

    def damage(self, folder, data):
        """Change a byte of the stored `data`."""
        raise NotImplementedError

    def test_damage_is_noticed_while_reading(self, tmp_path):
        self.fill(tmp_path, IMAGES[0])
        self.damage(tmp_path, BIG)
        blob = next(blob for blob, data in layers(IMAGES[0]) if data == BIG)
        with self.source(tmp_path) as source, pytest.raises(VerificationError, match="sha256 checksum"):
            read(source, blob)

    def test_the_last_bytes_of_a_damaged_blob_are_withheld(self, tmp_path):
        self.fill(tmp_path, IMAGES[0])
        self.damage(tmp_path, BIG)
        blob = next(blob for blob, data in layers(IMAGES[0]) if data == BIG)
        received, block = [], bytearray(1 << 20)
        with self.source(tmp_path) as source, source.blob(blob) as stream:
            with pytest.raises(VerificationError):
                received.extend(iter(lambda: stream.readinto(block), 0))
            assert len(BIG) - len(block) <= sum(received) < len(BIG)

    def test_a_blob_says_where_a_file_has_the_bytes_that_are_read_next(self, tmp_path):
        self.fill(tmp_path, IMAGES[0])
        blob = next(blob for blob, data in layers(IMAGES[0]) if data == BIG)
        with self.source(tmp_path) as source, source.blob(blob) as stream:
            for size in (1, 512, 1 << 20, 1 << 20):
                descriptor, offset = stream.file_position()
                block = bytearray(size)
                count = stream.readinto(block)
                assert os.pread(descriptor, count, offset) == block[:count] != b""

    def test_one_byte_too_many_is_refused(self, tmp_path):
        ((blob, data),) = layers(IMAGES[2])
        with self.target(tmp_path, [IMAGES[2]]) as target:
            with pytest.raises(VerificationError):
                target.write(blob, opener(data + b"x"))
            assert not target.has(blob)
            target.write(blob, opener(data))

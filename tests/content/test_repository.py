"""A repository as a store: what it has is not sent again, and what it sends is opened and closed."""

from __future__ import annotations

import io
from contextlib import contextmanager

import pytest

from imgpkg.content.repository import RepositoryStore
from imgpkg.content.store import OpenedBlob
from imgpkg.errors import NotFound, VerificationError
from imgpkg.events import BlobAdvanced
from imgpkg.oci import media
from imgpkg.oci.digest import Digest, VerifiedReader
from imgpkg.oci.manifest import Descriptor, Manifest
from imgpkg.oci.reference import Repository


def described(data, media_type=media.DOCKER_LAYER):
    return Descriptor(media_type, Digest.of(data), len(data))


class Opened:
    """Counts how often bytes were opened, and closed again."""

    def __init__(self, data):
        self._data = data
        self.opened = self.closed = 0

    @contextmanager
    def __call__(self):
        self.opened += 1
        yield VerifiedReader(io.BytesIO(self._data), Digest.of(self._data), len(self._data))
        self.closed += 1


@pytest.fixture
def place(embedded_registry, tmp_path):
    return Repository(embedded_registry.address, "store/" + Digest.of(str(tmp_path).encode()).hex[:20])


@pytest.fixture
def store(place, session):
    return RepositoryStore(session.client, place)


def read(store, blob):
    with store.blob(blob) as stream:
        return b"".join(iter(lambda: stream.read(1000), b""))


class TestARepository:
    def test_gives_back_what_it_took_and_takes_it_once(self, store):
        data = b"layer" * 1000
        source, blob = Opened(data), described(data)
        assert not store.has(blob)
        store.write(blob, source)
        store.write(blob, source)
        assert store.has(blob)
        assert (source.opened, source.closed) == (1, 1)
        assert read(store, blob) == data

    def test_publishes_under_each_tag_and_always_by_digest(self, store, place, session):
        config = b"{}"
        store.write(described(config), Opened(config))
        raw = (
            f'{{"schemaVersion":2,"mediaType":"{media.DOCKER_MANIFEST}","layers":[],"config":{{"mediaType":'
            f'"{media.DOCKER_CONFIG}","size":2,"digest":"{Digest.of(config)}"}}}}'
        )
        manifest = Manifest.parse(raw.encode())
        store.publish(manifest, [])
        assert store.manifest(manifest.digest).raw == raw.encode()
        with pytest.raises(NotFound):
            session.client.manifest(place.tag("v1"))
        store.publish(manifest, ["v1", "v2"])
        found = {session.client.manifest(place.tag(tag)).digest for tag in ("v1", "v2")}
        assert found == {manifest.digest}

    def test_tells_how_a_blob_advances(self, place, session):
        data, events = b"x" * 3_000_000, []
        watched = RepositoryStore(session.client, place, on_event=events.append)
        watched.write(described(data), Opened(data))
        assert sum(event.count for event in events if isinstance(event, BlobAdvanced)) == len(data)

    def test_refuses_bytes_that_are_not_the_blob_s(self, store):
        blob = described(b"right")

        @contextmanager
        def wrong():
            yield VerifiedReader(io.BytesIO(b"wrong"), blob.digest, blob.size)

        with pytest.raises(VerificationError):
            store.write(blob, wrong)
        assert not store.has(blob)


class TestAnOpenedBlob:
    def test_reads_to_the_end_and_closes_what_it_was_made_of(self):
        source = Opened(b"abc")
        with OpenedBlob(source()) as blob:
            assert (blob.read(2), blob.read(), blob.read()) == (b"ab", b"c", b"")
            assert source.closed == 0
        assert source.closed == 1

    def test_closes_it_after_an_error_too(self):
        source = Opened(b"abc")
        with pytest.raises(ZeroDivisionError), OpenedBlob(source()):
            raise ZeroDivisionError
        assert source.closed == 1

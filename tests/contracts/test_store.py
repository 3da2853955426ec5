"""Tar files, layout folders and repositories keep the promises of sources and targets."""

from __future__ import annotations

from contextlib import contextmanager, nullcontext

import pytest
from tests.content.archives import writer
from tests.contracts.store import LocalStoreContract, StoreContract

from imgpkg.content.archive import Archive
from imgpkg.content.layout import Layout
from imgpkg.content.repository import RepositoryStore
from imgpkg.oci.digest import Digest
from imgpkg.oci.reference import Repository
from imgpkg.session import Session


class TestArchive(LocalStoreContract):
    @contextmanager
    def target(self, folder, images):
        with writer(folder / "a.tar", *images) as target:
            yield target

    def source(self, folder):
        return Archive(str(folder / "a.tar"))

    def damage(self, folder, data):
        path = folder / "a.tar"
        whole = path.read_bytes()
        at = whole.index(data) + len(data) // 2
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])


class TestLayout(LocalStoreContract):
    def target(self, folder, images):
        return nullcontext(Layout.create(str(folder / "layout")))

    def source(self, folder):
        return nullcontext(Layout(str(folder / "layout")))

    def damage(self, folder, data):
        path = folder / "layout" / "blobs" / "sha256" / Digest.of(data).hex
        path.write_bytes(data[:-1] + b"\x01")


class TestRepository(StoreContract):
    """A repository of docker-registry; each test and each role has a session of its own."""

    @pytest.fixture(autouse=True)
    def registry(self, docker_registry):
        self.address = docker_registry.address

    @contextmanager
    def target(self, folder, images):
        with self.source(folder) as store:
            yield store

    @contextmanager
    def source(self, folder):
        path = "store/" + Digest.of(str(folder).encode()).hex[:20]
        with Session() as session:
            yield RepositoryStore(session.client, Repository(self.address, path))

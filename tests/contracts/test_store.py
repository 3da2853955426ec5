"""Tar files and layout folders keep the promises of sources and targets."""

from __future__ import annotations

from contextlib import contextmanager, nullcontext

from tests.content.archives import writer
from tests.contracts.store import LocalStoreContract

from imgpkg.content.archive.reader import Archive
from imgpkg.content.layout import Layout
from imgpkg.oci.descriptor import Digest


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

"""Bundles pulled: their files, the bundles inside them, and where their lock then points."""

from __future__ import annotations

import os

import pytest
from tests.operations.conftest import read_tree
from tests.operations.making import make_bundle, make_image, thirty

from imgpkg import errors
from imgpkg.bundle.lock import BundleLock
from imgpkg.events import BlobFinished, Message, Planned
from imgpkg.operations.copy.copy import copy_to_repository
from imgpkg.operations.copy.values import CopySource
from imgpkg.operations.pull import pull
from imgpkg.operations.push import push


def texts(seen):
    return "".join(event.text for event in seen if isinstance(event, Message))


class TestRequests:
    @pytest.mark.parametrize("hosted", [False, True])
    def test_ten_images(self, embedded_registry, open_session, tmp_path, hosted):
        session = open_session()
        bundle = thirty(session, embedded_registry.address, tmp_path / "b", count=10, layers=1)
        if hosted:
            to = f"{embedded_registry.address}/copy/ten"
            bundle = copy_to_repository(
                CopySource(bundle=str(bundle)), to, session=session
            ).bundle.destination
        before = len(embedded_registry.requests)
        pull(tmp_path / "out", bundle=str(bundle), session=open_session())
        assert len(embedded_registry.requests) - before <= (5 if hosted else 6)


class TestABundle:
    def test_that_does_not_host_its_images_keeps_its_lock_as_it_was(
        self, embedded_registry, session, tmp_path
    ):
        image = make_image(session, f"{embedded_registry.address}/app/a")
        bundle = make_bundle(
            session, f"{embedded_registry.address}/bundles/b:v1", {image: {}}, tmp_path / "b"
        )
        seen = []
        result = pull(tmp_path / "out", bundle=str(bundle), session=session, on_event=seen.append)
        assert not result.images_lock.is_updated
        assert not result.is_cacheable
        assert read_tree(tmp_path / "out") == read_tree(tmp_path / "b")
        layer = session.client.manifest(bundle).layers[0].digest
        assert texts(seen) == (
            f"Pulling bundle '{bundle}'\n"
            f"  Extracting layer '{layer}' (1/1)\n"
            "\nLocating image lock file images...\n"
            "One or more images not found in bundle repo; skipping lock file update\n"
        )

    def test_that_hosts_its_images_without_a_record_has_its_lock_rewritten(
        self, embedded_registry, session, tmp_path
    ):
        where = f"{embedded_registry.address}/bundles/own"
        image = make_image(session, where)
        inner = make_bundle(session, f"{where}:inner", {image: {}}, tmp_path / "inner")
        bundle = make_bundle(session, f"{where}:v1", {image: {}, inner: {}}, tmp_path / "b")
        before = len(embedded_registry.requests)
        result = pull(tmp_path / "out", bundle=str(bundle), session=session, recursive=True)
        assert result.images_lock.is_updated
        assert result.nested[0].images_lock.is_updated
        heads = [request for request in embedded_registry.requests[before:] if request.method == "HEAD"]
        assert len(heads) == 2

    def test_with_bundles_inside_brings_each_once(self, embedded_registry, session, tmp_path):
        address = embedded_registry.address
        deep = make_bundle(session, f"{address}/bundles/l2", {}, tmp_path / "l2", files={"h": "2"})
        middle = make_bundle(session, f"{address}/bundles/l1", {deep: {}}, tmp_path / "l1", files={"h": "1"})
        top = make_bundle(session, f"{address}/bundles/l0", {middle: {}, deep: {}}, tmp_path / "l0")
        seen = []
        pull(tmp_path / "out", bundle=str(top), recursive=True, session=session, on_event=seen.append)
        # One plan for the outermost bundle, one for those of the next level, in which all are, and the end.
        plans = [event.blobs for event in seen if isinstance(event, Planned)]
        finished = [event for event in seen if isinstance(event, BlobFinished)]
        assert (plans, len(finished)) == ([1, 2, 0], 3)
        files = read_tree(tmp_path / "out")
        assert files[f".imgpkg/bundles/sha256-{deep.digest.hex}/h"] == b"2"
        assert files[f".imgpkg/bundles/sha256-{middle.digest.hex}/h"] == b"1"
        layers = {r: session.client.manifest(r).layers[0].digest for r in (top, middle, deep)}
        assert texts(seen) == (
            f"Pulling bundle '{top}'\n"
            f"  Extracting layer '{layers[top]}' (1/1)\n"
            "\nNested bundles\n"
            f"  Pulling nested bundle '{middle}'\n"
            f"    Extracting layer '{layers[middle]}' (1/1)\n"
            f"    Pulling nested bundle '{deep}'\n"
            f"      Extracting layer '{layers[deep]}' (1/1)\n"
            f"  Pulling nested bundle '{deep}'\n"
            "  Skipped, already downloaded\n"
            "\nLocating image lock file images...\n"
            "One or more images not found in bundle repo; skipping lock file update\n"
        )

    def test_named_by_a_lock_file_is_pulled(self, embedded_registry, session, tmp_path):
        lock = tmp_path / "bundle.lock.yml"
        where = f"{embedded_registry.address}/bundles/locked:v3"
        (tmp_path / "b" / ".imgpkg").mkdir(parents=True)
        (tmp_path / "b" / ".imgpkg" / "images.yml").write_text(
            "apiVersion: imgpkg.carvel.dev/v1alpha1\nkind: ImagesLock\n"
        )
        pushed = push([tmp_path / "b"], bundle=where, session=session, lock_output=str(lock))
        assert lock.read_text() == (
            "---\napiVersion: imgpkg.carvel.dev/v1alpha1\nbundle:\n"
            f"  image: {pushed.reference}\n  tag: v3\nkind: BundleLock\n"
        )
        assert BundleLock.from_path(str(lock)).reference == pushed.reference
        assert pull(tmp_path / "out", lock=str(lock), session=session).reference == pushed.reference

    def test_is_pulled_to_where_a_path_through_a_link_leads(
        self, embedded_registry, session, tmp_path, monkeypatch
    ):
        bundle = make_bundle(session, f"{embedded_registry.address}/bundles/b:v1", {}, tmp_path / "b")
        (tmp_path / "far" / "away").mkdir(parents=True)
        (tmp_path / "here").mkdir()
        (tmp_path / "here" / "link").symlink_to(tmp_path / "far" / "away")
        monkeypatch.chdir(tmp_path / "here")
        pull("link/../out", bundle=str(bundle), session=session)
        assert (tmp_path / "far" / "out" / ".imgpkg" / "images.yml").is_file()
        assert os.listdir() == ["link"]

    def test_asked_for_as_an_image_is_refused(self, embedded_registry, session, tmp_path):
        bundle = make_bundle(session, f"{embedded_registry.address}/bundles/i", {}, tmp_path / "b")
        with pytest.raises(errors.IsABundle, match="Use -b instead of -i for bundles"):
            pull(tmp_path / "out", image=str(bundle), session=session)
        result = pull(tmp_path / "out", image=str(bundle), image_is_bundle_check=False, session=session)
        assert result.is_bundle

    def test_must_be_one(self, embedded_registry, session, tmp_path):
        image = make_image(session, f"{embedded_registry.address}/app/none")
        with pytest.raises(errors.NotABundle, match="Did you use -i instead of -b"):
            pull(tmp_path / "out", bundle=str(image), session=session)

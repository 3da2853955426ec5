"""A command ends within two seconds, whatever its workers wait for, and leaves nothing half done."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from dataclasses import dataclass

import pytest
from tests.operations.making import make_bundle, make_image
from tests.servers.stalling import BODY, HEADERS, PAUSE, UPLOAD, StallingProxy

from imgpkg.embedded.server import serve
from imgpkg.session import Session

SOON = 2.0
BLOB, MANIFEST = r"/blobs/sha256", r"/manifests/"


@dataclass(frozen=True)
class Upstream:
    """A registry with six images, and patterns of one of their large layers and of their small ones."""

    address: str
    other: str
    images: tuple[str, ...]
    large: str
    small: str


@pytest.fixture(scope="module")
def upstream(another_registry, tmp_path_factory):
    noise, folder = random.Random(1), tmp_path_factory.mktemp("upstream")
    with serve() as server, Session() as session:
        images = [
            make_image(session, f"{server.address}/app/i{n}", [noise.randbytes(40_000).hex(), f"{n}"])
            for n in range(6)
        ]
        named = {image: {} for image in images}
        make_bundle(session, f"{server.address}/bundles/six:v1", named, folder / "bundle")
        layers = [session.client.manifest(image).layers for image in images]
        small = "|".join(str(pair[1].digest) for pair in layers)
        yield Upstream(
            server.address,
            another_registry.address,
            tuple(map(str, images)),
            f"/blobs/{layers[0][0].digest}",
            f"/blobs/({small})",
        )


def words(command, proxy, upstream, tmp_path):
    """Return the command line; what is copied are the images behind the proxy."""
    images = [{"image": image.replace(upstream.address, proxy.address)} for image in upstream.images]
    lock = {"apiVersion": "imgpkg.carvel.dev/v1alpha1", "kind": "ImagesLock", "images": images}
    (tmp_path / "pushed").mkdir(exist_ok=True)
    (tmp_path / "pushed" / "images.yml").write_text(json.dumps(lock))
    copy = ("copy", "--lock", "pushed/images.yml")
    bundle = f"{proxy.address}/bundles/six:v1"
    (tmp_path / "pushed" / "large").write_bytes(os.urandom(8 << 20))
    return {
        "to-tar": (*copy, "--to-tar", "six.tar"),
        "to-other": (*copy, "--to-repo", f"{upstream.other}/copied/six"),
        "to-repo": (*copy, "--to-repo", f"{proxy.address}/copied/six"),
        "streamed": (*copy, "--to-repo", f"{proxy.address}/streamed/six", "--stream-plan"),
        "streamed-to-other": (*copy, "--to-repo", f"{upstream.other}/streamed/six", "--stream-plan"),
        "to-layout": (*copy, "--to-oci-layout", "layout"),
        "describe": ("describe", "-b", bundle),
        "pull": ("pull", "-b", bundle, "-o", "out"),
        "tag list": (
            "tag",
            "list",
            "-i",
            f"{proxy.address}/bundles/six",
            "--digests",
            "--imgpkg-internal-tags",
        ),
        "push": ("push", "-i", f"{proxy.address}/pushed/it", "-f", "pushed"),
    }[command]


def left_in(folder):
    """Name what lies in the working directory besides what the test put there.

    A partial tar file is for `--resume`, and a layout is whole at any time.
    """
    return sorted(path.name for path in folder.iterdir() if path.name != "pushed")


CASES = [
    ("to-tar", BODY, "GET", BLOB),
    ("to-tar", HEADERS, "GET", BLOB),
    ("to-tar", PAUSE, "GET", BLOB),
    ("to-tar", HEADERS, "GET", MANIFEST),
    ("to-other", BODY, "GET", BLOB),
    ("to-repo", HEADERS, "POST", "/blobs/uploads/"),
    ("to-repo", PAUSE, "PUT", MANIFEST),
    ("streamed", HEADERS, "GET", MANIFEST),
    ("streamed", HEADERS, "POST", "/blobs/uploads/"),
    ("streamed", PAUSE, "PUT", MANIFEST),
    ("to-layout", BODY, "GET", BLOB),
    ("describe", HEADERS, "GET", MANIFEST),
    ("describe", BODY, "GET", BLOB),
    ("pull", BODY, "GET", BLOB),
    ("tag list", HEADERS, "HEAD", MANIFEST),
    ("push", UPLOAD, "PUT", "/blobs/uploads/"),
]


class TestASignal:
    @pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
    @pytest.mark.parametrize(("command", "stage", "method", "path"), CASES)
    def test_ends_a_command_at_once(
        self, started, upstream, tmp_path, command, stage, method, path, number, code
    ):
        with StallingProxy(upstream.address, stage, method=method, path=path) as proxy:
            process = started(*words(command, proxy, upstream, tmp_path))
            assert proxy.stalled.wait(20)
            time.sleep(0.2)
            sent = time.monotonic()
            process.send_signal(number)
            assert process.wait(20) == code
            assert time.monotonic() - sent < SOON
        assert left_in(tmp_path) in ([], ["layout"], ["six.tar.partial"])


class TestTheFirstFailure:
    @pytest.mark.parametrize("command", ["to-tar", "to-other", "streamed-to-other", "to-layout"])
    def test_ends_a_copy_at_once_and_is_reported(self, imgpkg, upstream, tmp_path, command):
        with StallingProxy(upstream.address, BODY, path=upstream.large, refuse=upstream.small) as proxy:
            start = time.monotonic()
            done = imgpkg(*words(command, proxy, upstream, tmp_path))
            spent = time.monotonic() - start
        assert (done.returncode, "403 Forbidden" in done.stderr) == (4, True)
        # It includes the start of the program and all that comes before the first blob.
        assert spent < 2 * SOON
        assert left_in(tmp_path) in ([], ["layout"], ["six.tar.partial"])

"""Copies from and to registries at the other end of a long link: connections, ranges, memory."""

from __future__ import annotations

import io
import json
import random
import re
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.operations.making import make_image, put_manifest, thirty

from imgpkg.embedded.routes import Features
from imgpkg.embedded.server import serve
from imgpkg.oci import media
from imgpkg.oci.descriptor import Descriptor, Digest
from imgpkg.oci.reference import Repository
from imgpkg.operations.copy.copy import copy_to_repository, copy_to_tar
from imgpkg.operations.copy.values import CopySource

pytestmark = pytest.mark.unmeasured

LINK = Path(__file__).parent.parent.parent / "benchmarks" / "shaped_link.py"
IMGPKG = str(Path(sys.executable).with_name("imgpkg"))


class Link:
    """A shaped link in its own process; when it has ended, `most` is the number of connections at once."""

    def __init__(self, target, milliseconds, speed):
        words = [sys.executable, str(LINK), target, str(milliseconds), str(speed)]
        self._process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
        self.address = self._process.stdout.readline().strip()
        self.most = None

    def end(self):
        self._process.terminate()
        self.most = int(re.search(r"(\d+) at once", self._process.communicate()[0])[1])


@contextmanager
def shaped(target, *, milliseconds=5, speed=0):
    link = Link(target, milliseconds, speed)
    try:
        yield link
    finally:
        link.end()


def make_large(session, where, size, *, tag="v1"):
    """Put an image whose only layer has `size` bytes that are no archive; return its digest."""
    repository = Repository.parse(where)
    data = random.Random(size).randbytes(1 << 20) * (size >> 20)
    blobs = [Descriptor("application/octet-stream", Digest.of(part), len(part)) for part in (b"{}", data)]
    for blob, part in zip(blobs, (b"{}", data), strict=True):
        session.client.push_blob(repository, blob, lambda part=part: io.BytesIO(part))
    described = [{"mediaType": b.media_type, "digest": str(b.digest), "size": b.size} for b in blobs]
    document = {
        "schemaVersion": 2,
        "mediaType": media.OCI_MANIFEST,
        "config": described[0],
        "layers": described[1:],
    }
    put_manifest(session, repository, document, tag)
    return blobs[1].digest


@pytest.mark.parametrize("concurrency", [1, 3])
def test_a_copy_has_no_more_connections_to_each_registry_than_workers(open_session, tmp_path, concurrency):
    with serve() as one, serve() as two:
        with shaped(one.address) as source, shaped(two.address) as target:
            setup = open_session(concurrency=1)
            bundle = thirty(setup, source.address, tmp_path / "b", count=12, layers=1)
            setup.close()
            session = open_session(concurrency=concurrency)
            to = f"{target.address}/copy/all"
            copy_to_repository(CopySource(bundle=str(bundle)), to, session=session)
            copy_to_tar(CopySource(bundle=str(bundle)), tmp_path / "all.tar", session=session)
            session.close()
        assert (source.most, target.most) == (concurrency, concurrency)


@pytest.mark.parametrize("concurrency", [2, 4])
def test_a_copy_within_a_registry_that_mounts_nothing_has_no_more_connections(
    open_session, tmp_path, concurrency
):
    with serve(features=Features(mount=False)) as server:
        with shaped(server.address) as link:
            setup = open_session(concurrency=1)
            bundle = thirty(setup, link.address, tmp_path / "b", count=8, layers=1)
            setup.close()
            session = open_session(concurrency=concurrency)
            copy_to_repository(CopySource(bundle=str(bundle)), f"{link.address}/copy/all", session=session)
            session.close()
        assert link.most <= concurrency


def test_a_copy_within_a_registry_that_mounts_nothing_goes_on_with_one_worker(open_session):
    with serve(features=Features(mount=False)) as server:
        session = open_session(concurrency=1)
        image = make_image(session, f"{server.address}/from/app")
        copy_to_repository(CopySource(image=str(image)), f"{server.address}/to/app", session=session)


@pytest.mark.parametrize("kind", ["embedded_registry", "docker_registry"])
def test_a_large_blob_comes_in_ranges_and_is_the_same(request, open_session, tmp_path, kind):
    registry = request.getfixturevalue(kind)
    make_large(open_session(), f"{registry.address}/large/one", 40 << 20)
    with shaped(registry.address, speed=20e6) as link:
        session = open_session(concurrency=4)
        path = tmp_path / "large.tar"
        copy_to_tar(CopySource(image=f"{link.address}/large/one:v1"), path, session=session)
        session.close()
    assert link.most == 4
    with serve() as target:
        # Its bytes are verified on their way.
        copy_to_repository(CopySource(tar=str(path)), f"{target.address}/large/one", session=open_session())


_WATCHER = """
import json, os, sys
pid = os.posix_spawnp(sys.argv[1], sys.argv[1:], os.environ)
_, status, usage = os.wait4(pid, 0)
print(json.dumps([os.waitstatus_to_exitcode(status), usage.ru_maxrss >> 10]))
"""


def peak_of(*words):
    """Return the peak resident MB of a command, which must succeed."""
    done = subprocess.run(
        [sys.executable, "-S", "-c", _WATCHER, IMGPKG, *words], stdout=subprocess.PIPE, text=True, check=True
    )
    code, peak = json.loads(done.stdout.splitlines()[-1])
    assert code == 0
    return peak


def test_memory_does_not_grow_with_the_blob(embedded_registry, open_session, tmp_path):
    session, where = open_session(), f"{embedded_registry.address}/large/memory"
    with shaped(embedded_registry.address, milliseconds=2) as link:
        peaks = []
        for megabytes in (1, 192):
            make_large(session, where, megabytes << 20, tag=f"v{megabytes}")
            image = f"{link.address}/large/memory:v{megabytes}"
            peaks.append(peak_of("copy", "-i", image, "--to-tar", str(tmp_path / "memory.tar")))
    # What ranges may hold, and something for buffers.
    assert peaks[1] - peaks[0] < 84 + 16

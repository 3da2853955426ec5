"""A copy that is killed in the middle: nothing looks whole, and the next one goes on where it ended."""

from __future__ import annotations

import signal
import threading
import time

import pytest
from tests.operations.making import thirty

from imgpkg.embedded.message import Fault
from imgpkg.embedded.server import serve

COUNT = 12


class Slow:
    """Lets the first requests for blobs pass, and holds up the rest until told otherwise."""

    def __init__(self, method, pattern, free):
        self.method, self.pattern, self.free = method, pattern, free
        self.lock = threading.Lock()
        self.is_over = False
        self.seen = 0

    def __call__(self, request):
        if self.is_over or request.method != self.method or self.pattern not in request.path:
            return None
        with self.lock:
            self.seen += 1
            return None if self.seen <= self.free else Fault(delay=1.0)

    def wait(self):
        """Wait until some of the work is done and some is not."""
        deadline = time.monotonic() + 20
        while self.seen <= self.free:
            assert time.monotonic() < deadline, "the copy did not come this far"
            time.sleep(0.01)


def kill(process):
    process.send_signal(signal.SIGKILL)
    process.wait()


@pytest.fixture
def bundle(embedded_registry, open_session, tmp_path):
    return thirty(open_session(), embedded_registry.address, tmp_path / "bundle", count=COUNT)


def test_to_a_tar_file_is_resumed(imgpkg, started, open_session, tmp_path):
    slow = Slow("GET", "/blobs/", 20)
    with serve(faults=slow) as server:
        slow.is_over = True
        bundle = thirty(open_session(), server.address, tmp_path / "bundle", count=COUNT)
        slow.is_over = False
        arguments = ("copy", "-b", bundle, "--to-tar", "b.tar", "--concurrency", 2)
        process = started(*arguments)
        slow.wait()
        kill(process)
        slow.is_over = True
        assert not (tmp_path / "b.tar").exists()
        before = blobs(server)
        done = imgpkg(*arguments, "--resume")
        assert done.returncode == 0, done.stderr
        again = blobs(server)[len(before) :]
        whole = imgpkg("copy", "-b", bundle, "--to-tar", "whole.tar")
        assert whole.returncode == 0
        fresh = blobs(server)[len(before) + len(again) :]
    assert (tmp_path / "b.tar").read_bytes() == (tmp_path / "whole.tar").read_bytes()
    assert len(again) < len(fresh)
    assert sorted(path.name for path in tmp_path.glob("*b.tar*")) == ["b.tar"]


def blobs(server):
    return [
        request.path for request in server.requests if request.method == "GET" and "/blobs/" in request.path
    ]


def test_to_a_repository_is_taken_up_again(imgpkg, started, bundle, tmp_path):
    slow = Slow("PUT", "/blobs/uploads/", 10)
    with serve(faults=slow) as server:
        arguments = ("copy", "-b", bundle, "--to-repo", f"{server.address}/copy/b", "--concurrency", 2)
        process = started(*arguments)
        slow.wait()
        kill(process)
        slow.is_over = True
        listed = imgpkg("tag", "list", "-i", f"{server.address}/copy/b", "--imgpkg-internal-tags")
        assert "sha256" not in listed.stdout
        done = imgpkg(*arguments)
        assert done.returncode == 0, done.stderr
        pulled = imgpkg("pull", "-b", f"{server.address}/copy/b@{bundle.digest}", "-o", "out")
        assert pulled.returncode == 0, pulled.stderr
        assert f"{server.address}/copy/b@" in (tmp_path / "out/.imgpkg/images.yml").read_text()


def test_to_several_repositories_is_taken_up_again(imgpkg, started, bundle, tmp_path):
    slow = Slow("PUT", "/blobs/uploads/", 10)
    with serve(faults=slow) as server:
        arguments = ("copy", "-b", bundle, "--to-repo", f"{server.address}/mirror", "--keep-names")
        process = started(*arguments, "--concurrency", 2)
        slow.wait()
        kill(process)
        slow.is_over = True
        root = f"{server.address}/mirror/bundles/thirty"
        listed = imgpkg("tag", "list", "-i", root, "--imgpkg-internal-tags")
        assert "sha256" not in listed.stdout
        done = imgpkg(*arguments)
        assert done.returncode == 0, done.stderr
        pulled = imgpkg("pull", "-b", f"{root}@{bundle.digest}", "-o", "out")
        assert pulled.returncode == 0, pulled.stderr
        lock = (tmp_path / "out/.imgpkg/images.yml").read_text()
        assert lock.count(f"{server.address}/mirror/app/image") == COUNT
        before = len(server.requests)
        again = imgpkg(*arguments)
        assert again.returncode == 0, again.stderr
        # A PUT of the killed copy may be answered late; each upload of a new copy begins with a POST.
        new = [request for request in server.requests[before:] if "/blobs/uploads/" not in request.path]
        assert {request.method for request in new} <= {"GET", "HEAD"}
        assert "POST" not in {request.method for request in server.requests[before:]}


def test_by_the_keyboard_ends_soon_with_a_message(imgpkg, started, open_session, tmp_path):
    slow = Slow("GET", "/blobs/", 0)
    with serve(faults=slow) as server:
        slow.is_over = True
        bundle = thirty(open_session(), server.address, tmp_path / "bundle", count=3)
        slow.is_over = False
        process = started("copy", "-b", bundle, "--to-tar", "b.tar")
        slow.wait()
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130
    assert not (tmp_path / "b.tar").exists()

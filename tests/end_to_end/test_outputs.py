"""What a command writes to: named in any way, and cleared of what a killed command left there."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import threading
import time

import pytest
from tests.end_to_end.conftest import IMGPKG
from tests.operations.making import make_image, thirty

from imgpkg.embedded.message import Fault
from imgpkg.embedded.server import serve


@pytest.fixture
def image(embedded_registry, open_session):
    where = f"{embedded_registry.address}/outputs/image"
    return make_image(open_session(), where, ["one"], tag="v1")


@pytest.fixture
def bundle(embedded_registry, open_session, tmp_path):
    return thirty(open_session(), embedded_registry.address, tmp_path / "bundle", count=3)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("named", ["out/../out", "out/.", "out/up/out", "./out//", "new/../out"])
def test_a_folder_reached_through_itself_is_replaced_as_a_whole(imgpkg, image, tmp_path, named):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "keep").write_text("keep")
    (tmp_path / "out" / "up").symlink_to("..")
    done = imgpkg("pull", "-i", image, "-o", named)
    assert (done.returncode, done.stderr) == (
        0,
        f"imgpkg: warning: pulling into {named} removes keep, up\n",
    )
    assert names(tmp_path) == ["out"]
    assert names(tmp_path / "out") == ["file"]


def test_a_failed_pull_into_such_a_folder_leaves_it_and_nothing_else(imgpkg, open_session, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "keep").write_text("keep")
    gone = []
    with serve(faults=lambda request: Fault(hang_up=request.path.endswith(tuple(gone)))) as server:
        image, layer = slow_image(open_session(), server)
        gone.append(layer)
        done = imgpkg("pull", "-i", image, "-o", "out/../out", "--registry-retry-count", 0)
    assert done.returncode == 5
    assert names(tmp_path) == ["out"]
    assert (tmp_path / "out" / "keep").read_text() == "keep"


def slow_image(session, server):
    """Make an image; return its reference and the digest of its layer."""
    image = make_image(session, f"{server.address}/a/b", ["one"])
    return image, str(session.client.manifest(image).layers[0].digest)


OUTPUTS = {
    "pull": (["pull", "-i", "{image}", "-o"], "out"),
    "tar": (["copy", "-i", "{image}", "--to-tar"], "x.tar"),
    "layout": (["copy", "-i", "{image}", "--to-oci-layout"], "oci"),
    "lock": (["copy", "-b", "{bundle}", "--to-repo", "{registry}/to/here", "--lock-output"], "x.yml"),
    "push": (["push", "-b", "{registry}/to/there", "-f", "{folder}", "--lock-output"], "y.yml"),
}


@pytest.mark.parametrize("kind", OUTPUTS)
def test_a_removed_working_directory_is_named_at_once_and_absolute_paths_need_none(
    kind, image, bundle, embedded_registry, tmp_path
):
    command, name = OUTPUTS[kind]
    places = {"image": image, "bundle": bundle, "registry": embedded_registry.address}
    words = [word.format(folder=tmp_path / "bundle", **places) for word in command]
    (tmp_path / "gone").mkdir()

    def run(output):
        shell = ["sh", "-c", 'cd "$0" && rmdir "$0"; exec "$@"', str(tmp_path / "gone"), IMGPKG]
        return subprocess.run([*shell, *words, output], capture_output=True, text=True, check=False)

    before = len(embedded_registry.requests)
    done = run(name)
    assert done.returncode == 7
    assert "getwd: no such file or directory" in done.stderr
    assert "hint: The working directory was removed" in done.stderr
    assert len(embedded_registry.requests) == before
    (tmp_path / "gone").mkdir()
    done = run(str(tmp_path / name))
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / name).exists()


@pytest.mark.parametrize("place", ["folder", "missing/x.yml"])
@pytest.mark.parametrize("kind", ["lock", "push", "tar"])
def test_a_file_that_can_never_be_written_is_refused_before_anything_is_moved(
    imgpkg, kind, place, image, bundle, embedded_registry, tmp_path
):
    (tmp_path / "folder").mkdir()
    command, _ = OUTPUTS[kind]
    places = {"image": image, "bundle": bundle, "registry": embedded_registry.address}
    before = len(embedded_registry.requests)
    done = imgpkg(*(word.format(folder=tmp_path / "bundle", **places) for word in command), place)
    assert done.returncode == 7
    reason = "is a directory" if place == "folder" else "no such file or directory"
    assert f"open {place}: {reason}" in done.stderr.replace("\n", "")
    assert len(embedded_registry.requests) == before


def test_the_tar_file_that_is_copied_is_no_place_for_the_lock(imgpkg, image, embedded_registry, tmp_path):
    assert imgpkg("copy", "-i", image, "--to-tar", "x.tar").returncode == 0
    whole = (tmp_path / "x.tar").read_bytes()
    to = f"{embedded_registry.address}/to/lost"
    done = imgpkg("copy", "--tar", "x.tar", "--to-repo", to, "--lock-output", "./x.tar")
    assert done.returncode == 2
    assert "Expected --lock-output to be another file than --tar" in done.stderr
    assert (tmp_path / "x.tar").read_bytes() == whole


class Gate:
    """Holds up requests for `blob` until it is opened, and tells how many wait."""

    def __init__(self):
        self.blob = "none yet"
        self.is_open = threading.Event()
        self.waiting = 0
        self.lock = threading.Lock()

    def __call__(self, request):
        if request.path.endswith(self.blob) and not self.is_open.is_set():
            with self.lock:
                self.waiting += 1
            self.is_open.wait(30)

    def wait_for(self, count):
        deadline = time.monotonic() + 20
        while self.waiting < count:
            assert time.monotonic() < deadline
            time.sleep(0.01)


def hidden(folder):
    return [name for name in names(folder) if name.startswith(".imgpkg-")]


def test_what_a_killed_pull_left_goes_with_the_next_and_what_a_living_one_has_stays(
    imgpkg, started, open_session, tmp_path
):
    gate = Gate()
    with serve(faults=gate) as server:
        image, gate.blob = slow_image(open_session(), server)
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "keep").write_text("keep")
        killed = started("pull", "-i", image, "-o", "out")
        gate.wait_for(1)
        killed.send_signal(signal.SIGKILL)
        killed.wait()
        left = hidden(tmp_path)
        assert len(left) == 1
        living = started("pull", "-i", image, "-o", "out")
        gate.wait_for(2)
        theirs = hidden(tmp_path)
        assert len(theirs) == 1
        assert theirs != left
        another = started("pull", "-i", image, "-o", "elsewhere/../out/")
        gate.wait_for(3)
        assert set(theirs) < set(hidden(tmp_path))
        assert (tmp_path / "out" / "keep").read_text() == "keep"
        another.kill()
        another.wait()
        gate.is_open.set()
        assert living.wait(30) == 0
        assert imgpkg("pull", "-i", image, "-o", "out").returncode == 0
    assert names(tmp_path) == ["out"]
    assert names(tmp_path / "out") == ["file"]


def test_few_open_files_are_enough_for_many_workers(bundle, embedded_registry, tmp_path):
    done = subprocess.run(
        [IMGPKG, "copy", "-b", str(bundle), "--to-repo", f"{embedded_registry.address}/few/files"],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (16, 16)),
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_a_killed_push_leaves_no_temporary_file(embedded_registry, started, tmp_path):
    (tmp_path / "temporary").mkdir()
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "noise").write_bytes(os.urandom(3_000_000))
    seen = threading.Event()

    def hold(request):
        if request.method == "POST":
            seen.set()
            return Fault(delay=20)
        return None

    with serve(faults=hold) as server:
        process = started(
            "push",
            "-i",
            f"{server.address}/a/b:v1",
            "-f",
            tmp_path / "files",
            TMPDIR=str(tmp_path / "temporary"),
        )
        assert seen.wait(20)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert names(tmp_path / "temporary") == []

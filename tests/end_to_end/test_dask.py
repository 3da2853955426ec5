"""The command with the workers of a Dask cluster: what arrives, and what survives the death of each part."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import socket
import subprocess
import time

import psutil
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from tests.cli.test_document import checked
from tests.end_to_end.conftest import IMGPKG
from tests.operations.making import make_bundle, make_image, make_index, thirty
from tests.servers.dask import Cluster, end
from tests.servers.docker import docker_registry_process
from tests.servers.signatures import put_signature

from imgpkg.embedded.message import Fault
from imgpkg.embedded.server import serve
from imgpkg.oci.reference import Repository

pytestmark = pytest.mark.slow

COUNT = 8
# Of the bundle: two layers and the configuration of each image, and its own layer and configuration.
BLOBS = 3 * COUNT + 2
# The layer and configuration of the locations record, which the client writes.
RECORD = 2


class Slow:
    """Holds up the bytes of each blob that is written; counts those that came whole."""

    def __init__(self, delay):
        self.delay = delay
        self.begun = 0

    def __call__(self, request):
        if request.method == "PUT" and "/blobs/uploads/" in request.path:
            self.begun += 1
            return Fault(delay=self.delay)
        return None

    def wait(self, count):
        deadline = time.monotonic() + 60
        while self.begun < count:
            assert time.monotonic() < deadline, "the copy did not come this far"
            time.sleep(0.01)


def written(server):
    """Return the digest of each blob that was written, once for each time."""
    return [
        dict(request.query)["digest"]
        for request in server.requests
        if request.method == "PUT" and "/blobs/uploads/" in request.path and request.status == 201
    ]


def manifests(server):
    return [one for one in server.requests if one.method == "PUT" and "/manifests/" in one.path]


def content(session, where):
    repository = Repository.parse(where)
    tags = session.client.tags(repository)
    return {tag: session.client.manifest(repository.tag(tag)).raw for tag in tags}


@pytest.fixture
def bundle(embedded_registry, open_session, tmp_path):
    return thirty(open_session(), embedded_registry.address, tmp_path / "bundle", count=COUNT)


@pytest.fixture
def cluster(tmp_path):
    (tmp_path / "dask").mkdir()
    with Cluster(tmp_path / "dask") as cluster:
        yield cluster


@pytest.fixture
def running(tmp_path):
    """Start the command in a process group of its own, as a shell does; what it writes is in a file."""
    processes = []

    def start(*arguments):
        with open(tmp_path / f"output{len(processes)}", "wb") as output:
            process = subprocess.Popen(
                [IMGPKG, *map(str, arguments)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=tmp_path,
                start_new_session=True,
            )
        process.output = tmp_path / f"output{len(processes)}"
        processes.append(process)
        return process

    yield start
    for process in processes:
        end(process)


@pytest.fixture
def nested(embedded_registry, open_session, tmp_path):
    """A bundle of images with shared layers, an index of two platforms, signatures, and a bundle inside."""
    session, at = open_session(), embedded_registry.address
    apps = [
        make_image(session, f"{at}/nested/app{n}", ["shared", {"big": os.urandom(n << 18)}]) for n in range(4)
    ]
    platforms = {
        platform: make_image(session, f"{at}/nested/tool", ["shared", platform])
        for platform in ("linux/amd64", "linux/arm64")
    }
    index = make_index(session, f"{at}/nested/tool", platforms)
    key = ec.generate_private_key(ec.SECP256R1())
    for signed in (apps[0], index):
        put_signature(session, signed, key)
    inner = make_bundle(session, f"{at}/nested/inner:v1", {app: {} for app in apps[2:]}, tmp_path / "inner")
    images = {apps[0]: {"team": "a"}, apps[1]: {}, index: {}, inner: {}}
    return make_bundle(session, f"{at}/nested/outer:v1", images, tmp_path / "outer", files={"a.yml": "a: 1"})


def stored(folder):
    """Return the digest of each file of a docker-registry: blobs, manifests, tags, and what has which."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file() and "_uploads" not in path.parts
    }


class TestLocalProcesses:
    def test_bring_byte_for_byte_what_threads_bring(self, imgpkg, nested, tmp_path):
        found, documents, port = [], [], 0
        for name, more in (("threads", ()), ("processes", ("--dask", "local:4"))):
            folder = tmp_path / name
            folder.mkdir()
            # At the same address: a record of locations has it.
            with docker_registry_process(folder, port=port) as address:
                port = int(address.rpartition(":")[2])
                done = imgpkg(
                    *("copy", "-b", nested, "--to-repo", f"{address}/to/b", "--cosign-signatures"),
                    *("--to-tag", "stable", "--lock-output", folder / "lock.yml", "--format", "json", *more),
                )
                assert done.returncode == 0, done.stderr
                tags = imgpkg("tag", "list", "-i", f"{address}/to/b", "--imgpkg-internal-tags", "--digests")
            lock = (folder / "lock.yml").read_text()
            found.append((stored(folder / "data"), tags.stdout, lock, done.stderr))
            documents.append(checked(json.loads(done.stdout), "copy"))
        assert found[1] == found[0]
        plain, by_processes = documents
        # Four images, an index, two signatures, two bundles; their names by digest, those of cosign and that
        # of the user, and two for each record of locations.
        assert (len(plain["images"]), len(found[0][1].splitlines())) == (9, 9 + 2 + 1 + 4)
        workers = by_processes.pop("workers")
        for each in documents:
            del each["seconds"]
        assert by_processes == plain
        assert {one["name"] for one in workers} <= {f"worker {number}" for number in range(4)}
        assert sum(one["blobs"]["moved"] for one in workers) == plain["blobs"]["moved"]
        assert sum(one["bytes"]["moved"] for one in workers) == plain["bytes"]["moved"]
        assert all(one["seconds"] > 0 for one in workers)

    def test_get_credentials_over_tls_if_that_is_asked_for(self, imgpkg, bundle, embedded_login):
        login = embedded_login
        arguments = (
            *("copy", "-b", bundle, "--to-repo", f"{login.address}/local/b", "--dask", "local:1"),
            *("--to-registry-username", login.username, "--to-registry-password-stdin"),
        )
        done = imgpkg(*arguments, stdin=login.password, secrets=(login.password,))
        assert done.returncode == 2
        assert "No worker finds a credential" in done.stderr
        done = imgpkg(*arguments, "--dask-send-credentials", stdin=login.password, secrets=(login.password,))
        assert done.returncode == 0, done.stderr

    def test_are_replaced_when_one_dies(self, running, bundle):
        slow = Slow(0.3)
        with serve(faults=slow) as there:
            process = running("copy", "-b", bundle, "--to-repo", f"{there.address}/to/b", "--dask", "local:2")
            slow.wait(4)
            children(process)[0].kill()
            assert process.wait(60) == 0, process.output.read_text()
            assert len(set(written(there))) == BLOBS + RECORD

    def test_end_with_ctrl_c(self, running, bundle):
        slow = Slow(20)
        with serve(faults=slow) as there:
            process = running("copy", "-b", bundle, "--to-repo", f"{there.address}/to/b", "--dask", "local:2")
            slow.wait(2)
            # The whole group, as from a terminal.
            os.killpg(process.pid, signal.SIGINT)
            assert process.wait(15) == 130, process.output.read_text()
            text = process.output.read_text()
            assert "interrupted" in text
            assert "Traceback" not in text
            with pytest.raises(ProcessLookupError):
                wait_for_group(process.pid)
            assert manifests(there) == []

    @pytest.mark.parametrize("seconds", [1.0, 1.5, 2.0, 3.0])
    def test_end_with_ctrl_c_while_they_start(self, seconds, running):
        """The registry says nothing: the copy does not end before them."""
        with socket.create_server(("127.0.0.1", 0)) as silent:
            host = f"127.0.0.1:{silent.getsockname()[1]}"
            process = running(
                *("copy", "-i", f"{host}/app/image", "--to-repo", f"{host}/to/image", "--dask", "local:2")
            )
            time.sleep(seconds)
            os.killpg(process.pid, signal.SIGINT)
            assert process.wait(20) == 130
        lines = process.output.read_text().splitlines()
        assert [line for line in lines if not line.startswith("imgpkg: warning: ")] == [
            "imgpkg: Error: interrupted"
        ]
        with pytest.raises(ProcessLookupError):
            wait_for_group(process.pid)


def children(process):
    """Return the processes that `multiprocessing` has started below another one."""
    found = psutil.Process(process.pid).children(recursive=True)
    return [child for child in found if "spawn_main" in " ".join(child.cmdline())]


def wait_for_group(group):
    """Raise ProcessLookupError as soon as no process of the group is left."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        os.killpg(group, 0)
        time.sleep(0.05)


class TestTheDeathOf:
    def test_a_worker_is_made_good_by_the_others(self, cluster, imgpkg, running, bundle, open_session):
        cluster.add("one", "other")
        slow = Slow(0.3)
        with serve() as plain, serve(faults=slow) as there:
            process = running(
                *("copy", "-b", bundle, "--to-repo", f"{there.address}/to/b"), "--dask", cluster.address
            )
            slow.wait(6)
            end(cluster.workers["one"])
            assert process.wait(90) == 0, process.output.read_text()
            done = imgpkg("copy", "-b", bundle, "--to-repo", f"{plain.address}/to/b")
            assert done.returncode == 0
            session = open_session()
            assert content(session, f"{plain.address}/to/b") == content(session, f"{there.address}/to/b")
            assert set(written(there)) == set(written(plain))
            # Of each thread that died, what it was sending, and a small blob whose end it had not told yet.
            assert len(written(there)) <= len(written(plain)) + 4

    def test_the_scheduler_ends_the_copy_and_the_next_one_goes_on(
        self, cluster, imgpkg, running, bundle, open_session
    ):
        cluster.add("one")
        slow = Slow(0.3)
        with serve(faults=slow) as there:
            arguments = ("copy", "-b", bundle, "--to-repo", f"{there.address}/to/b")
            process = running(*arguments, "--dask", cluster.address)
            slow.wait(6)
            end(cluster.scheduler)
            assert process.wait(20) == 1
            text = process.output.read_text()
            assert f"the Dask cluster at {cluster.address} failed: the scheduler was lost" in text
            assert "hint: Begin the same copy again" in text
            assert "Traceback" not in text
            assert manifests(there) == []
            slow.delay = 0
            again = imgpkg(*arguments)
            assert again.returncode == 0, again.stderr
            assert len(set(written(there))) == BLOBS + RECORD

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_the_client_ends_the_work_everywhere(self, number, cluster, imgpkg, running, bundle):
        cluster.add("one", "other")
        slow = Slow(3)
        with serve(faults=slow) as there:
            arguments = (
                "copy",
                "-b",
                bundle,
                "--to-repo",
                f"{there.address}/to/b",
                "--dask",
                cluster.address,
            )
            process = running(*arguments)
            slow.wait(4)
            process.send_signal(number)
            assert process.wait(15) == 128 + number, process.output.read_text()
            begun = slow.begun
            time.sleep(4)
            assert slow.begun == begun, "a worker has gone on"
            slow.delay = 0
            again = imgpkg(*arguments)
            assert again.returncode == 0, again.stderr
            assert len(set(written(there))) == BLOBS + RECORD
            assert len(written(there)) <= BLOBS + RECORD + 4

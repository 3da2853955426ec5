"""A task that is cancelled ends within a second, whatever its threads wait for, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time

import pytest
from tests.aio.conftest import lasting_threads, open_sockets
from tests.operations.making import make_bundle, make_image
from tests.servers.raw import RawServer
from tests.servers.stalling import BODY, HEADERS, PAUSE, UPLOAD, StallingProxy

import imgpkg
import imgpkg.aio
from imgpkg.aio.calls import call, iterate, opened

BLOB, MANIFEST = r"/blobs/sha256", r"/manifests/"


@pytest.fixture(scope="module")
def bundle(docker_registry, tmp_path_factory):
    """A bundle of three images, in a registry that is a process of its own."""
    host = f"{docker_registry.address}/aio-cancelled"
    with imgpkg.Session() as session:
        images = {
            make_image(session, f"{host}/image{n}", [os.urandom(40_000).hex(), f"{n}"]): {} for n in range(3)
        }
        return str(make_bundle(session, f"{host}/bundle:v1", images, tmp_path_factory.mktemp("b") / "in"))


def begin(verb, bundle, session, tmp_path):
    """Begin a verb whose registry falls silent."""
    aio, source, name = imgpkg.aio, imgpkg.CopySource(bundle=bundle), bundle.partition("@")[0]
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "file").write_bytes(os.urandom(4 << 20))
    verbs = {
        "resolve": lambda: aio.resolve(bundle, session=session),
        "list_tags": lambda: aio.list_tags(bundle, session=session, digests=True),
        "tags": lambda: aio.list_tags(bundle, session=session),
        "describe": lambda: aio.describe(bundle, session=session),
        "pull": lambda: aio.pull(tmp_path / "out", bundle=bundle, session=session),
        "copy_to_tar": lambda: aio.copy(source, to_tar=tmp_path / "bundle.tar", session=session),
        "copy_to_repo": lambda: aio.copy(source, to_repo=f"{name}-copy", session=session),
        "push": lambda: aio.push([tmp_path / "in"], image=f"{name}-pushed:v1", session=session),
    }
    return verbs[verb]()


async def until(condition):
    """Wait for something that says nothing when it happens, for at most five seconds."""
    end = time.monotonic() + 5
    while not condition() and time.monotonic() < end:  # noqa: ASYNC110
        await asyncio.sleep(0.01)


CASES = [
    ("resolve", HEADERS, "HEAD", MANIFEST),
    ("tags", PAUSE, "GET", "/tags/list"),
    ("list_tags", HEADERS, "HEAD", MANIFEST),
    ("describe", HEADERS, "GET", MANIFEST),
    ("describe", BODY, "GET", BLOB),
    ("pull", BODY, "GET", BLOB),
    ("copy_to_tar", BODY, "GET", BLOB),
    ("copy_to_repo", HEADERS, "POST", "/blobs/uploads/"),
    ("copy_to_repo", PAUSE, "PUT", MANIFEST),
    ("push", UPLOAD, "PUT", "/blobs/uploads/"),
]


@pytest.mark.parametrize(("verb", "stage", "method", "path"), CASES)
def test_each_wait_ends_at_once(docker_registry, bundle, tmp_path, verb, stage, method, path):
    async def work(proxy):
        async with imgpkg.aio.Session() as session:
            there = bundle.replace(docker_registry.address, proxy.address)
            task = asyncio.create_task(begin(verb, there, session, tmp_path))
            assert await asyncio.to_thread(proxy.stalled.wait, 20)
            await asyncio.sleep(0.1)
            start = time.monotonic()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            spent = time.monotonic() - start
            busy = await asyncio.to_thread(lasting_threads)
            # The other calls of the session are not affected.
            assert str(await imgpkg.aio.resolve(bundle, session=session)) == bundle
            return spent, busy

    with StallingProxy(docker_registry.address, stage, method=method, path=path) as proxy:
        spent, busy = asyncio.run(work(proxy))
    assert spent < 1
    assert busy == []
    assert {path.name for path in tmp_path.iterdir()} <= {"in", "bundle.tar.partial"}


def test_its_sockets_are_closed_when_the_task_has_ended(docker_registry, bundle):
    async def work(proxy):
        async with imgpkg.aio.Session() as session:
            before = open_sockets()
            there = bundle.replace(docker_registry.address, proxy.address)
            task = asyncio.create_task(imgpkg.aio.resolve(there, session=session))
            assert await asyncio.to_thread(proxy.stalled.wait, 20)
            # Both ends are in this process.
            await until(lambda: open_sockets() >= before + 2)
            during = open_sockets()
            task.cancel()
            await asyncio.wait((task,))
            await until(lambda: open_sockets() <= before + 1)
            return before, during, open_sockets()

    with StallingProxy(docker_registry.address, HEADERS, method="HEAD") as proxy:
        before, during, after = asyncio.run(work(proxy))
    assert during - before >= 2
    # That of the proxy, which waits for the end of the test.
    assert after - before <= 1


def test_a_time_limit_of_asyncio_ends_it(docker_registry, bundle):
    async def work(proxy):
        async with imgpkg.aio.Session() as session:
            there = bundle.replace(docker_registry.address, proxy.address)
            start = time.monotonic()
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(imgpkg.aio.resolve(there, session=session), 0.3)
            if sys.version_info >= (3, 11):
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.3):
                        await imgpkg.aio.resolve(there, session=session)
            return time.monotonic() - start

    with StallingProxy(docker_registry.address, HEADERS, method="HEAD") as proxy:
        assert asyncio.run(work(proxy)) < 1.6


def test_a_handshake_and_a_connect_end_at_once():
    """A server that accepts nothing, and one that does not answer the first message of TLS."""

    async def work(address):
        async with imgpkg.aio.Session() as session:
            task = asyncio.create_task(imgpkg.aio.resolve(f"{address}/a/b:v1", session=session))
            await asyncio.sleep(0.3)
            start = time.monotonic()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            return time.monotonic() - start

    with RawServer(lambda conversation: conversation.pause()) as server:
        assert asyncio.run(work(server.address)) < 1
    # TEST-NET-1 (RFC 5737): no host is there.
    assert asyncio.run(work("192.0.2.1:5000")) < 1


def test_a_helper_program_ends_with_it(tmp_path):
    helper, started = tmp_path / "docker-credential-slow", tmp_path / "pid"
    helper.write_text(f"#!/bin/sh\necho $$ > {started}\nexec sleep 60\n")
    helper.chmod(0o755)
    (tmp_path / "config.json").write_text('{"credsStore": "slow"}')
    environ = {"DOCKER_CONFIG": str(tmp_path), "PATH": f"{tmp_path}:{os.environ['PATH']}"}

    async def work():
        async with imgpkg.aio.Session(imgpkg.Settings(environ=environ)) as session:
            task = asyncio.create_task(imgpkg.aio.explain("registry.example.com/a/b", session=session))
            await until(lambda: started.exists() and started.read_text().strip())
            start = time.monotonic()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            return time.monotonic() - start

    assert asyncio.run(work()) < 1
    with pytest.raises(ProcessLookupError):
        os.kill(int(started.read_text()), 0)


def test_what_nothing_ends_is_left_to_its_thread():
    release = threading.Event()

    async def work():
        async with imgpkg.aio.Session() as session:
            task = asyncio.create_task(call(session, lambda _: release.wait(20)))
            await asyncio.sleep(0.1)
            start = time.monotonic()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            return time.monotonic() - start

    spent = asyncio.run(work())
    release.set()
    assert 0.9 < spent < 6


def test_one_that_is_cancelled_twice_waits_no_longer():
    release = threading.Event()

    async def work():
        async with imgpkg.aio.Session() as session:
            task = asyncio.create_task(call(session, lambda _: release.wait(20)))
            await asyncio.sleep(0.1)
            start = time.monotonic()
            for _ in range(3):
                task.cancel()
                await asyncio.sleep(0.01)
            with pytest.raises(asyncio.CancelledError):
                await task
            spent = time.monotonic() - start
            release.set()
            return spent

    assert asyncio.run(work()) < 0.5


def test_one_that_waits_for_its_turn_begins_nothing():
    release, begun = threading.Event(), []

    async def work():
        async with imgpkg.aio.Session() as session:
            others = [asyncio.create_task(call(session, lambda _: release.wait(20))) for _ in range(32)]
            await asyncio.sleep(0.05)
            task = asyncio.create_task(call(session, lambda _: begun.append(1)))
            await asyncio.sleep(0.05)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            release.set()
            await asyncio.gather(*others)

    asyncio.run(work())
    assert begun == []


@pytest.mark.parametrize("form", ["iterator", "context"])
def test_an_iterator_and_what_is_open_end_with_the_task(form, docker_registry, bundle):
    reference = imgpkg.Reference.parse(bundle)

    async def read(session, address):
        if form == "iterator":
            repository = imgpkg.Repository(address, reference.repository.path)
            async for _ in session.client.tags(repository):
                pass
        manifest = await session.client.manifest(reference)
        repository = imgpkg.Repository(address, reference.repository.path)
        async with session.client.blob(repository, manifest.layers[0]) as stream:
            await stream.read()

    async def work(proxy):
        async with imgpkg.aio.Session() as session:
            task = asyncio.create_task(read(session, proxy.address))
            assert await asyncio.to_thread(proxy.stalled.wait, 20)
            start = time.monotonic()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            return time.monotonic() - start

    path = "/tags/list" if form == "iterator" else BLOB
    with StallingProxy(docker_registry.address, BODY, path=path) as proxy:
        assert asyncio.run(work(proxy)) < 1


INTERRUPTED = """
import asyncio, sys
import imgpkg.aio

async def main(image):
    async with imgpkg.aio.Session() as session:
        await imgpkg.aio.pull("out", image=image, session=session)

asyncio.run(main(sys.argv[1]))
"""


def test_an_interrupt_of_the_program_ends_it(docker_registry, bundle, tmp_path):
    with StallingProxy(docker_registry.address, HEADERS, path=BLOB) as proxy:
        there = bundle.replace(docker_registry.address, proxy.address)
        argv = [sys.executable, "-c", INTERRUPTED, there]
        with subprocess.Popen(argv, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
            try:
                assert proxy.stalled.wait(20)
                start = time.monotonic()
                process.send_signal(signal.SIGINT)
                _, printed = process.communicate(timeout=20)
                assert time.monotonic() - start < 2
            finally:
                process.kill()
    assert printed.rstrip().endswith("KeyboardInterrupt")
    assert list(tmp_path.iterdir()) == []


def test_what_is_read_of_a_cancelled_call_raises(bundle):
    """A cancelled read ends the stream, also for a task that has caught the cancellation."""

    async def work():
        async with imgpkg.aio.Session() as session:
            hold = threading.Event()

            def slow():
                yield 1
                hold.wait(0.5)
                yield 2

            found = iterate(session, lambda _: slow())
            assert await anext(found) == 1
            task = asyncio.ensure_future(anext(found))
            await asyncio.sleep(0.05)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert [each async for each in found] == []

    asyncio.run(work())


def test_what_is_opened_too_late_is_closed_again():
    closed = []

    class Slow:
        def __enter__(self):
            time.sleep(0.3)
            return self

        def __exit__(self, *_):
            closed.append(1)

    async def work():
        async with imgpkg.aio.Session() as session:

            async def use():
                async with opened(session, lambda _: Slow(), lambda _, shown: shown):
                    pytest.fail("it was cancelled before")

            task = asyncio.create_task(use())
            await asyncio.sleep(0.1)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(work())
    assert closed == [1]

"""Operations with a time limit, and with a token, where servers and programs stall: what is left of them."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from tests.servers.raw import RawServer
from tests.transport.test_connection_waits import deaf_listener, mute

import imgpkg
from imgpkg import CancelToken, errors
from imgpkg.testing import faults, make_image, serve

LIMIT = 0.4
# After the limit.
SOON = 1.0
# Where there is one attempt only, on a machine that does other things.
LATE = 5.0
SETTINGS = imgpkg.Settings(concurrency=2)
IMAGE = "team/app:v1"
# Twice as much is more than the buffers of two sockets.
LARGE = os.urandom(1 << 20) * 6


class Stall:
    """Something that stalls: `act` runs into it, within its `session`."""

    def __init__(self, stack, folder):
        self.stack = stack
        self.folder = folder
        self.registry = None
        self.session = None

    def open(self, **options):
        self.registry = self.stack.enter_context(serve(**options))
        self.registry.add(IMAGE, make_image({"etc/large": LARGE}))
        self.session = self.stack.enter_context(self.registry.session(retry_count=5))
        return f"{self.registry.address}/{IMAGE}"

    def resolve(self, image, **limits):
        session = self.session or self.stack.enter_context(imgpkg.Session(SETTINGS))
        return imgpkg.resolve(image, session=session, **limits)


def connect(stall):
    address = stall.stack.enter_context(deaf_listener())
    return lambda **limits: stall.resolve(f"{address}/{IMAGE}", **limits)


def handshake(stall):
    server = stall.stack.enter_context(RawServer(mute))
    return lambda **limits: stall.resolve(f"{server.address}/{IMAGE}", **limits)


def header(stall):
    image = stall.open()
    stall.registry.fail(faults.stalled(), path="/manifests/", times=None)
    return lambda **limits: stall.resolve(image, **limits)


def body(stall):
    image = stall.open()
    stall.registry.fail(faults.stalled(after=70_000), path="/blobs/", times=None)
    return lambda **limits: imgpkg.pull(stall.folder / "out", image=image, session=stall.session, **limits)


def body_of_a_copy(stall):
    image = stall.open()
    stall.registry.fail(faults.stalled(after=70_000), path="/blobs/", times=None)
    source, tar = imgpkg.CopySource(image=image), stall.folder / "copy.tar"
    return lambda **limits: imgpkg.copy(source, to_tar=tar, session=stall.session, **limits)


def body_of_a_stream(stall):
    image = stall.open()
    stall.registry.fail(faults.stalled(after=70_000), path="/blobs/", times=None)
    source = imgpkg.CopySource(image=image)
    return lambda **limits: imgpkg.copy_to_stream(source, io.BytesIO(), session=stall.session, **limits)


def upload(stall):
    stall.open()
    stall.registry.fail(faults.stalled(), path="/blobs/uploads/.", times=None)
    (stall.folder / "in").mkdir()
    (stall.folder / "in" / "file").write_bytes(LARGE + LARGE)
    to = f"{stall.registry.address}/team/pushed:v1"
    return lambda **limits: imgpkg.push([stall.folder / "in"], image=to, session=stall.session, **limits)


def upload_of_a_copy(stall):
    image = stall.open()
    stall.registry.fail(faults.stalled(), path="/team/copied/blobs/uploads/", times=None)
    source, to = imgpkg.CopySource(image=image), f"{stall.registry.address}/team/copied"
    return lambda **limits: imgpkg.copy(source, to_repo=to, session=stall.session, **limits)


def token_service(stall):
    image = stall.open(login=("ci", "secret"), token_service=True)
    stall.registry.fail(faults.stalled(), path="/token", times=None)
    return lambda **limits: stall.resolve(image, **limits)


def helper(stall):
    image = stall.open(login=("ci", "secret"))
    program = stall.folder / "docker-credential-slow"
    program.write_text("#!/bin/sh\nsleep 600 &\nsleep 600\n")
    program.chmod(0o755)
    (stall.folder / "config.json").write_text(f'{{"credHelpers": {{"{stall.registry.address}": "slow"}}}}')
    environ = {"DOCKER_CONFIG": str(stall.folder), "PATH": f"{stall.folder}:/usr/bin:/bin"}
    stall.session = stall.stack.enter_context(imgpkg.Session(imgpkg.Settings(environ=environ)))
    return lambda **limits: stall.resolve(image, **limits)


def keychain(stall):
    api = stall.stack.enter_context(RawServer(mute))
    environ = {
        "IMGPKG_ACTIVE_KEYCHAINS": "ecr",
        "AWS_ACCESS_KEY_ID": "a",
        "AWS_SECRET_ACCESS_KEY": "b",
        "AWS_ENDPOINT_URL_ECR": api.url,
    }
    stall.session = stall.stack.enter_context(imgpkg.Session(imgpkg.Settings(environ=environ)))
    image = "123456789012.dkr.ecr.eu-west-1.amazonaws.com/team/app"
    return lambda **limits: imgpkg.explain(image, session=stall.session, **limits)


def pause(stall):
    image = stall.open()
    stall.registry.fail(faults.too_many_requests(retry_after=50), path="/manifests/", times=None)
    return lambda **limits: stall.resolve(image, **limits)


def another_first_request(stall):
    image = stall.open()
    stall.registry.fail(faults.stalled(), path="/manifests/", times=None)
    in_the_way(stall, lambda: stall.resolve(image))
    stall.registry.wait_for_request(path="/manifests/")
    return lambda **limits: stall.resolve(image, **limits)


def connection_of_others(stall):
    image = stall.open()
    stall.session = stall.stack.enter_context(stall.registry.session(concurrency=1))
    stall.resolve(image)
    stall.registry.forget_requests()
    stall.registry.fail(faults.stalled(), path="/manifests/", times=None)
    in_the_way(stall, lambda: stall.resolve(image))
    stall.registry.wait_for_request(path="/manifests/")
    return lambda **limits: stall.resolve(image, **limits)


def in_the_way(stall, act):
    """Do it in a thread until the end of the test."""

    def run():
        with contextlib.suppress(errors.Cancelled):
            act()

    thread = threading.Thread(target=run)
    thread.start()
    stall.stack.callback(thread.join)
    stall.stack.callback(stall.session.stop)


WAITED_FOR = {
    connect: ": no connection",
    handshake: ": no TLS handshake",
    header: "/manifests/v1: no response",
    body: ": no data received",
    body_of_a_copy: ": no data received",
    body_of_a_stream: ": no data received",
    upload: ": no data accepted",
    upload_of_a_copy: ": no ",
    token_service: "/token?",
    helper: "docker-credential-slow",
    keychain: "keychain ecr",
    pause: "a pause of 50.0 s before the next attempt",
    another_first_request: "what another thread has begun",
    connection_of_others: "a connection to 127.0.0.1, all are in use",
}


@pytest.fixture
def stall(tmp_path):
    with contextlib.ExitStack() as stack:
        yield Stall(stack, tmp_path)


def sockets():
    """List the ends of connections of this process that a client has opened, of any state."""
    found = set()
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            target = os.readlink(f"/proc/self/fd/{name}")
            if target.startswith("socket:"):
                found.add(target)
    return found


def children():
    tasks = Path("/proc/self/task").glob("*/children")
    return {child for task in tasks for child in task.read_text().split()}


def workers():
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("imgpkg-")]


def files(folder):
    return {str(path) for path in Path(folder).rglob("*")}


def after_a_while(look, wanted):
    """Return what is seen at last: threads of the test's server end a little later."""
    end = time.monotonic() + SOON
    while (seen := look()) != wanted and time.monotonic() < end:
        time.sleep(0.02)
    return seen


def stopped(act, expected, **limits):
    start = time.monotonic()
    with pytest.raises(expected) as caught:
        act(**limits)
    return caught.value, time.monotonic() - start


def at_the_stall(place, stall, stop):
    """Stop the work once it has reached the place, later on a slow machine; look what is left."""
    act = place(stall)
    before = files(stall.folder), children(), workers()
    ends = []
    for limit in (LIMIT, 2 * LIMIT, 4 * LIMIT, 12 * LIMIT):
        error, spent = stop(act, limit)
        assert spent >= limit
        assert (files(stall.folder), children(), after_a_while(workers, before[2])) == before
        ends.append((error.waited_for, spent - limit))
        if WAITED_FOR[place] in error.waited_for and spent < limit + SOON:
            assert error.waited_for in str(error)
            return
    pytest.fail(f"it ended late or elsewhere: {ends}")


def stop_by_a_limit(act, limit):
    error, spent = stopped(act, errors.TimedOut, timeout=limit)
    assert error.seconds == limit <= error.spent <= spent
    return error, spent


def stop_by_a_token(act, limit):
    token = CancelToken()
    timer = threading.Timer(limit, token.cancel)
    timer.start()
    error, spent = stopped(act, errors.Cancelled, cancel=token)
    timer.join()
    return error, spent


@pytest.mark.parametrize("place", WAITED_FOR, ids=lambda place: place.__name__)
class TestAStall:
    def test_ends_at_the_limit_and_leaves_nothing(self, place, stall):
        at_the_stall(place, stall, stop_by_a_limit)

    @pytest.mark.slow
    def test_ends_with_a_token(self, place, stall):
        at_the_stall(place, stall, stop_by_a_token)


@pytest.mark.parametrize("place", [header, body, upload, token_service, pause], ids=lambda p: p.__name__)
def test_the_session_works_afterwards(place, stall):
    act = place(stall)
    stopped(act, errors.TimedOut, timeout=LIMIT)
    stall.registry.forget_faults()
    act(timeout=30)


@pytest.mark.parametrize("place", [connect, handshake, header, body, upload], ids=lambda p: p.__name__)
def test_no_connection_stays_open(place, stall):
    before = sockets()
    with contextlib.ExitStack() as stack:
        other = Stall(stack, stall.folder)
        error, _ = stopped(place(other), errors.TimedOut, timeout=LIMIT)
    del error
    assert after_a_while(sockets, before) == before


def test_a_pause_longer_than_a_minute_is_not_begun(stall):
    image = stall.open()
    stall.registry.fail(faults.too_many_requests(retry_after=3600), path="/manifests/")
    error, spent = stopped(lambda **limits: stall.resolve(image, **limits), errors.RegistryError, timeout=30)
    assert spent < LATE
    assert error.retry_after == 3600


def test_the_limit_of_a_session_counts_for_each_operation(stall):
    image = stall.open()
    stall.registry.fail(faults.stalled(), path="/manifests/")
    with imgpkg.Session(stall.registry.settings(), timeout=2.0) as session:
        error, spent = stopped(lambda: imgpkg.resolve(image, session=session), errors.TimedOut)
        assert spent < 2.0 + LATE
        assert str(error).startswith("resolve: not finished within 2 s")
        assert imgpkg.resolve(image, session=session).digest


def test_the_limit_of_a_block_counts_for_the_client_and_all_operations_in_it(stall):
    image = imgpkg.Reference.parse(stall.open())
    stall.registry.fail(faults.stalled(0.3), times=None, path="/manifests/")

    def act():
        with imgpkg.limits(timeout=0.8):
            for _ in range(10):
                stall.session.client.resolve(image)
                imgpkg.resolve(str(image), session=stall.session)

    _, spent = stopped(act, errors.TimedOut)
    assert 0.8 <= spent < 0.8 + LATE
    assert 1 <= len(stall.registry.requests) <= 4


def test_a_body_is_limited_where_it_is_requested_and_where_it_is_read(stall):
    reference = imgpkg.Reference.parse(stall.open())
    client = stall.session.client
    (layer,) = client.manifest(reference).layers
    stall.registry.fail(faults.stalled(after=70_000), path="/blobs/", times=None)
    with client.blob(reference.repository, layer) as stream:

        def read():
            with imgpkg.limits(timeout=LIMIT):
                stream.read()

        error, spent = stopped(read, errors.TimedOut)
    assert (spent < LIMIT + LATE, error.waited_for.endswith(": no data received")) == (True, True)
    with contextlib.ExitStack() as stack:
        with imgpkg.limits(timeout=2.0):
            stream = stack.enter_context(client.blob(reference.repository, layer))
        _, spent = stopped(stream.read, errors.Cancelled)
    assert spent < 2.0 + LATE


def test_the_packing_of_files_ends_too(stall):
    (stall.folder / "in").mkdir()
    for number in range(30):
        (stall.folder / "in" / str(number)).write_bytes(b"x")
    to, before = stall.folder / "out.tar", files(stall.folder)
    with imgpkg.Session() as session:

        def act(**limits):
            imgpkg.push(
                [stall.folder / "in"],
                image=f"r.invalid/{IMAGE}",
                to_tar=to,
                session=session,
                on_event=lambda _: time.sleep(0.1),
                **limits,
            )

        _, spent = stopped(act, errors.TimedOut, timeout=0.2)
    assert spent < 0.2 + LATE
    assert files(stall.folder) == before


def test_a_command_has_a_limit_too(stall):
    image = stall.open()
    stall.registry.fail(faults.stalled(after=70_000), path="/blobs/", times=None)
    command = [sys.executable, "-m", "imgpkg", "pull", "-i", image, "-o", str(stall.folder / "out")]
    for limit in ("1s", "4s", "16s"):
        done = subprocess.run(
            [*command, "--timeout", limit], env=os.environ, capture_output=True, text=True, check=False
        )
        assert done.returncode == 5
        assert f"not finished within {limit[:-1]} s" in done.stderr
        first, hint = done.stderr.splitlines()[-2:]
        assert hint.startswith("hint: Give it more time")
        assert files(stall.folder) == set()
        if first.strip().endswith(": no data received"):
            return
    pytest.fail(done.stderr)

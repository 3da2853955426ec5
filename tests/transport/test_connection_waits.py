"""Waits for a silent peer: each has a limit, is announced, and ends when its work is cancelled."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest
from tests.servers.raw import RawServer, answering

from imgpkg.cancellation import Cancellation, current, sleep
from imgpkg.deadline import limits
from imgpkg.errors import Cancelled, ConnectionTimedOut, TimedOut
from imgpkg.transport.message import Body, Request
from imgpkg.transport.pool import Pool

SOON = 1.5


class _Zeros:
    def __enter__(self):
        return self

    def __exit__(self, *exception):
        return None

    def readinto(self, buffer):
        return len(buffer)


class _Hole(_Zeros):
    """A file of zeros, which the kernel sends from there."""

    def __init__(self, path):
        path.touch()
        os.truncate(path, 1 << 30)
        self._file = path.open("rb")
        self._at = 0

    def __exit__(self, *exception):
        self._file.close()

    def file_position(self):
        return self._file.fileno(), self._at

    def readinto(self, buffer):
        self._at += len(buffer)
        return len(buffer)


@contextlib.contextmanager
def deaf_listener():
    """A port whose queue of connections is full: SYN packets get no answer."""
    with socket.socket() as listener, contextlib.ExitStack() as fillers:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(8):
            filler = fillers.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        yield f"127.0.0.1:{listener.getsockname()[1]}"


def silent(conversation):
    conversation.receive_head()
    conversation.pause()


def half(conversation):
    conversation.receive()
    conversation.respond(b"half", length=8)
    conversation.pause()


def mute(conversation):
    conversation.pause()


def no_connection(pool, stack):
    pool.send(Request("GET", f"http://{stack.enter_context(deaf_listener())}/"))


def no_handshake(pool, stack):
    server = stack.enter_context(RawServer(mute))
    pool.send(Request("GET", f"https://{server.address}/"))


def no_headers(pool, stack):
    pool.send(Request("GET", stack.enter_context(RawServer(silent)).url))


def no_body(pool, stack):
    with pool.send(Request("GET", stack.enter_context(RawServer(half)).url)) as response:
        response.read()


def no_reading(pool, stack):
    server = stack.enter_context(RawServer(silent))
    pool.send(Request("PUT", server.url, body=Body(1 << 30, _Zeros)))


def no_reading_of_a_file(pool, stack):
    server = stack.enter_context(RawServer(silent))
    folder = stack.enter_context(tempfile.TemporaryDirectory())
    pool.send(Request("PUT", server.url, body=Body(1 << 30, lambda: _Hole(Path(folder, "hole")))))


STAGES = [no_connection, no_handshake, no_headers, no_body, no_reading, no_reading_of_a_file]
WORDS = {
    no_connection: ("no connection", "i/o timeout"),
    no_handshake: ("no TLS handshake", "TLS handshake timeout"),
    no_headers: ("no response", "timeout awaiting response headers"),
    no_body: ("no data received", "read: i/o timeout"),
    no_reading: ("no data accepted", "write: i/o timeout"),
    no_reading_of_a_file: ("no data accepted", "write: i/o timeout"),
}


@pytest.fixture
def stack():
    with contextlib.ExitStack() as stack:
        yield stack


@pytest.mark.parametrize("stage", STAGES)
def test_a_long_wait_is_announced_once_and_ends_at_its_limit(stage, stack):
    said = []
    limits = {"connect_timeout": 0.6, "header_timeout": 0.6, "idle_timeout": 0.6}
    with (
        Pool(**limits, quiet_time=0.2, on_wait=said.append) as pool,
        pytest.raises(ConnectionTimedOut) as caught,
    ):
        stage(pool, stack)
    # Buffers between two sockets may take some more of a file after a pause: then there are two equal waits.
    (text,) = set(said) if stage is no_reading_of_a_file else said
    missing, reason = WORDS[stage]
    assert f": {missing} for 0 s, waiting for up to 1 s" in text
    assert text.startswith(("GET http", "PUT http"))
    assert caught.value.reason.endswith(reason)


def test_a_wait_without_a_limit_is_announced_as_one(stack):
    said = []
    with Pool(header_timeout=0, quiet_time=0.1, on_wait=said.append) as pool:
        root = Cancellation()
        with root.scope() as scope:
            threading.Timer(0.4, scope.cancel).start()
            with pytest.raises(Cancelled):
                no_headers(pool, stack)
    assert said[0].endswith("no response for 0 s, waiting without a limit")


def test_a_short_wait_is_not_announced(stack):
    said = []
    server = stack.enter_context(RawServer(answering(b"x")))
    with Pool(on_wait=said.append) as pool, pool.send(Request("GET", server.url)) as response:
        response.read()
    assert said == []


def outcome(act):
    """Run in a thread and return a function that waits for its exception and says how long that took."""
    ended = []

    def run():
        try:
            act()
        except Cancelled as error:
            ended.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()

    def wait():
        start = time.monotonic()
        thread.join(20)
        return ended, time.monotonic() - start

    return wait


class TestCancelling:
    @pytest.mark.parametrize("stage", STAGES)
    def test_a_scope_ends_what_its_threads_wait_for(self, stage, stack):
        scopes = []

        def act():
            with Cancellation().scope() as scope:
                scopes.append(scope)
                stage(pool, stack)

        with Pool() as pool:
            wait = outcome(act)
            time.sleep(0.3)
            scopes[0].cancel()
            (error,), spent = wait()
        missing = WORDS[stage][0]
        assert str(error).startswith(("the work was stopped: GET http", "the work was stopped: PUT http"))
        assert str(error).endswith(f": {missing}")
        assert error.waited_for.endswith(f": {missing}")
        assert spent < SOON

    @pytest.mark.parametrize("stage", STAGES)
    def test_a_deadline_does_so_too(self, stage, stack):
        start = time.monotonic()
        with Pool() as pool, pytest.raises(TimedOut) as caught, limits(timeout=0.3):
            stage(pool, stack)
        assert 0.3 <= time.monotonic() - start < 0.3 + SOON
        assert caught.value.waited_for.endswith(f": {WORDS[stage][0]}")

    @pytest.mark.parametrize("stage", STAGES)
    def test_the_pool_s_own_ends_every_wait_for_good(self, stage, stack):
        root = Cancellation()
        with Pool(cancellation=root) as pool:
            wait = outcome(lambda: stage(pool, stack))
            time.sleep(0.3)
            root.cancel()
            ended, spent = wait()
            with pytest.raises(Cancelled):
                pool.send(Request("GET", "http://127.0.0.1:1/"))
        assert (len(ended), spent < SOON) == (1, True)

    def test_leaves_the_connections_of_other_work_alone(self, stack):
        server = stack.enter_context(RawServer(answering(b"x" * 10)))
        with Pool() as pool:
            with Cancellation().scope() as scope:
                pool.send(Request("GET", server.url)).read()
            scope.cancel()
            pool.send(Request("GET", server.url)).read()
        assert server.connections == 1

    def test_ends_a_pause(self):
        def act():
            with Cancellation().scope() as scope:
                threading.Timer(0.1, scope.cancel).start()
                sleep(30)

        ended, spent = outcome(act)()
        assert (len(ended), spent < SOON) == (1, True)

    def test_calls_what_was_registered_while_the_block_runs(self):
        calls, root = [], Cancellation()
        with root.ending(lambda: calls.append("inner")), root.scope() as scope:
            root.cancel()
            assert scope.is_cancelled
        root.cancel()
        assert calls == ["inner"]
        with pytest.raises(Cancelled), root.ending(lambda: calls.append("late")):
            pass
        with root.scope() as late, pytest.raises(Cancelled):
            late.check()

    def test_of_a_scope_leaves_the_outer_one_alone(self):
        root = Cancellation()
        with root.scope() as scope:
            assert current() is scope
            scope.cancel()
        assert not root.is_cancelled
        assert current(root) is root


class TestFork:
    PROGRAM = """
import os, sys, threading
from imgpkg.transport.message import Request
from imgpkg.transport.pool import Pool
from tests.servers.raw import RawServer

def talk(conversation):
    while (received := conversation.receive()) is not None:
        conversation.respond(received.target.encode())

def ask(pool, url, name):
    for number in range(100):
        with pool.send(Request("GET", f"{url}/{name}/{number}")) as response:
            if response.read() != f"/{name}/{number}".encode():
                return 1
    return 0

with RawServer(talk) as server, Pool() as pool:
    ask(pool, server.url, "before")
    children = []
    for name in ("a", "b"):
        child = os.fork()
        if not child:
            os._exit(ask(pool, server.url, name))
        children.append(child)
    mixed = ask(pool, server.url, "parent")
    for child in children:
        mixed += os.waitpid(child, 0)[1]
    assert server.connections == 3, server.connections
sys.exit(mixed)
"""

    def test_each_process_gets_its_own_answers_over_connections_of_its_own(self):
        # Python 3.12 and later warn of the thread of the server, which no child uses.
        words = [sys.executable, "-W", "ignore:This process:DeprecationWarning", "-c", self.PROGRAM]
        done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
        assert (done.returncode, done.stderr) == (0, "")

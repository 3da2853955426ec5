"""How many connections one pool has to a host, and who waits for them."""

from __future__ import annotations

import gc
import threading
import time
import warnings

import pytest
from tests.servers.raw import RawServer, answering

from imgpkg.cancellation import Cancellation
from imgpkg.errors import Cancelled, ConnectionFailed
from imgpkg.transport.message import Body, Request
from imgpkg.transport.pool import Pool


def get(pool, url):
    with pool.send(Request("GET", url)) as response:
        return response.read()


def run_in_threads(act, count):
    """Call `act` in `count` threads at once and raise what one of them raises."""
    failures = []

    def run():
        try:
            act()
        except BaseException as error:  # noqa: BLE001 - compared below
            failures.append(error)

    threads = [threading.Thread(target=run) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not any(thread.is_alive() for thread in threads)
    assert failures == []


class Fetched:
    """A request body that is read from the server it is sent to."""

    def __init__(self, pool, url):
        self._response = pool.send(Request("GET", url))

    def readinto(self, buffer, /):
        return self._response.readinto(buffer)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self._response.close()


class TestTheConnectionsToOneHost:
    def test_many_threads_open_as_many_connections_as_are_allowed(self):
        def talk(conversation):
            while conversation.receive():
                time.sleep(0.02)
                conversation.respond(b"ok")

        with Pool(max_connections=2) as pool, RawServer(talk) as server:
            run_in_threads(lambda: get(pool, server.url), 8)
            assert len(server.requests) == 8
            assert server.connections == 2

    def test_each_host_has_as_many_as_are_allowed(self):
        with (
            Pool(max_connections=1) as pool,
            RawServer(answering(b"x")) as one,
            RawServer(answering(b"y")) as two,
        ):
            held = pool.send(Request("GET", one.url))
            run_in_threads(lambda: get(pool, two.url), 3)
            assert held.read() == b"x"
        assert (one.connections, two.connections) == (1, 1)

    @pytest.mark.parametrize("end", ["read", "close", "forget"])
    def test_a_connection_is_waited_for_until_the_response_is_read_closed_or_forgotten(self, end):
        with Pool(max_connections=1) as pool, RawServer(answering(b"x" * 100_000)) as server:
            held = [pool.send(Request("GET", server.url))]
            waiting = threading.Thread(target=get, args=(pool, server.url))
            waiting.start()
            waiting.join(0.2)
            assert len(server.requests) == 1
            match end:
                case "read":
                    held[0].read()
                case "close":
                    held[0].close()
                case _:
                    warnings.simplefilter("ignore", ResourceWarning)
                    held.clear()
                    gc.collect()
            waiting.join(5)
            assert len(server.requests) == 2
        # The scope of the pool holds the connection of a forgotten response, which nothing has closed.
        del pool
        gc.collect()

    def test_a_failure_to_connect_gives_its_turn_back(self):
        with Pool(max_connections=1) as pool:
            for _ in range(3):
                with pytest.raises(ConnectionFailed) as caught:
                    pool.send(Request("GET", "http://127.0.0.1:1/"))
            assert caught.value

    def test_a_thread_goes_on_that_needs_a_second_connection_for_its_first(self):
        with Pool(max_connections=1) as pool, RawServer(answering(b"x")) as server:
            body = Body(1, lambda: Fetched(pool, server.url))
            assert pool.send(Request("PUT", f"{server.url}/up", body=body)).read() == b"x"
            assert server.connections == 2

    def test_threads_go_on_that_all_need_a_second_connection(self):
        barrier = threading.Barrier(3)

        def nested(url):
            with pool.send(Request("GET", url)) as outer:
                barrier.wait(10)
                get(pool, url)
                outer.read()

        with Pool(max_connections=3) as pool, RawServer(answering(b"x" * 100_000)) as server:
            run_in_threads(lambda: nested(server.url), 3)
            assert len(server.requests) == 6

    def test_a_thread_that_has_a_connection_goes_on_although_the_others_wait_for_it(self):
        """As for a token, which one thread requests for all."""
        done, ready = threading.Event(), threading.Barrier(3)

        def wait(url):
            with pool.send(Request("GET", url)):
                ready.wait(10)
                done.wait(20)

        def request(url):
            with pool.send(Request("GET", url)):
                ready.wait(10)
                get(pool, url)
                done.set()

        with Pool(max_connections=3) as pool, RawServer(answering(b"x" * 100_000)) as server:
            started = time.monotonic()
            acts = iter([wait, wait, request])
            run_in_threads(lambda: next(acts)(server.url), 3)
            assert time.monotonic() - started < 5

    def test_waiting_for_a_connection_ends_when_the_work_is_stopped(self):
        cancellation = Cancellation()
        with (
            Pool(max_connections=1, cancellation=cancellation) as pool,
            RawServer(answering(b"x" * 9)) as server,
            pool.send(Request("GET", server.url)),
        ):
            failures = []

            def ask():
                try:
                    get(pool, server.url)
                except Cancelled as error:
                    failures.append(error)

            thread = threading.Thread(target=ask)
            thread.start()
            thread.join(0.2)
            cancellation.cancel()
            thread.join(5)
            assert len(failures) == 1

"""How many connections one pool has to a host, and who waits for them."""

from __future__ import annotations

import gc
import threading
import time

import pytest
from tests.servers.raw import RawServer, answering

from imgpkg.cancellation import Cancellation, Permits
from imgpkg.errors import Cancelled, CertificateRejected, ConnectionFailed
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
                    held.clear()
                    gc.collect()
            waiting.join(5)
            assert len(server.requests) == 2

    def test_a_forgotten_response_leaves_no_open_connection(self):
        def talk(conversation):
            conversation.receive()
            conversation.respond(b"half", length=8)
            ended.append(conversation.sock.recv(1))
            left.set()

        ended, left = [], threading.Event()
        with Pool() as pool, RawServer(talk) as server:
            pool.send(Request("GET", server.url))
            gc.collect()
            assert left.wait(5)
        assert ended == [b""]

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


class TestConnectionsThatAreExpected:
    """The handshakes of further connections take no time of their own."""

    def until(self, condition):
        end = time.monotonic() + 10
        while not condition() and time.monotonic() < end:
            time.sleep(0.01)
        return condition()

    def ask(self, pool, server):
        return pool.send(Request("GET", server.url, to_registry=True)).read()

    @pytest.mark.parametrize(("expected", "connections"), [(3, 3), (9, 4), (1, 1), (0, 1)])
    def test_are_opened_with_the_first_one(self, expected, connections):
        with Pool(max_connections=4) as pool, RawServer(answering(b"x")) as server:
            pool.expect(server.address, expected)
            self.ask(pool, server)
            assert self.until(lambda: server.connections == connections)
            run_in_threads(lambda: self.ask(pool, server), 4)
            time.sleep(0.1)
            assert server.connections <= 4
            # Without a request they send nothing.
            assert len(server.requests) == 5

    def test_are_opened_once(self):
        with (
            Pool(max_connections=4) as pool,
            RawServer(answering(b"x", headers=[("Connection", "close")])) as server,
        ):
            pool.expect(server.address, 2)
            for _ in range(4):
                self.ask(pool, server)
            # One of them takes the place of a connection that a later request would have opened.
            assert self.until(lambda: server.connections in (4, 5))

    def test_are_for_registries_only(self):
        with Pool(max_connections=4) as pool, RawServer(answering(b"x")) as server:
            pool.expect(server.address, 4)
            get(pool, server.url)
            time.sleep(0.1)
            assert server.connections == 1

    def test_are_ready_for_tls(self, authority):
        with (
            Pool(max_connections=3, ca_cert_paths=[authority.path]) as pool,
            RawServer(answering(b"x"), context=authority.context()) as server,
        ):
            pool.expect(server.address, 3)
            self.ask(pool, server)
            assert self.until(lambda: server.connections == 3)
            # What the server sends after the handshakes has come.
            time.sleep(0.2)
            run_in_threads(lambda: self.ask(pool, server), 3)
            assert server.connections == 3

    def test_are_not_opened_to_a_server_whose_certificate_is_rejected(self, authority):
        with (
            Pool(max_connections=4) as pool,
            RawServer(answering(b"x"), context=authority.context()) as server,
        ):
            pool.expect(server.address, 4)
            with pytest.raises(CertificateRejected):
                self.ask(pool, server)
            time.sleep(0.1)
            assert server.connections == 1

    def test_may_fail_without_a_word(self):
        """A server that hangs up on all but the first."""

        def talk(conversation):
            if conversation.number == 1:
                answering(b"x")(conversation)
            conversation.reset()

        with Pool(max_connections=3) as pool, RawServer(talk) as server:
            pool.expect(server.address, 3)
            assert self.ask(pool, server) == b"x"
            assert self.until(lambda: server.connections == 3)
            time.sleep(0.1)
            assert self.ask(pool, server) == b"x"


class TestPermits:
    def test_are_given_in_the_order_in_which_they_were_asked_for(self):
        permits, scope, order, threads = Permits(1), Cancellation(), [], []
        held = permits.enter("host", scope)

        def wait(number):
            permit = permits.enter("host", scope)
            order.append(number)
            permit.leave()

        for number in range(8):
            threads.append(threading.Thread(target=wait, args=(number,)))
            threads[-1].start()
            # Long enough to be the next in the queue.
            time.sleep(0.02)
        held.leave()
        for thread in threads:
            thread.join(10)
        assert order == list(range(8))

    def test_are_not_given_unasked_while_somebody_waits(self):
        permits = Permits(1)
        free = permits.try_enter("host")
        assert free is not None
        assert permits.try_enter("host") is None
        assert permits.try_enter("another host") is not None
        free.leave()
        assert permits.try_enter("host") is not None

    def test_pass_by_a_thread_that_was_cancelled(self):
        permits, scope, done = Permits(1), Cancellation(), threading.Event()
        held = permits.enter("host", Cancellation())

        def give_up():
            with pytest.raises(Cancelled):
                permits.enter("host", scope)

        def wait():
            permits.enter("host", Cancellation()).leave()
            done.set()

        threads = [threading.Thread(target=act) for act in (give_up, wait)]
        for thread in threads:
            thread.start()
            time.sleep(0.05)
        scope.cancel()
        threads[0].join(5)
        held.leave()
        assert done.wait(5)
        threads[1].join(5)

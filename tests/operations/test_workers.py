"""Several workers on one job: order, the first failure, and workers that nothing can end."""

from __future__ import annotations

import threading
import time

import pytest
from tests.operations.making import make_image
from tests.servers.stalling import BODY, StallingProxy

from imgpkg import copy_to_tar
from imgpkg.cancellation import current
from imgpkg.errors import Cancelled, NotFound
from imgpkg.events import BlobStarted
from imgpkg.operations.copy.values import CopySource
from imgpkg.operations.workers import Task, open_workers

SOON = 2.0


def missing():
    return NotFound("no", method="GET", url="u", status=404)


class TestWork:
    def test_passes_no_more_events_to_the_hook_after_a_failure(self, session):
        def act(number):
            if number == 0:
                raise missing()
            while True:
                workers.on_event(number)

        with open_workers(session, 2, lambda event: None) as workers, pytest.raises(NotFound):
            workers.map(act, [0, 1])
        with pytest.raises(Cancelled):
            workers.on_event("late")

    def test_returns_the_results_in_order(self, session):
        with open_workers(session, 3) as workers:
            assert workers.map(lambda number: number * number, range(10)) == [n * n for n in range(10)]

    def test_does_one_thing_in_the_calling_thread(self, session):
        with open_workers(session, 3) as workers:
            assert workers.map(lambda _: threading.current_thread(), [1]) == [threading.current_thread()]

    def test_one_at_a_time_needs_no_other_thread(self, session):
        with open_workers(session, 0) as workers:
            assert set(workers.map(lambda _: threading.get_ident(), range(3))) == {threading.get_ident()}

    def test_raises_what_fails_first_not_what_stands_first(self, session):
        def act(number):
            if number == 0:
                current().sleep(30)
            raise missing()

        start = time.monotonic()
        with open_workers(session, 2) as workers, pytest.raises(NotFound):
            workers.map(act, [0, 1])
        assert time.monotonic() - start < SOON / 2

    def test_says_that_no_thread_can_be_started(self, session):
        before = threading.stack_size(1 << 47)
        try:
            with (
                open_workers(session, 3) as workers,
                pytest.raises(RuntimeError, match="can't start new thread"),
            ):
                workers.map(lambda number: number, range(3))
        finally:
            threading.stack_size(before)

    def test_leaves_a_worker_behind_that_nothing_can_end(self, session):
        free = threading.Event()

        def act(number):
            if number:
                raise missing()
            free.wait(30)

        start = time.monotonic()
        with open_workers(session, 2) as workers, pytest.raises(NotFound):
            workers.map(act, [0, 1])
        assert time.monotonic() - start < SOON
        free.set()

    def test_ends_when_the_session_is_stopped(self, session):
        threading.Timer(0.2, session.stop).start()
        start = time.monotonic()
        with open_workers(session, 2) as workers, pytest.raises(Cancelled):
            workers.map(lambda _: current().sleep(30), [0, 1])
        assert time.monotonic() - start < SOON


def test_a_hook_that_cancels_ends_a_copy_whose_workers_wait(embedded_registry, open_session, tmp_path):
    image = make_image(open_session(), f"{embedded_registry.address}/cancelled/app", ["a" * 5000, "b"])
    large = open_session().client.manifest(image).layers[0].digest
    with StallingProxy(embedded_registry.address, BODY, path=f"/blobs/{large}") as proxy:
        started = []

        def hook(event):
            if isinstance(event, BlobStarted):
                started.append(event)
            if len(started) == 2:
                raise Cancelled

        source = CopySource(image=str(image).replace(embedded_registry.address, proxy.address))
        start = time.monotonic()
        with pytest.raises(Cancelled):
            copy_to_tar(source, tmp_path / "x.tar", session=open_session(), on_event=hook)
        assert time.monotonic() - start < SOON
    assert not (tmp_path / "x.tar").exists()


class TestTasks:
    def test_wait_for_those_that_they_name(self, session):
        order, gate = [], threading.Event()

        def slow():
            gate.wait(10)
            order.append("slow")

        def quick():
            order.append("quick")
            gate.set()

        tasks = [
            Task("slow", slow),
            Task("quick", quick),
            Task("last", lambda: order.append("last"), ("quick", "slow")),
        ]
        with open_workers(session, 4) as workers:
            workers.take(tasks)
        assert order == ["quick", "slow", "last"]

    def test_are_made_while_they_are_taken(self, session):
        """A million of them need no memory."""
        made, done, ahead = 0, 0, 0

        def act():
            nonlocal done
            done += 1

        def series():
            nonlocal made, ahead
            for number in range(100):
                made += 1
                ahead = max(ahead, made - done)
                yield Task(number, act, (number - 1,))

        with open_workers(session, 3) as workers:
            workers.take(series())
        assert (made, done) == (100, 100)
        # Those of each thread, and those that were made to see how many threads are of use.
        assert ahead <= 6

    def test_do_not_wait_for_what_is_no_task(self, session):
        order = []
        with open_workers(session, 2) as workers:
            workers.take([Task(n, lambda n=n: order.append(n), ("elsewhere",)) for n in range(3)])
        assert sorted(order) == [0, 1, 2]

    @pytest.mark.parametrize("jobs", [1, 3])
    def test_end_when_what_they_wait_for_fails(self, session, jobs):
        def fail():
            time.sleep(0.1)
            raise missing()

        never = Task("never", lambda: pytest.fail("it was not there"), ("fails",))
        with open_workers(session, jobs) as workers, pytest.raises(NotFound):
            workers.take([Task("fails", fail), never])


class TestWorkBesideOtherWork:
    def test_gives_its_result_when_it_is_asked_for(self, session):
        begun = threading.Event()
        with open_workers(session, 2) as workers:
            result = workers.start(lambda: begun.set() or "done")
            assert begun.wait(10)
            assert result() == "done"

    def test_raises_its_failure_when_it_is_asked_for(self, session):
        def fail():
            raise missing()

        with open_workers(session, 2) as workers:
            result = workers.start(fail)
            with pytest.raises(NotFound):
                result()

    def test_needs_no_thread_where_there_is_one_job(self, session):
        with open_workers(session, 1) as workers:
            assert workers.start(threading.current_thread)() is threading.current_thread()

    def test_ends_with_a_failure_of_other_work(self, session):
        ended = threading.Event()

        def forever():
            try:
                current().sleep(30)
            finally:
                ended.set()

        def fails():
            with open_workers(session, 2) as workers:
                workers.start(forever)
                raise missing()

        with pytest.raises(NotFound):
            fails()
        assert ended.wait(SOON)

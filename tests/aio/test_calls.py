"""Calls of coroutines: the loop goes on meanwhile, and a cancellation ends everything within a second."""

from __future__ import annotations

import asyncio
import contextvars
import os
import threading
import time

import pytest
from tests.aio.conftest import run
from tests.operations.making import make_image
from tests.servers.stalling import HEADERS, StallingProxy

import imgpkg
import imgpkg.aio
from imgpkg.aio.calls import Call, iterate, opened

MIB = 1 << 20


@pytest.fixture(scope="module")
def large(docker_registry):
    """An image with layers of 9 MiB, in a registry that is a process of its own."""
    layers = [{f"file{n}": os.urandom(3 * MIB)} for n in range(3)]
    with imgpkg.Session() as session:
        return str(make_image(session, f"{docker_registry.address}/aio/large", layers, tag="v1"))


class Pauses:
    """The longest time in which the loop did not come to a task that only wants to run."""

    def __init__(self):
        self.longest = 0.0

    async def __aenter__(self):
        self._task = asyncio.create_task(self._watch())
        await asyncio.sleep(0)
        return self

    async def __aexit__(self, *_):
        self._task.cancel()

    async def _watch(self):
        while True:
            start = time.monotonic()
            await asyncio.sleep(0.001)
            self.longest = max(self.longest, time.monotonic() - start - 0.001)


def test_the_loop_goes_on_while_an_image_is_copied(docker_registry, large, reverse_proxy):
    """Through a proxy that takes its time: whatever else runs here, a blocking call would take all of it."""

    async def work(session):
        there = reverse_proxy(docker_registry.address, latency=0.2).address
        source = imgpkg.CopySource(image=large.replace(docker_registry.address, there))
        async with Pauses() as pauses:
            start = time.monotonic()
            await imgpkg.aio.copy(source, to_repo=f"{there}/aio/copied", session=session)
            return pauses.longest, time.monotonic() - start

    longest, whole = run(work)
    print(f"the loop paused for {1000 * longest:.0f} ms at most, in {whole:.1f} s")
    assert whole > 0.8
    assert longest < whole / 2


def test_the_loop_goes_on_while_a_registry_is_silent(docker_registry, large):
    async def work(session):
        async with Pauses() as pauses:
            with StallingProxy(docker_registry.address, HEADERS, method="HEAD") as proxy:
                name = large.replace(docker_registry.address, proxy.address)
                with pytest.raises(asyncio.TimeoutError):
                    await asyncio.wait_for(imgpkg.aio.resolve(name, session=session), 1.5)
            return pauses.longest

    assert run(work) < 1


class TestHooks:
    def test_are_called_in_the_loop_and_in_the_context_of_the_task(self, large, tmp_path):
        variable = contextvars.ContextVar("variable", default="none")
        seen, homes = [], []

        def hear(event):
            seen.append(event)
            homes.append((threading.get_ident(), variable.get()))

        async def work(session):
            variable.set("of the task")
            await imgpkg.aio.pull(tmp_path / "out", image=large, session=session, on_event=hear)
            # Before the result is returned, everything has been heard.
            return threading.get_ident(), len(seen)

        home, count = run(work)
        assert set(homes) == {(home, "of the task")}
        assert count == len(seen)
        advanced = sum(event.count for event in seen if isinstance(event, imgpkg.BlobAdvanced))
        assert advanced > 9 * MIB

    def test_of_prune_hear_each_result(self, embedded_registry, session):
        where = f"{embedded_registry.address}/aio/pruned"
        make_image(session, where, ["old"], tag="old")
        make_image(session, where, ["kept"], tag="v1")
        heard = []

        async def work(session):
            plan = await imgpkg.aio.prune_plan(where, keep=["v1"], session=session)
            return await imgpkg.aio.prune(plan, session=session, on_result=heard.append)

        assert run(work).manifests == tuple(heard)
        assert len(heard) == 1

    def test_that_raise_end_the_call_which_raises_the_same(self, large, tmp_path):
        def hear(event):
            if isinstance(event, imgpkg.BlobAdvanced):
                raise ZeroDivisionError

        async def work(session):
            with pytest.raises(ZeroDivisionError):
                await imgpkg.aio.pull(tmp_path / "out", image=large, session=session, on_event=hear)
            # The session is as good as new.
            return await imgpkg.aio.resolve(large, session=session)

        assert str(run(work)) == large
        assert not (tmp_path / "out").exists()

    def test_that_raise_cancelled_end_it_as_in_the_blocking_function(self, large, tmp_path):
        def hear(_event):
            raise imgpkg.errors.Cancelled

        async def work(session):
            with pytest.raises(imgpkg.errors.Cancelled):
                await imgpkg.aio.pull(tmp_path / "out", image=large, session=session, on_event=hear)

        run(work)

    def test_that_are_coroutines_are_refused(self, large, tmp_path):
        async def hear(_event):
            pass

        async def work(session):
            with pytest.raises(imgpkg.errors.UsageError, match="progress"):
                await imgpkg.aio.pull(tmp_path / "out", image=large, session=session, on_event=hear)

        run(work)

    def test_that_are_slow_hold_threads_up_and_miss_nothing(self):
        seen = []

        def hear(number):
            seen.append(number)
            time.sleep(0.0001)

        async def work(session):
            async with Call(session) as at:
                hook = at.hook(hear)

                def report():
                    for number in range(3000):
                        hook(number)

                await at.run(report)

        run(work)
        assert seen == list(range(3000))


class TestErrors:
    def test_are_those_of_the_blocking_function(self, docker_registry):
        async def work(session):
            with pytest.raises(imgpkg.errors.NotFound) as caught:
                await imgpkg.aio.resolve(f"{docker_registry.address}/aio/nosuch:v1", session=session)
            return caught.value

        error = run(work)
        assert error.status == 404
        assert error.hints

    def test_that_no_future_takes_end_the_call_all_the_same(self):
        class Exhausted:
            name = "exhausted"

            def lookup(self, _repository):
                return next(iter(()))

        async def work():
            async with imgpkg.aio.Session(imgpkg.Settings(), sources=[Exhausted()]) as session:
                with pytest.raises(RuntimeError, match="raised StopIteration") as raised:
                    await asyncio.wait_for(imgpkg.aio.explain("r.example/a/b", session=session), 10)
                assert isinstance(raised.value.__cause__, StopIteration)

        asyncio.run(work())

    def test_of_what_needs_no_session_too(self, tmp_path):
        (tmp_path / "lock.yml").write_text("kind: ImagesLock\napiVersion: imgpkg.carvel.dev/v1alpha1\n")

        async def work():
            with pytest.raises(imgpkg.errors.LocalIOError):
                await imgpkg.aio.read_lock(tmp_path / "missing.yml")
            return await imgpkg.aio.read_lock(tmp_path / "lock.yml")

        assert asyncio.run(work()) == imgpkg.ImagesLock(())


class TestIterators:
    def test_yield_all_in_order_however_many_are_fetched_at_a_time(self):
        async def work(session):
            return [each async for each in iterate(session, lambda _: iter(range(1000)))]

        assert run(work) == list(range(1000))

    def test_fetch_no_more_than_is_asked_for_at_first(self):
        fetched = []

        def numbers():
            for number in range(1000):
                fetched.append(number)
                yield number

        async def work(session):
            found = iterate(session, lambda _: numbers())
            first = await anext(found)
            await found.aclose()
            return first

        assert run(work) == 0
        assert fetched == [0]

    def test_raise_an_error_after_what_came_before_it(self):
        def numbers():
            yield 1
            yield 2
            yield 3
            raise imgpkg.errors.UsageError("no more")

        async def work(session):
            with pytest.raises(imgpkg.errors.UsageError, match="no more"):
                _ = [each async for each in iterate(session, lambda _: numbers())]
            return [each async for each in _until_error(iterate(session, lambda _: numbers()))]

        assert run(work) == [1, 2, 3]

    def test_that_are_left_end_the_generator_in_its_thread(self):
        homes, ended = [], threading.Event()

        def numbers():
            homes.append(threading.get_ident())
            try:
                yield from range(1000)
            finally:
                homes.append(threading.get_ident())
                ended.set()

        async def work(session):
            async for _ in iterate(session, lambda _: numbers()):
                break
            # The loop ends what was left of it.
            await asyncio.to_thread(ended.wait, 20)

        run(work)
        assert len(set(homes)) == 1
        assert homes[0] != threading.get_ident()

    def test_pass_the_first_ones_on_before_the_later_ones_are_there(self):
        def numbers():
            for number in range(20):
                if number == 10:
                    time.sleep(0.6)
                yield number

        async def work(session):
            return [time.monotonic() async for _ in iterate(session, lambda _: numbers())]

        times = run(work)
        assert times[6] - times[0] < 0.6

    def test_list_the_tags_of_a_repository(self, large, docker_registry):
        async def work(session):
            repository = imgpkg.Reference.parse(large).repository
            return [name async for name in session.client.tags(repository)]

        assert run(work) == ["v1"]


async def _until_error(items):
    try:
        async for each in items:
            yield each
    except imgpkg.errors.UsageError:
        return


class Resource:
    """Something that is opened and closed, and what was seen of that."""

    def __init__(self):
        self.seen = []

    def __enter__(self):
        self.seen.append(("open", threading.get_ident()))
        return self

    def __exit__(self, kind, *_):
        self.seen.append((kind, threading.get_ident()))


class TestWhatIsOpen:
    @pytest.mark.parametrize("error", [None, KeyError, asyncio.CancelledError])
    def test_is_closed_in_its_thread_with_the_error_of_the_block(self, error):
        resource = Resource()

        async def work(session):
            async with opened(session, lambda _: resource, lambda _, shown: shown) as shown:
                assert shown is resource
                if error is not None:
                    raise error

        if error is None:
            run(work)
        else:
            with pytest.raises(error):
                run(work)
        assert [kind for kind, _ in resource.seen] == ["open", error]
        assert len({thread for _, thread in resource.seen}) == 1

    def test_raises_an_error_of_its_end(self):
        class Broken(Resource):
            def __exit__(self, *_):
                raise ValueError("broken")

        async def work(session):
            async with opened(session, lambda _: Broken(), lambda _, shown: shown):
                pass

        with pytest.raises(ValueError, match="broken"):
            run(work)

"""Progress as an asynchronous iterator: it ends with the verb, and leaving it early ends the verb."""

from __future__ import annotations

import asyncio
import os
import time

import pytest
from tests.aio.conftest import own_threads, run
from tests.operations.making import make_image
from tests.servers.stalling import BODY, StallingProxy

import imgpkg
import imgpkg.aio
from imgpkg.aio.progress import progress


@pytest.fixture(scope="module")
def image(embedded_registry):
    with imgpkg.Session() as session:
        layers = [{"file": os.urandom(2 << 20)}, {"file": os.urandom(1 << 20)}]
        return str(make_image(session, f"{embedded_registry.address}/progress/app", layers, tag="v1"))


def pulled(image, tmp_path, session, **more):
    return progress(imgpkg.aio.pull, tmp_path / "out", image=image, session=session, **more)


def moved(events):
    return sum(event.count for event in events if isinstance(event, imgpkg.BlobAdvanced))


def test_it_yields_every_event_and_then_the_result(image, tmp_path):
    heard = []

    async def work(session):
        async with pulled(image, tmp_path, session, on_event=heard.append) as running:
            seen = [event async for event in running]
            return seen, await running

    seen, result = run(work)
    assert str(result.reference) == image
    (planned,) = [event for event in seen if isinstance(event, imgpkg.Planned)]
    assert moved(seen) == moved(heard) == planned.size
    assert len([event for event in seen if isinstance(event, imgpkg.BlobFinished)]) == 2


def test_a_slow_reader_misses_no_byte(image, tmp_path):
    async def work(session):
        async with pulled(image, tmp_path, session) as running:
            result = await running
            return result, [event async for event in running]

    result, seen = run(work)
    planned = [event for event in seen if isinstance(event, imgpkg.Planned)]
    # They were summed up, one for each blob.
    assert len([event for event in seen if isinstance(event, imgpkg.BlobAdvanced)]) == 2
    assert moved(seen) == planned[0].size
    started = [type(event) for event in seen if not isinstance(event, imgpkg.Message)]
    assert started.index(imgpkg.BlobStarted) < started.index(imgpkg.BlobAdvanced)
    assert result.reference


def test_what_is_packed_is_summed_up_too_and_steps_are_the_last_ones(image, embedded_registry, tmp_path):
    (tmp_path / "in").mkdir()
    for name in "abc":
        (tmp_path / "in" / name).write_bytes(os.urandom(1 << 20))

    async def work(session):
        where = f"{embedded_registry.address}/progress/pushed:v1"
        async with progress(imgpkg.aio.push, [tmp_path / "in"], image=where, session=session) as running:
            await running
            packed = [event async for event in running]
        async with progress(imgpkg.aio.list_tags, image, digests=True, session=session) as running:
            await running
            return packed, [event async for event in running]

    packed, listed = run(work)
    assert [event.count for event in packed if isinstance(event, imgpkg.PackAdvanced)] == [3 << 20]
    assert listed == [imgpkg.StepsAdvanced("resolving", 1, 1)]


def test_an_error_of_the_verb_is_raised_where_it_is_met(image, tmp_path):
    missing = f"{image.partition('@')[0]}:nosuch"

    async def iterated(session):
        async with pulled(missing, tmp_path, session) as running:
            with pytest.raises(imgpkg.errors.NotFound):
                _ = [event async for event in running]

    async def awaited(session):
        async with pulled(missing, tmp_path, session) as running:
            with pytest.raises(imgpkg.errors.NotFound):
                await running

    async def met_by_nobody(session):
        with pytest.raises(imgpkg.errors.NotFound):
            async with pulled(missing, tmp_path, session):
                await asyncio.sleep(0.5)

    for work in (iterated, awaited, met_by_nobody):
        run(work)


def test_an_error_of_the_block_counts_more_than_one_of_the_verb(image, tmp_path):
    async def work(session):
        async with pulled(f"{image.partition('@')[0]}:nosuch", tmp_path, session):
            await asyncio.sleep(0.3)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run(work)


@pytest.mark.parametrize("way", ["break", "error", "cancelled"])
def test_leaving_it_early_ends_the_verb(way, image, embedded_registry, tmp_path):
    async def work(session, proxy):
        there = image.replace(embedded_registry.address, proxy.address)
        async with pulled(there, tmp_path, session) as running:
            async for event in running:
                if isinstance(event, imgpkg.BlobStarted):
                    break
            if way == "error":
                raise KeyError
            if way == "cancelled":
                asyncio.get_running_loop().call_later(0.2, asyncio.current_task().cancel)
                await running
        return own_threads()

    async def timed(session):
        layer = (await session.client.manifest(imgpkg.Reference.parse(image))).layers[0]
        with StallingProxy(embedded_registry.address, BODY, path=str(layer.digest)) as proxy:
            start = time.monotonic()
            task = asyncio.create_task(work(session, proxy))
            await asyncio.wait((task,))
            return task, time.monotonic() - start

    task, spent = run(timed)
    assert spent < 2
    assert not (tmp_path / "out").exists()
    if way == "break":
        assert set(task.result()) <= {"imgpkg-aio"}
    elif way == "error":
        assert isinstance(task.exception(), KeyError)
    else:
        assert task.cancelled()


def test_it_is_used_as_a_context(image, tmp_path):
    async def work(session):
        running = pulled(image, tmp_path, session)
        with pytest.raises(imgpkg.errors.UsageError, match="async with"):
            await running

    run(work)

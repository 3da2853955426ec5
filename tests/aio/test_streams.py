"""Streams of either side for the other: blobs that a task reads, and what a task writes for a copy."""

from __future__ import annotations

import asyncio
import io
import os
import time

import pytest
from tests.aio.conftest import run
from tests.operations.making import make_image

import imgpkg
import imgpkg.aio
from imgpkg.aio.calls import Call
from imgpkg.aio.streams import ThreadReader, in_loop


@pytest.fixture(scope="module")
def image(embedded_registry):
    with imgpkg.Session() as session:
        layers = [{"file": os.urandom(3 << 20)}, "small"]
        return str(make_image(session, f"{embedded_registry.address}/streams/app", layers, tag="v1"))


def tar_of(image, tmp_path):
    """Return the bytes of the tar file that a blocking copy writes."""
    with imgpkg.Session() as session:
        imgpkg.copy_to_tar(imgpkg.CopySource(image=image), tmp_path / "whole.tar", session=session)
    return (tmp_path / "whole.tar").read_bytes()


class TestABlob:
    def test_is_read_as_a_whole_in_pieces_and_in_blocks(self, image):
        async def work(session):
            reference = imgpkg.Reference.parse(image)
            manifest = await session.client.manifest(reference)
            layer = manifest.layers[0]
            async with session.client.blob(reference.repository, layer) as stream:
                assert await stream.read(0) == b""
                pieces = [await stream.read(10)]
                pieces.append(await stream.read())
                assert await stream.read() == b""
                assert await stream.read(5) == b""
            async with session.client.blob(reference.repository, layer) as stream:
                blocks = [block async for block in stream]
            assert len(blocks) > 1
            return layer, b"".join(pieces), b"".join(blocks)

        layer, pieces, blocks = run(work)
        assert pieces == blocks
        assert imgpkg.Digest.of(blocks) == layer.digest

    def test_that_is_not_there_raises_when_it_is_opened(self, image):
        async def work(session):
            reference = imgpkg.Reference.parse(image)
            missing = imgpkg.Descriptor("a/b", imgpkg.Digest.of(b"missing"), 7)
            with pytest.raises(imgpkg.errors.NotFound):
                async with session.client.blob(reference.repository, missing) as stream:
                    await stream.read()

        run(work)

    def test_cannot_be_read_after_its_end(self, image):
        async def work(session):
            reference = imgpkg.Reference.parse(image)
            manifest = await session.client.manifest(reference)
            async with session.client.blob(reference.repository, manifest.layers[0]) as stream:
                pass
            with pytest.raises(imgpkg.errors.UsageError, match="has ended"):
                await stream.read(1)

        run(work)


class Collector:
    """A stream with a coroutine `write`."""

    def __init__(self):
        self.data = b""

    async def write(self, data):
        await asyncio.sleep(0)
        self.data += data


class TestACopyIntoAStream:
    @pytest.mark.parametrize("kind", ["file", "coroutine", "stream writer"])
    def test_writes_the_bytes_of_the_tar_file(self, kind, image, tmp_path):
        async def work(session):
            source = imgpkg.CopySource(image=image)
            if kind != "stream writer":
                stream = io.BytesIO() if kind == "file" else Collector()
                await imgpkg.aio.copy_to_stream(source, stream, session=session)
                return stream.getvalue() if kind == "file" else stream.data
            received = asyncio.get_running_loop().create_future()

            async def serve(reader, writer):
                received.set_result(await reader.read())
                writer.close()

            server = await asyncio.start_server(serve, "127.0.0.1", 0)
            _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            await imgpkg.aio.copy_to_stream(source, writer, session=session)
            writer.close()
            await writer.wait_closed()
            server.close()
            return await received

        assert run(work) == tar_of(image, tmp_path)


class TestACopyFromAStream:
    @pytest.mark.parametrize("kind", ["file", "stream reader", "awaitable"])
    def test_reads_the_tar_file(self, kind, image, embedded_registry, tmp_path):
        data = tar_of(image, tmp_path)
        to = f"{embedded_registry.address}/streams/{kind.replace(' ', '-')}"

        class Awaitable:
            """A method that is no coroutine function, and returns an awaitable."""

            def __init__(self):
                self._file = io.BytesIO(data)

            def read(self, size):
                return asyncio.sleep(0, self._file.read(size))

        async def work(session):
            reader = asyncio.StreamReader()
            reader.feed_data(data)
            reader.feed_eof()
            stream = {"file": io.BytesIO(data), "stream reader": reader, "awaitable": Awaitable()}[kind]
            return await imgpkg.aio.copy_from_stream(stream, to, session=session)

        assert run(work).images[0].destination.digest == imgpkg.Reference.parse(image).digest

    def test_may_use_other_calls_of_the_session(self, image, embedded_registry, tmp_path):
        """More copies at a time than there are turns: the calls that they wait for need none."""
        tar = tmp_path / "whole.tar"
        tar_of(image, tmp_path)

        class Lines:
            def __init__(self, session):
                self._session = session
                self._file = tar.open("rb")

            async def read(self, size):
                await imgpkg.aio.explain(image, session=self._session)
                return self._file.read(max(size, 1 << 20))

        async def work(session):
            streams = [Lines(session) for _ in range(34)]
            to = f"{embedded_registry.address}/streams/nested"
            copies = [
                imgpkg.aio.copy_from_stream(each, f"{to}{n}", session=session)
                for n, each in enumerate(streams)
            ]
            try:
                return await asyncio.wait_for(asyncio.gather(*copies), 60)
            finally:
                for stream in streams:
                    stream._file.close()

        assert len(run(work)) == 34

    def test_raises_what_the_stream_raises(self, embedded_registry):
        class Broken:
            async def read(self, _size):
                raise TimeoutError("too slow")

        async def work(session):
            with pytest.raises(TimeoutError, match="too slow"):
                await imgpkg.aio.copy_from_stream(
                    Broken(), f"{embedded_registry.address}/streams/broken", session=session
                )

        run(work)

    def test_that_is_cancelled_cancels_the_reading(self, embedded_registry):
        seen = []

        class Slow:
            async def read(self, _size):
                seen.append("begun")
                try:
                    await asyncio.sleep(60)
                except asyncio.CancelledError:
                    seen.append("cancelled")
                    raise

        async def work(session):
            to = f"{embedded_registry.address}/streams/slow"
            start = time.monotonic()
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(imgpkg.aio.copy_from_stream(Slow(), to, session=session), 0.3)
            await asyncio.sleep(0)
            return time.monotonic() - start

        assert run(work) < 1.3
        assert seen == ["begun", "cancelled"]


def test_a_stream_that_is_cancelled_by_others_ends_the_call():
    async def work(session):
        async def cancelled(_value):
            raise asyncio.CancelledError

        async with Call(session) as at:
            with pytest.raises(imgpkg.errors.Cancelled, match="stream was cancelled"):
                await at.run(lambda: in_loop(at.thread, cancelled, 1))
            assert await at.run(lambda: ThreadReader(at.thread, io.BytesIO(b"ab")).read(1)) == b"a"

    run(work)

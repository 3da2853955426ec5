"""The files of an image, for coroutines."""

from __future__ import annotations

import asyncio

import pytest
from tests.aio.conftest import run
from tests.operations.making import make_image

import imgpkg
import imgpkg.aio

LAYERS = [{"etc/hostname": b"base\n", "etc/os-release": b"ID=example\n"}, {"etc/hostname": b"upper\n"}]


@pytest.fixture(scope="module")
def image(embedded_registry):
    with imgpkg.Session() as session:
        return str(make_image(session, f"{embedded_registry.address}/files/app", LAYERS, tag="v1"))


def test_one_is_read(image):
    async def work(session):
        return await imgpkg.aio.read_file(image, "etc/hostname", session=session)

    assert run(work) == b"upper\n"


def test_all_are_found_read_and_opened_while_the_image_is_open(image):
    async def work(session):
        async with imgpkg.aio.open_files(image, session=session) as files:
            assert str(files.image.reference) == image
            paths = [file.path async for file in files]
            found = await files.find("/etc/os-release")
            async with files.open(found) as stream, files.open("etc/hostname") as other:
                data = await stream.read(), await other.read(2)
            with pytest.raises(imgpkg.errors.NotInImage):
                await files.find("nosuch")
            with pytest.raises(imgpkg.errors.UnpackError):
                await files.read("etc/hostname", max_size=2)
            return paths, data, await files.read("etc/hostname")

    paths, data, hostname = run(work)
    assert sorted(paths) == ["etc/hostname", "etc/os-release"]
    assert data == (b"ID=example\n", b"up")
    assert hostname == b"upper\n"


def test_each_comes_with_its_content(image):
    async def work(session):
        found = {}
        async for file, content in imgpkg.aio.iter_files(image, session=session):
            found[file.path] = await content.read()
        return found

    assert run(work) == {"etc/hostname": b"upper\n", "etc/os-release": b"ID=example\n"}


def test_the_content_of_an_earlier_one_is_closed(image):
    async def work(session):
        files = imgpkg.aio.iter_files(image, session=session)
        _, first = await anext(files)
        await anext(files)
        with pytest.raises(ValueError, match="closed"):
            await first.read()
        await files.aclose()

    run(work)


def test_an_iterator_that_is_left_lets_the_image_be_read(image):
    async def work(session):
        async with imgpkg.aio.open_files(image, session=session) as files:
            async for _ in files:
                break
            await asyncio.sleep(0.05)
            return await files.read("etc/os-release")

    assert run(work) == b"ID=example\n"

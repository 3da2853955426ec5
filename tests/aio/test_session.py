"""A session of coroutines: hooks in the loop, calls in threads, and nothing left when it is closed."""

from __future__ import annotations

import asyncio
import gc
import threading
import time

import pytest
from tests.aio.conftest import open_sockets, own_threads
from tests.operations.making import make_image
from tests.servers.stalling import HEADERS, StallingProxy

import imgpkg
import imgpkg.aio


@pytest.fixture
def image(docker_registry, session):
    """An image in a registry that is a process of its own."""
    reference = make_image(session, f"{docker_registry.address}/aio/app", ["one", "two"], tag="v1")
    session.close()
    return str(reference)


def test_nothing_is_left_when_it_is_closed(image, tmp_path):
    async def work():
        async with imgpkg.aio.Session() as session:
            await asyncio.gather(
                *(imgpkg.aio.pull(tmp_path / str(n), image=image, session=session) for n in range(4))
            )
            assert own_threads() != []
            assert open_sockets() > before + 1
        assert own_threads() == []
        # Two of them are those of the loop itself.
        return open_sockets()

    before = open_sockets()
    inside = asyncio.run(work())
    assert open_sockets() == before
    assert inside - before <= 2


def test_one_that_is_not_closed_leaves_no_thread(image):
    async def work():
        session = imgpkg.aio.Session()
        await imgpkg.aio.resolve(image, session=session)

    asyncio.run(work())
    gc.collect()


def test_what_is_no_session_of_coroutines_is_said_to_be_none():
    async def iterate(given):
        async for _ in imgpkg.aio.iter_files("a.io/bb", session=given):
            pass

    async def work():
        source = imgpkg.CopySource(image="127.0.0.1:1/a/b")
        expected = r"Expected an imgpkg\.aio\.Session, but got imgpkg\.s"
        async with imgpkg.aio.Session() as session:
            for given in (session.blocking, session.settings):
                with pytest.raises(TypeError, match=expected):
                    await imgpkg.aio.resolve("a.io/bb", session=given)
                with pytest.raises(TypeError, match=expected):
                    await iterate(given)
                with pytest.raises(TypeError, match=expected):
                    await imgpkg.aio.open_files("a.io/bb", session=given).__aenter__()
                with pytest.raises(TypeError, match=expected):
                    await imgpkg.aio.copy(source, to_tar="x.tar", session=session, source_session=given)

    asyncio.run(work())


def test_a_closed_one_refuses_all_work(image):
    async def work():
        session = imgpkg.aio.Session()
        await imgpkg.aio.resolve(image, session=session)
        await session.aclose()
        await session.aclose()
        with pytest.raises(imgpkg.errors.UsageError, match="The session is closed"):
            await imgpkg.aio.resolve(image, session=session)
        with pytest.raises(imgpkg.errors.UsageError, match="The session is closed"):
            _ = session.settings

    asyncio.run(work())


def test_one_of_another_loop_is_refused(image):
    session = imgpkg.aio.Session()
    repository = imgpkg.Reference.parse(image).repository

    async def listed():
        return [name async for name in session.client.tags(repository)]

    assert asyncio.run(listed()) == ["v1"]
    for work in (listed, lambda: imgpkg.aio.resolve(image, session=session)):
        with pytest.raises(imgpkg.errors.UsageError, match="one event loop"):
            asyncio.run(work())
    asyncio.run(session.aclose())


@pytest.mark.parametrize("end", ["stop", "aclose"])
def test_closing_ends_what_is_in_progress(image, docker_registry, end):
    async def work(address):
        session = imgpkg.aio.Session()
        name = image.replace(docker_registry.address, address)
        task = asyncio.create_task(imgpkg.aio.resolve(name, session=session))
        await asyncio.to_thread(proxy.stalled.wait, 20)
        start = time.monotonic()
        if end == "stop":
            session.stop()
        else:
            await session.aclose()
        with pytest.raises(imgpkg.errors.Cancelled):
            await task
        assert time.monotonic() - start < 1
        await session.aclose()

    with StallingProxy(docker_registry.address, HEADERS, method="HEAD") as proxy:
        asyncio.run(work(proxy.address))


def test_many_calls_have_few_threads(image):
    seen = []

    async def work():
        async with imgpkg.aio.Session() as session:

            async def one():
                found = await imgpkg.aio.resolve(image, session=session)
                seen.append(own_threads().count("imgpkg-aio"))
                return found

            return set(await asyncio.gather(*(one() for _ in range(150))))

    assert {str(found) for found in asyncio.run(work())} == {image}
    assert 1 < max(seen) <= 32


def test_its_warnings_and_its_trace_come_in_the_loop(image):
    seen = []

    def hear(report):
        seen.append((threading.get_ident(), report))

    async def work():
        settings = imgpkg.Settings(environ={"IMGPKG_ENABLE_IAAS_AUTH": "true"})
        async with imgpkg.aio.Session(settings, on_event=hear, trace=hear) as session:
            await imgpkg.aio.resolve(image, session=session)
            session.warn("once")
            session.warn("once")
            return threading.get_ident()

    home = asyncio.run(work())
    assert {thread for thread, _ in seen} == {home}
    texts = [report.text if isinstance(report, imgpkg.Warned) else report for _, report in seen]
    assert any("IMGPKG_ENABLE_IAAS_AUTH" in text for text in texts)
    assert any("HEAD" in text for text in texts)
    assert texts.count("once") == 1


def test_its_members_are_those_of_a_blocking_one(image, docker_registry):
    async def work():
        async with imgpkg.aio.Session() as session:
            repository = imgpkg.Reference.parse(image).repository
            authorization = await session.authorization(repository)
            assert authorization.headers == {}
            session.expect(docker_registry.address, 2)
            assert session.settings is session.blocking.settings
            assert session.has_mirrors is False
            other = session.client_for(imgpkg.Keychain([]))
            assert await other.primary.exists(imgpkg.Reference.parse(image)) is not None
            assert (await session.client.decision(repository)).credential.is_anonymous

    asyncio.run(work())


def test_a_source_of_credentials_may_use_its_session_in_threads(docker_registry_htpasswd, tmp_path):
    registry = docker_registry_htpasswd

    class Vault:
        name = "vault"

        def lookup(self, _repository):
            time.sleep(0.2)
            login = imgpkg.Credential(username=registry.username, password=registry.password)
            return imgpkg.Finding(self.name, imgpkg.Outcome.MATCHED, "has an entry", "here", login)

    async def work():
        (tmp_path / "in").write_text("text")
        async with imgpkg.aio.Session(sources=[Vault()]) as session:
            image = f"{registry.address}/aio/secret:v1"
            await imgpkg.aio.push([tmp_path / "in"], image=image, session=session)
            return await imgpkg.aio.explain(image, session=session)

    assert asyncio.run(work()).winner.source == "vault"

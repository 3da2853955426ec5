"""The session of coroutines: a blocking session, and the calls that are in progress on it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING

import imgpkg
from imgpkg.aio.calls import call
from imgpkg.aio.client import RegistryClient
from imgpkg.aio.hooks import SessionHook
from imgpkg.aio.threads import GRACE_SECONDS, CallThreads
from imgpkg.auth.keychain import Authorization, CredentialSource, Keychain
from imgpkg.errors import UsageError
from imgpkg.events import Hook, silent
from imgpkg.oci.reference import Repository
from imgpkg.settings import Settings

if TYPE_CHECKING:
    from typing_extensions import Self

    from imgpkg.aio.threads import CallThread

# Calls at the same time, each with a thread; others wait for their turn without one. No more requests than
# the settings allow are sent to a host anyway.
_MOST_CALLS = 32


class Session:
    """The connections, tokens and credentials that coroutines share: `imgpkg.Session` for one event loop.

    Use it as an async context manager, or call `aclose`. The parameters are those of `imgpkg.Session`;
    `on_event` and `trace` are called in the loop, `sources` in threads. Each call works in a thread, and
    nothing blocks the loop; more than 32 calls wait for their turn, before their `timeout` begins. Raises
    InvalidSettings, and in another loop UsageError.

    A task that is cancelled, also by `asyncio.timeout`, ends its call: its connections are closed, its
    pauses and programs end, and nothing incomplete becomes visible, as after `stop`. The task is then
    cancelled as soon as the threads have ended, after a second at the latest. The other calls of the session
    go on.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        sources: Iterable[CredentialSource] = (),
        on_event: Hook = silent,
        trace: Callable[[str], None] | None = None,
        timeout: float | None = None,
        trace_context: bool = False,
    ) -> None:
        self._on_event = SessionHook(on_event)
        self._trace = None if trace is None else SessionHook(trace)
        self._blocking = imgpkg.Session(
            settings,
            sources=sources,
            on_event=self._on_event,
            trace=self._trace,
            timeout=timeout,
            trace_context=trace_context,
        )
        self._loop: asyncio.AbstractEventLoop | None = None
        self._turns = asyncio.Semaphore(_MOST_CALLS)
        self._threads = CallThreads()
        self._calls: set[CallThread] = set()

    @property
    def blocking(self) -> imgpkg.Session:
        """The session below, with the same connections and credentials, for code in other threads."""
        return self._blocking

    @property
    def settings(self) -> Settings:
        """The settings of the session; raises UsageError once the session is closed."""
        return self._blocking.settings

    @property
    def timeout(self) -> float | None:
        """The limit of each operation in seconds, None without one."""
        return self._blocking.timeout

    @property
    def client(self) -> RegistryClient:
        """The registry client, whose methods are coroutines."""
        return RegistryClient(self, lambda: self._blocking.client)

    @property
    def has_mirrors(self) -> bool:
        """True if images are read from the mirrors of a registries.conf; see `RegistryClient.sources`."""
        return self._blocking.has_mirrors

    def client_for(self, keychain: Keychain) -> RegistryClient:
        """Return another client on the same connections, with credentials of `keychain` and no mirrors."""
        return RegistryClient(self, lambda: self._blocking.client_for(keychain))

    async def authorization(
        self,
        repository: Repository | str,
        actions: Iterable[str] | str = ("pull",),
        *,
        refused: Authorization | None = None,
    ) -> Authorization:
        """Return the Authorization header that a registry requires; see `imgpkg.Session.authorization`."""
        return await call(self, lambda at: at.session.authorization(repository, actions, refused=refused))

    def expect(self, registry: str, requests: int) -> None:
        """Prepare for this many requests to `registry`, `host[:port]`, after its first one."""
        self._blocking.expect(registry, requests)

    def warn(self, text: str) -> None:
        """Report `text` to `on_event` as a warning, unless it has been reported before."""
        self._blocking.warn(text)

    def stop(self) -> None:
        """End all calls of this session for good: they raise `errors.Cancelled`.

        Safe to call from a signal handler and from any thread.
        """
        self._blocking.stop()

    async def aclose(self) -> None:
        """End the calls that are in progress, which raise Cancelled, and close all connections.

        Every later use of the session raises UsageError. Threads that do not end in a second, because the
        operating system does not let them, are left alone.
        """
        end = time.monotonic() + GRACE_SECONDS
        for each in self._calls:
            each.cancel()
        try:
            if self._calls:
                await asyncio.wait([each.ended for each in self._calls], timeout=GRACE_SECONDS)
            await self._threads.close(end)
        finally:
            self._blocking.close()

    async def __aenter__(self) -> Self:
        self._settle()
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.aclose()

    def turn(self) -> AbstractAsyncContextManager[None]:
        """Return the context of one call: there are no more than a few at the same time."""
        self._settle()
        return self._turns

    def begin(self, work: CallThread) -> None:
        """Begin a call in one of the threads of the session; it is known until it ends."""
        self._settle()
        work.start(self._threads)
        self._calls.add(work)
        work.ended.add_done_callback(lambda _: self._calls.discard(work))

    def _settle(self) -> None:
        """Make the running loop that of the session; raise UsageError if it is another one."""
        loop = asyncio.get_running_loop()
        if self._loop not in (None, loop):
            raise UsageError("A session is for one event loop: open another one in each asyncio.run")
        self._loop = loop
        self._on_event.settle()
        if self._trace is not None:
            self._trace.settle()

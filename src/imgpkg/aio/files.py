"""The files of an image that is open, for coroutines."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager
from typing import TYPE_CHECKING

import imgpkg
from imgpkg.aio.calls import iterate_within
from imgpkg.aio.streams import Readable
from imgpkg.values import StrPath

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from imgpkg.aio.calls import Call


class ImageFiles:
    """The files of one `image`; see `imgpkg.ImageFiles`, whose methods are coroutines here.

    Asynchronous iteration yields what there is, as `imgpkg.ImageFile` values. For one task at a time.
    """

    def __init__(self, call: Call, blocking: imgpkg.ImageFiles) -> None:
        self.image: imgpkg.Image = blocking.image
        self._call = call
        self._blocking = blocking

    async def find(self, path: StrPath, *, follow: bool = True) -> imgpkg.ImageFile:
        """Return what is at `path`, or with `follow` where a symbolic link there leads; raise NotInImage."""
        return await self._call.run(lambda: self._blocking.find(path, follow=follow))

    def open(self, file: imgpkg.ImageFile | StrPath) -> AbstractAsyncContextManager[Readable]:
        """Open a file as a stream; raise NotInImage, or UsageError for a directory or a device."""
        return self._open(file)

    async def read(self, file: imgpkg.ImageFile | StrPath, *, max_size: int = 64 << 20) -> bytes:
        """Return the content of a file; raise UnpackError if it has more than `max_size` bytes."""
        return await self._call.run(lambda: self._blocking.read(file, max_size=max_size))

    def __aiter__(self) -> AsyncIterator[imgpkg.ImageFile]:
        return iterate_within(self._call, lambda: iter(self._blocking))

    @asynccontextmanager
    async def _open(self, file: imgpkg.ImageFile | StrPath) -> AsyncIterator[Readable]:
        stack = ExitStack()
        stream = await self._call.run(lambda: stack.enter_context(self._blocking.open(file)))
        try:
            yield Readable(self._call, stream)
        finally:
            # Whoever is cancelled leaves it to the end of the call, which closes everything.
            await self._call.run(stack.close)

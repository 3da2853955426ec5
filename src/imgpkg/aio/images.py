"""Coroutines that read images and their files.

Made by tools/coroutines.py.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING

import imgpkg
from imgpkg.aio.calls import call, iterate, opened
from imgpkg.aio.files import ImageFiles
from imgpkg.aio.streams import with_streams
from imgpkg.events import silent
from imgpkg.values import StrPath

if TYPE_CHECKING:
    from imgpkg.aio.session import Session
    from imgpkg.aio.streams import Readable


def iter_files(
    image: imgpkg.Image | str,
    *,
    session: Session,
    platform: imgpkg.Platform | str | None = None,
    tar: StrPath = "",
    layout: StrPath = "",
    on_event: imgpkg.Hook = silent,
    timeout: float | None = None,
    cancel: imgpkg.CancelToken | None = None,
) -> AsyncGenerator[tuple[imgpkg.ImageFile, Readable], None]:
    """Yield all files, directories and links of an image, each with its content, which need not be read.

    The coroutine of `imgpkg.iter_files`, whose contract it has.
    """
    return iterate(
        session,
        lambda at: with_streams(
            at,
            imgpkg.iter_files(
                image,
                session=at.session,
                platform=platform,
                tar=tar,
                layout=layout,
                on_event=at.hook(on_event),
                timeout=timeout,
                cancel=cancel,
            ),
        ),
        at_once=1,
    )


def open_files(
    image: imgpkg.Image | str,
    *,
    session: Session,
    platform: imgpkg.Platform | str | None = None,
    tar: StrPath = "",
    layout: StrPath = "",
    on_event: imgpkg.Hook = silent,
    timeout: float | None = None,
    cancel: imgpkg.CancelToken | None = None,
) -> AbstractAsyncContextManager[ImageFiles]:
    """Open the files of an image; on leaving, the copies of its layers are removed.

    The coroutine of `imgpkg.open_files`, whose contract it has.
    """
    return opened(
        session,
        lambda at: imgpkg.open_files(
            image,
            session=at.session,
            platform=platform,
            tar=tar,
            layout=layout,
            on_event=at.hook(on_event),
            timeout=timeout,
            cancel=cancel,
        ),
        ImageFiles,
    )


async def read_file(
    image: imgpkg.Image | str,
    path: StrPath,
    *,
    session: Session,
    platform: imgpkg.Platform | str | None = None,
    tar: StrPath = "",
    layout: StrPath = "",
    max_size: int = 67108864,
    on_event: imgpkg.Hook = silent,
    timeout: float | None = None,
    cancel: imgpkg.CancelToken | None = None,
) -> bytes:
    """Return the content of one file of an image, such as `etc/os-release`, in at most `max_size` bytes.

    The coroutine of `imgpkg.read_file`, whose contract it has.
    """
    return await call(
        session,
        lambda at: imgpkg.read_file(
            image,
            path,
            session=at.session,
            platform=platform,
            tar=tar,
            layout=layout,
            max_size=max_size,
            on_event=at.hook(on_event),
            timeout=timeout,
            cancel=cancel,
        ),
    )


async def read_image(
    image: str,
    *,
    session: Session,
    platform: imgpkg.Platform | str | None = None,
    tar: StrPath = "",
    layout: StrPath = "",
    timeout: float | None = None,
    cancel: imgpkg.CancelToken | None = None,
) -> imgpkg.Image:
    """Return the image that `image` names now, with its manifest and its configuration, which are verified.

    The coroutine of `imgpkg.read_image`, whose contract it has.
    """
    return await call(
        session,
        lambda at: imgpkg.read_image(
            image,
            session=at.session,
            platform=platform,
            tar=tar,
            layout=layout,
            timeout=timeout,
            cancel=cancel,
        ),
    )

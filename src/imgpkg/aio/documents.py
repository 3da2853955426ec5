"""Coroutines about documents: locks of images, placements and policies.

Made by tools/coroutines.py.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING

import imgpkg
from imgpkg.aio.calls import call
from imgpkg.events import silent
from imgpkg.oci.descriptor import EMPTY
from imgpkg.values import StrPath

if TYPE_CHECKING:
    from imgpkg.aio.session import Session
    from imgpkg.operations.image_search import Files


async def lock_images(
    files: Files = (),
    *,
    session: Session,
    images: Iterable[str] = (),
    paths: Iterable[str] = (),
    exclude: Collection[str] = (),
    strict: bool = False,
    output: StrPath = "",
    on_event: imgpkg.Hook = silent,
    timeout: float | None = None,
    cancel: imgpkg.CancelToken | None = None,
) -> imgpkg.LockResult:
    """Resolve the image references of `files`, and `images`, to digests, and write them as ImagesLock.

    The coroutine of `imgpkg.lock_images`, whose contract it has.
    """
    return await call(
        session,
        lambda at: imgpkg.lock_images(
            files,
            session=at.session,
            images=images,
            paths=paths,
            exclude=exclude,
            strict=strict,
            output=output,
            on_event=at.hook(on_event),
            timeout=timeout,
            cancel=cancel,
        ),
    )


async def read_lock(path: StrPath) -> imgpkg.BundleLock | imgpkg.ImagesLock:
    """Read a lock file of either kind; raise LocalIOError or InvalidLock.

    The coroutine of `imgpkg.read_lock`, whose contract it has.
    """
    return await call(None, lambda _: imgpkg.read_lock(path))


async def read_placement(path: StrPath) -> imgpkg.Placement:
    """Read a placement file; raise LocalIOError, or InvalidSettings whose hint names the line and column.

    The coroutine of `imgpkg.read_placement`, whose contract it has.
    """
    return await call(None, lambda _: imgpkg.read_placement(path))


async def read_policy(path: StrPath, *, environ: Mapping[str, str] = EMPTY) -> imgpkg.Policy:
    """Read a policy file; the files of its keys are relative to its folder.

    The coroutine of `imgpkg.read_policy`, whose contract it has.
    """
    return await call(None, lambda _: imgpkg.read_policy(path, environ=environ))


async def rewrite_images(
    files: Files,
    lock: imgpkg.ImagesLock,
    *,
    paths: Iterable[str] = (),
    exclude: Collection[str] = (),
    strict: bool = False,
    on_event: imgpkg.Hook = silent,
) -> imgpkg.RewriteResult:
    """Return `files` with the image references replaced by those of `lock`; nothing is written or requested.

    The coroutine of `imgpkg.rewrite_images`, whose contract it has.
    """
    return await call(
        None,
        lambda at: imgpkg.rewrite_images(
            files, lock, paths=paths, exclude=exclude, strict=strict, on_event=at.hook(on_event)
        ),
    )

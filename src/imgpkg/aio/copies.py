"""Coroutines that copy images and bundles.

Made by tools/coroutines.py.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import imgpkg
from imgpkg.aio.calls import call
from imgpkg.events import silent
from imgpkg.operations.copy.values import DEFAULT_OPTIONS
from imgpkg.values import StrPath

if TYPE_CHECKING:
    from imgpkg.aio.session import Session
    from imgpkg.aio.streams import AsyncReadable, AsyncWritable
    from imgpkg.operations.copy.stream import ReadableStream, WritableStream


async def copy(
    source: imgpkg.CopySource,
    *,
    session: Session,
    source_session: Session | None = None,
    to_repo: str = "",
    to_tar: StrPath = "",
    to_layout: StrPath = "",
    options: imgpkg.CopyOptions = DEFAULT_OPTIONS,
    lock_output: StrPath = "",
    resume: bool = False,
    since: Iterable[StrPath | imgpkg.Inventory] = (),
    executor: imgpkg.BlobExecutor | None = None,
    on_event: imgpkg.Hook = silent,
    timeout: float | None = None,
    cancel: imgpkg.CancelToken | None = None,
) -> imgpkg.CopyResult:
    """Do what `copy_to_repository`, `copy_to_tar` or `copy_to_layout` does: the one destination decides.

    The coroutine of `imgpkg.copy`, whose contract it has.
    """
    return await call(
        session,
        lambda at: imgpkg.copy(
            source,
            session=at.session,
            source_session=at.other(source_session),
            to_repo=to_repo,
            to_tar=to_tar,
            to_layout=to_layout,
            options=options,
            lock_output=lock_output,
            resume=resume,
            since=since,
            executor=executor,
            on_event=at.hook(on_event),
            timeout=timeout,
            cancel=cancel,
        ),
    )


async def copy_from_stream(
    stream: AsyncReadable | ReadableStream,
    to_repo: str,
    *,
    session: Session,
    options: imgpkg.CopyOptions = DEFAULT_OPTIONS,
    lock_output: StrPath = "",
    on_event: imgpkg.Hook = silent,
    timeout: float | None = None,
    cancel: imgpkg.CancelToken | None = None,
) -> imgpkg.CopyResult:
    """Copy the tar file that `stream` returns to the repository `to_repo`, as its bytes come.

    The coroutine of `imgpkg.copy_from_stream`, whose contract it has.
    """
    return await call(
        session,
        lambda at: imgpkg.copy_from_stream(
            at.reader(stream),
            to_repo,
            session=at.session,
            options=options,
            lock_output=lock_output,
            on_event=at.hook(on_event),
            timeout=timeout,
            cancel=cancel,
        ),
    )


async def copy_to_layout(
    source: imgpkg.CopySource,
    path: StrPath,
    *,
    session: Session,
    options: imgpkg.CopyOptions = DEFAULT_OPTIONS,
    since: Iterable[StrPath | imgpkg.Inventory] = (),
    on_event: imgpkg.Hook = silent,
    timeout: float | None = None,
    cancel: imgpkg.CancelToken | None = None,
) -> imgpkg.CopyResult:
    """Copy `source` to the OCI image layout folder `path` (image-spec, image-layout.md).

    The coroutine of `imgpkg.copy_to_layout`, whose contract it has.
    """
    return await call(
        session,
        lambda at: imgpkg.copy_to_layout(
            source,
            path,
            session=at.session,
            options=options,
            since=since,
            on_event=at.hook(on_event),
            timeout=timeout,
            cancel=cancel,
        ),
    )


async def copy_to_repository(
    source: imgpkg.CopySource,
    to_repo: str,
    *,
    session: Session,
    source_session: Session | None = None,
    options: imgpkg.CopyOptions = DEFAULT_OPTIONS,
    lock_output: StrPath = "",
    executor: imgpkg.BlobExecutor | None = None,
    on_event: imgpkg.Hook = silent,
    timeout: float | None = None,
    cancel: imgpkg.CancelToken | None = None,
) -> imgpkg.CopyResult:
    """Copy `source` to the repository `to_repo`, and return the references of all copied images.

    The coroutine of `imgpkg.copy_to_repository`, whose contract it has.
    """
    return await call(
        session,
        lambda at: imgpkg.copy_to_repository(
            source,
            to_repo,
            session=at.session,
            source_session=at.other(source_session),
            options=options,
            lock_output=lock_output,
            executor=executor,
            on_event=at.hook(on_event),
            timeout=timeout,
            cancel=cancel,
        ),
    )


async def copy_to_stream(
    source: imgpkg.CopySource,
    stream: AsyncWritable | WritableStream,
    *,
    session: Session,
    options: imgpkg.CopyOptions = DEFAULT_OPTIONS,
    on_event: imgpkg.Hook = silent,
    timeout: float | None = None,
    cancel: imgpkg.CancelToken | None = None,
) -> imgpkg.CopyResult:
    """Copy `source`, which must be in a registry, and write the bytes of the tar file to `stream`.

    The coroutine of `imgpkg.copy_to_stream`, whose contract it has.
    """
    return await call(
        session,
        lambda at: imgpkg.copy_to_stream(
            source,
            at.writer(stream),
            session=at.session,
            options=options,
            on_event=at.hook(on_event),
            timeout=timeout,
            cancel=cancel,
        ),
    )


async def copy_to_tar(
    source: imgpkg.CopySource,
    path: StrPath,
    *,
    session: Session,
    options: imgpkg.CopyOptions = DEFAULT_OPTIONS,
    resume: bool = False,
    since: Iterable[StrPath | imgpkg.Inventory] = (),
    on_event: imgpkg.Hook = silent,
    timeout: float | None = None,
    cancel: imgpkg.CancelToken | None = None,
) -> imgpkg.CopyResult:
    """Copy `source`, which must be in a registry, to the tar file `path`.

    The coroutine of `imgpkg.copy_to_tar`, whose contract it has.
    """
    return await call(
        session,
        lambda at: imgpkg.copy_to_tar(
            source,
            path,
            session=at.session,
            options=options,
            resume=resume,
            since=since,
            on_event=at.hook(on_event),
            timeout=timeout,
            cancel=cancel,
        ),
    )


async def preview_copy(
    source: imgpkg.CopySource,
    to_repo: str = "",
    *,
    session: Session,
    source_session: Session | None = None,
    options: imgpkg.CopyOptions = DEFAULT_OPTIONS,
    since: Iterable[StrPath | imgpkg.Inventory] = (),
    plan_output: StrPath = "",
    on_event: imgpkg.Hook = silent,
    timeout: float | None = None,
    cancel: imgpkg.CancelToken | None = None,
) -> imgpkg.CopyPreview:
    """Return what a copy of `source` to the repository `to_repo`, or to a file without it, would transfer.

    The coroutine of `imgpkg.preview_copy`, whose contract it has.
    """
    return await call(
        session,
        lambda at: imgpkg.preview_copy(
            source,
            to_repo,
            session=at.session,
            source_session=at.other(source_session),
            options=options,
            since=since,
            plan_output=plan_output,
            on_event=at.hook(on_event),
            timeout=timeout,
            cancel=cancel,
        ),
    )


async def read_plan(path: StrPath) -> imgpkg.CopyPlan:
    """Return the plan in the file `path`; raise LocalIOError, or InvalidDocument for what is no plan.

    The coroutine of `imgpkg.read_plan`, whose contract it has.
    """
    return await call(None, lambda _: imgpkg.read_plan(path))


async def run_plan(
    plan: imgpkg.CopyPlan | StrPath,
    *,
    session: Session,
    source_session: Session | None = None,
    shard: str = "",
    options: imgpkg.CopyOptions = DEFAULT_OPTIONS,
    lock_output: StrPath = "",
    executor: imgpkg.BlobExecutor | None = None,
    on_event: imgpkg.Hook = silent,
    timeout: float | None = None,
    cancel: imgpkg.CancelToken | None = None,
) -> imgpkg.CopyResult:
    """Copy what `plan`, a file that `preview_copy` has written, says; return what the copy itself returns.

    The coroutine of `imgpkg.run_plan`, whose contract it has.
    """
    return await call(
        session,
        lambda at: imgpkg.run_plan(
            plan,
            session=at.session,
            source_session=at.other(source_session),
            shard=shard,
            options=options,
            lock_output=lock_output,
            executor=executor,
            on_event=at.hook(on_event),
            timeout=timeout,
            cancel=cancel,
        ),
    )

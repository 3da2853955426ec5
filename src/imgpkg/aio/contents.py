"""Coroutines that read images, bundles and files, and verify them.

Made by tools/coroutines.py.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING

import imgpkg
from imgpkg.aio.calls import call, iterate, opened
from imgpkg.aio.files import ImageFiles
from imgpkg.aio.streams import with_streams
from imgpkg.events import silent
from imgpkg.oci.descriptor import EMPTY
from imgpkg.values import StrPath

if TYPE_CHECKING:
    from imgpkg.aio.session import Session
    from imgpkg.aio.streams import Readable
    from imgpkg.operations.image_search import Files


async def break_down(
    bundle: str = "",
    *,
    session: Session,
    cosign_artifacts: bool = True,
    referrers: bool = False,
    attachments: bool = True,
    tar: StrPath = "",
    layout: StrPath = "",
    on_event: imgpkg.Hook = silent,
    timeout: float | None = None,
    cancel: imgpkg.CancelToken | None = None,
) -> imgpkg.BundlePart:
    """Return what `bundle` is made of, with the sizes of all manifests and layers in bytes.

    The coroutine of `imgpkg.break_down`, whose contract it has.
    """
    return await call(
        session,
        lambda at: imgpkg.break_down(
            bundle,
            session=at.session,
            cosign_artifacts=cosign_artifacts,
            referrers=referrers,
            attachments=attachments,
            tar=tar,
            layout=layout,
            on_event=at.hook(on_event),
            timeout=timeout,
            cancel=cancel,
        ),
    )


async def describe(
    bundle: str = "",
    *,
    session: Session,
    layers: bool = True,
    cosign_artifacts: bool = True,
    referrers: bool = False,
    attachments: bool = False,
    tar: StrPath = "",
    layout: StrPath = "",
    on_event: imgpkg.Hook = silent,
    timeout: float | None = None,
    cancel: imgpkg.CancelToken | None = None,
) -> imgpkg.Description:
    """Return a description of `bundle` and its nested bundles, to any depth.

    The coroutine of `imgpkg.describe`, whose contract it has.
    """
    return await call(
        session,
        lambda at: imgpkg.describe(
            bundle,
            session=at.session,
            layers=layers,
            cosign_artifacts=cosign_artifacts,
            referrers=referrers,
            attachments=attachments,
            tar=tar,
            layout=layout,
            on_event=at.hook(on_event),
            timeout=timeout,
            cancel=cancel,
        ),
    )


def iter_files(
    image: imgpkg.Image | str,
    *,
    session: Session,
    platform: imgpkg.Platform | str | None = None,
    tar: StrPath = "",
    layout: StrPath = "",
    on_event: imgpkg.Hook = silent,
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
            ),
        ),
        at_once=1,
    )


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


async def read_bundle(
    bundle: str = "",
    *,
    session: Session,
    tar: StrPath = "",
    layout: StrPath = "",
    timeout: float | None = None,
    cancel: imgpkg.CancelToken | None = None,
) -> imgpkg.Bundle:
    """Return the images lock, the record of locations and the members of `bundle`, to any depth.

    The coroutine of `imgpkg.read_bundle`, whose contract it has.
    """
    return await call(
        session,
        lambda at: imgpkg.read_bundle(
            bundle, session=at.session, tar=tar, layout=layout, timeout=timeout, cancel=cancel
        ),
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


async def verify(
    *,
    session: Session,
    tar: StrPath = "",
    layout: StrPath = "",
    image: str = "",
    bundle: str = "",
    on_event: imgpkg.Hook = silent,
    timeout: float | None = None,
    cancel: imgpkg.CancelToken | None = None,
) -> imgpkg.IntegrityReport:
    """Read all of a tar file, a layout folder, or an image or bundle in a registry, and report every defect.

    The coroutine of `imgpkg.verify`, whose contract it has.
    """
    return await call(
        session,
        lambda at: imgpkg.verify(
            session=at.session,
            tar=tar,
            layout=layout,
            image=image,
            bundle=bundle,
            on_event=at.hook(on_event),
            timeout=timeout,
            cancel=cancel,
        ),
    )


async def verify_signatures(
    image: str,
    *,
    policy: imgpkg.Policy,
    session: Session,
    timeout: float | None = None,
    cancel: imgpkg.CancelToken | None = None,
) -> imgpkg.Verified:
    """Verify the signatures and attestations of the image or bundle `image` against `policy`.

    The coroutine of `imgpkg.verify_signatures`, whose contract it has.
    """
    return await call(
        session,
        lambda at: imgpkg.verify_signatures(
            image, policy=policy, session=at.session, timeout=timeout, cancel=cancel
        ),
    )

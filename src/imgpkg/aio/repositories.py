"""Coroutines about what a repository has: tags, what refers to an image, and what is not needed.

Made by tools/coroutines.py.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

import imgpkg
from imgpkg.aio.calls import call
from imgpkg.aio.hooks import unheard
from imgpkg.events import silent
from imgpkg.oci.descriptor import EMPTY
from imgpkg.values import StrPath

if TYPE_CHECKING:
    from imgpkg.aio.session import Session


async def attach(
    files: Iterable[StrPath | bytes | imgpkg.ArtifactFile]
    | Mapping[str, StrPath | bytes | imgpkg.ArtifactFile]
    | os.PathLike[str]
    | bytes
    | imgpkg.ArtifactFile,
    *,
    image: str,
    artifact_type: str,
    session: Session,
    media_type: str = "",
    annotations: Mapping[str, str] = EMPTY,
    on_event: imgpkg.Hook = silent,
    timeout: float | None = None,
    cancel: imgpkg.CancelToken | None = None,
) -> imgpkg.ArtifactPushResult:
    """Attach `files` to the image that `image` names: push them as an artifact with it as subject.

    The coroutine of `imgpkg.attach`, whose contract it has.
    """
    return await call(
        session,
        lambda at: imgpkg.attach(
            files,
            image=image,
            artifact_type=artifact_type,
            session=at.session,
            media_type=media_type,
            annotations=annotations,
            on_event=at.hook(on_event),
            timeout=timeout,
            cancel=cancel,
        ),
    )


async def catalog(
    registry: str,
    *,
    session: Session,
    match: str | Iterable[str] = (),
    where: Callable[[str], bool] | None = None,
    timeout: float | None = None,
    cancel: imgpkg.CancelToken | None = None,
) -> imgpkg.Catalog:
    """Return the repositories of `registry`, `host[:port]`, or those that are wanted.

    The coroutine of `imgpkg.catalog`, whose contract it has.
    """
    return await call(
        session,
        lambda at: imgpkg.catalog(
            registry, session=at.session, match=match, where=where, timeout=timeout, cancel=cancel
        ),
    )


async def delete_blob(
    blob: str, *, session: Session, timeout: float | None = None, cancel: imgpkg.CancelToken | None = None
) -> bool:
    """Delete the blob `blob`, `REPOSITORY@DIGEST`, whoever needs it; return False if there is none.

    The coroutine of `imgpkg.delete_blob`, whose contract it has.
    """
    return await call(
        session, lambda at: imgpkg.delete_blob(blob, session=at.session, timeout=timeout, cancel=cancel)
    )


async def delete_image(
    image: str,
    *,
    session: Session,
    all_tags: bool = False,
    together_with: Iterable[str] = (),
    on_event: imgpkg.Hook = silent,
    timeout: float | None = None,
    cancel: imgpkg.CancelToken | None = None,
) -> imgpkg.Deleted:
    """Delete the manifest that `image` names by a tag or a digest, and with it all of its tags.

    The coroutine of `imgpkg.delete_image`, whose contract it has.
    """
    return await call(
        session,
        lambda at: imgpkg.delete_image(
            image,
            session=at.session,
            all_tags=all_tags,
            together_with=together_with,
            on_event=at.hook(on_event),
            timeout=timeout,
            cancel=cancel,
        ),
    )


async def delete_manifest(
    image: str, *, session: Session, timeout: float | None = None, cancel: imgpkg.CancelToken | None = None
) -> imgpkg.Deleted:
    """Delete the manifest that `image` names by a tag or a digest, and all its tags, whoever needs it.

    The coroutine of `imgpkg.delete_manifest`, whose contract it has.
    """
    return await call(
        session, lambda at: imgpkg.delete_manifest(image, session=at.session, timeout=timeout, cancel=cancel)
    )


async def delete_tag(
    image: str,
    *,
    session: Session,
    with_image: bool = False,
    together_with: Iterable[str] = (),
    on_event: imgpkg.Hook = silent,
    timeout: float | None = None,
    cancel: imgpkg.CancelToken | None = None,
) -> imgpkg.Deleted:
    """Delete the tag that `image` names; the image and its other tags stay.

    The coroutine of `imgpkg.delete_tag`, whose contract it has.
    """
    return await call(
        session,
        lambda at: imgpkg.delete_tag(
            image,
            session=at.session,
            with_image=with_image,
            together_with=together_with,
            on_event=at.hook(on_event),
            timeout=timeout,
            cancel=cancel,
        ),
    )


async def inventory(
    repository: str = "",
    *,
    session: Session,
    tar: StrPath = "",
    layout: StrPath = "",
    output: StrPath = "",
    on_event: imgpkg.Hook = silent,
    timeout: float | None = None,
    cancel: imgpkg.CancelToken | None = None,
) -> imgpkg.Inventory:
    """Return what is in a repository, in the tar file `tar`, or in the layout folder `layout`.

    The coroutine of `imgpkg.inventory`, whose contract it has.
    """
    return await call(
        session,
        lambda at: imgpkg.inventory(
            repository,
            session=at.session,
            tar=tar,
            layout=layout,
            output=output,
            on_event=at.hook(on_event),
            timeout=timeout,
            cancel=cancel,
        ),
    )


async def list_tags(
    image: str = "",
    *,
    session: Session,
    digests: bool = False,
    imgpkg_internal_tags: bool = False,
    match: str | Iterable[str] = (),
    where: Callable[[str], bool] | None = None,
    newest: int = 0,
    prereleases: bool = False,
    tar: StrPath = "",
    layout: StrPath = "",
    on_event: imgpkg.Hook = silent,
    timeout: float | None = None,
    cancel: imgpkg.CancelToken | None = None,
) -> imgpkg.TagList:
    """Return the tags of the repository of `image`; a tag or digest in `image` is ignored.

    The coroutine of `imgpkg.list_tags`, whose contract it has.
    """
    return await call(
        session,
        lambda at: imgpkg.list_tags(
            image,
            session=at.session,
            digests=digests,
            imgpkg_internal_tags=imgpkg_internal_tags,
            match=match,
            where=where,
            newest=newest,
            prereleases=prereleases,
            tar=tar,
            layout=layout,
            on_event=at.hook(on_event),
            timeout=timeout,
            cancel=cancel,
        ),
    )


async def prune(
    plan: imgpkg.PrunePlan,
    *,
    session: Session,
    on_result: Callable[[imgpkg.PrunedManifest], None] = unheard,
    timeout: float | None = None,
    cancel: imgpkg.CancelToken | None = None,
) -> imgpkg.PruneResult:
    """Delete what `plan` says, with `on_result` called for each manifest, from several threads.

    The coroutine of `imgpkg.prune`, whose contract it has.
    """
    return await call(
        session,
        lambda at: imgpkg.prune(
            plan, session=at.session, on_result=at.hook(on_result), timeout=timeout, cancel=cancel
        ),
    )


async def prune_plan(
    repository: str | imgpkg.Repository,
    *,
    session: Session,
    keep: Iterable[str] = (),
    keep_newest: int = 0,
    keep_locks: Iterable[StrPath | imgpkg.ImagesLock | imgpkg.BundleLock] = (),
    only: Iterable[imgpkg.Digest] | None = None,
    on_event: imgpkg.Hook = silent,
    timeout: float | None = None,
    cancel: imgpkg.CancelToken | None = None,
) -> imgpkg.PrunePlan:
    """Return what could be deleted from `repository`, and delete nothing.

    The coroutine of `imgpkg.prune_plan`, whose contract it has.
    """
    return await call(
        session,
        lambda at: imgpkg.prune_plan(
            repository,
            session=at.session,
            keep=keep,
            keep_newest=keep_newest,
            keep_locks=keep_locks,
            only=only,
            on_event=at.hook(on_event),
            timeout=timeout,
            cancel=cancel,
        ),
    )


async def referrers(
    image: str,
    *,
    session: Session,
    artifact_type: str | Iterable[str] = (),
    timeout: float | None = None,
    cancel: imgpkg.CancelToken | None = None,
) -> imgpkg.ReferrerList:
    """Return what refers to the image that `image` names: signatures, SBOMs and the like with it as subject.

    The coroutine of `imgpkg.referrers`, whose contract it has.
    """
    return await call(
        session,
        lambda at: imgpkg.referrers(
            image, session=at.session, artifact_type=artifact_type, timeout=timeout, cancel=cancel
        ),
    )


async def resolve(
    image: str, *, session: Session, timeout: float | None = None, cancel: imgpkg.CancelToken | None = None
) -> imgpkg.Reference:
    """Return the digest reference that `image` names at present; a digest reference is checked to exist.

    The coroutine of `imgpkg.resolve`, whose contract it has.
    """
    return await call(
        session, lambda at: imgpkg.resolve(image, session=at.session, timeout=timeout, cancel=cancel)
    )


async def retag(
    image: str,
    tags: str | Iterable[str],
    *,
    session: Session,
    overwrite: bool = True,
    timeout: float | None = None,
    cancel: imgpkg.CancelToken | None = None,
) -> imgpkg.Retagged:
    """Give `tags`, one or several, to the image that `image` names by a tag or a digest, in its repository.

    The coroutine of `imgpkg.retag`, whose contract it has.
    """
    return await call(
        session,
        lambda at: imgpkg.retag(
            image, tags, session=at.session, overwrite=overwrite, timeout=timeout, cancel=cancel
        ),
    )

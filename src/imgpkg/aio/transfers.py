"""Coroutines that push and pull.

Made by tools/coroutines.py.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Literal

import imgpkg
from imgpkg.aio.calls import call
from imgpkg.events import silent
from imgpkg.oci.descriptor import EMPTY
from imgpkg.values import StrPath

if TYPE_CHECKING:
    from imgpkg.aio.session import Session


async def pull(
    output: StrPath,
    *,
    session: Session,
    image: str = "",
    bundle: str = "",
    lock: StrPath = "",
    recursive: bool = False,
    image_is_bundle_check: bool = True,
    policy: imgpkg.Policy | None = None,
    tar: StrPath = "",
    layout: StrPath = "",
    on_event: imgpkg.Hook = silent,
    timeout: float | None = None,
    cancel: imgpkg.CancelToken | None = None,
) -> imgpkg.PullResult:
    """Replace the folder `output` by the content of `image`, `bundle`, or the bundle in the file `lock`.

    The coroutine of `imgpkg.pull`, whose contract it has.
    """
    return await call(
        session,
        lambda at: imgpkg.pull(
            output,
            session=at.session,
            image=image,
            bundle=bundle,
            lock=lock,
            recursive=recursive,
            image_is_bundle_check=image_is_bundle_check,
            policy=policy,
            tar=tar,
            layout=layout,
            on_event=at.hook(on_event),
            timeout=timeout,
            cancel=cancel,
        ),
    )


async def pull_artifact(
    output: StrPath,
    *,
    image: str,
    session: Session,
    platform: imgpkg.Platform | str | None = None,
    overwrite: bool = True,
    on_event: imgpkg.Hook = silent,
    timeout: float | None = None,
    cancel: imgpkg.CancelToken | None = None,
) -> imgpkg.ArtifactPullResult:
    """Write the files of the artifact `image`, a reference, into the folder `output`, made if missing.

    The coroutine of `imgpkg.pull_artifact`, whose contract it has.
    """
    return await call(
        session,
        lambda at: imgpkg.pull_artifact(
            output,
            image=image,
            session=at.session,
            platform=platform,
            overwrite=overwrite,
            on_event=at.hook(on_event),
            timeout=timeout,
            cancel=cancel,
        ),
    )


async def push(
    files: Iterable[StrPath] | os.PathLike[str],
    *,
    session: Session,
    image: str = "",
    bundle: str = "",
    exclusions: Collection[StrPath] = (".git",),
    preserve_permissions: bool = False,
    labels: Mapping[str, str] = EMPTY,
    lock_output: StrPath = "",
    strict: bool = False,
    sign_key: imgpkg.SigningKey | None = None,
    sign_format: Literal["tag", "bundle"] = "tag",
    to_tar: StrPath = "",
    to_layout: StrPath = "",
    on_event: imgpkg.Hook = silent,
    timeout: float | None = None,
    cancel: imgpkg.CancelToken | None = None,
) -> imgpkg.PushResult:
    """Pack `files`, paths or one path, into a layer, and push it as `image` or as `bundle`, a tag reference.

    The coroutine of `imgpkg.push`, whose contract it has.
    """
    return await call(
        session,
        lambda at: imgpkg.push(
            files,
            session=at.session,
            image=image,
            bundle=bundle,
            exclusions=exclusions,
            preserve_permissions=preserve_permissions,
            labels=labels,
            lock_output=lock_output,
            strict=strict,
            sign_key=sign_key,
            sign_format=sign_format,
            to_tar=to_tar,
            to_layout=to_layout,
            on_event=at.hook(on_event),
            timeout=timeout,
            cancel=cancel,
        ),
    )


async def push_artifact(
    files: Iterable[StrPath | bytes | imgpkg.ArtifactFile]
    | Mapping[str, StrPath | bytes | imgpkg.ArtifactFile]
    | os.PathLike[str]
    | bytes
    | imgpkg.ArtifactFile,
    *,
    image: str,
    session: Session,
    artifact_type: str = "",
    media_type: str = "",
    config: StrPath | bytes | imgpkg.ArtifactFile | None = None,
    annotations: Mapping[str, str] = EMPTY,
    subject: str | imgpkg.Reference | imgpkg.Digest | imgpkg.Descriptor | None = None,
    on_event: imgpkg.Hook = silent,
    timeout: float | None = None,
    cancel: imgpkg.CancelToken | None = None,
) -> imgpkg.ArtifactPushResult:
    """Push `files`, each as a blob of one manifest, to the reference `image`.

    The coroutine of `imgpkg.push_artifact`, whose contract it has.
    """
    return await call(
        session,
        lambda at: imgpkg.push_artifact(
            files,
            image=image,
            session=at.session,
            artifact_type=artifact_type,
            media_type=media_type,
            config=config,
            annotations=annotations,
            subject=subject,
            on_event=at.hook(on_event),
            timeout=timeout,
            cancel=cancel,
        ),
    )

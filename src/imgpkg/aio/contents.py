"""Coroutines that describe images and bundles, and verify them.

Made by tools/coroutines.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import imgpkg
from imgpkg.aio.calls import call
from imgpkg.events import silent
from imgpkg.values import StrPath

if TYPE_CHECKING:
    from imgpkg.aio.session import Session


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

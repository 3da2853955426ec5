"""Coroutines about credentials: which are used and accepted, and logins that are stored.

Made by tools/coroutines.py.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import imgpkg
from imgpkg.aio.calls import call
from imgpkg.events import silent
from imgpkg.operations.copy.values import DEFAULT_OPTIONS

if TYPE_CHECKING:
    from imgpkg.aio.session import Session


async def check_access(
    reference: str,
    *,
    session: Session,
    push: bool = False,
    clock: Callable[[], float] = time.time,
    timeout: float | None = None,
    cancel: imgpkg.CancelToken | None = None,
) -> imgpkg.AccessReport:
    """Check over the network whether `reference` can be read and, with `push`, be written to.

    The coroutine of `imgpkg.check_access`, whose contract it has.
    """
    return await call(
        session,
        lambda at: imgpkg.check_access(
            reference, session=at.session, push=push, clock=clock, timeout=timeout, cancel=cancel
        ),
    )


async def check_copy(
    source: imgpkg.CopySource,
    to_repo: str = "",
    *,
    session: Session,
    source_session: Session | None = None,
    options: imgpkg.CopyOptions = DEFAULT_OPTIONS,
    on_event: imgpkg.Hook = silent,
    timeout: float | None = None,
    cancel: imgpkg.CancelToken | None = None,
) -> tuple[imgpkg.AccessReport, ...]:
    """Check that a copy of `source` can be read and, unless it is to a file, be written to `to_repo`.

    The coroutine of `imgpkg.check_copy`, whose contract it has.
    """
    return await call(
        session,
        lambda at: imgpkg.check_copy(
            source,
            to_repo,
            session=at.session,
            source_session=at.other(source_session),
            options=options,
            on_event=at.hook(on_event),
            timeout=timeout,
            cancel=cancel,
        ),
    )


async def explain(
    reference: str,
    *,
    session: Session,
    timeout: float | None = None,
    cancel: imgpkg.CancelToken | None = None,
) -> imgpkg.Decision:
    """Return which credential the session would use for the repository of `reference`, and why.

    The coroutine of `imgpkg.explain`, whose contract it has.
    """
    return await call(
        session, lambda at: imgpkg.explain(reference, session=at.session, timeout=timeout, cancel=cancel)
    )


async def get_token(
    reference: str,
    *,
    session: Session,
    scopes: Iterable[str] = (),
    timeout: float | None = None,
    cancel: imgpkg.CancelToken | None = None,
) -> imgpkg.IssuedToken:
    """Return a token to pull from the repository of `reference`, or one for `scopes`.

    The coroutine of `imgpkg.get_token`, whose contract it has.
    """
    return await call(
        session,
        lambda at: imgpkg.get_token(
            reference, session=at.session, scopes=scopes, timeout=timeout, cancel=cancel
        ),
    )


async def login(
    registry: str,
    credential: imgpkg.Credential,
    *,
    session: Session,
    authfile: str = "",
    check: bool = True,
    origin: str = "the login",
    timeout: float | None = None,
    cancel: imgpkg.CancelToken | None = None,
) -> imgpkg.StoredLogin:
    """Store `credential` for `registry`, `host[:port][/path]`, once the registry has accepted it.

    The coroutine of `imgpkg.login`, whose contract it has.
    """
    return await call(
        session,
        lambda at: imgpkg.login(
            registry,
            credential,
            session=at.session,
            authfile=authfile,
            check=check,
            origin=origin,
            timeout=timeout,
            cancel=cancel,
        ),
    )


async def logout(
    registry: str,
    *,
    session: Session,
    authfile: str = "",
    timeout: float | None = None,
    cancel: imgpkg.CancelToken | None = None,
) -> imgpkg.RemovedLogin:
    """Remove the login for `registry` from the file, and from the helper, in which `login` stores one.

    The coroutine of `imgpkg.logout`, whose contract it has.
    """
    return await call(
        session,
        lambda at: imgpkg.logout(
            registry, session=at.session, authfile=authfile, timeout=timeout, cancel=cancel
        ),
    )

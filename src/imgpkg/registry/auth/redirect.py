"""Requests to the hosts that a registry redirects to: without a credential, or with an anonymous token."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from imgpkg.auth.credential import ANONYMOUS
from imgpkg.errors import ImgpkgError
from imgpkg.registry.auth.challenge import choose, named_scopes, parse_challenges
from imgpkg.registry.auth.token import Inquiry, fetch_token
from imgpkg.transport.message import Origin

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping

    from imgpkg.transport.message import Request, Response

_READING = frozenset({"GET", "HEAD"})


def visit(
    request: Request, headers: Mapping[str, str], clock: Callable[[], float] = time.time
) -> Generator[Request, Response, tuple[Request, Response]]:
    """Yield `request` as it is, and return it as sent with its answer.

    A 401 to a reading request is answered with an anonymous token, from the service that this host names and
    for the scope that it names: both are its own, and nobody is shown a credential. When that leads nowhere
    the 401 is the answer. `headers` go to the token service.
    """
    response = yield request
    if response.status != 401 or request.method not in _READING:  # noqa: PLR2004 - Unauthorized
        return request, response
    challenges = parse_challenges(response.header_list("WWW-Authenticate"))
    challenge = choose(challenges, ANONYMOUS)
    if challenge is None or challenge.scheme != "bearer" or not challenge.realm:
        return request, response
    inquiry = Inquiry(
        challenge.realm,
        challenge.service,
        named_scopes((challenge,)),
        Origin.of(request.url),
        clock(),
        headers=headers,
    )
    try:
        reply = yield from fetch_token(inquiry)
    except ImgpkgError:
        return request, response
    except BaseException:
        response.close()
        raise
    response.close()
    signed = replace(request, headers={**request.headers, "Authorization": f"Bearer {reply.token.value}"})
    return signed, (yield signed)

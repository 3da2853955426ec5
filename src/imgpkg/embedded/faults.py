"""Misbehaviour on demand, so that clients can be tested against a registry that fails."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable

    from imgpkg.embedded.message import Request, Response


@dataclass(frozen=True, slots=True)
class Fault:
    """What goes wrong with one request; the default is nothing.

    `delay` in seconds comes before everything else. `answer` is given instead of serving the request.
    `hang_up` closes the connection without any answer. `cut_request_after` closes it after so many bytes of
    the request's body have been taken, `cut_response_after` after so many bytes of the response's.
    """

    delay: float = 0.0
    answer: Response | None = None
    hang_up: bool = False
    cut_request_after: int | None = None
    cut_response_after: int | None = None


NO_FAULT = Fault()
Faults: TypeAlias = "Callable[[Request], Fault | None]"


def no_faults(request: Request) -> Fault | None:
    """Serve every request."""

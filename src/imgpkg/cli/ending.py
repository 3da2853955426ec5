"""Let SIGTERM end a command as Ctrl-C does, so that nothing half made is left lying about."""

from __future__ import annotations

import signal
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Terminated(KeyboardInterrupt):
    """SIGTERM has come."""


@contextmanager
def terminable() -> Iterator[None]:
    """Raise Terminated in the block when SIGTERM comes, unless somebody handles or ignores it already."""
    is_ours = signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    if is_ours:
        _handle(_end)
    try:
        yield
    finally:
        if is_ours:
            _handle(signal.SIG_DFL)


def _handle(handler: Callable[[int, object], None] | signal.Handlers) -> None:
    # Only the main thread may; a command run by another thread is left to whoever runs it.
    with suppress(ValueError):
        signal.signal(signal.SIGTERM, handler)


def _end(_number: int, _frame: object) -> None:
    # A second one, while the first is being obeyed, would leave what is being removed.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise Terminated

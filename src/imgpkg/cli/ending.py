"""Let Ctrl-C and SIGTERM end a command alike, so that nothing half made is left lying about."""

from __future__ import annotations

import signal
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

    _Handler = Callable[[int, FrameType | None], object] | signal.Handlers


class Terminated(KeyboardInterrupt):
    """SIGTERM has come."""


@contextmanager
def terminable(stop: Callable[[], None]) -> Iterator[None]:
    """Call `stop` and raise KeyboardInterrupt in the block when SIGINT comes, Terminated for SIGTERM.

    A signal that somebody handles or ignores already is left alone. Workers are waited for when the block is
    left; `stop` ends what they wait for themselves.
    """

    def end(number: int, _frame: object) -> None:
        if number == signal.SIGTERM:
            # A second one, while the first is being obeyed, would leave what is being removed.
            signal.signal(number, signal.SIG_IGN)
        stop()
        raise Terminated if number == signal.SIGTERM else KeyboardInterrupt

    usual: dict[signal.Signals, _Handler] = {
        signal.SIGINT: signal.default_int_handler,
        signal.SIGTERM: signal.SIG_DFL,
    }
    ours = {number: handler for number, handler in usual.items() if signal.getsignal(number) is handler}
    try:
        for number in ours:
            _handle(number, end)
        yield
    finally:
        for number, handler in ours.items():
            _handle(number, handler)


def _handle(number: signal.Signals, handler: _Handler) -> None:
    # Only the main thread may; a command run by another thread is left to whoever runs it.
    with suppress(ValueError):
        signal.signal(number, handler)

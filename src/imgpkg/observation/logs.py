"""Events and requests as records of `logging` below the logger `imgpkg`; none has a secret."""

from __future__ import annotations

import logging
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from imgpkg.errors import printable
from imgpkg.events import (
    BlobFinished,
    BlobStarted,
    Event,
    Hook,
    Message,
    PackStarted,
    Planned,
    StepsAdvanced,
    Transfer,
    TransferCounter,
    Warned,
    silent,
)
from imgpkg.transport.trace import TextTracer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from imgpkg.transport.message import Request, Response


class EventLogger:
    """A hook that writes events as records, and passes all of them on; safe to call from many threads.

    Warnings have the level WARNING; lines of the log, and totals, have INFO; steps, and the begin and end of
    each blob, have DEBUG. Bytes on their way are no records. The attribute `imgpkg_event` of a record is the
    event. `logger` is the name of the logger.

    Operations write their events by themselves, below `imgpkg`, where a handler would receive them. Not if
    `on_event` is an EventLogger already: this is for other names.
    """

    def __init__(self, on_event: Hook = silent, *, logger: str = "imgpkg.events") -> None:
        self._on_event = on_event
        self._logger = logging.getLogger(logger)

    def __call__(self, event: Event) -> None:
        """Write one event, if it is one to write."""
        for level, line in _lines(event):
            if self._logger.isEnabledFor(level):
                self._logger.log(level, "%s", line, extra={"imgpkg_event": event})
        self._on_event(event)


def _lines(event: Event) -> Iterator[tuple[int, str]]:
    match event:
        case Warned():
            yield logging.WARNING, printable(event.text)
        case Message():
            yield from ((logging.INFO, line) for line in _text(event))
        case Planned():
            there = f"; already there: {_amount(event.present, event.present_size)}" if event.present else ""
            yield logging.INFO, f"planned: {_amount(event.blobs, event.size)}{there}"
        case PackStarted():
            yield logging.INFO, f"packing: {event.size} bytes"
        case StepsAdvanced():
            yield logging.DEBUG, f"{event.activity}: {event.done} of {event.total}"
        case BlobStarted():
            yield logging.DEBUG, f"{event.verb}: {event.digest}, {event.size} bytes"
        case BlobFinished():
            yield logging.DEBUG, f"{event.outcome.value}: {event.digest}, {event.size} bytes"
        case _:
            pass


def _text(message: Message) -> Iterator[str]:
    """Yield the lines of a block, or the one line of a message, in which a newline is part of a name."""
    lines = message.text.split("\n") if message.is_block else [message.text.strip("\n")]
    yield from (printable(line) for line in lines if line)


@contextmanager
def operation_log(name: str, given: Hook, counter: TransferCounter) -> Iterator[Hook]:
    """Return a context for an operation with a hook for it, around `counter` and so around the `given` one.

    How it ended is a record, too: an error is named by its class, since it is raised to whoever logs errors.
    """
    logger = logging.getLogger(f"imgpkg.{name}")
    started = time.monotonic()
    logger.debug("begins")
    try:
        # Not twice.
        yield counter if isinstance(given, EventLogger) else EventLogger(counter, logger=logger.name)
    except BaseException as error:
        logger.info("%s after %.1f s", type(error).__name__, time.monotonic() - started)
        raise
    logger.info("done in %.1f s%s", time.monotonic() - started, _outcomes(counter.total))


def _amount(blobs: int, size: int) -> str:
    return f"{blobs} {'blob' if blobs == 1 else 'blobs'}, {size} bytes"


def _outcomes(total: Transfer) -> str:
    kinds = {
        "moved": (total.moved, total.moved_size),
        "mounted": (total.mounted, total.mounted_size),
        "already there": (total.present, total.present_size),
    }
    said = [f"{kind} {_amount(count, size)}" for kind, (count, size) in kinds.items() if count]
    return f": {'; '.join(said)}" if said else ""


class HeadLogger:
    """A tracer that writes the heads of requests and responses, as `--debug` does, with the level DEBUG."""

    def __init__(self) -> None:
        self._logger = logging.getLogger("imgpkg.transport")
        self._tracer = TextTracer(self._write, has_time=False)

    def carry(self, request: Request, send: Callable[[Request], Response]) -> Response:
        """Send `request` by `send`, and write both heads if anybody wants them now."""
        if not self._logger.isEnabledFor(logging.DEBUG):
            return send(request)
        return self._tracer.carry(request, send)

    def _write(self, text: str) -> None:
        self._logger.debug("%s", text.rstrip("\n"))

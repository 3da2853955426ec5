"""Operations and requests as those see them who watch: `logging`, OpenTelemetry, a program's own trace."""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from functools import partial
from typing import TYPE_CHECKING, ParamSpec, TypeVar, cast

from imgpkg.dataclass import dataclass
from imgpkg.events import Hook, Observation, TransferCounter, has_logging, has_tracing, silent
from imgpkg.transport.trace import TextTracer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from imgpkg.transport.message import Request, Response
    from imgpkg.transport.trace import Tracer

P = ParamSpec("P")
R = TypeVar("R")

# An operation within another one is a part of that one. Threads of operations copy the context.
_IS_WITHIN: ContextVar[bool] = ContextVar("imgpkg_is_within_an_operation", default=False)


def observed(act: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Call an operation, in a span and with records of its events and its end, where somebody watches."""
    if _IS_WITHIN.get():
        return act(*args, **kwargs)
    given = cast("Hook", kwargs.get("on_event", silent))
    counter = TransferCounter(given)
    with _within(), _span(act.__name__, counter), _log(act.__name__, given, counter) as hook:
        # Some operations have no events.
        if "on_event" in act.__annotations__:
            kwargs["on_event"] = hook
        return act(*args, **kwargs)


@contextmanager
def observed_context(name: str, given: Hook) -> Iterator[Observation]:
    """Return a context for an operation that lasts, with a span and records as `observed` has them."""
    if _IS_WITHIN.get():
        yield Observation(given)
        return
    counter = TransferCounter(given)
    early = None
    with _lasting_span(name, counter) as part, _log(name, given, counter) as hook:
        try:
            yield Observation(hook, part)
        except GeneratorExit as error:
            # An iterator that is not read to its end is no failure.
            early = error
    if early is not None:
        raise early


@contextmanager
def _lasting_span(
    name: str, counter: TransferCounter
) -> Iterator[Callable[[], AbstractContextManager[object]]]:
    if not has_tracing():
        yield nullcontext
        return
    from imgpkg.observation.spans import describe_transfer, lasting_span, within

    with lasting_span(name) as span:
        try:
            yield partial(within, span)
        finally:
            describe_transfer(span, counter.total)


@contextmanager
def _within() -> Iterator[None]:
    token = _IS_WITHIN.set(True)
    try:
        yield
    finally:
        _IS_WITHIN.reset(token)


@contextmanager
def _span(name: str, counter: TransferCounter) -> Iterator[None]:
    if not has_tracing():
        yield
        return
    from imgpkg.observation.spans import describe_transfer, operation_span

    with operation_span(name) as span:
        try:
            yield
        finally:
            describe_transfer(span, counter.total)


@contextmanager
def _log(name: str, given: Hook, counter: TransferCounter) -> Iterator[Hook]:
    if not has_logging(name):
        yield counter
        return
    from imgpkg.observation.logs import operation_log

    with operation_log(name, given, counter) as hook:
        yield hook


@dataclass(frozen=True, slots=True)
class TracerChain:
    """Several tracers as one: the first is around all others, which see the headers that it adds."""

    tracers: tuple[Tracer, ...]

    def carry(self, request: Request, send: Callable[[Request], Response]) -> Response:
        """Send `request` by `send`, through all tracers."""
        for tracer in reversed(self.tracers):
            send = partial(tracer.carry, send=send)
        return send(request)


def make_tracer(trace: Callable[[str], None] | None, *, sends_context: bool) -> TracerChain:
    """Return the tracer of a session: that of the program, if it has one, and those for who else watches."""
    tracers: list[Tracer] = [] if trace is None else [TextTracer(trace)]
    if has_logging("transport"):
        from imgpkg.observation.logs import HeadLogger

        tracers.insert(0, HeadLogger())
    if has_tracing():
        from imgpkg.observation.spans import SpanTracer

        tracers.insert(0, SpanTracer(sends_context=sends_context))
    return TracerChain(tuple(tracers))

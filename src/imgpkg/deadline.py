"""What programs give to operations: time limits, and tokens that cancel them."""

from __future__ import annotations

from collections.abc import Generator, Iterator  # noqa: TC003 - a program may look it up
from contextlib import closing, contextmanager
from typing import NoReturn, TypeVar

from imgpkg.cancellation import Cancellation, current
from imgpkg.errors import Cancelled, TimedOut, UsageError

T = TypeVar("T")

_HINTS = ("Give it more time (`timeout`, or --timeout of a command), or look into what it was waiting for.",)


class CancelToken:
    """Ends the work that it was given to, from any thread or signal handler, as often as one likes.

    Operations take it as `cancel=`, and `limits` for all work in a block. What waits then, for a connection,
    a TLS handshake, data, a pause or a credential helper, ends at once and raises `errors.Cancelled`, and so
    does everything that is begun with the token later. One token may be given to any number of operations
    in any number of threads. `cancel` takes no lock. A token is for one process, and cannot be pickled.
    """

    __slots__ = ("_scope",)

    def __init__(self, *parents: CancelToken) -> None:
        # A token is the public form of a scope.
        self._scope: Cancellation = Cancellation(*(parent._scope for parent in parents))  # noqa: SLF001

    @property
    def is_cancelled(self) -> bool:
        """True after `cancel` of this token or of one that it is a child of."""
        return self._scope.is_cancelled

    def cancel(self) -> None:
        """End the work; it may still run when this returns, and raises Cancelled within a second."""
        self._scope.cancel()

    def check(self) -> None:
        """Raise `errors.Cancelled` if the token is cancelled: for the loops of programs."""
        self._scope.check()

    def child(self) -> CancelToken:
        """Return a token that is cancelled with this one, and whose `cancel` leaves this one alone."""
        return CancelToken(self)

    def __reduce__(self) -> NoReturn:
        # A copy in another process would be one that nobody can cancel.
        raise TypeError("cannot pickle a CancelToken: it ends the work of its own process")

    def __repr__(self) -> str:
        return f"<CancelToken{' cancelled' if self.is_cancelled else ''}>"


@contextmanager
def limits(*, timeout: float | None = None, cancel: CancelToken | None = None) -> Iterator[CancelToken]:
    """Return a context that ends everything in it after `timeout` seconds, or when `cancel` is cancelled.

    For several operations together, and for calls of `Session.client`. It yields a token of the block itself.
    Contexts may be nested, and the first limit of all counts. A limit of zero or less is over at once; None,
    and infinity, are none. Threads that the program starts in the block are in it if they copy the context
    (`contextvars.copy_context`).

    Raises TimedOut when its own time is over before the end of the block, and something in the block
    noticed; Cancelled after a cancellation; UsageError for a time limit that is no number.
    """
    with limited(current(), timeout, cancel) as scope:
        token = CancelToken()
        token._scope = scope  # noqa: SLF001 - its own
        yield token


@contextmanager
def limited(
    outermost: Cancellation,
    timeout: float | None,
    cancel: CancelToken | None,
    *,
    what: str = "",
) -> Iterator[Cancellation]:
    """Return a context with the limits of `what`, an operation of `outermost`; raise what `limits` raises."""
    others, is_operation = _others(timeout, cancel), bool(what)
    with outermost.scope(*others, seconds=timeout, is_operation=is_operation) as scope, _ended(scope, what):
        # What needs no wait at all is begun neither.
        scope.check()
        yield scope


class StepLimits:
    """The limits of `what`, an operation of `outermost` that works in steps; its time begins now.

    Each step has the limits of whoever asks for it, too. What the program does meanwhile has not these.
    """

    def __init__(
        self, outermost: Cancellation, timeout: float | None, cancel: CancelToken | None, *, what: str
    ) -> None:
        others = _others(timeout, cancel)
        self._outermost = outermost
        self._scope: Cancellation | None = None
        if timeout is not None or cancel is not None:
            self._scope = Cancellation(*others, seconds=timeout, is_operation=True)
        self._what = what

    @contextmanager
    def step(self) -> Iterator[None]:
        """Return the context of a step; raise what `limits` raises."""
        if self._scope is None:
            yield
            return
        with self._outermost.scope(self._scope) as scope, _ended(self._scope, self._what):
            scope.check()
            yield

    def of_each(self, steps: Generator[T, None, None]) -> Generator[T, None, None]:
        """Yield what `steps` do, each within a step."""
        with closing(steps):
            while True:
                with self.step():
                    try:
                        item = next(steps)
                    except StopIteration:
                        return
                yield item


def _others(timeout: float | None, cancel: object) -> tuple[Cancellation, ...]:
    if timeout is not None and timeout != timeout:  # noqa: PLR0124 - not a number
        raise UsageError("Expected a time limit in seconds, but was nan")
    if cancel is None:
        return ()
    if not isinstance(cancel, CancelToken):
        raise TypeError(f"Expected an imgpkg.CancelToken, and not {type(cancel).__name__}")
    return (cancel._scope,)  # noqa: SLF001 - its own


@contextmanager
def _ended(scope: Cancellation, what: str) -> Iterator[None]:
    """Raise TimedOut in the place of Cancelled where the time of `scope` itself is over."""
    try:
        yield
    except Cancelled as error:
        if what:
            error.add_context(what)
        # Not what has ended an inner scope or an outer one, and no hook.
        is_own = error._scope == scope.number  # noqa: SLF001 - no part of what programs know of it
        if scope.seconds is None or not is_own or not scope.is_over:
            raise
        raise _timed_out(error, scope.seconds, scope.spent) from error


def _timed_out(error: Cancelled, seconds: float, spent: float) -> TimedOut:
    last = f": {error.waited_for}" if error.waited_for else ""
    failure = TimedOut(
        f"not finished within {max(seconds, 0):.3g} s, stopped after {spent:.1f} s{last}", hints=_HINTS
    )
    failure.waited_for, failure.seconds, failure.spent = error.waited_for, seconds, spent
    failure.add_context(*error.context)
    return failure

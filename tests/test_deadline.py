"""Time limits and tokens: which of them ended the work, and what the error says."""

from __future__ import annotations

import contextlib
import contextvars
import inspect
import pickle
import re
import signal
import threading
import time
import typing

import pytest

import imgpkg
from imgpkg import CancelToken, errors, limits
from imgpkg.cancellation import Cancellation, current, sleep

WITHIN = re.escape("not finished within 0.1 s")


def late(seconds, act=lambda: None):
    """Notice the end of the scope after this time only."""
    time.sleep(seconds)
    act()
    sleep(0)


def fail_after(seconds, error):
    time.sleep(seconds)
    raise error


def spent_in(act):
    start = time.monotonic()
    act()
    return time.monotonic() - start


class TestALimit:
    def test_ends_a_pause_in_its_block(self):
        def act():
            with pytest.raises(errors.TimedOut), limits(timeout=0.2):
                sleep(30)

        assert 0.2 <= spent_in(act) < 5

    def test_says_how_long_it_took(self):
        with pytest.raises(errors.TimedOut) as caught, limits(timeout=0.2):
            sleep(30)
        error = caught.value
        assert (error.seconds, error.waited_for) == (0.2, "")
        assert 0.2 <= error.spent < 5
        assert str(error) == f"not finished within 0.2 s, stopped after {error.spent:.1f} s"
        assert error.hints[0].startswith("Give it more time")

    def test_is_a_timeout_of_the_standard_library_too(self):
        with pytest.raises(TimeoutError), limits(timeout=0):
            sleep(1)

    def test_does_nothing_to_what_is_done_in_time(self):
        with limits(timeout=30):
            sleep(0)
        sleep(0)

    def test_is_not_reported_where_nothing_noticed_it(self):
        with limits(timeout=0.01):
            time.sleep(0.05)

    @pytest.mark.parametrize("timeout", [0, -1, float("-inf")])
    def test_of_no_time_is_over_before_the_block(self, timeout):
        begun = []
        with pytest.raises(errors.TimedOut), limits(timeout=timeout):
            begun.append(True)
        assert begun == []

    @pytest.mark.parametrize("timeout", [None, float("inf")])
    def test_may_be_none(self, timeout):
        with limits(timeout=timeout):
            sleep(0.01)
            assert current().remaining() is None

    def test_must_be_a_number(self):
        with pytest.raises(errors.UsageError, match="nan"), limits(timeout=float("nan")):
            pass

    def test_keeps_what_was_being_done(self):
        with pytest.raises(errors.TimedOut) as caught, limits(timeout=0.05), errors.doing("copying", "x"):
            sleep(30)
        assert str(caught.value).startswith("copying: x: not finished within 0.05 s")

    def test_survives_pickling(self):
        with pytest.raises(errors.TimedOut) as caught, limits(timeout=0.01):
            sleep(30)
        copied = pickle.loads(pickle.dumps(caught.value))
        assert (str(copied), copied.args, copied.seconds) == (str(caught.value), caught.value.args, 0.01)

    def test_does_not_turn_into_an_error_of_a_file(self):
        with pytest.raises(errors.TimedOut), errors.local_io("write", "x"), limits(timeout=0.01):
            sleep(30)

    def test_leaves_other_errors_alone(self):
        with pytest.raises(errors.UsageError), limits(timeout=0.01):
            fail_after(0.05, errors.UsageError("x"))

    def test_leaves_the_cancellation_of_a_hook_alone(self):
        with pytest.raises(errors.Cancelled), limits(timeout=0.01):
            fail_after(0.05, errors.Cancelled())


class TestNestedLimits:
    def test_the_inner_one_is_reported_by_its_own_block(self):
        with limits(timeout=30):
            with pytest.raises(errors.TimedOut, match=WITHIN), limits(timeout=0.1):
                sleep(30)
            sleep(0.01)

    def test_the_outer_one_is_not_reported_by_the_inner_block(self):
        def inner():
            with pytest.raises(errors.Cancelled), limits(timeout=30):
                sleep(30)
            sleep(0)

        with pytest.raises(errors.TimedOut, match=WITHIN), limits(timeout=0.1):
            inner()

    def test_that_are_over_together_are_reported_by_the_first(self):
        with pytest.raises(errors.TimedOut, match=WITHIN), limits(timeout=0.1), limits(timeout=0.2):
            late(0.3)

    def test_hold_in_threads_that_copy_the_context(self):
        ended = []

        def run():
            try:
                sleep(30)
            except errors.Cancelled as error:
                ended.append(error)

        with limits(timeout=0.1):
            thread = threading.Thread(target=contextvars.copy_context().run, args=(run,))
            thread.start()
            thread.join(5)
        assert len(ended) == 1

    def test_a_deadline_is_the_reason_for_what_is_cancelled_in_consequence(self):
        with pytest.raises(errors.TimedOut), limits(timeout=0.05), current().scope() as workers:
            late(0.1, workers.cancel)


class TestAToken:
    def test_is_no_event_of_threading(self):
        expected = r"Expected an imgpkg\.CancelToken, and not Event"
        with pytest.raises(TypeError, match=expected), limits(cancel=threading.Event()):
            pass

    def test_is_for_one_process(self):
        with pytest.raises(
            TypeError, match="cannot pickle a CancelToken: it ends the work of its own process"
        ):
            pickle.dumps(CancelToken())

    def test_ends_a_pause_from_another_thread(self):
        token = CancelToken()
        threading.Timer(0.1, token.cancel).start()

        def act():
            with pytest.raises(errors.Cancelled, match="the work was stopped"), limits(cancel=token):
                sleep(30)

        assert spent_in(act) < 5

    def test_ends_a_pause_from_a_signal_handler(self):
        token = CancelToken()
        before = signal.signal(signal.SIGALRM, lambda *_: token.cancel())
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.1)
            with pytest.raises(errors.Cancelled), limits(cancel=token):
                sleep(30)
        finally:
            signal.signal(signal.SIGALRM, before)

    def test_that_is_cancelled_lets_nothing_begin(self):
        token, begun = CancelToken(), []
        token.cancel()
        with pytest.raises(errors.Cancelled), limits(cancel=token):
            begun.append(True)
        assert (begun, token.is_cancelled) == ([], True)

    def test_is_cancelled_with_its_parent_and_not_the_other_way_round(self):
        parent = CancelToken()
        first, second = parent.child(), parent.child()
        first.cancel()
        assert (parent.is_cancelled, first.is_cancelled, second.is_cancelled) == (False, True, False)
        parent.cancel()
        parent.cancel()
        assert second.child().is_cancelled
        with pytest.raises(errors.Cancelled):
            second.check()

    def test_may_have_several_parents(self):
        one, other = CancelToken(), CancelToken()
        both = CancelToken(one, other)
        both.check()
        other.cancel()
        assert both.is_cancelled
        assert not one.is_cancelled

    def test_before_the_deadline_is_no_time_out(self):
        token = CancelToken()
        token_soon = threading.Timer(0.05, token.cancel)
        token_soon.start()
        with pytest.raises(errors.Cancelled) as caught, limits(timeout=0.1, cancel=token):
            late(0.2)
        assert not isinstance(caught.value, errors.TimedOut)

    def test_of_a_block_ends_what_is_in_it(self):
        with pytest.raises(errors.Cancelled), limits() as block:
            late(0, block.cancel)
        sleep(0)

    def test_shows_whether_it_is_cancelled(self):
        token = CancelToken()
        assert repr(token) == "<CancelToken>"
        token.cancel()
        assert repr(token) == "<CancelToken cancelled>"

    def test_keeps_nothing_of_work_that_has_ended(self):
        root = Cancellation()
        for _ in range(3):
            with root.scope() as scope, scope.ending(lambda: None):
                assert len(root.ends) == 1
        assert root.ends == {}


class TestASession:
    def test_has_a_limit_for_each_operation(self):
        with imgpkg.Session(timeout=0.1) as session:
            with pytest.raises(errors.TimedOut, match=WITHIN) as caught, session.limits("pull", None):
                sleep(30)
            with session.limits("pull", None):
                sleep(0.01)
        assert str(caught.value).startswith("pull: not finished")

    def test_has_it_once_for_operations_within_operations(self):
        with imgpkg.Session(timeout=0.1) as session, session.limits("copy", 30), session.limits("pull", None):
            sleep(0.2)

    def test_of_another_session_does_not_count_within_an_operation(self):
        with imgpkg.Session() as session, imgpkg.Session(timeout=0.1) as other:
            with session.limits("copy", 30), other.limits("pull", None):
                sleep(0.2)
            with pytest.raises(errors.TimedOut, match=WITHIN), other.limits("pull", None):
                sleep(30)

    def test_that_is_stopped_ends_work_within_limits(self):
        with imgpkg.Session() as session, limits(timeout=30):
            scope = current(session.cancellation)
            threading.Timer(0.1, session.stop).start()
            with pytest.raises(errors.Cancelled):
                scope.sleep(30)

    def test_may_have_no_limit_for_one_operation(self):
        with imgpkg.Session(timeout=0.05) as session, session.limits("pull", float("inf")):
            sleep(0.1)


EACH = {
    name: function
    for name in imgpkg.__all__
    if inspect.isfunction(function := getattr(imgpkg, name))
    and "session" in inspect.signature(function).parameters
}


def arguments_of(function):
    """Something for each parameter without a default; it is not looked at."""
    parameters = inspect.signature(function).parameters.values()
    needed = [one for one in parameters if one.default is one.empty and one.name != "session"]
    words = {one.name: "registry.invalid/team/app:v1" for one in needed}
    positional = [words.pop(one.name) for one in needed if one.kind is one.POSITIONAL_OR_KEYWORD]
    return positional, words


class TestEachOperation:
    @pytest.mark.parametrize("name", EACH)
    def test_has_a_time_limit_and_a_token(self, name):
        parameters = inspect.signature(EACH[name]).parameters
        hints = typing.get_type_hints(inspect.unwrap(EACH[name]))
        for parameter, kind in {"timeout": float, "cancel": CancelToken}.items():
            assert parameters[parameter].kind is inspect.Parameter.KEYWORD_ONLY
            assert parameters[parameter].default is None
            assert hints[parameter] == kind | None

    @pytest.mark.parametrize("name", EACH)
    def test_begins_nothing_after_a_cancellation(self, name):
        token = CancelToken()
        token.cancel()
        positional, words = arguments_of(EACH[name])
        with imgpkg.Session() as session, pytest.raises(errors.Cancelled) as caught:
            entered(EACH[name](*positional, session=session, cancel=token, **words))
        assert caught.value.context[0] == name

    @pytest.mark.parametrize("name", EACH)
    def test_has_the_limit_of_its_session(self, name):
        positional, words = arguments_of(EACH[name])
        with imgpkg.Session(timeout=0) as session, pytest.raises(errors.TimedOut) as caught:
            entered(EACH[name](*positional, session=session, **words))
        assert str(caught.value).startswith(f"{name}: not finished within 0 s")

    def test_says_so_in_its_docstring(self):
        silent = {name for name, function in EACH.items() if "`timeout`" not in (function.__doc__ or "")}
        assert silent == set()


def entered(result):
    """Enter what is a context, and ask an iterator for its first item."""
    with result if hasattr(result, "__enter__") else contextlib.nullcontext():
        if inspect.isgenerator(result):
            next(result)

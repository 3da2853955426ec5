"""Repetition: which failures are tried again, and after which pause."""

from __future__ import annotations

import pytest

from imgpkg.errors import (
    ConnectionFailed,
    ConnectionTimedOut,
    Diagnostic,
    NotFound,
    RegistryError,
    UsageError,
)
from imgpkg.registry.exchange import Repetition, Retry, delay_before


def answer(status, *codes, retry_after=None):
    diagnostics = tuple(Diagnostic(code, "text") for code in codes)
    return RegistryError(
        "x", method="GET", url="u", status=status, diagnostics=diagnostics, retry_after=retry_after
    )


class TestPauses:
    def test_they_double_from_a_tenth_of_a_second_up_to_one(self):
        assert [delay_before(attempt, 1.0) for attempt in range(2, 8)] == [0.1, 0.2, 0.4, 0.8, 1.0, 1.0]

    def test_chance_halves_them_at_most(self):
        assert [delay_before(attempt, 0.0) for attempt in (2, 9999)] == [0.05, 0.5]

    def test_the_server_may_ask_for_more_but_not_for_less(self):
        assert delay_before(2, 1.0, 7.0) == 7.0
        assert delay_before(2, 1.0, 0.0) == 0.1


class Operation:
    """Raises the errors given, one per call, then returns its name."""

    def __init__(self, *errors):
        self.errors = list(errors)
        self.calls = 0

    def __call__(self):
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        return "done"


class TestTheLoop:
    @pytest.fixture
    def pauses(self):
        return []

    @pytest.fixture
    def retry(self, pauses):
        return lambda attempts: Retry(attempts, sleep=pauses.append, random=lambda: 1.0)

    def test_success_is_returned_at_once(self, retry, pauses):
        assert (retry(5).run(Operation()), pauses) == ("done", [])

    def test_a_temporary_failure_is_repeated(self, retry, pauses):
        operation = Operation(
            answer(503), ConnectionFailed("GET", "u", "r"), ConnectionTimedOut("GET", "u", "r")
        )
        assert retry(5).run(operation) == "done"
        assert (operation.calls, pauses) == (4, [0.1, 0.2, 0.4])

    def test_the_last_failure_is_raised_without_a_pause_after_it(self, retry, pauses):
        errors = [answer(500), answer(502), answer(503)]
        operation = Operation(*errors)
        with pytest.raises(RegistryError) as caught:
            retry(3).run(operation)
        assert caught.value is errors[2]
        assert (operation.calls, pauses) == (3, [0.1, 0.2])

    @pytest.mark.parametrize("attempts", [1, 0, -3])
    def test_there_is_always_one_attempt(self, retry, pauses, attempts):
        operation = Operation(answer(503))
        with pytest.raises(RegistryError):
            retry(attempts).run(operation)
        assert (operation.calls, pauses) == (1, [])

    def test_a_final_failure_ends_it(self, retry, pauses):
        missing = NotFound("x", method="GET", url="u", status=404)
        operation = Operation(answer(503), missing, answer(503))
        with pytest.raises(NotFound):
            retry(5).run(operation)
        assert (operation.calls, pauses) == (2, [0.1])

    def test_an_error_of_another_kind_passes(self, retry):
        with pytest.raises(UsageError):
            retry(5).run(Operation(UsageError("x")))
        with pytest.raises(ZeroDivisionError):
            retry(5).run(Operation(ZeroDivisionError()))

    def test_the_pause_that_the_server_asks_for_is_made(self, retry, pauses):
        assert retry(5).run(Operation(answer(429, retry_after=7.0))) == "done"
        assert pauses == [7.0]

    def test_each_repetition_is_announced(self, pauses):
        heard = []
        retry = Retry(2, pauses.append, lambda: 0.0, heard.append)
        error = answer(503)
        assert retry.run(Operation(error)) == "done"
        assert heard == [Repetition(error, 0.05, 2, 2)]
        assert str(heard[0]).endswith("; trying again now (attempt 2 of 2)")
        assert str(Repetition(error, 7.0, 3, 5)).endswith("; trying again in 7 s (attempt 3 of 5)")

    @pytest.mark.parametrize("seconds", [61.0, 1e10])
    def test_a_server_that_asks_for_more_than_a_minute_is_not_waited_for(self, retry, pauses, seconds):
        with pytest.raises(RegistryError) as caught:
            retry(5).run(Operation(answer(429, retry_after=seconds)))
        assert pauses == []
        assert "asks to be left alone for " in caught.value.hints[-1]

    def test_an_operation_within_another_one_advises_once(self, retry):
        with pytest.raises(RegistryError) as caught:
            retry(5).run(lambda: retry(5).run(Operation(answer(429, retry_after=3600.0))))
        assert sum("asks to be left alone for " in hint for hint in caught.value.hints) == 1

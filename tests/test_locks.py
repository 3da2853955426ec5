"""Work that several threads want: done by one of them, shared by all."""

from __future__ import annotations

import threading

import pytest

from imgpkg.deadline import limits
from imgpkg.errors import CredentialError, TimedOut
from imgpkg.locks import KeyedLocks, Once, Turn


def test_work_that_is_interrupted_is_done_again():
    results = iter([KeyboardInterrupt(), 7])

    def work():
        result = next(results)
        if isinstance(result, BaseException):
            raise result
        return result

    once = Once(work)
    with pytest.raises(KeyboardInterrupt):
        once()
    assert (once.failed, once.peek()) == (False, None)
    assert once() == once() == once.peek() == 7


def test_work_that_many_threads_want_is_done_once():
    count = []
    once = Once(lambda: count.append(1) or len(count))
    gate = threading.Barrier(10)
    results = []

    def want():
        gate.wait()
        results.append(once())

    threads = [threading.Thread(target=want) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [1] * 10


def test_a_failure_keeps_its_hints():
    def work():
        raise CredentialError("no", hints=("Try again.",))

    once = Once(work)
    for _ in range(2):
        with pytest.raises(CredentialError) as caught:
            once()
        assert (str(caught.value), caught.value.hints) == ("no", ("Try again.",))
    assert once.failed


def of_once():
    gate, begun = threading.Event(), threading.Event()

    def work():
        begun.set()
        return gate.wait(20)

    once = Once(work)
    return once, once, gate, begun


def of_a_key():
    gate, begun, locks = threading.Event(), threading.Event(), KeyedLocks()

    def hold():
        with locks.of("key"):
            begun.set()
            gate.wait(20)

    def want():
        with locks.of("key"):
            return True

    return hold, want, gate, begun


def of_a_turn():
    gate, begun, turn = threading.Event(), threading.Event(), Turn()

    def hold():
        with turn.taken(lambda error: error):
            begun.set()
            gate.wait(20)

    def want():
        with turn.taken(lambda error: error):
            return True

    return hold, want, gate, begun


@pytest.mark.parametrize("kind", [of_once, of_a_key, of_a_turn])
def test_who_waits_for_another_thread_has_a_time_limit_of_its_own(kind):
    hold, want, gate, begun = kind()
    thread = threading.Thread(target=hold)
    thread.start()
    assert begun.wait(5)
    with pytest.raises(TimedOut) as caught, limits(timeout=0.1):
        want()
    assert caught.value.waited_for == "what another thread has begun"
    # The holder has nothing to do with that limit.
    assert thread.is_alive()
    gate.set()
    thread.join(5)
    with limits(timeout=5):
        assert want()

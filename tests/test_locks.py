"""Work that several threads want: done by one of them, shared by all."""

from __future__ import annotations

import threading

import pytest

from imgpkg.errors import CredentialError
from imgpkg.locks import Once


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

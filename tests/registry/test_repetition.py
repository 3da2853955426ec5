"""Warnings of repetitions: one for each kind of failure at a registry, and numbers of those like it."""

from __future__ import annotations

import socket
from concurrent.futures import ThreadPoolExecutor

import pytest

from imgpkg import Reference, Session, Settings
from imgpkg.errors import ConnectionFailed, ConnectionTimedOut, Diagnostic, RegistryError
from imgpkg.events import Warned
from imgpkg.registry.exchange import Repetition
from imgpkg.registry.repetition import RepetitionWarnings


class Bench:
    """Repetitions of which the warnings are kept, and a clock that is set by hand."""

    def __init__(self):
        self.now = 100.0
        self.told = []
        self.warnings = RepetitionWarnings(self.told.append, clock=lambda: self.now)

    def fail(self, *errors):
        for error in errors:
            self.warnings(Repetition(error, 0.2, 2, 5))


@pytest.fixture
def bench():
    return Bench()


def refused(number=0, host="r.example:5000"):
    return ConnectionFailed("GET", f"https://{host}/v2/a/blobs/{number}", "connection refused")


def answered(status, *codes, host="r.example"):
    return RegistryError(
        f"GET https://{host}/: unexpected status code {status}",
        method="GET",
        url=f"https://{host}/",
        status=status,
        diagnostics=tuple(Diagnostic(code=code, message="") for code in codes),
    )


def test_the_first_is_told_at_once_and_in_full(bench):
    bench.fail(refused())
    assert bench.told == [f"{refused()}; trying again now (attempt 2 of 5)"]


def test_those_like_it_are_counted_and_told_at_the_end(bench):
    bench.fail(*map(refused, range(42)))
    assert len(bench.told) == 1
    bench.warnings.close()
    assert bench.told[1:] == [
        "r.example:5000: connection failed, as above: and 41 more like it, tried again",
    ]
    bench.warnings.close()
    assert len(bench.told) == 2


def test_after_five_seconds_one_is_told_again_with_the_number_before_it(bench):
    bench.fail(refused(0), refused(1), refused(2))
    bench.now += 5
    bench.fail(refused(3), refused(4))
    assert bench.told[1:] == [f"{refused(3)}; trying again now (attempt 2 of 5), and 2 more like it"]
    bench.now += 4.9
    bench.fail(refused(5))
    assert len(bench.told) == 2
    bench.now += 5
    bench.warnings.close()
    assert bench.told[2].endswith(": and 2 more like it, tried again")


def test_nothing_is_told_of_none(bench):
    bench.fail(refused())
    bench.now += 60
    bench.fail(refused(1))
    bench.warnings.close()
    assert [text.endswith("(attempt 2 of 5)") for text in bench.told] == [True, True]


@pytest.mark.parametrize(
    "other",
    [
        refused(host="r.example"),
        ConnectionTimedOut("GET", "https://r.example:5000/v2/", "i/o timeout"),
        answered(503, host="r.example:5000"),
    ],
    ids=["registry", "failure", "answer"],
)
def test_each_registry_and_kind_of_failure_is_told(bench, other):
    bench.fail(refused(1), other, refused(2), other)
    assert [text.partition(";")[0] for text in bench.told] == [str(refused(1)), str(other)]
    bench.warnings.close()
    assert len(bench.told) == 4


def test_answers_differ_by_their_status_and_codes(bench):
    bench.fail(*[answered(429), answered(503), answered(503, "UNAVAILABLE")] * 2)
    assert len(bench.told) == 3
    bench.warnings.close()
    assert [text.partition(",")[0] for text in bench.told[3:]] == [
        "r.example: status 429",
        "r.example: status 503",
        "r.example: status 503",
    ]


def test_names_a_time_out_and_no_login_of_a_url(bench):
    error = ConnectionTimedOut("GET", "https://user:secret@r.example/v2/", "i/o timeout")
    bench.fail(error, error)
    bench.warnings.close()
    assert bench.told[1].startswith("r.example: no answer in time, as above")


def test_a_session_warns_once_of_a_registry_that_refuses_all_its_requests():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        registry = f"127.0.0.1:{listener.getsockname()[1]}"
    events = []
    with Session(Settings(retry_count=3), on_event=events.append) as session:

        def request(number):
            with pytest.raises(ConnectionFailed):
                session.client.resolve(Reference.parse(f"{registry}/a/b:v{number}"))

        with ThreadPoolExecutor(4) as threads:
            list(threads.map(request, range(4)))
        (first,) = events
    assert isinstance(first, Warned)
    assert "connection refused" in first.text
    assert [event.text for event in events[1:]] == [
        f"{registry}: connection failed, as above: and 7 more like it, tried again"
    ]

"""Events become lines, warnings and progress, each in its place."""

from __future__ import annotations

import io
import threading

import pytest

from imgpkg.cli.output import TextOutput
from imgpkg.cli.progress import BarTracker, LineTracker, Reporter
from imgpkg.events import (
    BlobAdvanced,
    BlobFinished,
    BlobOutcome,
    BlobStarted,
    Message,
    PackAdvanced,
    PackStarted,
    Planned,
    Warned,
)
from imgpkg.oci.descriptor import Digest

DIGEST = Digest("sha256", "0" * 64)
MIB = 1 << 20


@pytest.fixture
def said():
    return io.StringIO(), io.StringIO()


@pytest.fixture
def make(said):
    reporters = []

    def made(*, shows_log=True, draws=False):
        output = TextOutput(*said, terminal=shows_log, color=False, columns=())
        reporters.append(Reporter(output, said[1], shows_log=shows_log, draws=draws))
        return reporters[-1]

    yield made
    for reporter in reporters:
        reporter.close()


def test_messages_are_text(make, said):
    make()(Message("dir: .\n"))
    assert [stream.getvalue() for stream in said] == ["dir: .\n", ""]


def test_a_warning_is_said_once(make, said):
    reporter = make()
    for text in ("one", "two", "one"):
        reporter(Warned(text))
    assert said[1].getvalue() == "imgpkg: warning: one\nimgpkg: warning: two\n"


@pytest.mark.parametrize(("shows_log", "err"), [(True, ""), (False, "imgpkg: warning: skipped\n")])
def test_a_warning_that_is_in_the_log_is_repeated_only_to_those_who_do_not_see_it(make, said, shows_log, err):
    make(shows_log=shows_log)(Warned("skipped", is_logged=True))
    assert said[1].getvalue() == err


@pytest.mark.parametrize("line", ["--> GET", "--> GET\n"])
def test_a_trace_has_lines(make, said, line):
    make().trace(line)
    assert said[1].getvalue() == "--> GET\n"


def test_everything_is_counted_from_many_threads():
    tracker = LineTracker(io.StringIO())
    reporter = Reporter(
        TextOutput(io.StringIO(), io.StringIO(), terminal=True, color=False, columns=()),
        io.StringIO(),
        shows_log=True,
        draws=False,
    )
    reporter._tracker = tracker

    def work():
        for _ in range(100):
            reporter(Planned(1, 10))
            reporter(BlobStarted(DIGEST, 10, "uploading"))
            reporter(BlobAdvanced(DIGEST, 12))
            reporter(BlobAdvanced(DIGEST, -2))
            reporter(BlobFinished(DIGEST, BlobOutcome.MOVED))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (tracker.blobs, tracker.size, tracker.moved, tracker.done) == (400, 4000, 4000, 400)


@pytest.mark.parametrize(("size", "share"), [(0, "3 MiB"), (8 * MIB, "3 of 8 MiB")])
def test_a_log_gets_a_line_from_time_to_time(size, share):
    err = io.StringIO()
    tracker = LineTracker(err)
    tracker.take(Planned(2, size))
    tracker._next = 0
    tracker.take(BlobAdvanced(DIGEST, 3 * MIB))
    tracker.take(BlobFinished(DIGEST, BlobOutcome.MOVED))
    assert err.getvalue() == f"imgpkg: 0 of 2 blobs, {share}\n"


def test_work_without_a_plan_is_counted_as_it_begins():
    tracker = LineTracker(io.StringIO())
    for size in (5, 7):
        tracker.take(BlobStarted(DIGEST, size, "push"))
    assert (tracker.blobs, tracker.size) == (2, 12)


def test_packing_is_counted_before_and_apart_from_the_upload():
    err = io.StringIO()
    tracker = LineTracker(err)
    for event in (
        PackStarted(8 * MIB),
        PackAdvanced(3 * MIB),
        Planned(2, 5 * MIB),
        BlobAdvanced(DIGEST, MIB),
    ):
        tracker._next = 0
        tracker.take(event)
    assert err.getvalue().splitlines() == [
        "imgpkg: packing, 0 of 8 MiB",
        "imgpkg: packing, 3 of 8 MiB",
        "imgpkg: 0 of 2 blobs, 0 of 5 MiB",
        "imgpkg: 0 of 2 blobs, 1 of 5 MiB",
    ]


class Terminal(io.StringIO):
    def isatty(self):
        return True


class TestBarTracker:
    def test_a_bar_shows_what_is_packed_and_then_what_is_uploaded(self):
        err = Terminal()
        tracker = BarTracker(err, color=True)
        for event in (PackStarted(8 * MIB), PackAdvanced(8 * MIB), Planned(1, MIB), BlobAdvanced(DIGEST, 9)):
            tracker.take(event)
            if tracker._bar is not None:
                tracker._bar._progress.refresh()
        tracker.close()
        shown = err.getvalue()
        assert 0 < shown.index("packing") < shown.index("0 of 1 blobs")
        assert "8.0/8.0 MiB" in shown

    def test_many_lines_of_text_are_not_interrupted_by_the_bar(self):
        tracker = BarTracker(io.StringIO(), color=True)
        tracker.take(PackStarted(MIB))
        tracker.pause()
        tracker.take(PackAdvanced(1))
        assert tracker._bar is None
        tracker.take(Planned(1, MIB))
        tracker.take(BlobAdvanced(DIGEST, 1))
        assert tracker._bar is not None
        tracker.close()

    def test_nothing_is_drawn_before_there_is_something_to_wait_for(self):
        err = io.StringIO()
        tracker = BarTracker(err, color=True)
        tracker.take(Planned(1, MIB))
        tracker.take(BlobFinished(DIGEST, BlobOutcome.PRESENT))
        tracker.close()
        assert err.getvalue() == ""

    def test_a_line_of_text_makes_the_bar_go_until_there_is_news(self, make):
        reporter = make(draws=True)
        reporter(Planned(1, MIB))
        reporter(BlobStarted(DIGEST, MIB, "uploading"))
        assert reporter._tracker._bar is not None
        reporter(Message("file: a\n"))
        assert reporter._tracker._bar is None
        reporter(BlobAdvanced(DIGEST, MIB))
        assert reporter._tracker._bar is not None
        reporter(Warned("careful"))
        assert reporter._tracker._bar is None

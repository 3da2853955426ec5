"""Events become lines, warnings and progress, each in its place."""

from __future__ import annotations

import io
import threading

import pytest

from imgpkg.cli.output import TextOutput
from imgpkg.cli.progress import BarDisplay, Reporter, Tracker
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


def test_a_warning_is_printed_once(make, said):
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


def test_everything_is_counted_from_many_threads(make):
    reporter = make()

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
    tracker = reporter._tracker
    assert (tracker.blobs, tracker.size, tracker.moved, tracker.done) == (400, 4000, 4000, 400)


def test_work_without_a_plan_is_counted_as_it_begins():
    tracker = Tracker()
    for size in (5, 7):
        tracker.count(BlobStarted(DIGEST, size, "push"))
    assert (tracker.blobs, tracker.size) == (2, 12)


class TestLineDisplay:
    @pytest.mark.parametrize(("size", "total"), [(0, "3 MiB"), (8 * MIB, "3 of 8 MiB")])
    def test_a_log_gets_a_line_from_time_to_time(self, make, said, size, total):
        reporter = make()
        reporter(Planned(2, size))
        reporter._display._next = 0
        reporter(BlobAdvanced(DIGEST, 3 * MIB))
        reporter(BlobFinished(DIGEST, BlobOutcome.MOVED))
        assert said[1].getvalue() == f"imgpkg: 0 of 2 blobs, {total}\n"

    def test_packing_is_counted_before_and_apart_from_the_upload(self, make, said):
        reporter = make()
        for event in (
            PackStarted(8 * MIB),
            PackAdvanced(3 * MIB),
            Planned(2, 5 * MIB),
            BlobAdvanced(DIGEST, MIB),
        ):
            reporter._display._next = 0
            reporter(event)
        assert said[1].getvalue().splitlines() == [
            "imgpkg: packing, 0 of 8 MiB",
            "imgpkg: packing, 3 of 8 MiB",
            "imgpkg: 0 of 2 blobs, 0 of 5 MiB",
            "imgpkg: 0 of 2 blobs, 1 of 5 MiB",
        ]


class Terminal(io.StringIO):
    def isatty(self):
        return True


class TestBarDisplay:
    def test_a_bar_shows_what_is_packed_and_then_what_is_uploaded(self):
        tracker, err = Tracker(), Terminal()
        display = BarDisplay(tracker, err, color=True)
        for event in (PackStarted(8 * MIB), PackAdvanced(8 * MIB), Planned(1, MIB), BlobAdvanced(DIGEST, 9)):
            tracker.count(event)
            display.show(event)
            if display._bar is not None:
                display._bar._progress.refresh()
        display.close()
        shown = err.getvalue()
        assert 0 < shown.index("packing") < shown.index("0 of 1 blobs")
        assert "8.0/8.0 MiB" in shown

    def test_many_lines_of_text_are_not_interrupted_by_the_bar(self, make):
        reporter = make(draws=True)
        reporter(PackStarted(MIB))
        reporter(Message("file: a\n"))
        reporter(PackAdvanced(1))
        assert reporter._display._bar is None
        reporter(Planned(1, MIB))
        reporter(BlobAdvanced(DIGEST, 1))
        assert reporter._display._bar is not None

    def test_nothing_is_drawn_before_there_is_something_to_wait_for(self, make, said):
        reporter = make(draws=True)
        reporter(Planned(1, MIB))
        reporter(BlobFinished(DIGEST, BlobOutcome.PRESENT))
        reporter.close()
        assert said[1].getvalue() == ""

    def test_a_line_of_text_makes_the_bar_go_until_there_is_news(self, make):
        reporter = make(draws=True)
        reporter(Planned(1, MIB))
        reporter(BlobStarted(DIGEST, MIB, "uploading"))
        assert reporter._display._bar is not None
        reporter(Message("file: a\n"))
        assert reporter._display._bar is None
        reporter(BlobAdvanced(DIGEST, MIB))
        assert reporter._display._bar is not None
        reporter(Warned("careful"))
        assert reporter._display._bar is None

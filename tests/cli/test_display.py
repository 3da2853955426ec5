"""A bar in one line of a terminal, lines in a log."""

from __future__ import annotations

import io
import os
import pty

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.cli.screens import Screen, resize

from imgpkg.cli.display import BarDisplay, LineDisplay, Signs, bar_line
from imgpkg.cli.tally import ProgressText, Tally
from imgpkg.events import BlobAdvanced, BlobFinished, BlobOutcome, BlobStarted, Planned, StepsAdvanced
from imgpkg.oci.descriptor import Digest

MB = 10**6
DIGEST = Digest("sha256", "0" * 64)
PLAIN = Signs("=", "-")
HALF = ProgressText("sending", "300.6 of 601.2 MB", 0.5, "23 of 57 blobs", "48.2 MB/s", "6 s left")
TEXTS = st.text("abc 0", max_size=30)
PROGRESS = st.builds(ProgressText, TEXTS, TEXTS, st.none() | st.floats(0, 1), TEXTS, TEXTS, TEXTS)


class TestTheLine:
    @pytest.mark.parametrize(
        ("width", "line"),
        [
            (200, "sending    ===========------------  300.6 of 601.2 MB  {speed}  {left}  23 of 57 blobs"),
            (100, "sending    ===========------------  300.6 of 601.2 MB  {speed}  {left}  23 of 57 blobs"),
            (79, "sending    =========---------  300.6 of 601.2 MB  {speed}  6 s left"),
            (60, "sending    ======------  300.6 of 601.2 MB  48.2 MB/s"),
            (40, "sending    =====-----  300.6 of 601.2 MB"),
            (20, "300.6 of 601.2 MB"),
            (10, "50 %"),
            (2, ""),
        ],
    )
    def test_has_what_there_is_room_for(self, width, line):
        expected = line.format(speed="48.2 MB/s".ljust(16), left="6 s left".ljust(11))
        assert bar_line(HALF, width, PLAIN) == expected

    def test_has_no_bar_without_a_total(self):
        planning = ProgressText("planning", "31 of 118", speed="12 s")
        lines = [bar_line(planning, width, PLAIN) for width in (40, 20, 10, 4)]
        assert lines == ["planning: 31 of 118  12 s", "planning: 31 of 118", "planning", ""]

    def test_is_a_word_before_anything_is_counted(self):
        lines = [bar_line(ProgressText("planning", "", speed=text), 40, PLAIN) for text in ("", "12 s")]
        assert lines == ["planning", "planning  12 s"]

    @given(PROGRESS, st.integers(0, 200))
    def test_is_never_wider_than_its_room(self, progress, width):
        assert len(bar_line(progress, width, PLAIN)) <= width

    @given(st.floats(0, 1), st.integers(0, 600), st.sampled_from(["", "1.0 kB/s", "999.9 MB/s"]))
    def test_keeps_every_field_at_its_place(self, fraction, done, speed):
        left = "59 min left" if speed else ""
        changed = ProgressText("saving", f"{done:>5.1f} of 601.2 MB", fraction, "23 of 57 blobs", speed, left)
        for width in (60, 79, 120):
            line, other = bar_line(HALF, width, PLAIN), bar_line(changed, width, PLAIN)
            assert line.index(" of ") == other.index(" of ")
            assert line.find("blobs") == other.find("blobs")


class TestSigns:
    @pytest.mark.parametrize(
        ("environ", "done"),
        [
            ({"LANG": "en_US.UTF-8"}, "━"),
            ({"LANG": "C.utf8"}, "━"),
            ({"LC_ALL": "C", "LANG": "en_US.UTF-8"}, "="),
            ({"LC_ALL": "", "LC_CTYPE": "de_DE.UTF-8"}, "━"),
            ({}, "="),
        ],
    )
    def test_are_those_that_the_locale_has(self, environ, done):
        assert Signs.of(environ, color=False).done == done

    def test_are_one_in_two_colours_or_two(self):
        environ = {"LANG": "C.UTF-8"}
        assert Signs.of(environ, color=True).drawn(0.5, 4) == "\x1b[32m━━\x1b[0m\x1b[2m━━\x1b[0m"
        assert Signs.of(environ, color=False).drawn(0.5, 4) == "━━──"

    @given(st.floats(0, 1), st.integers(0, 100))
    def test_fill_the_bar(self, fraction, width):
        assert len(PLAIN.drawn(fraction, width)) == width


@pytest.fixture
def tally():
    tally = Tally()
    tally.count(Planned(1, 4 * MB))
    tally.count(BlobStarted(DIGEST, 4 * MB, "push"))
    return tally


class TestLineDisplay:
    def test_writes_lines_and_a_closing_one(self, tally):
        err = io.StringIO()
        display = LineDisplay(tally, err)
        display.show()
        tally.count(BlobAdvanced(DIGEST, MB))
        assert display.erase() is False
        display.show()
        display.restore()
        tally.count(BlobFinished(DIGEST, BlobOutcome.MOVED, 4 * MB))
        assert display.closing_line() == "imgpkg: sent 1 blob, 4.0 MB in 0.0 s\n"
        assert err.getvalue() == (
            "imgpkg: sending: 0.0 of 4.0 MB, 0 of 1 blob\nimgpkg: sending: 1.0 of 4.0 MB, 0 of 1 blob\n"
        )

    def test_has_no_closing_line_without_others(self, tally):
        assert LineDisplay(tally, io.StringIO()).closing_line() == ""


class TestBarDisplay:
    @pytest.fixture
    def screen(self):
        return Screen(60, 6)

    @pytest.fixture
    def err(self, screen):
        class Terminal(io.StringIO):
            def write(self, text):
                screen.feed(text.encode())

        return Terminal()

    def test_draws_over_what_it_has_drawn_before(self, tally, err, screen):
        display = BarDisplay(tally, err, PLAIN)
        for done in ("0.0", "1.0", "2.0"):
            display.show()
            assert [line.split()[2:] for line in screen.lines] == [[done, "of", "4.0", "MB"]]
            tally.count(BlobAdvanced(DIGEST, MB))

    def test_makes_room_for_text_and_stands_below_it(self, tally, err, screen):
        display = BarDisplay(tally, err, PLAIN)
        display.show()
        bar = screen.lines[0]
        for number in range(3):
            assert display.erase() is True
            err.write(f"line {number}\r\n")
            display.restore()
        assert screen.lines == ["line 0", "line 1", "line 2", bar]

    def test_leaves_nothing(self, tally, err, screen):
        display = BarDisplay(tally, err, PLAIN)
        assert display.erase() is False
        display.show()
        display.erase()
        assert screen.lines == []
        assert display.closing_line() == ""

    def test_writes_nothing_while_nothing_changes(self, err):
        tally, written = Tally(), []
        tally.count(StepsAdvanced("planning", 1, 2))
        err.write = written.append
        display = BarDisplay(tally, err, PLAIN)
        display.show()
        display.show()
        assert len(written) == 1

    def test_asks_the_terminal_how_wide_it_is(self, tally):
        reader, writer = pty.openpty()
        try:
            with open(writer, "w", encoding="utf-8") as err:
                resize(writer, 30)
                BarDisplay(tally, err, PLAIN).show()
                data = os.read(reader, 1000).decode()
        finally:
            os.close(reader)
        assert "0.0 of 4.0 MB" in data
        assert "=" not in data

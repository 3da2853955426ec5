"""Events become lines, warnings and progress, each in its place."""

from __future__ import annotations

import ast
import io
import os
import re
import signal
import threading
import time
from pathlib import Path

import pytest
from tests.cli.screens import Running, Screen, record
from tests.operations.making import make_image
from tests.servers.stalling import BODY, HEADERS, PAUSE, StallingProxy

import imgpkg
from imgpkg import cli
from imgpkg.cli.output import TextOutput
from imgpkg.cli.progress import Intervals, Reporter, warnings_for
from imgpkg.embedded.message import Fault
from imgpkg.embedded.server import serve
from imgpkg.events import (
    BlobAdvanced,
    BlobFinished,
    BlobOutcome,
    BlobStarted,
    Message,
    PackAdvanced,
    PackStarted,
    Planned,
    StepsAdvanced,
    Warned,
)
from imgpkg.oci.descriptor import Digest
from imgpkg.oci.reference import parse_any

pytestmark = pytest.mark.measured

MB = 10**6
DIGEST = Digest("sha256", "0" * 64)
OFTEN = Intervals(line=0.05, frame=0.02, delay=0.02)
NEVER = Intervals(line=600, frame=600, delay=600)
BAR = re.compile(r"^(sending|saving|receiving|verifying|packing|planning|finishing|copying)\b")


class Terminal(io.StringIO):
    """A stream of which both the text and the screen are kept; output and errors share one."""

    def __init__(self):
        super().__init__()
        self.screen = Screen(80, 12)

    def write(self, text):
        self.screen.feed(text.replace("\n", "\r\n").encode())
        return super().write(text)


@pytest.fixture
def said():
    return io.StringIO(), io.StringIO()


@pytest.fixture
def make(said):
    reporters = []

    def made(*, streams=said, shows_log=True, draws=False, intervals=OFTEN):
        output = TextOutput(*streams, terminal=shows_log, color=False, columns=())
        reporters.append(Reporter(output, streams[1], shows_log=shows_log, draws=draws, intervals=intervals))
        return reporters[-1]

    yield made
    for reporter in reporters:
        reporter.end(is_complete=False)


def wait_until(is_so):
    deadline = time.monotonic() + 20
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def transfer(reporter, size=3 * MB, outcome=BlobOutcome.MOVED):
    reporter(Planned(1, size))
    reporter(BlobStarted(DIGEST, size, "push"))
    reporter(BlobAdvanced(DIGEST, size))
    reporter(BlobFinished(DIGEST, outcome, size))


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


def test_a_preview_shows_warnings_and_steps_but_no_log(make, said):
    hook = warnings_for(make(draws=True))
    for event in (Message("copy | x\n"), Warned("careful", is_logged=True), StepsAdvanced("planning", 1, 2)):
        hook(event)
    wait_until(lambda: "planning: 1 of 2" in said[1].getvalue())
    assert said[1].getvalue().startswith("imgpkg: warning: careful\n")
    assert said[0].getvalue() == ""


@pytest.mark.parametrize("intervals", [OFTEN, NEVER])
def test_everything_is_counted_from_many_threads(make, intervals):
    reporter = make(intervals=intervals)

    def work():
        for _ in range(200):
            transfer(reporter, 10)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert reporter.left() == ""
    reporter(Planned(1, 7))
    assert reporter.left() == "1 blob, 7 bytes"


class TestALog:
    def test_gets_a_line_from_time_to_time_also_when_nothing_happens(self, make, said):
        make()(Planned(1, 3 * MB))
        wait_until(lambda: said[1].getvalue().count("\n") >= 3)
        assert set(said[1].getvalue().splitlines()) == {"imgpkg: copying: 0.0 of 3.0 MB, 0 of 1 blob"}

    def test_gets_a_closing_line_once_after_others(self, make, said):
        reporter = make()
        transfer(reporter)
        wait_until(said[1].getvalue)
        reporter.close()
        reporter.close()
        *lines, last = said[1].getvalue().splitlines()
        assert set(lines) == {"imgpkg: finishing: 3.0 of 3.0 MB, 1 of 1 blob"}
        assert last.startswith("imgpkg: sent 1 blob, 3.0 MB in 0.")

    @pytest.mark.parametrize("events", [0, 5000])
    def test_is_empty_after_a_short_command(self, make, said, events):
        reporter = make(intervals=NEVER)
        for _ in range(events):
            reporter(PackAdvanced(1))
        transfer(reporter)
        reporter.close()
        assert said[1].getvalue() == ""

    def test_has_no_closing_line_after_a_failure(self, make, said):
        reporter = make()
        transfer(reporter)
        wait_until(said[1].getvalue)
        reporter.end(is_complete=False)
        assert "sent" not in said[1].getvalue()
        length = len(said[1].getvalue())
        transfer(reporter)
        time.sleep(0.2)
        assert len(said[1].getvalue()) == length


class TestABar:
    @pytest.fixture
    def terminal(self):
        return Terminal()

    @pytest.fixture
    def reporter(self, make, terminal):
        return make(streams=(terminal, terminal), draws=True)

    def test_shows_what_is_packed_and_then_what_is_sent(self, reporter, terminal):
        reporter(PackStarted(8 * MB))
        reporter(PackAdvanced(8 * MB))
        wait_until(lambda: "8.0 of 8.0 MB" in terminal.getvalue())
        reporter(Planned(1, MB))
        reporter(BlobStarted(DIGEST, MB, "push"))
        wait_until(lambda: terminal.screen.lines[-1].startswith("sending"))
        assert len(terminal.screen.lines) == 1

    def test_stays_below_the_lines_of_the_log_and_the_warnings(self, reporter, terminal):
        reporter(Planned(1, MB))
        wait_until(lambda: terminal.screen.lines)
        for number in range(4):
            reporter(Message(f"line {number}\n"))
            assert BAR.match(terminal.screen.lines[-1])
        reporter(Warned("careful"))
        reporter.block("a result\n")
        *lines, bar = [line for line in terminal.screen.lines if line]
        assert lines == [*(f"line {n}" for n in range(4)), "imgpkg: warning: careful", "a result"]
        assert BAR.match(bar)

    def test_gives_way_to_a_closing_line(self, reporter, terminal):
        transfer(reporter)
        wait_until(lambda: terminal.screen.lines)
        reporter.close()
        (line,) = terminal.screen.lines
        assert line.startswith("imgpkg: sent 1 blob, 3.0 MB in 0.")

    def test_is_not_needed_for_what_is_over_at_once_but_the_closing_line_is(self, make, terminal):
        reporter = make(streams=(terminal, terminal), draws=True, intervals=NEVER)
        transfer(reporter, outcome=BlobOutcome.MOUNTED)
        reporter.close()
        assert terminal.getvalue() == "imgpkg: nothing new; mounted 1 blob, 3.0 MB\n"

    def test_leaves_nothing_where_nothing_was_transferred(self, reporter, terminal):
        reporter(StepsAdvanced("resolving", 3, 9))
        wait_until(lambda: terminal.screen.lines == ["resolving: 3 of 9"])
        reporter.close()
        assert terminal.screen.lines == []

    def test_comes_again_when_the_work_goes_on(self, reporter, terminal):
        reporter(StepsAdvanced("resolving", 3, 9))
        wait_until(lambda: terminal.screen.lines)
        reporter.close()
        reporter(Planned(1, MB))
        wait_until(lambda: terminal.screen.lines)
        assert terminal.screen.lines[0].startswith("copying")


@pytest.fixture(scope="module")
def slow():
    """A registry with an image of four large layers, which sends half of them after a pause."""
    answers = {"delay": 0.0}

    def faults(request):
        is_layer = request.method == "GET" and "/blobs/" in request.path
        return Fault(delay=answers["delay"]) if is_layer and answers["delay"] else None

    with serve(faults=faults) as server:
        yield server, answers


@pytest.fixture
def source(slow, open_session):
    server, answers = slow
    answers["delay"] = 0.0
    image = make_image(open_session(), f"{server.address}/app/slow", ["x" * 50_000, "y" * 50_000, "z"])
    answers["delay"] = 0.6
    return str(image)


class TestOnARealTerminal:
    """What is on the screen after each write of a command that waits for its registry."""

    @pytest.mark.parametrize(
        "columns", [80, *(pytest.param(columns, marks=pytest.mark.slow) for columns in (24, 60, 140))]
    )
    def test_a_copy_has_one_bar_in_the_last_line_at_any_time(self, source, tmp_path, columns):
        words = ["copy", "-i", source, "--to-tar", tmp_path / "a.tar", "--concurrency", "1"]
        recording = record(*words, columns=columns)
        assert recording.code == 0
        screens = recording.screens()
        bars = [[n for n, line in enumerate(lines) if BAR.match(line)] for lines in screens]
        if columns > 24:
            assert any(bars)
        for lines, found in zip(screens, bars, strict=True):
            assert found in ([], [len(lines) - 1])
        assert not any(map(BAR.match, recording.end))
        assert recording.end[-1] == "Succeeded"
        assert "imgpkg: saved" in "".join(recording.end)

    @pytest.mark.slow
    def test_bars_and_lines_are_no_wider_than_the_terminal(self, source, tmp_path):
        recording = record("pull", "-i", source, "-o", tmp_path / "out", columns=50)
        wide, narrow = Screen(200), Screen(50)
        for data in recording.data.split(b"\r"):
            wide.feed(b"\r" + data)
            narrow.feed(b"\r" + data)
            for line in wide.lines:
                assert len(line) < 50 or not BAR.match(line)

    @pytest.mark.slow
    def test_a_window_may_become_narrower(self, source, tmp_path):
        running = Running("pull", "-i", source, "-o", tmp_path / "out", columns=100)
        running.wait_for("receiving")
        running.resize(30)
        recording = running.finish()
        assert recording.code == 0
        last = recording.data[recording.data.rindex(b"of ") :]
        assert len(last.split(b"\x1b")[0]) < 30

    @pytest.mark.slow
    @pytest.mark.parametrize(
        ("environ", "has_color", "has_bar"),
        [
            ({}, True, True),
            ({"NO_COLOR": "1"}, False, True),
            ({"LC_ALL": "C"}, True, True),
            ({"TERM": "dumb"}, False, False),
            ({"TERM": ""}, False, False),
        ],
    )
    def test_the_environment_decides_how_it_looks(self, source, tmp_path, environ, has_color, has_bar):
        recording = record("pull", "-i", source, "-o", tmp_path / "out", environ=environ)
        assert recording.code == 0
        assert bool(re.search(rb"\x1b\[[0-9;]*m", recording.data)) is has_color
        assert (b"\x1b[K" in recording.data) is has_bar
        assert ("━".encode() in recording.data) is (has_bar and "LC_ALL" not in environ)

    @pytest.mark.slow
    @pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
    def test_an_interrupted_command_leaves_no_bar(self, source, tmp_path, number, code):
        running = Running("pull", "-i", source, "-o", tmp_path / "out")
        running.wait_for("receiving")
        running.process.send_signal(number)
        recording = running.finish()
        assert recording.code == code
        assert recording.end[-1] == "imgpkg: Error: interrupted"
        assert not any(map(BAR.match, recording.end))

    @pytest.mark.slow
    @pytest.mark.parametrize("flag", ["--json", "--debug"])
    def test_programs_and_traces_get_no_bar(self, source, tmp_path, flag):
        recording = record("pull", "-i", source, "-o", tmp_path / "out", flag)
        assert recording.code == 0
        assert b"\x1b[K" not in recording.data


class TestAWait:
    """No wait of a few seconds is silent."""

    @pytest.mark.slow
    @pytest.mark.parametrize(
        ("stage", "text"),
        [(HEADERS, "no response for 5 s"), (BODY, "no data received for 5 s"), (PAUSE, "in 50 s")],
    )
    def test_is_said_above_the_bar(self, source, slow, open_session, tmp_path, stage, text):
        server, answers = slow
        answers["delay"] = 0.0
        first = open_session().client.manifest(parse_any(source)).layers[0]
        with StallingProxy(server.address, stage, path=str(first.digest)) as proxy:
            words = ["pull", "-i", source.replace(server.address, proxy.address), "-o", tmp_path / "out"]
            running = Running(*words, columns=200)
            running.wait_for(text)
            running.wait_for("nothing for 8 s")
            running.process.send_signal(signal.SIGINT)
            assert running.finish().code == 130


def test_a_pipe_gets_only_lines(make, tmp_path):
    """The lines are complete at any moment, for whoever reads the log while the command runs."""
    reader, writer = os.pipe()
    with os.fdopen(reader, "rb", buffering=0) as log, open(writer, "w", encoding="utf-8") as err:
        reporter = make(streams=(err, err), shows_log=False)
        reporter(Planned(2, 5 * MB))
        reporter(BlobStarted(DIGEST, 5 * MB, "save"))
        assert log.read(1000) == b"imgpkg: saving: 0.0 of 5.0 MB, 0 of 2 blobs\n"
        reporter(BlobAdvanced(DIGEST, 2 * MB))
        wait_until(lambda: log.read(1000).endswith(b"imgpkg: saving: 2.0 of 5.0 MB, 0 of 2 blobs\n"))
        reporter.end(is_complete=False)


@pytest.mark.parametrize("module", ["progress", "tally", "display", "reporting", "resumption"])
def test_the_bar_of_the_command_is_drawn_from_what_every_program_gets(module):
    source = Path(cli.__path__[0], f"{module}.py").read_text()
    imported = [
        (node.module, alias.name)
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.ImportFrom) and node.module in ("imgpkg.events", "imgpkg.progress")
        for alias in node.names
    ]
    private = [name for home, name in imported if imgpkg._HOMES.get(name) != home.removeprefix("imgpkg.")]
    assert private == []

"""The recorded terminal: what is drawn is what the terminal shows, and in which order; nothing in it acts."""

from __future__ import annotations

import re
import runpy
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TOOL = runpy.run_path(str(ROOT / "tools/recording.py"))
SVG = "{http://www.w3.org/2000/svg}"
RECORDED = (ROOT / "docs/images/demo.svg").read_text()


def lines_of(*printed, hidden=""):
    return TOOL["lines_of"]([(second, text.encode()) for second, text in printed], hidden)


def drawn(*printed):
    return ET.fromstring(TOOL["drawn"](lines_of(*printed), "a <title>"))


def words(root):
    return ["".join(text.itertext()) for text in root.iter(f"{SVG}text")][1:]


def test_a_bar_that_is_drawn_over_leaves_what_is_printed_last():
    lines = lines_of(
        (0.0, "$ copy\r\n"), (0.5, "bar 10%"), (1.0, "\r\x1b[2Kbar 90%"), (2.0, "\r\x1b[2Kdone\r\n")
    )
    assert [(line.text, line.second) for line in lines] == [("$ copy", 0.0), ("done", 2.0)]


def test_lines_appear_from_top_to_bottom():
    lines = lines_of((0.0, "one\r\ntwo"), (3.0, "\x1b[1A\rONE"), (4.0, "\r\nTWO\r\n"))
    assert [(line.text, line.second) for line in lines] == [("ONE", 3.0), ("TWO", 4.0)]


def test_colours_and_bold_letters_are_kept_and_others_are_plain():
    (line,) = lines_of((0.0, "\x1b[31mred\x1b[0m \x1b[1mbold\x1b[0m \x1b[38;5;197mpink\x1b[0m"))
    assert [(run.text, run.colour, run.is_bold) for run in line.runs] == [
        ("red", "red", False),
        (" ", "plain", False),
        ("bold", "plain", True),
        (" pink", "plain", False),
    ]


def test_the_folder_of_whoever_records_it_is_not_shown():
    (line,) = lines_of((0.0, "open /home/me/work/page.html"), hidden="/home/me/work")
    assert line.text == "open ~/imgpkg/page.html"


def test_waits_are_short_and_there_is_time_to_read():
    text = "\r\n".join(["# why", "$ first", *(f"line {at}" for at in range(40)), "$ second"])
    seconds = TOOL["schedule"](lines_of((0.0, text), (90.0, "\r\nat last\r\n")))
    assert seconds[1] - seconds[0] >= 0.5
    assert 2 < seconds[-2] - seconds[-3] < 4
    assert seconds[-1] - seconds[-2] <= 1
    assert seconds == sorted(seconds)


def test_text_is_text():
    hostile = "</text><script>alert(1)</script> & \"'"
    root = drawn((0.0, hostile))
    assert words(root) == [hostile]
    assert f"{SVG}script" not in {element.tag for element in root.iter()}


def test_nothing_printed_is_an_empty_terminal():
    assert words(drawn()) == []


def test_a_program_runs_in_a_terminal():
    code = "import os, sys; print(sys.stdout.isatty(), *os.get_terminal_size(), os.environ['TERM'])"
    printed = list(TOOL["record"]([sys.executable, "-c", f"import time; time.sleep(0.2); {code}"]))
    (line,) = TOOL["lines_of"](printed)
    assert line.text == f"True {TOOL['COLUMNS']} {TOOL['ROWS']} xterm-256color"


def test_a_program_that_fails_is_not_recorded():
    with pytest.raises(SystemExit, match="ended with 3"):
        list(TOOL["record"]([sys.executable, "-c", "raise SystemExit(3)"]))


class TestTheRecordingInTheReadme:
    def test_is_small_and_inert(self):
        assert len(RECORDED.encode()) < 150_000
        tags = {element.tag.removeprefix(SVG) for element in ET.fromstring(RECORDED).iter()}
        assert tags <= {"svg", "style", "rect", "path", "circle", "text", "tspan", "g"}
        assert not re.search(
            r"https?:(?!//www.w3.org/2000/svg)|url\(|href", RECORDED.replace("http://127.0.0.1", "")
        )
        assert "demo.svg" in (ROOT / "README.md").read_text()

    def test_shows_the_commands_of_the_demonstration(self):
        script = (ROOT / "tools/demo.sh").read_text()
        typed = [
            re.sub(r"\$\w+\S*", "", line).split()[:3]
            for line in re.findall(r'^run "(.*)"', script, re.MULTILINE)
        ]
        shown = "\n".join(words(ET.fromstring(RECORDED)))
        assert len(typed) >= 10
        assert [command for command in typed if f"$ {' '.join(command)}" not in shown] == []

    def test_shows_its_end_where_nothing_moves(self):
        root = ET.fromstring(RECORDED)
        (scroll,) = [group for group in root.iter(f"{SVG}g") if group.attrib.get("class") == "scroll"]
        last = max(float(text.attrib["y"]) for text in scroll)
        offset = -float(re.search(r"translate\(0 (.*)\)", scroll.attrib["transform"])[1])
        height = float(next(root.iter(f"{SVG}svg")).attrib["height"])
        assert 0 < last - offset < height
        assert "prefers-reduced-motion" in RECORDED

    def test_names_no_folder_of_whoever_recorded_it(self):
        assert str(ROOT) not in RECORDED
        assert "~/imgpkg/demo-bundle.html" in RECORDED

"""The manual pages have what the table of commands has, in roff that formatters accept without a word."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from tools.documentation.command_sheets import sheets
from tools.documentation.man_pages import pages, write

from imgpkg.cli.commands import COMMANDS, ROOT
from imgpkg.version import VERSION

PROJECT = Path(__file__).parent.parent.parent
PAGES = pages()
SHEETS = {"-".join(("imgpkg", *sheet.command.path)): sheet for sheet in sheets()}
# The name and its description stand in one line, however long: programs that list manuals read it.
EXPECTED = re.compile(r"mandoc: \S+:5:\d+: STYLE: input text line longer than 80 bytes")


def words(text):
    """Return the words that a reader sees."""
    text = re.sub(r"\\f[BRI]", "", text)
    for escape, letter in ((r"\-", "-"), (r"\(aq", "'"), (r"\(ga", "`"), (r"\(ti", "~"), (r"\&", "")):
        text = text.replace(escape, letter)
    return " ".join(text.replace(r"\e", "\\").split())


def test_there_is_a_page_for_each_command_and_for_the_credential_helper():
    names = {"-".join(("imgpkg", *command.path)) for command in (ROOT, *COMMANDS)}
    assert set(PAGES) == {f"{name}.1" for name in (*names, "docker-credential-imgpkg")}


@pytest.mark.parametrize("name", SHEETS)
def test_a_page_has_every_flag_of_its_command(name):
    shown = words(PAGES[f"{name}.1"])
    for flag in SHEETS[name].command.all_flags:
        assert flag.hidden or f"--{flag.name} " in shown
        assert flag.hidden or flag.usage.replace("'", "") in shown.replace("'", "")


@pytest.mark.parametrize("name", SHEETS)
def test_a_page_has_the_examples_of_its_help(name):
    found = [words(line) for line in re.findall(r"^\$ (.+)$", PAGES[f"{name}.1"], re.MULTILINE)]
    assert found == re.findall(r"^  (?!#)(.+)$", SHEETS[name].command.example, re.MULTILINE)


@pytest.mark.parametrize("page", PAGES)
def test_a_page_refers_to_pages_that_exist(page):
    for name in re.findall(r"\\fB(\S+?)\\fR\(1\)", PAGES[page]):
        assert f"{words(name)}.1" in PAGES


def test_the_manual_of_the_program_has_all_variables():
    shown = words(PAGES["imgpkg.1"])
    table = (PROJECT / "docs/variables.md").read_text()
    names = [
        name for row in re.findall(r"^\| (`[A-Z].*?) \|", table, re.MULTILINE) for name in row.split(", ")
    ]
    assert len(names) > 60
    assert [name for name in names if name.strip("`") not in shown] == []


def test_a_page_names_the_version_and_the_day_of_its_release():
    day = re.search(rf"^## {VERSION} - (\S+)$", (PROJECT / "CHANGELOG.md").read_text(), re.MULTILINE)[1]
    for text in PAGES.values():
        assert f'"{day}" "imgpkg {VERSION}"' in text.splitlines()[0]


def test_the_same_sources_give_the_same_bytes_in_every_process(tmp_path):
    write(str(tmp_path / "here"))
    argv = [sys.executable, "-m", "tools.documentation.man_pages", str(tmp_path / "there")]
    subprocess.run(argv, cwd=PROJECT, env={"LC_ALL": "C", "PYTHONHASHSEED": "7"}, check=True)
    names = sorted(os.listdir(tmp_path / "here"))
    assert names == sorted(PAGES)
    for name in names:
        assert (tmp_path / "here" / name).read_bytes() == (tmp_path / "there" / name).read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES)
class TestFormatters:
    def test_mandoc_has_nothing_to_say(self, page, tmp_path):
        (tmp_path / page).write_text(PAGES[page])
        done = subprocess.run(
            ["mandoc", "-Tlint", page], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        said = [line for line in (done.stdout + done.stderr).splitlines() if not EXPECTED.match(line)]
        assert said == []

    def test_groff_warns_of_nothing(self, page):
        argv = ["groff", "-ww", "-man", "-Tutf8"]
        done = subprocess.run(argv, input=PAGES[page].encode(), capture_output=True, check=False)
        assert (done.returncode, done.stderr) == (0, b"")
        assert f"imgpkg {VERSION}".encode() in done.stdout.splitlines()[-1]

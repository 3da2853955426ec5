"""Pages of commands have all that the table of commands has, and the page of variables all that is read."""

from __future__ import annotations

import ast
import json
import re
from html import unescape
from pathlib import Path

import pytest
from tools.documentation.command_pages import pages, place_of
from tools.documentation.command_sheets import sheets
from tools.documentation.results import exit_codes, members, schema_of

from imgpkg.auth.environment import FILES, KINDS, PREFIX
from imgpkg.cli.commands import COMMANDS, ROOT
from imgpkg.errors.exit_codes import EXIT_CODES

PROJECT = Path(__file__).parent.parent.parent
SHEETS = {sheet.command.full_name: sheet for sheet in sheets()}
HELPER = "docker-credential-imgpkg"
COMMAND_NAMES = [command.full_name for command in (ROOT, *COMMANDS)]


PAGES = pages()


def page(name):
    return PAGES[place_of(SHEETS[name])]


def without_markup(text):
    return unescape(re.sub(r"<[^>]+>", "", text)).replace("'", "").replace("`", "")


@pytest.mark.parametrize("name", COMMAND_NAMES)
def test_a_page_has_every_flag_of_its_command_with_its_text(name):
    command, text = SHEETS[name].command, page(name)
    shown = without_markup(text)
    for flag in command.all_flags:
        assert (f'<dt id="--{flag.name}">' in text) is not flag.hidden
        assert flag.hidden or flag.usage.replace("'", "") in shown


@pytest.mark.parametrize("name", COMMAND_NAMES)
def test_a_flag_is_on_a_page_once(name):
    flags = [flag.name for group in SHEETS[name].groups for flag in group.flags]
    assert sorted(flags) == sorted({flag.name for flag in SHEETS[name].command.all_flags if not flag.hidden})


@pytest.mark.parametrize("name", COMMAND_NAMES)
def test_a_page_has_the_examples_of_its_help(name):
    given = re.findall(r"^  (?!#)(.+)$", SHEETS[name].command.example, re.MULTILINE)
    assert re.findall(r"^\$ (.+)$", page(name), re.MULTILINE) == given


def test_each_command_has_a_page_and_says_how_it_works():
    assert sorted(SHEETS) == sorted(COMMAND_NAMES)
    texts = (PROJECT / "tools/documentation/commands.md").read_text()
    assert sorted(re.findall(r"^## (.+)$", texts, re.MULTILINE)) == sorted([*COMMAND_NAMES, HELPER])
    assert all(sheet.text.paragraphs for sheet in SHEETS.values())


@pytest.mark.parametrize("name", COMMAND_NAMES)
def test_what_a_text_calls_code_exists(name):
    flags = {flag.name for command in (ROOT, *COMMANDS) for flag in command.all_flags}
    for paragraph in SHEETS[name].text.paragraphs:
        assert {found.removeprefix("--") for found in re.findall(r"`(--[\w-]+)`", paragraph)} <= flags
        assert set(re.findall(r"`(imgpkg[a-z ]*)`", paragraph)) <= {*COMMAND_NAMES, "imgpkg help tag list"}


@pytest.mark.parametrize("name", COMMAND_NAMES)
def test_the_pages_that_say_more_exist(name):
    for _, target in SHEETS[name].text.pages:
        assert (PROJECT / "docs" / target.partition("#")[0]).is_file()


@pytest.mark.parametrize("name", [command.full_name for command in COMMANDS if command.handler])
def test_a_page_has_the_members_of_the_json_and_the_exit_codes(name):
    text, sheet = page(name), SHEETS[name]
    schema = json.loads((PROJECT / "docs" / schema_of(sheet.file_name)).read_text())
    assert f"](../../{schema_of(sheet.file_name)})" in text
    shown = re.findall(r"^\| `(\w+)` \| \w[^|]* \| \w[^|]*\. \|$", text, re.MULTILINE)
    assert shown == list(schema["properties"]) == [member.name for member in members(sheet.file_name)]
    for row in exit_codes():
        assert f"| {row.code} | {row.meaning} |" in text


def test_the_exit_codes_are_those_of_the_program():
    shown = {int(code) for row in exit_codes() for code in row.code.split(", ")}
    assert shown == {0, *EXIT_CODES.values(), 143}


def names_read():
    """Return the names that the sources look up in an environment, and those of flags and sets."""
    found = {f"{PREFIX}{kind}_x" for kind in (*KINDS, *FILES)}
    for path in (PROJECT / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, (ast.Call, ast.Subscript)) and "environ" in ast.unparse(node):
                found |= set(re.findall(r"environ(?:\.get\(|\[)'([A-Z_]+)'", ast.unparse(node)))
    for command in COMMANDS:
        for flag in command.flags:
            found |= set(re.findall(r"\$(IMGPKG_[A-Z_]+)", flag.usage))
    # The search path of programs is that of every process; the other name of a token is only warned about.
    return found - {"PATH", "GH_TOKEN"}


def test_the_page_of_variables_has_all_that_are_read_and_no_unknown_ones_of_imgpkg():
    shown = set(re.findall(r"`([A-Z][A-Za-z_]+)`", (PROJECT / "docs/variables.md").read_text()))
    read = names_read()
    assert len(read) > 50
    assert read - shown == set()
    own = {name for name in shown if name.startswith("IMGPKG_")} - {PREFIX}
    assert own - read == set()

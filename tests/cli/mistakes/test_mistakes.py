"""What people read after a mistake: every word of it is in mistakes.txt, and says what to do next."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tests.cli.mistakes.cases import CASES
from tests.cli.mistakes.golden import block, blocks
from tests.cli.mistakes.surroundings import Surroundings

PAGE = Path(__file__).parents[3] / "docs" / "troubleshooting.md"
SECRETS = ("s3cret", "wrong", "right-one")
# They are no errors, and say what has happened all the same.
WARNINGS = {"an output with files of somebody else", "no file to push"}


@pytest.fixture(scope="module")
def surroundings(tmp_path_factory):
    """The servers and files of all cases."""
    with Surroundings(tmp_path_factory.mktemp("mistakes") / "root") as running:
        yield running


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.title)
def test_a_mistake_gets_the_words_of_the_golden_file(case, surroundings):
    done = surroundings.run(case)
    assert block(case, done) == blocks()[case.title]
    assert (done.out, done.code == 0) == ("", case.title in WARNINGS)
    # The command line itself may show one: what is typed is not secret here.
    assert not [secret for secret in SECRETS if secret in done.err]


def test_each_of_them_says_what_to_do_next():
    silent = [title for title, text in blocks().items() if "hint: " not in text and title not in WARNINGS]
    assert silent == []


def test_the_golden_file_has_these_mistakes_and_no_others():
    assert list(blocks()) == [case.title for case in CASES]
    assert len(CASES) >= 40


def test_the_page_on_troubleshooting_explains_words_that_are_printed():
    headings = re.findall(r"^### `(.*)`$", PAGE.read_text(), re.MULTILINE)
    printed = "".join(text.partition("\n$ ")[2].partition("\n")[2] for text in blocks().values())
    assert [heading for heading in headings if heading not in printed] == []
    assert len(headings) == len(set(headings)) >= 40


def test_the_page_on_troubleshooting_has_words_of_each_mistake():
    headings = re.findall(r"^### `(.*)`$", PAGE.read_text(), re.MULTILINE)
    unknown = [title for title, text in blocks().items() if not any(words in text for words in headings)]
    assert unknown == []

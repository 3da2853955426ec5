"""Every promise of the page about security names a test that exists."""

from __future__ import annotations

import ast
import functools
import re

import pytest
from tests.pages.shell import ROOT

PAGE = (ROOT / "docs" / "security.md").read_text()
PROOFS = re.findall(r"^\| (.+) \| `(tests/\S+\.py)::(\S+)` \|$", PAGE, re.MULTILINE)


@functools.cache
def names_of(path):
    """The functions of a module, those of a class with its name before them."""
    names = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.ClassDef):
            names |= {f"{node.name}::{item.name}" for item in node.body if isinstance(item, ast.FunctionDef)}
        elif isinstance(node, ast.FunctionDef):
            names.add(node.name)
    return names


@pytest.mark.parametrize(("promise", "module", "name"), PROOFS, ids=[name for _, _, name in PROOFS])
def test_the_proof_of_a_promise_exists(promise, module, name):
    assert name in names_of(ROOT / module), promise


def test_each_row_of_the_promises_has_a_proof():
    section = PAGE.partition("\n## The promises")[2].partition("\n## ")[0]
    rows = [row for row in re.findall(r"^\| (.+) \|", section, re.MULTILINE) if not row.startswith("promise")]
    assert len(rows) == len(PROOFS) > 50
    assert len({name for _, _, name in PROOFS}) == len(PROOFS)


def test_each_attacker_is_led_to_promises_about_it():
    section = PAGE.partition("\n## Who might attack")[2].partition("\n## ")[0]
    headings = re.findall(r"^### (.+)$", PAGE, re.MULTILINE)
    anchors = {heading.lower().replace(" ", "-") for heading in headings}
    assert set(re.findall(r"\(#([^)]+)\)", section)) == anchors

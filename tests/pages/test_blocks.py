"""What pages show to be copied can be used: data can be read, and every variable exists."""

from __future__ import annotations

import json
import re

import pytest
import yaml
from tests.pages.shell import ROOT, blocks

from imgpkg.auth.environment import read_sets
from imgpkg.errors import CredentialError

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
READERS = {"yaml": lambda text: list(yaml.safe_load_all(text)), "json": json.loads}
# Pages that show misspelt variables on purpose are not among them.
TYPED = [ROOT / "README.md", ROOT / "docs/tutorial.md", *sorted((ROOT / "docs").glob("*/*.md"))]
VARIABLES = (ROOT / "docs/variables.md").read_text()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_data_can_be_read(page):
    for language, text in blocks(page, *READERS):
        assert READERS[language](text), text


@pytest.mark.parametrize("page", TYPED, ids=lambda page: str(page.relative_to(ROOT)))
def test_variables_exist(page):
    named = set(re.findall(r"\bIMGPKG_[A-Z]\w*[A-Za-z0-9]\b", page.read_text()))
    sets = {name for name in named if name.startswith("IMGPKG_REGISTRY_")}
    for name in sets:
        # It refuses a name that it does not know.
        read_sets({name: "registry.example.com"})
    others = {name for name in named - sets if f"`{name}`" not in VARIABLES}
    # Those of examples/gitlab-ci are its own.
    assert others - {"IMGPKG_BUNDLE", "IMGPKG_BUNDLE_FOLDER", "IMGPKG_PACKAGE"} == set()


def test_a_variable_that_does_not_exist_is_found_out():
    with pytest.raises(CredentialError):
        read_sets({"IMGPKG_REGISTRY_HOST_0": "registry.example.com"})

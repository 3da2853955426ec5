"""docs/authentication.md has a section per cloud: what to set, and which permissions are needed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import imgpkg.auth.cloud
from imgpkg.auth.activation import AVAILABLE

PAGE = (Path(__file__).parents[3] / "docs" / "authentication.md").read_text()
SECTIONS = dict(re.findall(r"^### (\w+): [^\n]+\n(.*?)(?=^##)", PAGE, re.MULTILINE | re.DOTALL))
CODE = [path.read_text() for path in Path(imgpkg.auth.cloud.__file__).parent.glob("*.py")]
# What platforms set by themselves; nobody types them.
UNDOCUMENTED = {"IDENTITY_ENDPOINT", "MSI_ENDPOINT", "GCE_METADATA_ROOT", "AZURE_POD_IDENTITY_AUTHORITY_HOST"}


def test_every_keychain_has_a_section():
    assert list(SECTIONS) == list(AVAILABLE)


@pytest.mark.parametrize("name", AVAILABLE)
def test_a_section_says_what_to_set_and_which_permissions_are_needed(name):
    assert f"**What to set**, besides `IMGPKG_ACTIVE_KEYCHAINS={name}`" in SECTIONS[name]
    assert "**Permissions**: " in SECTIONS[name]


@pytest.mark.parametrize("name", AVAILABLE)
def test_the_table_leads_to_the_section(name):
    heading = re.search(rf"^### ({name}: .+)$", PAGE, re.MULTILINE)[1]
    anchor = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
    assert f"[`{name}`](#{anchor})" in PAGE


def test_every_variable_that_the_keychains_read_is_on_the_page():
    read = {name for text in CODE for name in re.findall(r'environ(?:\.get\(|\[)"([A-Z_]+)"', text)}
    assert {"AWS_ECR_CACHE_DIR", "AZURE_CLIENT_SECRET", "GITHUB_TOKEN"} <= read
    system = {"PATH", "HOME", "USERPROFILE"}
    assert {name for name in read - system - UNDOCUMENTED if f"`{name}" not in PAGE} == set()

"""The page of the package index: the README, without what works only beside the other files."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tools import sizes

import imgpkg

ROOT = Path(__file__).parent.parent.parent
_SPEC = importlib.util.spec_from_file_location("setup_of_imgpkg", ROOT / "setup.py")
setup = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(setup)

CHANGES = (ROOT / "CHANGELOG.md").read_text()
README = (ROOT / "README.md").read_text()
ADDRESS = "https://git.example.org/team/imgpkg-py/"


def targets(text):
    return re.findall(r"\]\(([^)]+)\)", text)


@pytest.mark.parametrize("address", ["", ADDRESS])
def test_has_no_link_that_works_only_beside_the_files(address):
    page = setup.page(README, address, "1.0.0")
    assert [target for target in targets(page) if not target.startswith(("https://", "#"))] == []
    assert re.findall(r'\b(?:src|href|srcset)="(?!https://)', page) == []
    assert "```mermaid" not in page


def test_the_version_has_its_section_in_the_changelog():
    assert re.findall(r"^## (\S+) - \d{4}-\d\d-\d\d$", CHANGES, re.MULTILINE)[0] == imgpkg.__version__


def test_every_python_that_is_named_is_tried():
    """The workflow of a release installs the wheel on each Python of the classifiers."""
    (minors,) = re.findall(
        r"^        python: (\[.*\])$", (ROOT / ".github/workflows/release.yml").read_text(), re.MULTILINE
    )
    named = re.findall(r'"Programming Language :: Python :: (3\.\d+)"', (ROOT / "pyproject.toml").read_text())
    assert re.findall(r'"([\d.]+)"', minors) == named


def test_keeps_the_words_of_links():
    page = setup.page(
        "see [the docs](docs/trust.md#keys), [us](https://example.org) and [below](#x)", "", "1.0.0"
    )
    assert page == "see the docs, [us](https://example.org) and [below](#x)"


def test_links_to_the_files_of_its_version_where_there_is_an_address():
    page = setup.page("see [the docs](docs/trust.md#keys)", ADDRESS, "1.2.3")
    assert page == f"see [the docs]({ADDRESS}blob/v1.2.3/docs/trust.md#keys)"


@given(st.lists(st.sampled_from(["[a](b)", "text ", "![x](y.png)\n", "[`c`](d/e.md)", "\n\n"])))
def test_nothing_beside_links_and_pictures_is_lost(parts):
    text = "".join(parts)
    assert targets(setup.page(text, ADDRESS, "1")) == [
        f"{ADDRESS}blob/v1/{target}" for target in targets(re.sub(r"!\[x\]\(y\.png\)\n", "", text))
    ]


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("https://imgpkg-py.example", ""),
        ("https://example.org/imgpkg", ""),
        ("https://git.company.com/imgpkg", "https://git.company.com/imgpkg/"),
    ],
)
def test_only_a_real_address_counts(address, expected):
    assert setup.source_address(f'[project.urls]\nSource = "{address}"\n') == expected


def test_sizes_are_those_of_the_files_of_each_package(tmp_path):
    for name, requires in (("one", "Two-Package>=1"), ("two_package", "other; extra == 'more'"), ("pip", "")):
        info = tmp_path / f"{name}-1.0.dist-info"
        info.mkdir()
        (tmp_path / f"{name}.py").write_bytes(b"#" * 1_500_000)
        (tmp_path / f"{name}.pyc").write_bytes(b"#" * 500_000)
        info.joinpath("METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n"
            + (f"Requires-Dist: {requires}\n" if requires else "")
        )
        info.joinpath("RECORD").write_text(f"{name}.py,,\n{name}.pyc,,\nmissing.py,,\n")
    assert sizes.markdown(sizes.table(str(tmp_path))).splitlines()[2:] == [
        "| one 1.0 | 2.0 | 0.5 |  |",
        "| two-package 1.0 | 2.0 | 0.5 | one |",
        "| **2 packages** | **4.0** | **1.0** | |",
    ]

"""The extras of pyproject.toml: `make test` has what every file of the tests imports."""

from __future__ import annotations

import ast
import sys
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parent.parent
OURS = {"imgpkg", "tests", "tools", "benchmarks"}
# mkdocs loads it.
OF_THE_SITE = ROOT / "tools" / "documentation" / "hooks.py"


def installed_with(extra):
    """Names of the distributions that the project needs with an extra, and of all that those need."""
    found, waiting = set(), [("imgpkg-py", extra)]
    while waiting:
        name, of = waiting.pop()
        if (name, of) in found:
            continue
        found.add((name, of))
        for line in metadata.requires(name) or ():
            required = Requirement(line)
            if required.marker is None or required.marker.evaluate({"extra": of}):
                waiting += [(required.name.lower(), each) for each in ("", *required.extras)]
    return {name for name, _ in found}


def packages_at_the_top(tree):
    for node in tree.body:
        if isinstance(node, ast.Import):
            yield from (each.name.split(".")[0] for each in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module.split(".")[0]


@pytest.fixture(scope="module")
def importable():
    files = [file for name in installed_with("test") for file in metadata.files(name) or ()]
    return {file.parts[0].removesuffix(".py") for file in files} | OURS | sys.stdlib_module_names


@pytest.mark.parametrize("folder", ["tests", "tools", "benchmarks"])
def test_files_import_at_their_top_what_the_extra_for_tests_brings(folder, importable):
    """Pytest imports every file, also of slow tests, which import other packages themselves."""
    missing = {
        (path.relative_to(ROOT).as_posix(), package)
        for path in sorted({*(ROOT / folder).rglob("*.py")} - {OF_THE_SITE})
        for package in packages_at_the_top(ast.parse(path.read_text(encoding="utf-8")))
        if package not in importable
    }
    assert missing == set()

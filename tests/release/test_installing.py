"""The page about installing names what an installation needs."""

from __future__ import annotations

import re
import sys
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent.parent
PAGE = (ROOT / "docs/installing.md").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
# For Python 3.10 alone, 3.10 to 3.13, and what packages ask for there.
OF_SOME_PYTHONS = {"tomli", "typing-extensions", "backports-zstd", "async-timeout", "exceptiongroup"}


def closure(lines, extras=("",)):
    """Return the names of the packages that these requirements have here, and of all that those require."""
    found = set()
    for one in map(Requirement, lines):
        if one.marker is None or any(one.marker.evaluate({"extra": extra}) for extra in extras):
            found.add(canonicalize_name(one.name))
            with suppress(PackageNotFoundError):
                found |= closure(requires(one.name) or (), ("", *one.extras))
    return found


def test_lists_every_package():
    table = PAGE.partition("## What it needs on disk")[2]
    rows = re.findall(r"^\| [^|]+ \| ([^|]+) \| [\d.]+ \|$", table, re.MULTILINE)
    named = {canonicalize_name(name) for row in rows for name in row.split(", ")}
    assert named ^ {"imgpkg-py", *closure(PROJECT["dependencies"])} <= OF_SOME_PYTHONS


def test_has_the_sum_of_its_table():
    parts = [float(size) for size in re.findall(r" \| (\d+\.\d) \|$", PAGE, re.MULTILINE)]
    (packages, whole) = re.search(r"^(\d+) packages with (\d+) MB", PAGE, re.MULTILINE).groups()
    assert round(sum(parts)) == int(whole)
    rows = re.findall(r"^\| [^|]+ \| ([^|]+) \| [\d.]+ \|$", PAGE, re.MULTILINE)
    assert sum(len(row.split(", ")) for row in rows) == int(packages)


def test_says_that_another_project_has_the_shorter_name():
    for page in (PAGE, (ROOT / "README.md").read_text()):
        assert "somebody else" in page

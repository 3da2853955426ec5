"""docs/testing.md is a file of tests: its programs are one, and they pass."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from pathlib import Path

from imgpkg.testing import faults, plugin

# As in our own suite: a slow machine is no fault.
SETTINGS = """
import hypothesis

hypothesis.settings.register_profile(
    "page", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("page")
"""
PAGE = (Path(__file__).parent.parent / "docs" / "testing.md").read_text()


def test_the_tests_of_the_page_pass(tmp_path, monkeypatch):
    (tmp_path / "test_page.py").write_text("\n\n".join(re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)))
    (tmp_path / "conftest.py").write_text(SETTINGS)
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    words = ["-m", "pytest", "-q", "-p", "imgpkg.testing.plugin", "-p", "no:cacheprovider", "test_page.py"]
    done = subprocess.run([sys.executable, *words], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert f"{PAGE.count('def test_')} passed" in done.stdout


def test_the_page_lists_each_fixture():
    listed = re.findall(r"^\| `(\w+)` \|", PAGE.partition("## How")[0], re.MULTILINE)
    defined = re.findall(r"^@pytest.fixture\ndef (\w+)", inspect.getsource(plugin), re.MULTILINE)
    assert sorted(listed) == sorted(defined)


def test_the_page_lists_each_fault_with_its_arguments():
    rows = re.findall(r"^\| `(\w+)\((.*)\)` \|", PAGE.partition("## What goes wrong")[2], re.MULTILINE)
    selecting = {"always", "any_of", "first", "matching"}
    functions = {
        name: ", ".join(inspect.signature(value).parameters)
        for name, value in vars(faults).items()
        if inspect.isfunction(value) and not name.startswith("_") and value.__module__ == faults.__name__
    }
    assert dict(rows) == {name: names for name, names in functions.items() if name not in selecting}
    assert all(f"`faults.{name}`" in PAGE for name in selecting - {"matching"})

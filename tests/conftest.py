"""Every test starts with an empty environment and a temporary HOME, and leaves no secret in anything it printed."""

from __future__ import annotations

import os

import pytest

_KEPT = ("PATH", "LANG", "LC_ALL", "TMPDIR", "COVERAGE_PROCESS_START", "COVERAGE_FILE", "PYTEST_XDIST_WORKER")


@pytest.fixture(autouse=True)
def empty_environment(monkeypatch, tmp_path_factory):
    """Forget every variable of the developer's machine; HOME is an empty folder."""
    for name in list(os.environ):
        if name not in _KEPT and not name.startswith(("PYTEST_", "COV_")):
            monkeypatch.delenv(name)
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("HOME", str(home))
    return home

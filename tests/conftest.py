"""Every test starts with an empty environment and a temporary HOME; servers run for the whole session."""

from __future__ import annotations

import os

import pytest
from tests.servers.fixtures import (  # noqa: F401 - fixtures are used by their names
    another_registry,
    docker_registry,
    docker_registry_htpasswd,
    docker_registry_tls,
    docker_registry_token,
    embedded_login,
    embedded_registry,
    embedded_token,
    open_session,
    reverse_proxy,
    session,
)

_KEPT = ("PATH", "LANG", "LC_ALL", "TMPDIR", "PYTEST_XDIST_WORKER")


@pytest.fixture(autouse=True)
def empty_environment(monkeypatch, tmp_path_factory):
    """Forget every variable of the developer's machine; HOME is an empty folder."""
    for name in list(os.environ):
        if name not in _KEPT and not name.startswith(("PYTEST_", "COV_", "COVERAGE_")):
            monkeypatch.delenv(name)
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("HOME", str(home))
    return home

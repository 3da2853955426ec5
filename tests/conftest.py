"""Every test starts with an empty environment and a temporary HOME, and may not print a secret.

Servers run for the whole session.
"""

from __future__ import annotations

import base64
import os
from urllib.parse import quote

import pytest
from tests.servers.fixtures import (  # noqa: F401 - fixtures are used by their names
    PASSWORD,
    USERNAME,
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

# The password of every server here, in the forms in which it travels.
SECRETS = (
    PASSWORD,
    quote(PASSWORD, safe=""),
    base64.b64encode(f"{USERNAME}:{PASSWORD}".encode()).decode(),
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


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """Fail every test that printed or logged the password of a server, whatever else it looked at."""
    report = yield
    printed = [name for name, text in report.sections if any(secret in text for secret in SECRETS)]
    if printed and report.passed:
        report.outcome = "failed"
        report.longrepr = f"a secret is in {', '.join(printed)}"
    return report

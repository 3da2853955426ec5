"""The plugin in a run of pytest: what it costs, what its fixtures are, and what a failed test shows."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

import imgpkg

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parent.parent.parent
# Fails in its test, and shows in its report what the registry has received.
FAILING = """
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from imgpkg.testing import RegistryServer, make_image


def test_one(registry: RegistryServer) -> None:
    registry.add("team/app:v1", make_image({"a": b"b"}))
    urlopen(f"{registry.url}/v2/team/app/tags/list").close()
    raise AssertionError("for the report")


def test_many(serve_registry) -> None:
    registry, quiet = serve_registry(login=("ci", "secret-word")), serve_registry()
    for _ in range(205):
        with pytest.raises(HTTPError):
            urlopen(f"{registry.url}/v2/")
    raise AssertionError("for the report")


def test_that_passes(registry: RegistryServer) -> None:
    urlopen(f"{registry.url}/v2/").close()
"""


def test_loading_it_imports_nothing_of_imgpkg_but_names():
    program = (
        "import sys, pytest; before = set(sys.modules); import imgpkg.testing.plugin; import json; "
        "print(json.dumps(sorted(set(sys.modules) - before)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    loaded = json.loads(done.stdout)
    assert [name for name in loaded if name.startswith("imgpkg")] == [
        "imgpkg",
        "imgpkg.testing",
        "imgpkg.testing.plugin",
    ]
    assert not {"ssl", "socketserver", "http.server", "cryptography"} & set(loaded)


def test_an_installation_registers_it():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (module,) = project["entry-points"]["pytest11"].values()
    assert hasattr(importlib.import_module(module), "registry")


def test_each_fixture_is_a_registry_of_its_own(
    registry, registry_with_login, registry_with_tokens, registry_over_tls, serve_registry
):
    servers = (registry, registry_with_login, registry_with_tokens, registry_over_tls, serve_registry())
    assert len({each.address for each in servers}) == 5
    assert [bool(each.username) for each in servers] == [False, True, True, False, False]
    for each in servers:
        with each.session() as session, pytest.raises(imgpkg.errors.NotFound):
            imgpkg.list_tags(f"{each.address}/team/app", session=session)


def test_a_failed_test_shows_the_requests(tmp_path, monkeypatch):
    (tmp_path / "test_it.py").write_text(FAILING)
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    words = ["-m", "pytest", "-q", "-p", "imgpkg.testing.plugin", "-p", "no:cacheprovider", "test_it.py"]
    done = subprocess.run([sys.executable, *words], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "2 failed, 1 passed" in done.stdout, done.stdout
    assert done.stdout.count("Captured requests to http://127.0.0.1:") == 2
    assert "\nGET /v2/team/app/tags/list 200\n" in done.stdout
    assert "\n... 5 before\n" + 200 * "GET /v2/ 401\n" in done.stdout
    assert "secret-word" not in done.stdout.rpartition("Captured requests")[2]

"""A project that has installed the wheel and pytest, and nothing else, has the fixtures."""

from __future__ import annotations

import os
import shutil
import subprocess
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, distribution

import pytest
from tests.release.test_installing import PROJECT, closure

pytestmark = pytest.mark.slow

PROGRAM = """
import imgpkg


def test_an_image_is_found(registry, registry_with_login, registry_with_tokens, registry_over_tls):
    from imgpkg.testing import make_image

    for each in (registry, registry_with_login, registry_with_tokens, registry_over_tls):
        digest = each.add("team/app:v1", make_image({"a": b"b"})).partition("@")[2]
        with each.session() as session:
            assert str(imgpkg.resolve(f"{each.address}/team/app:v1", session=session).digest) == digest
"""
# As strict as projects are.
SETTINGS = """
[tool.pytest.ini_options]
addopts = ["--strict-markers", "--strict-config"]
filterwarnings = ["error"]
"""


@pytest.fixture
def project(installed, tmp_path):
    """The Python of an environment of this project's own, and a folder with its tests."""
    environment, behind = tmp_path / "environment", tmp_path / "behind"
    shutil.copytree(installed, environment, symlinks=True)
    behind.mkdir()
    for name in closure([*PROJECT["dependencies"], "pytest"]):
        # This environment may lack some, and then they are not needed for these tests.
        with suppress(PackageNotFoundError):
            _link(name, behind)
    (packages,) = environment.glob("imgpkg/lib/python*/site-packages")
    (packages / "behind.pth").write_text(f"{behind}\n")
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "pyproject.toml").write_text(SETTINGS)
    (folder / "test_program.py").write_text(PROGRAM)
    return environment / "imgpkg/bin/python", folder


def _link(name, folder):
    """Give a folder the files of an installed package."""
    for file in {file.parts[0] for file in distribution(name).files if ".." not in file.parts}:
        path = distribution(name).locate_file(file)
        if not (folder / file).exists() and file != "__pycache__":
            os.symlink(path, folder / file)


def run(python, folder, *words):
    argv = [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", *words]
    environment = {"PATH": os.defpath, "HOME": str(folder)}
    return subprocess.run(argv, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_its_tests_have_registries(project):
    python, folder = project
    done = run(python, folder)
    assert (done.returncode, done.stdout.splitlines()[-1].startswith("1 passed")) == (0, True), done.stdout


def test_its_runs_without_a_registry_load_none_of_it(project):
    python, folder = project
    program = (
        "def test_it():\n    import sys\n    assert sorted(n for n in sys.modules if 'imgpkg' in n) == {}\n"
    )
    loaded = ["imgpkg", "imgpkg.testing", "imgpkg.testing.plugin"]
    (folder / "test_program.py").write_text(program.format(loaded))
    assert run(python, folder).returncode == 0


def test_a_program_that_has_imported_the_library_can_run_them(project):
    python, folder = project
    program = "import sys, imgpkg, pytest; sys.exit(pytest.main(['-q', '-W', 'error']))"
    environment = {"PATH": os.defpath, "HOME": str(folder)}
    done = subprocess.run(
        [python, "-c", program], cwd=folder, env=environment, capture_output=True, check=False
    )
    assert done.returncode == 0, (done.stdout, done.stderr)


def test_it_can_turn_the_plugin_off(project):
    python, folder = project
    done = run(python, folder, "-p", "no:imgpkg")
    assert "fixture 'registry' not found" in done.stdout


def test_the_wheel_was_the_one_that_was_tried(project):
    python, _ = project
    program = "import imgpkg.testing; print(imgpkg.testing.__file__)"
    done = subprocess.run([python, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.startswith(str(python.parent.parent))

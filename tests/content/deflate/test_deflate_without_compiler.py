"""Where nothing compiles, the package installs all the same and packs with the portable encoder."""

from __future__ import annotations

import os
import pathlib
import shutil
import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow

PROJECT = pathlib.Path(__file__).parents[3]
# What the installation reads; a checkout has much more.
NEEDED = ("pyproject.toml", "setup.py", "README.md", "CHANGELOG.md", "LICENSE")
DIGEST = "fc14aaef6434fc0ca62be99d34665bfcd68196c7dbb83ba2cce0cdfa835273cb"
PROGRAM = """
import sys
from imgpkg.content.image import build_image
from imgpkg.content.pack import pack_layer
with pack_layer([sys.argv[1]], exclusions=()) as layer:
    print(build_image(layer, {}).manifest.digest)
"""


def run(*command, **options):
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, **options)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """Install a copy of the project with a compiler that always fails; return the folder."""
    work = tmp_path_factory.mktemp("install")
    copy, target = work / "project", work / "target"
    ignored = shutil.ignore_patterns("__pycache__", "*.so", "*.egg-info", "build")
    for name in ("src", "tools", "docs"):
        shutil.copytree(PROJECT / name, copy / name, ignore=ignored)
    for name in NEEDED:
        shutil.copy(PROJECT / name, copy)
    offline = ("--no-build-isolation", "--no-deps", "--no-index", "--no-compile")
    environment = {"PATH": os.environ["PATH"], "HOME": str(work), "CC": "/bin/false", "CXX": "/bin/false"}
    run(
        *(sys.executable, "-m", "pip", "install", *offline, "--target", str(target), str(copy)),
        env=environment,
        cwd=work,
    )
    return target


def python(installed, *arguments):
    """Run Python on the installed package alone, without the one that is being developed."""
    # Nothing of the tests' environment: the coverage of a copy would be taken for that of the project.
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(installed)}
    return run(sys.executable, *arguments, env=environment, cwd=installed.parent)


def test_no_extension_is_installed_and_everything_else_is(installed):
    found = {path.relative_to(installed).as_posix() for path in installed.rglob("*") if path.is_file()}
    assert [name for name in found if name.endswith(".so")] == []
    sources = {
        path.relative_to(PROJECT / "src").as_posix()
        for path in (PROJECT / "src" / "imgpkg").rglob("*")
        if path.suffix in {".py", ".txt", ".typed"}
    }
    assert sources - found == set()


def test_the_installed_package_is_the_one_that_runs(installed):
    program = "import imgpkg, imgpkg.content as content; print(imgpkg.__file__, *content.__path__)"
    files = python(installed, "-c", program).split()
    assert all(file.startswith(str(installed)) for file in files)


def test_the_command_prints_which_encoder_it_has(installed):
    program = "from imgpkg.cli.main import main; import sys; sys.exit(main())"
    assert "deflate encoder: pure Python\n" in python(installed, "-c", program, "version", "--verbose")


def test_the_digest_is_the_original_s_all_the_same(installed, tmp_path):
    folder = tmp_path / "d"
    folder.mkdir()
    (folder / "a.txt").write_bytes(b"hi\n")
    (folder / "a.txt").chmod(0o644)
    assert python(installed, "-c", PROGRAM, str(folder)) == f"sha256:{DIGEST}\n"

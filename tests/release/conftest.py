"""What tests of the release share: it is built once, and installed once, without a network."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from tools import release

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="session")
def shared(tmp_path_factory):
    """Make a folder once for all processes of the suite: the first makes it, the others wait."""
    base = tmp_path_factory.getbasetemp()
    # The folder above that of a worker belongs to the whole suite.
    common = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base

    def once(name, make):
        with open(common / f"{name}.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not (common / f"{name}.made").exists():
                # Environments name their own folder, so it cannot be renamed when it is complete.
                shutil.rmtree(common / name, ignore_errors=True)
                (common / name).mkdir()
                make(common / name)
                (common / f"{name}.made").touch()
        return common / name

    return once


@pytest.fixture(scope="session")
def built(shared):
    """The archive of the sources and the wheel, of the commit that is checked out."""
    if not (ROOT / ".git").exists():
        pytest.skip("a release is made of a commit, and these files are not in a repository")
    folder = shared("release", release.build_twice)
    (sources,), (wheel,) = (list((folder / "one/made").glob(pattern)) for pattern in ("*.tar.gz", "*.whl"))
    return sources, wheel


@pytest.fixture(scope="session")
def installed(built, shared):
    """A folder with the environment `imgpkg`, in which the wheel is installed."""

    def install(folder):
        # Without pip, which takes longer to install than all the rest.
        words = [sys.executable, "-m", "venv", "--without-pip", folder / "imgpkg"]
        subprocess.run(words, check=True)
        python = folder / "imgpkg/bin/python"
        pip = [
            sys.executable,
            "-m",
            "pip",
            "--python",
            python,
            "install",
            "--no-deps",
            "--no-index",
            built[1],
        ]
        subprocess.run(pip, check=True, capture_output=True)
        # What the wheel requires comes from this Python's packages, behind its own: nothing is fetched.
        (packages,) = (folder / "imgpkg").glob("lib/python*/site-packages")
        (packages / "behind.pth").write_text(sysconfig.get_path("purelib") + "\n")

    return shared("installed", install)


@pytest.fixture
def run_shell(tmp_path):
    """Run a script as a CI does: with these variables alone, and stopping at the first error."""

    def run(script, *, path, shell="bash", check=True, **variables):
        environment = {
            "PATH": os.pathsep.join([str(path), os.defpath]),
            "HOME": str(tmp_path),
            "LC_ALL": "C.UTF-8",
            **variables,
        }
        done = subprocess.run(
            [shell, "-e", "-c", script],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if check:
            assert done.returncode == 0, done.stdout + done.stderr
        return done

    return run

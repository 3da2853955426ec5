"""The installed command, run as a user runs it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

IMGPKG = str(Path(sys.executable).with_name("imgpkg"))


@pytest.fixture
def imgpkg(tmp_path):
    """Run the command with these arguments and variables; check that no secret shows in what it prints."""

    def run(*arguments, secrets=(), stdin="", **variables):
        done = subprocess.run(
            [IMGPKG, *map(str, arguments)],
            input=stdin,
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={**os.environ, **variables},
            timeout=60,
            check=False,
        )
        for secret in secrets:
            assert secret not in done.stdout + done.stderr
        return done

    return run


@pytest.fixture
def started(tmp_path):
    """Start the command and do not wait for it; kill what still runs at the end."""
    processes = []

    def start(*arguments, **variables):
        process = subprocess.Popen(
            [IMGPKG, *map(str, arguments)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=tmp_path,
            env={**os.environ, **variables},
        )
        processes.append(process)
        return process

    yield start
    for process in processes:
        process.kill()
        process.wait()


@pytest.fixture
def logged_in(open_session):
    """Open a session of the library with the login of a registry."""
    return lambda registry: open_session(
        username=registry.username or None, password=registry.password or None
    )

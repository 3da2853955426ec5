"""The demonstration of `make demo`: it relocates a bundle, and leaves one file, whatever happens."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
pytestmark = pytest.mark.slow


@pytest.fixture
def clone(tmp_path):
    """A copy of what the demonstration needs, with its environment beside it, as in a fresh clone."""
    made = tmp_path / "a clone"
    shutil.copytree(ROOT / "examples", made / "examples")
    (made / "tools").mkdir()
    shutil.copy(ROOT / "tools/demo.sh", made / "tools")
    (made / ".venv").symlink_to(sys.prefix)
    (tmp_path / "tmp").mkdir()
    return made


@pytest.fixture
def start(clone, tmp_path):
    """Start the demonstration in a session of its own, with its own folder for temporary files."""
    started = []

    def begin():
        environ = {**os.environ, "TMPDIR": str(tmp_path / "tmp"), "IMGPKG_REGISTRY_HOSTNAME": "*"}
        process = subprocess.Popen(
            [clone / "tools/demo.sh"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            env=environ,
        )
        started.append(process)
        return process

    yield begin
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()


def are_gone(addresses):
    """Return True when nothing listens at any of the addresses."""
    for address in addresses:
        with socket.socket() as one:
            host, _, port = address.rpartition(":")
            if one.connect_ex((host, int(port))) == 0:
                return False
    return True


def files(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_relocates_a_bundle_and_leaves_the_page_alone(start, clone, tmp_path):
    before = files(clone)
    began = time.monotonic()
    process = start()
    said, _ = process.communicate()
    assert process.returncode == 0, said
    assert time.monotonic() - began < 60
    outside, inside = re.search(r"^outside: (\S+), inside: (\S+)$", said, re.MULTILINE).groups()
    # The refusal names the registry, and the login that would mend it, which is the next command.
    refusal, _, mended = said.partition(f"$ imgpkg auth login {inside} ")
    assert "UNAUTHORIZED" in refusal
    assert f"To log in: imgpkg auth login {inside}" in refusal
    assert f"  image: {inside}/apps/shop@sha256:" in mended
    assert f"image: {outside}" not in mended
    page = clone / "demo-bundle.html"
    assert said.endswith(f"\nOpen it in a browser: {page}\n")
    text = page.read_text()
    assert f"{inside}/apps/shop@sha256:" in text
    assert "application/spdx+json" in text
    assert files(clone) - before == {"demo-bundle.html"}
    assert list((tmp_path / "tmp").iterdir()) == []
    assert are_gone((outside, inside))


def test_prints_commands_that_are_few_and_have_comments(start):
    said, _ = start().communicate()
    lines = said.splitlines()
    commands = [line for line in lines if line.startswith("$ ")]
    assert 10 <= len(commands) <= 18
    assert sum(line.startswith("# ") for line in lines) >= 7
    assert all(line.split()[1] in ("imgpkg", "python", "grep") for line in commands)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_leaves_nothing_when_it_is_interrupted(start, clone, tmp_path, number, code):
    before = files(clone)
    process = start()
    for line in process.stdout:
        if line.startswith("outside: "):
            addresses = re.findall(r"127\.0\.0\.1:\d+", line)
        # In the middle of its work.
        if "describe" in line:
            break
    os.killpg(process.pid, number)
    process.stdout.read()
    assert process.wait() == code
    assert files(clone) == before
    assert list((tmp_path / "tmp").iterdir()) == []
    assert are_gone(addresses)

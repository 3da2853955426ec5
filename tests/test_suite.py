"""The suite itself: however it is started, its tests have signals and umask of a foreground program."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent
IN_THE_BACKGROUND = 'trap "" INT TERM CHLD; umask 077; exec "$@"'
SIGNALS = """
import os, signal

def test_signals(tmp_path):
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    assert signal.getsignal(signal.SIGCHLD) is signal.SIG_DFL
    assert not signal.pthread_sigmask(signal.SIG_BLOCK, []) & {signal.SIGINT, signal.SIGTERM}

def test_modes(tmp_path):
    (tmp_path / "file").write_text("")
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o644
"""
ENDLESS = """
import threading

def waiting_for_ever(event):
    event.wait()

def test_endless():
    event = threading.Event()
    thread = threading.Thread(target=waiting_for_ever, args=(event,))
    thread.start()
    try:
        event.wait()
    finally:
        event.set()

def test_after_it():
    pass
"""


def suite(path, *words):
    """Run the tests of one file as the suite does, started as `make test &` in a script starts it."""
    pytest_words = [sys.executable, "-m", "pytest", "-q", "--no-cov", "-p", "tests.conftest", *words, path]
    return subprocess.run(
        ["sh", "-c", IN_THE_BACKGROUND, "sh", *pytest_words, f"--config-file={ROOT / 'pyproject.toml'}"],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("workers", [[], ["-n1"]], ids=["alone", "xdist"])
def test_it_sets_the_signals_that_it_needs(tmp_path, workers):
    (tmp_path / "test_signals.py").write_text(SIGNALS)
    done = suite(tmp_path / "test_signals.py", *workers)
    assert (done.returncode, done.stderr) == (0, "")
    assert "2 passed" in done.stdout


@pytest.mark.parametrize("workers", [[], ["-n1"]], ids=["alone", "xdist"])
def test_a_test_without_end_fails_and_every_stack_is_printed(tmp_path, workers):
    (tmp_path / "test_endless.py").write_text(ENDLESS)
    done = suite(tmp_path / "test_endless.py", "--timeout=1", *workers)
    assert "1 failed, 1 passed" in done.stdout
    assert "test_endless did not end in 1 s" in done.stderr
    assert "in waiting_for_ever" in done.stderr
    assert "in test_endless" in done.stderr


def test_every_test_has_a_limit(pytestconfig):
    assert float(pytestconfig.getini("timeout")) > 0

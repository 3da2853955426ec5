"""Every test starts with an empty environment and a temporary HOME, and may not print a secret.

It does not matter how the suite was started: signals, umask and environment are the suite's own, and each
test has a time limit. Servers run for the whole session.
"""

from __future__ import annotations

import _thread
import base64
import faulthandler
import importlib
import itertools
import logging
import os
import pkgutil
import signal
import sys
import threading
from urllib.parse import quote

import hypothesis
import pytest
from tests.servers.fixtures import (  # noqa: F401 - fixtures are used by their names
    PASSWORD,
    USERNAME,
    another_registry,
    docker_registry,
    docker_registry_htpasswd,
    docker_registry_tls,
    docker_registry_token,
    docker_registry_without_deletion,
    embedded_login,
    embedded_registry,
    embedded_token,
    open_session,
    reverse_proxy,
    session,
)

import imgpkg

# The password of every server here, in the forms in which it travels.
SECRETS = (
    PASSWORD,
    quote(PASSWORD, safe=""),
    base64.b64encode(f"{USERNAME}:{PASSWORD}".encode()).decode(),
)
_KEPT = ("PATH", "LANG", "LC_ALL", "TMPDIR")
# What a program that is started in the foreground has; shells ignore SIGINT for what they start with `&`.
_SIGNALS = {
    signal.SIGINT: signal.default_int_handler,
    signal.SIGTERM: signal.SIG_DFL,
    signal.SIGCHLD: signal.SIG_DFL,
}
_HOMES = itertools.count()
_REAL_STDERR = pytest.StashKey[int]()
# Rooms in which the parameters of a test are mostly other registries, ways and words for the same lines.
_COMBINING = {"end_to_end", "operations", "pages"}

# A slow machine is no fault of the code under test.
hypothesis.settings.register_profile(
    "suite", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("suite")


def pytest_configure(config):
    """Make every process of the suite one that was started in the foreground, with the usual umask."""
    for number, handler in _SIGNALS.items():
        signal.signal(number, handler)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
    os.umask(0o022)
    # Each process would compile every test, and rewrite its assertions, again.
    sys.dont_write_bytecode = False
    if config.getoption("numprocesses", None):
        # No test runs here, where the reports of all come together.
        sys.settrace(None)
        threading.settrace(None)
    # The log of each request takes a fifth of the time. It is written, and searched for secrets, in the tests
    # that ask for `written_log`.
    logging.getLogger("imgpkg").setLevel(logging.CRITICAL)
    # Nothing is captured yet, so this is the terminal or the log, in the processes of pytest-xdist too.
    config.stash[_REAL_STDERR] = os.dup(2)


def pytest_timeout_set_timer(item, settings):
    """Start the time of a test: at its end all stacks are printed and the test fails.

    pytest-timeout itself prints to where pytest-xdist lets nobody look. A test that does not end even then,
    for want of a main thread that runs Python, ends its process after as much time again.
    """
    stderr = item.config.stash[_REAL_STDERR]

    def expire(_number, _frame):
        os.write(stderr, f"\n{item.nodeid} did not end in {settings.timeout:g} s\n".encode())
        faulthandler.dump_traceback(stderr)
        pytest.fail(f"no end in {settings.timeout:g} s; all stacks are on standard error")

    signal.signal(signal.SIGALRM, expire)
    signal.setitimer(signal.ITIMER_REAL, settings.timeout)
    faulthandler.dump_traceback_later(2 * settings.timeout, exit=True, file=stderr)
    return True


def pytest_timeout_cancel_timer(item):
    """End the time of a test."""
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    faulthandler.cancel_dump_traceback_later()
    return True


class _OneAtATime:
    """The `sys` of the module `threading`, under which threads begin to be traced one after the other.

    CPython 3.11 refuses a trace function while another thread installs one, which takes a while where an
    audit hook runs: under coverage a thread, of one of our servers for example, would end before its first
    line, and a test would wait for it for ever.
    """

    # What is collected meanwhile may be traced in the thread that has it.
    lock = _thread.RLock()

    def __getattr__(self, name):
        return getattr(sys, name)

    def settrace(self, hook):
        def install(frame, event, argument):
            with self.lock:
                return hook(frame, event, argument)

        with self.lock:
            sys.settrace(install)


threading._sys = _OneAtATime()


def _trace(tracer):
    """Trace this thread with `tracer`, or not at all, while no other thread begins to be traced."""
    with _OneAtATime.lock:
        sys.settrace(tracer)


def _is_measured(item):
    """Tell whether coverage measures a test: in this process, and in others for what is marked `measured`.

    It takes half of the time of a test, and of a process that a test starts. Not measured are tests marked
    `unmeasured`, those of hypothesis, since no line should owe its coverage to chance, and in rooms that
    combine registries and ways each combination but the first.
    """
    if item.get_closest_marker("unmeasured") or getattr(item.obj, "is_hypothesis_test", False):
        return False
    indices = item.callspec.indices.values() if hasattr(item, "callspec") else ()
    return not any(indices) or not _COMBINING.intersection(item.nodeid.split("/"))


@pytest.hookimpl(wrapper=True)
def pytest_collection():
    """Collect the tests at full speed: of what is imported then, only the package counts for coverage."""
    tracer = sys.gettrace()
    if tracer is not None:
        for module in pkgutil.walk_packages(imgpkg.__path__, "imgpkg."):
            if not module.name.endswith("__main__"):
                importlib.import_module(module.name)
    _trace(None)
    try:
        return (yield)
    finally:
        _trace(tracer)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item, nextitem):
    """Run a test that is not measured at full speed, with the threads that it starts."""
    if _is_measured(item):
        return (yield)
    tracer, hook = sys.gettrace(), threading.gettrace()
    _trace(None)
    threading.settrace(None)
    try:
        return (yield)
    finally:
        threading.settrace(hook)
        _trace(tracer)


@pytest.fixture(autouse=True)
def empty_environment(request, monkeypatch, tmp_path_factory):
    """Forget every variable of the developer's machine; HOME is an empty folder."""
    is_measured = request.node.get_closest_marker("measured") and _is_measured(request.node)
    kept = ("PYTEST_", "COV_", "COVERAGE_") if is_measured else ("PYTEST_",)
    for name in list(os.environ):
        if name not in _KEPT and not name.startswith(kept):
            monkeypatch.delenv(name)
    # Not by `mktemp`, which takes four times as long as the folder.
    home = tmp_path_factory.getbasetemp() / f"home-{next(_HOMES)}"
    home.mkdir(0o700)
    monkeypatch.setenv("HOME", str(home))
    return home


@pytest.fixture
def written_log():
    """Have the package log all that it does, as in a program with a handler at DEBUG."""
    logger = logging.getLogger("imgpkg")
    level = logger.level
    logger.setLevel(logging.NOTSET)
    yield
    logger.setLevel(level)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """Fail every test that printed or logged the password of a server, whatever else it looked at."""
    report = yield
    printed = [name for name, text in report.sections if any(secret in text for secret in SECRETS)]
    if printed and report.passed:
        report.outcome = "failed"
        report.longrepr = f"a secret is in {', '.join(printed)}"
    return report

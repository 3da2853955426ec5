"""Calls of the SDK of a cloud, in a process of its own with the environment of the settings."""

from __future__ import annotations

import json
import os
import signal
import sys
from contextlib import suppress
from importlib import import_module
from math import ceil
from threading import Thread
from typing import TYPE_CHECKING, Any, TypeVar

from imgpkg.auth.cloud.metadata import Machine
from imgpkg.auth.program import GLANCE
from imgpkg.cancellation import Wait, current
from imgpkg.errors import CredentialError
from imgpkg.expression import expression

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from imgpkg.auth.program import Programs

T = TypeVar("T")

DEADLINE = 30.0

PROGRAM = """
from json import load
import sys
told = load(sys.stdin)
sys.path[:] = told["path"]
from imgpkg.auth.cloud.sdk import answer
answer(told)
"""
# Seconds after its deadline at which a process ends itself, if its parent was killed.
_GRACE = 2
_SECRET_VARIABLES = (
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN",
    "AZURE_CLIENT_SECRET",
    "AZURE_CLIENT_CERTIFICATE_PASSWORD",
    "AZURE_CERTIFICATE_PASSWORD",
    "IDENTITY_HEADER",
    "MSI_SECRET",
)
# JSON web tokens of any issuer, access tokens of Google, and the values of fields that hold tokens.
_TOKEN_FIELD = r"(?<=[_-][Tt]oken)['\"]?\s*[:=]\s*['\"]?[^\s'\",}]+|(?<=assertion)=[^&\s]+"  # noqa: S105 - a pattern
_TOKENS = expression(rf"eyJ[\w-]{{5,}}(?:\.[\w-]*)*|\bya29\.[\w.-]+|{_TOKEN_FIELD}")
# Long enough for an error of AWS that repeats the request.
_LONGEST_REASON = 2000


def call(
    keychain: str,
    question: Mapping[str, Any],
    environ: Mapping[str, str],
    machine: Machine,
    *,
    programs: Programs,
    deadline: float = DEADLINE,
) -> Any:
    """Return what `ask(question, machine)` of the module `keychain` returns in a process of its own.

    SDKs read the environment of their process in many places, some at import, and accept no other one; they
    also log secrets, and a thread in which one hangs cannot be ended. So each call has a process whose
    environment is exactly `environ`, and which is ended with its children after `deadline` seconds or when
    the scope is cancelled. Question and answer are JSON in pipes; the command line holds neither. `machine`
    records what the process has found out.

    Raises CredentialError with the SDK's reason, without secrets.
    """
    told = {
        # With -I the process has no own search path, so it receives that of this one.
        "path": sys.path,
        "keychain": keychain,
        "question": question,
        "machine": machine.known(),
        "seconds": deadline,
    }
    # -I: neither the current folder nor PYTHON* variables may add modules to import.
    command = (_interpreter(), "-I", "-c", PROGRAM)
    given = json.dumps(told, default=str).encode()
    ended = programs.run(command, environ, deadline, given=given, is_silent=True, name=f"keychain {keychain}")
    ended.check("the process of the SDK")
    # The program is our own, so its output needs no checks.
    said = json.loads(ended.printed)
    machine.learn(said["machine"])
    if said["problem"]:
        raise CredentialError(said["problem"])
    return said["answer"]


def answer(told: Mapping[str, Any]) -> None:
    """Run one call in this process, and print the answer as JSON."""
    pipe = _keep_for_the_answer()
    # The kernel ends the process, even if the SDK hangs in C code and its parent is gone.
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(ceil(told["seconds"]) + _GRACE)
    machine = Machine.of(told["machine"])
    said = {"answer": None, "problem": ""}
    try:
        module = import_module(f"imgpkg.auth.cloud.{told['keychain']}")
        said["answer"] = module.ask(told["question"], machine)
    except CredentialError as error:
        said["problem"] = str(error)
    except Exception as error:  # noqa: BLE001 - an SDK may raise anything
        said["problem"] = reason(error, os.environ)
    # JSON in ASCII needs no agreement on an encoding.
    with open(pipe, "w", encoding="ascii") as file:
        json.dump({**said, "machine": machine.known()}, file)


def _keep_for_the_answer() -> int:
    """Return a copy of standard output that child processes do not inherit; replace it by /dev/null."""
    pipe, nowhere = os.dup(1), os.open(os.devnull, os.O_RDWR)
    # An SDK may start programs that read standard input or print.
    os.dup2(nowhere, 0)
    os.dup2(nowhere, 1)
    return pipe


def _interpreter() -> str:
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    # In a program that embeds Python, sys.executable is that program.
    for path in (sys.executable, os.path.join(sys.exec_prefix, "bin", version)):
        if path and os.path.basename(path).startswith(("python", "pypy")) and os.access(path, os.X_OK):
            return path
    raise CredentialError(
        f"an SDK runs in a process of its own, and {sys.executable or 'this program'} is no Python "
        "interpreter that could be started for it"
    )


def reason(error: BaseException, environ: Mapping[str, str]) -> str:
    """Return in one line, of limited length, why an SDK failed, with each secret replaced by an ellipsis."""
    # The first argument of google-auth's errors is a text, the second the response of the server.
    first = error.args[0] if len(error.args) > 1 else None
    text = (first if isinstance(first, str) else str(error)) or type(error).__name__
    secrets = (environ.get(variable, "") for variable in _SECRET_VARIABLES)
    # The longest first: a secret may be a part of another one.
    for secret in sorted(filter(None, secrets), key=len, reverse=True):
        text = text.replace(secret, "…")
    line = " ".join(_TOKENS.sub("…", text).split())
    return f"{line[:_LONGEST_REASON]}…" if len(line) > _LONGEST_REASON else line


def within(seconds: float, work: Callable[[], T], *, asking: str = "", programs: Programs | None = None) -> T:
    """Return what `work` returns, or raise what it raises; raise CredentialError after `seconds`.

    The thread that works cannot be ended, so it is left alone until its own time-outs end it. The same
    happens when the scope of `programs` is cancelled, which raises Cancelled here.
    """
    from concurrent.futures import Future

    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:  # noqa: BLE001 - raised by the thread that waits
            future.set_exception(error)

    # A daemon thread and no executor, because the interpreter waits for those of an executor when it exits.
    thread = Thread(target=run, name="imgpkg-keychain", daemon=True)
    thread.start()
    wait = Wait(seconds, programs.scope if programs else current(), lambda _: None)
    with suppress(TimeoutError):
        while thread.is_alive():
            thread.join(wait.slice(GLANCE))
    if not future.done():
        raise CredentialError(f"{asking}no answer within {seconds:.3g} s")
    return future.result()

"""The docker-credential-* protocol: ask a program on PATH for the credential of a server."""

from __future__ import annotations

import os
import re
import time
from collections import defaultdict
from dataclasses import dataclass
from functools import partial
from threading import Lock
from typing import TYPE_CHECKING

from imgpkg.auth.authfile import decode, fold, text
from imgpkg.auth.keychain import Credential
from imgpkg.auth.program import Programs, find
from imgpkg.errors import CredentialError
from imgpkg.locks import Once

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from imgpkg.auth.program import Ended

TRIES = 5
PAUSE = 2.0
LIFETIME = 3600.0

_NAME = re.compile(r"[A-Za-z0-9._-]+")
_NOT_FOUND = "credentials not found in native keychain"
_NEVER_RETRIED = ("no credentials server URL", "no credentials username")
_IDENTITY_TOKEN = "<token>"  # noqa: S105 - the user name that marks one
_LONGEST_MESSAGE = 1000
# A helper that fails after it has answered.
_SECRET = re.compile(r'"secret"\s*:', re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class _Result:
    """What a helper said, None for "not found"; trusted until `expires_at`, a Unix time."""

    credential: Credential | None
    expires_at: float


@dataclass(frozen=True, slots=True)
class _Failure:
    """Why a helper gave no answer, and whether another try may help."""

    reason: str
    transient: bool = True


class Helpers:
    """Asks credential helpers, and remembers for an hour what they said, "not found" included.

    Threads that ask the same question share one process, and each helper runs one process at a time. A
    helper has `timeout` seconds, for it may prompt. A credential's `expires_at` says when it is asked again.
    `programs` runs them, and lets whoever waits go when it is stopped.
    """

    def __init__(
        self,
        environ: Mapping[str, str],
        *,
        timeout: float = 120.0,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] | None = None,
        programs: Programs | None = None,
    ) -> None:
        self._environ = environ
        self._timeout = timeout
        self._clock = clock
        self._programs = programs or Programs()
        self._sleep = sleep or self._programs.sleep
        self._lock = Lock()
        self._answers: dict[tuple[str, str], Once[_Result]] = {}
        self._running: defaultdict[str, Lock] = defaultdict(Lock)

    def get(self, name: str, server: str) -> Credential | None:
        """Ask `docker-credential-NAME` for `server`; None for "not found"; CredentialError when it fails."""
        return self._question(name, server)().credential

    def _question(self, name: str, server: str) -> Once[_Result]:
        with self._lock:
            question = self._answers.get((name, server))
            if question is None or question.failed or self._is_stale(question.peek()):
                question = Once(partial(self._ask, name, server))
                self._answers[name, server] = question
            return question

    def _is_stale(self, answer: _Result | None) -> bool:
        return answer is not None and answer.expires_at <= self._clock()

    def _ask(self, name: str, server: str) -> _Result:
        program = self._program(name)
        said = self._try(name, program, server)
        for _ in range(TRIES - 1):
            if not (isinstance(said, _Failure) and said.transient):
                break
            self._sleep(PAUSE)
            said = self._try(name, program, server)
        if isinstance(said, _Failure):
            raise CredentialError(f"Retried {TRIES} times: {said.reason}" if said.transient else said.reason)
        return said

    def _try(self, name: str, program: str, server: str) -> _Result | _Failure:
        with self._lock:
            running = self._running[name]
        with running:
            reply = self._run(program, server)
        return _understand(reply, self._clock() + LIFETIME)

    def _program(self, name: str) -> str:
        if not _NAME.fullmatch(name):
            raise CredentialError(f"{name!r} is no name of a credential helper")
        program = find(f"docker-credential-{name}", self._environ)
        if program is None:
            raise CredentialError(
                _failed(f'exec: "docker-credential-{name}": executable file not found in $PATH'),
                hints=(f"Install docker-credential-{name}, or take {name!r} out of the docker config.",),
            )
        return program

    def _run(self, program: str, server: str) -> Ended:
        try:
            reply = self._programs.run([program, "get"], self._environ, self._timeout, given=server.encode())
        except OSError as error:
            reason = os.strerror(error.errno or 0).lower()
            raise CredentialError(_failed(f"fork/exec {program}: {reason}")) from error
        if reply is None:
            name = os.path.basename(program)
            raise CredentialError(_failed(f"{name} gave no answer in {self._timeout:g} s"))
        return reply


def _understand(reply: Ended, expires_at: float) -> _Result | _Failure:
    if reply.code == 0:
        try:
            return _Result(_credential(reply.printed, expires_at), expires_at)
        except CredentialError as error:
            problem = error.message
    message = reply.printed.decode("utf-8", "replace").strip()
    if _NOT_FOUND in message:
        return _Result(None, expires_at)
    if reply.code == 0:
        # What was printed may be half a secret, so it is not shown.
        return _Failure(_failed(f"the helper printed no credential: {problem}"))
    if _SECRET.search(message):
        message = "(not shown: it has a secret in it)"
    status = f"exit status {reply.code}" if reply.code > 0 else f"signal {-reply.code}"
    transient = not any(text in message for text in _NEVER_RETRIED)
    return _Failure(_failed(status, message), transient)


def _credential(stdout: bytes, expires_at: float) -> Credential | None:
    if not stdout.strip():
        raise CredentialError("EOF")
    fields = fold(decode(stdout).value, "the answer")
    username, secret = text(fields.get("username"), "Username"), text(fields.get("secret"), "Secret")
    if username == _IDENTITY_TOKEN:
        return Credential(identity_token=secret, expires_at=expires_at) if secret else None
    if not (username or secret):
        return None
    return Credential(username, secret, expires_at=expires_at)


def _failed(reason: str, out: str = "") -> str:
    return f"error getting credentials - err: {reason}, out: `{out[:_LONGEST_MESSAGE]}`"

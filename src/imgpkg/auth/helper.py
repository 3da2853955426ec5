"""The docker-credential-* protocol: ask a program on PATH for the credential of a server (auth-spec 5.6)."""

from __future__ import annotations

import os
import re
import time
from collections import defaultdict
from dataclasses import dataclass, field
from functools import partial
from threading import Lock
from typing import TYPE_CHECKING

from imgpkg.auth.credential import Credential
from imgpkg.auth.jsonfile import decode, fold, text
from imgpkg.auth.once import Once
from imgpkg.auth.program import end_group, find, kill_group
from imgpkg.errors import Cancelled, CredentialError

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Mapping

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
class _Answer:
    """What a helper said, None for "not found"; trusted until `expires_at`, a Unix time."""

    credential: Credential | None
    expires_at: float


@dataclass(frozen=True, slots=True)
class _Failure:
    """Why a helper gave no answer, and whether another try may help."""

    reason: str
    transient: bool = True


@dataclass(frozen=True, slots=True)
class _Reply:
    code: int
    stdout: bytes = field(repr=False)


class Helpers:
    """Asks credential helpers, and remembers for an hour what they said, "not found" included.

    Threads that ask the same question share one process, and each helper runs one process at a time. A
    helper has `timeout` seconds, for it may prompt. A credential's `expires_at` says when it is asked again.
    """

    def __init__(
        self,
        environ: Mapping[str, str],
        *,
        timeout: float = 120.0,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._environ = environ
        self._timeout = timeout
        self._clock = clock
        self._sleep = sleep
        self._lock = Lock()
        self._answers: dict[tuple[str, str], Once[_Answer]] = {}
        self._running: defaultdict[str, Lock] = defaultdict(Lock)
        self._processes: set[subprocess.Popen[bytes]] = set()
        self._is_stopped = False

    def get(self, name: str, server: str) -> Credential | None:
        """Ask `docker-credential-NAME` for `server`; None for "not found"; CredentialError when it fails."""
        return self._question(name, server)().credential

    def stop(self) -> None:
        """End the helpers that run, and run none from now on: who waits for one gets Cancelled.

        It takes no lock, for whoever is interrupted by the signal handler that calls it may hold one.
        """
        self._is_stopped = True
        for process in tuple(self._processes):
            kill_group(process)

    def _question(self, name: str, server: str) -> Once[_Answer]:
        with self._lock:
            question = self._answers.get((name, server))
            if question is None or question.failed or self._is_stale(question.peek()):
                question = Once(partial(self._ask, name, server))
                self._answers[name, server] = question
            return question

    def _is_stale(self, answer: _Answer | None) -> bool:
        return answer is not None and answer.expires_at <= self._clock()

    def _ask(self, name: str, server: str) -> _Answer:
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

    def _try(self, name: str, program: str, server: str) -> _Answer | _Failure:
        with self._lock:
            running = self._running[name]
        with running:
            self._check_stopped()
            reply = self._run(program, server)
        return _understand(reply, self._clock() + LIFETIME)

    def _check_stopped(self) -> None:
        if self._is_stopped:
            raise Cancelled("no credential helper runs any more: the work was stopped")

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

    def _run(self, program: str, server: str) -> _Reply:
        import subprocess  # noqa: PLC0415 - likewise

        try:
            # Its own session makes a process group that can be ended as a whole.
            process = subprocess.Popen(  # noqa: S603 - the user's own configuration names the program
                [program, "get"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=dict(self._environ),
                start_new_session=True,
            )
        except OSError as error:
            reason = os.strerror(error.errno or 0).lower()
            raise CredentialError(_failed(f"fork/exec {program}: {reason}")) from error
        self._processes.add(process)
        with process:
            try:
                self._check_stopped()
                stdout, _ = process.communicate(server.encode(), timeout=self._timeout)
            except subprocess.TimeoutExpired:
                end_group(process)
            except BaseException:
                end_group(process)
                raise
            else:
                self._check_stopped()
                return _Reply(process.returncode, stdout)
            finally:
                self._processes.discard(process)
        # Outside of the handler: the cause would carry what the helper had printed.
        raise CredentialError(_failed(f"{os.path.basename(program)} gave no answer in {self._timeout:g} s"))


def _understand(reply: _Reply, expires_at: float) -> _Answer | _Failure:
    if reply.code == 0:
        try:
            return _Answer(_credential(reply.stdout, expires_at), expires_at)
        except CredentialError as error:
            problem = error.message
    message = reply.stdout.decode("utf-8", "replace").strip()
    if _NOT_FOUND in message:
        return _Answer(None, expires_at)
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

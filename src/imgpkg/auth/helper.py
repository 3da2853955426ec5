"""The protocol of docker-credential-* programs: ask one on PATH for credentials, and let it store them."""

from __future__ import annotations

import json
import os
import re
import time
from contextlib import suppress
from functools import partial
from threading import Lock
from typing import TYPE_CHECKING

from imgpkg.auth.authfile import decode, fold, items, text
from imgpkg.auth.keychain import Credential
from imgpkg.auth.program import NoAnswer, NotStarted, Programs, find
from imgpkg.dataclass import KW_ONLY, dataclass, field
from imgpkg.errors import CredentialError
from imgpkg.expression import expression
from imgpkg.locks import KeyedLocks, Once

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from imgpkg.auth.program import Ended

# As in the original: some helpers fail when several processes use them at once.
TRIES = 5
PAUSE = 2.0
LIFETIME = 3600.0

# The name becomes a part of a file name, so it must not hold a slash.
_NAME = expression(r"[A-Za-z0-9._-]+")
_NOT_FOUND = "credentials not found in native keychain"
_NEVER_RETRIED = ("no credentials server URL", "no credentials username")
# docker-credential-helpers: with this user name, the secret is an identity token.
IDENTITY_TOKEN_USER = "<token>"  # noqa: S105 - the user name that marks one
_LONGEST_MESSAGE = 1000
# The words of docker's errors.
_DOING = {"get": "getting", "store": "storing", "erase": "erasing", "list": "listing"}
# A helper may print a credential and then fail; its output is an error message only without one.
_SECRET = expression(r'"secret"\s*:', re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class _Result:
    """The reply of a helper, None for "not found"; used until `expires_at`, a Unix time."""

    credential: Credential | None
    expires_at: float


@dataclass(frozen=True, slots=True)
class _Failure:
    """Why a helper returned no credential, and whether another try may help."""

    reason: str
    transient: bool = True


class _UnknownServer(CredentialError):
    """A helper has no credential for the server."""


@dataclass(frozen=True, eq=False)
class Helpers:
    """Run credential helpers and keep their replies for an hour, "not found" included.

    Threads that ask for the same server share one process. Each helper runs one process at a time, because
    some of them prompt or lock a file. `timeout` in seconds is long, because a helper may wait for a person.
    `expires_at` of a credential is the time at which its helper is asked again.
    """

    environ: Mapping[str, str] = field(repr=False)
    _: KW_ONLY
    timeout: float = 120.0
    clock: Callable[[], float] = time.time
    sleep: Callable[[float], None] | None = None
    programs: Programs = field(default_factory=Programs)
    _guard: Lock = field(init=False, repr=False, default_factory=Lock)
    _results: dict[tuple[str, str], Once[_Result]] = field(init=False, repr=False, default_factory=dict)
    _running: KeyedLocks = field(init=False, repr=False, default_factory=KeyedLocks)

    def get(self, name: str, server: str) -> Credential | None:
        """Ask `docker-credential-NAME` for `server`; None for "not found"; CredentialError when it fails."""
        return self._result(name, server)().credential

    def store(self, name: str, server: str, credential: Credential) -> None:
        """Let `docker-credential-NAME` store a login or identity token; raise CredentialError."""
        user, secret = credential.username, credential.password
        if credential.identity_token:
            user, secret = IDENTITY_TOKEN_USER, credential.identity_token
        # The form of `store` in the protocol of docker-credential-helpers.
        answer = {"ServerURL": server, "Username": user, "Secret": secret}
        try:
            given = json.dumps(answer, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            given = b""
        # Outside of the handler: the error holds the text that could not be encoded.
        if not given:
            raise CredentialError(f"the credential is not UTF-8, which docker-credential-{name} cannot store")
        # The secret goes along to be kept out of the message of a failure.
        self._command(name, "store", given, secret)

    def erase(self, name: str, server: str) -> None:
        """Let `docker-credential-NAME` remove its login for `server`; raise CredentialError."""
        with suppress(_UnknownServer):
            self._command(name, "erase", server.encode())

    def logins(self, name: str) -> dict[str, str]:
        """Return the user names that `docker-credential-NAME` has, by server; raise CredentialError."""
        try:
            printed = self._command(name, "list", b"\n")
        except _UnknownServer:
            return {}
        try:
            return {server: text(user, "a user name") for server, user in items(decode(printed).value, "it")}
        except CredentialError as error:
            reason = f"the helper printed no list: {error.message}"
        raise CredentialError(_failed(reason, action="list"))

    def _command(self, name: str, action: str, given: bytes, secret: str = "") -> bytes:
        """Return what the helper printed; raise _UnknownServer, or CredentialError with its message."""
        with self._guard:
            # The command may change what the helper returns, so earlier answers are dropped.
            self._results.clear()
        with self._running.of(name):
            ended = self._run(self._program(name, action), action, given)
        if ended.code == 0:
            return ended.printed
        message = ended.printed.decode("utf-8", "replace").strip()
        if _NOT_FOUND in message:
            raise _UnknownServer(message)
        raise CredentialError(_failed(_status(ended), _shown(message, secret), action))

    def _result(self, name: str, server: str) -> Once[_Result]:
        # Only the lookup is guarded; the program runs in `Once`, where other servers do not wait for it.
        with self._guard:
            once = self._results.get((name, server))
            if once is None or once.failed or self._is_stale(once.peek()):
                once = Once(partial(self._ask, name, server))
                self._results[name, server] = once
            return once

    def _is_stale(self, result: _Result | None) -> bool:
        return result is not None and result.expires_at <= self.clock()

    def _ask(self, name: str, server: str) -> _Result:
        program = self._program(name)
        pause = self.sleep or self.programs.sleep
        result = self._try(name, program, server)
        for _ in range(TRIES - 1):
            if not (isinstance(result, _Failure) and result.transient):
                break
            pause(PAUSE)
            result = self._try(name, program, server)
        if isinstance(result, _Failure):
            reason = f"Retried {TRIES} times: {result.reason}" if result.transient else result.reason
            raise CredentialError(reason)
        return result

    def _try(self, name: str, program: str, server: str) -> _Result | _Failure:
        with self._running.of(name):
            ended = self._run(program, "get", server.encode())
        return _parse(ended, self.clock() + LIFETIME)

    def _program(self, name: str, action: str = "get") -> str:
        # The name is from a file and becomes part of a path.
        if not _NAME.fullmatch(name):
            raise CredentialError(f"{name!r} is no name of a credential helper")
        program = find(f"docker-credential-{name}", self.environ)
        if program is None:
            raise CredentialError(
                _failed(f'exec: "docker-credential-{name}": executable file not found in $PATH', "", action),
                hints=(f"Install docker-credential-{name}, or take {name!r} out of the docker config.",),
            )
        return program

    def _run(self, program: str, action: str, given: bytes) -> Ended:
        try:
            return self.programs.run([program, action], self.environ, self.timeout, given=given)
        except NotStarted as error:
            raise CredentialError(_failed(f"fork/exec {error.message}", "", action)) from error
        except NoAnswer:
            name = os.path.basename(program)
        raise CredentialError(_failed(f"{name} gave no answer in {self.timeout:g} s", "", action))


def _parse(ended: Ended, expires_at: float) -> _Result | _Failure:
    if ended.code == 0:
        try:
            return _Result(_credential(ended.printed, expires_at), expires_at)
        except CredentialError as error:
            problem = error.message
    message = ended.printed.decode("utf-8", "replace").strip()
    if _NOT_FOUND in message:
        return _Result(None, expires_at)
    if ended.code == 0:
        # The output may be half a secret, so it is in no message.
        return _Failure(_failed(f"the helper printed no credential: {problem}"))
    # Most failures may pass, for example those of a network.
    transient = not any(text in message for text in _NEVER_RETRIED)
    return _Failure(_failed(_status(ended), _shown(message)), transient)


def _status(ended: Ended) -> str:
    return f"exit status {ended.code}" if ended.code > 0 else f"signal {-ended.code}"


def _shown(message: str, secret: str = "") -> str:
    """Return the message of a helper, unless there is a secret in it."""
    if _SECRET.search(message) or (secret and secret in message):
        return "(not shown: it has a secret in it)"
    return message


def _credential(stdout: bytes, expires_at: float) -> Credential | None:
    if not stdout.strip():
        raise CredentialError("EOF")
    fields = fold(decode(stdout).value, "the answer")
    username, secret = text(fields.get("username"), "Username"), text(fields.get("secret"), "Secret")
    # docker stores an identity token under this user name.
    if username == IDENTITY_TOKEN_USER:
        return Credential(identity_token=secret, expires_at=expires_at) if secret else None
    if not (username or secret):
        return None
    return Credential(username, secret, expires_at=expires_at)


def _failed(reason: str, out: str = "", action: str = "get") -> str:
    return f"error {_DOING[action]} credentials - err: {reason}, out: `{out[:_LONGEST_MESSAGE]}`"

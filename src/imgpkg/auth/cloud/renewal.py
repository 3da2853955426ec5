"""Credentials that end: acquired once for all threads, renewed before their time."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from threading import Lock
from typing import TYPE_CHECKING, Generic, TypeVar

from imgpkg.auth.keychain import Finding, Outcome
from imgpkg.errors import CredentialError
from imgpkg.locks import Once

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from imgpkg.auth.keychain import Credential
    from imgpkg.oci.reference import Repository

    Key = TypeVar("Key", bound=Hashable)
else:
    Key = TypeVar("Key")

MARGIN = 300.0
PAUSE = 60.0


@dataclass(frozen=True, slots=True)
class TemporaryCredential:
    """A credential from a cloud, where it came from, and the Unix time of its end, in seconds."""

    credential: Credential
    origin: str
    expires_at: float


@dataclass(frozen=True, slots=True)
class NoCredential:
    """There is no credential and none is needed; why, in words."""

    reason: str


@dataclass(frozen=True, slots=True)
class _State:
    """What is said until `again_at`; `problem` is why the last attempt failed, empty when it did not."""

    grant: TemporaryCredential | NoCredential | None
    problem: str
    again_at: float


class Renewal(Generic[Key]):
    """Acquires a grant per key when it is first wanted, and a new one when the old one is nearly over.

    `acquire` raises CredentialError when it fails. Nearly over means: less than five minutes, or half of a
    shorter lifetime, remain. A grant that has ended before it arrives is used once. A failure is remembered
    for a minute; until then, a grant that is not quite over yet goes on. `warn` hears of a failure once per
    registry.
    """

    def __init__(
        self,
        name: str,
        acquire: Callable[[Key], TemporaryCredential | NoCredential],
        *,
        warn: Callable[[str], None],
        clock: Callable[[], float],
    ) -> None:
        self._name = name
        self._acquire = acquire
        self._warn = warn
        self._clock = clock
        self._lock = Lock()
        self._answers: dict[Key, Once[_State]] = {}
        self._warned: set[str] = set()

    def finding(self, key: Key, repository: Repository) -> Finding:
        """Answer for `repository`, whose credential is that of `key`; see `CredentialSource.lookup`."""
        answer = self._question(key)()
        if isinstance(answer.grant, TemporaryCredential):
            return _matched(self._name, answer, answer.grant)
        if isinstance(answer.grant, NoCredential):
            return Finding(self._name, Outcome.NOT_APPLICABLE, answer.grant.reason)
        self._warn_once(repository.registry, answer.problem)
        return Finding(self._name, Outcome.FAILED, answer.problem)

    def _question(self, key: Key) -> Once[_State]:
        with self._lock:
            question = self._answers.get(key)
            previous = question.peek() if question else None
            if question is None or (previous is not None and previous.again_at <= self._clock()):
                question = Once(partial(self._ask, key, previous))
                self._answers[key] = question
            return question

    def _ask(self, key: Key, previous: _State | None) -> _State:
        try:
            grant = self._acquire(key)
        except CredentialError as error:
            return _failed(str(error), previous, self._clock())
        now = self._clock()
        if isinstance(grant, NoCredential):
            return _State(grant, "", now + PAUSE)
        return _State(grant, "", renew_at(grant.expires_at, now))

    def _warn_once(self, registry: str, problem: str) -> None:
        with self._lock:
            is_new = registry not in self._warned
            self._warned.add(registry)
        if is_new:
            self._warn(f"keychain '{self._name}' gave no credential for {registry}: {problem}")


def renew_at(expires_at: float, now: float) -> float:
    """Say when something that is good from `now` until `expires_at` should be replaced."""
    return expires_at - min(MARGIN, max(0.0, (expires_at - now) / 2))


def _failed(problem: str, previous: _State | None, now: float) -> _State:
    old = previous.grant if previous else None
    if isinstance(old, TemporaryCredential) and old.expires_at > now:
        return _State(old, problem, min(now + PAUSE, old.expires_at))
    return _State(None, problem, now + PAUSE)


def _matched(name: str, answer: _State, grant: TemporaryCredential) -> Finding:
    credential = replace(grant.credential, expires_at=answer.again_at)
    detail = f"gives the {credential.kind}"
    if answer.problem:
        detail = f"{detail} that it had; a new one was refused: {answer.problem}"
    return Finding(name, Outcome.MATCHED, detail, grant.origin, credential)

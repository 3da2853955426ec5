"""Temporary credentials: acquired once for all threads, and renewed before they end."""

from __future__ import annotations

from functools import partial
from threading import Lock
from typing import TYPE_CHECKING, Generic, TypeVar

from imgpkg.auth.keychain import Finding, Outcome
from imgpkg.dataclass import dataclass, replace
from imgpkg.errors import CredentialError
from imgpkg.locks import Once

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from imgpkg.auth.keychain import Credential
    from imgpkg.oci.reference import Repository

    Key = TypeVar("Key", bound=Hashable)
else:
    Key = TypeVar("Key")

# A credential must not end while a large blob is sent with it.
MARGIN = 300.0
# Without a pause after a failure, a command with many images would wait for it once for each image.
PAUSE = 60.0


@dataclass(frozen=True, slots=True)
class TemporaryCredential:
    """A credential from a cloud, its origin, and the Unix time of its end."""

    credential: Credential
    origin: str
    expires_at: float


@dataclass(frozen=True, slots=True)
class NoCredential:
    """No credential, and none is needed; the reason in words."""

    reason: str


@dataclass(frozen=True, slots=True)
class _State:
    """The result until `again_at`; `problem` is the error of the last attempt, empty if it succeeded."""

    grant: TemporaryCredential | NoCredential | None
    problem: str
    again_at: float


class Renewal(Generic[Key]):
    """Acquire a credential for each key at its first use, and a new one shortly before it ends.

    `acquire` raises CredentialError when it fails. A credential is renewed when less than five minutes, or
    half of a shorter lifetime, remain. One that has ended on arrival is used once. A failure is kept for a
    minute, in which the old credential is used until it ends. `warn` gets a failure once per registry.
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
        self._states: dict[Key, Once[_State]] = {}
        self._warned: set[str] = set()

    def finding(self, key: Key, repository: Repository) -> Finding:
        """Return the finding for `repository`, whose credential has `key`; see `CredentialSource.lookup`."""
        state = self._once(key)()
        if isinstance(state.grant, TemporaryCredential):
            return _matched(self._name, state, state.grant)
        if isinstance(state.grant, NoCredential):
            return Finding(self._name, Outcome.NOT_APPLICABLE, state.grant.reason)
        self._warn_once(repository.registry, state.problem)
        return Finding(self._name, Outcome.FAILED, state.problem)

    def _once(self, key: Key) -> Once[_State]:
        with self._lock:
            once = self._states.get(key)
            previous = once.peek() if once else None
            if once is None or (previous is not None and previous.again_at <= self._clock()):
                once = Once(partial(self._ask, key, previous))
                self._states[key] = once
            return once

    def _ask(self, key: Key, previous: _State | None) -> _State:
        try:
            grant = self._acquire(key)
        except CredentialError as error:
            return _failed(str(error), previous, self._clock())
        now = self._clock()
        if isinstance(grant, NoCredential):
            # Asked again after a minute: credentials may be configured while a long copy runs.
            return _State(grant, "", now + PAUSE)
        return _State(grant, "", renew_at(grant.expires_at, now))

    def _warn_once(self, registry: str, problem: str) -> None:
        with self._lock:
            # One warning per registry: a copy looks up each of its repositories.
            is_new = registry not in self._warned
            self._warned.add(registry)
        if is_new:
            self._warn(f"keychain '{self._name}' gave no credential for {registry}: {problem}")


def renew_at(expires_at: float, now: float) -> float:
    """Return the time to renew a credential that is valid from `now` until `expires_at`."""
    return expires_at - min(MARGIN, max(0.0, (expires_at - now) / 2))


def _failed(problem: str, previous: _State | None, now: float) -> _State:
    # The old credential stays in use after a failed renewal, because it is valid until it ends.
    old = previous.grant if previous else None
    if isinstance(old, TemporaryCredential) and old.expires_at > now:
        return _State(old, problem, min(now + PAUSE, old.expires_at))
    return _State(None, problem, now + PAUSE)


def _matched(name: str, state: _State, grant: TemporaryCredential) -> Finding:
    # The time of the renewal, not the end: the keychain asks again then.
    credential = replace(grant.credential, expires_at=state.again_at)
    detail = f"gives the {credential.kind}"
    if state.problem:
        detail = f"{detail} that it had; a new one was refused: {state.problem}"
    return Finding(name, Outcome.MATCHED, detail, grant.origin, credential)

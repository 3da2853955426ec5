"""Which credentials of a copy its workers have too, asked before anything is moved."""

from __future__ import annotations

from typing import TYPE_CHECKING

from imgpkg.dataclass import dataclass, replace
from imgpkg.errors import UsageError
from imgpkg.events import Warned
from imgpkg.operations.transfer.unit import public_settings
from imgpkg.session import Session
from imgpkg.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterable

    from imgpkg.auth.keychain import Decision
    from imgpkg.events import Hook
    from imgpkg.oci.reference import Repository
    from imgpkg.operations.transfer.dispatch import ClusterExecutor

OWN_CHAIN = (
    "Workers find credentials with their own environment and files: give them some, or have those of the "
    "copy sent to them (send_credentials, --dask-send-credentials)."
)
# Names of workers in a message; a cluster may have a thousand.
_MOST_NAMES = 5


@dataclass(frozen=True, slots=True)
class LoginQuestion:
    """One side of a copy: how its session is opened, and a repository of each registry that it uses."""

    session: Session
    repositories: tuple[Repository, ...]
    is_destination: bool

    def ask(self, executor: ClusterExecutor, hook: Hook) -> None:
        """Warn of each worker that finds no credential where the session has one.

        Raises UsageError if that one was given by flags, and no worker finds any for a destination: nothing
        could be written.
        """
        decisions = {
            str(repository): self.session.keychain.resolve(repository)
            for repository in one_of_each_registry(self.repositories)
        }
        wanted = {place: found for place, found in decisions.items() if not found.credential.is_anonymous}
        if not wanted:
            return
        answers = executor.ask(
            lacking,
            public_settings(self.session.settings),
            tuple(found.repository for found in wanted.values()),
        )
        for place, decision in wanted.items():
            without = [worker for worker, places in answers.items() if place in places]
            if without and len(without) == len(answers) and self.is_destination:
                _refuse_flags(decision)
            if without:
                hook(Warned(_warning(decision, without)))


def one_of_each_registry(repositories: Iterable[Repository]) -> tuple[Repository, ...]:
    """Return the first repository of each registry: the others usually have the same credential."""
    first: dict[str, Repository] = {}
    for repository in repositories:
        first.setdefault(repository.registry, repository)
    return tuple(first.values())


def lacking(settings: Settings, repositories: tuple[Repository, ...]) -> tuple[str, ...]:
    """Return those for which this process finds no credential; a worker calls it."""
    environ = Settings.from_environment().environ
    with Session(replace(settings, environ=environ)) as session:
        found = map(session.keychain.resolve, repositories)
        return tuple(str(each.repository) for each in found if each.credential.is_anonymous)


def named(names: list[str]) -> str:
    """Return names for a message, not more than a few."""
    shown = ", ".join(names[:_MOST_NAMES])
    return f"{shown} and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else shown


def _refuse_flags(decision: Decision) -> None:
    winner = decision.winner
    if winner is not None and winner.source == "flags":
        raise UsageError(
            f"No worker finds a credential for {decision.repository}; that of {winner.origin} is not sent",
            hints=(OWN_CHAIN,),
        )


def _warning(decision: Decision, workers: list[str]) -> str:
    origin = decision.winner.origin if decision.winner else "this process"
    return (
        f"{named(workers)}: no credential found for {decision.repository}; that of {origin} is not sent to "
        "workers (--dask-send-credentials, send_credentials)"
    )

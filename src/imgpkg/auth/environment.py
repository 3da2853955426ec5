"""Credentials from `IMGPKG_REGISTRY_*` variables: the first source of the chain."""

from __future__ import annotations

from typing import TYPE_CHECKING

from imgpkg.auth.address import Address
from imgpkg.auth.environment_sets import PREFIX, EnvironmentSet, EnvironmentSets, read_sets
from imgpkg.auth.keychain import Finding, Outcome
from imgpkg.auth.pattern import ANOTHER_HOST
from imgpkg.locks import Once

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from imgpkg.oci.reference import Repository


class EnvironmentSource:
    """Answers from sets of variables, most specific pattern first.

    The variables are read at the first lookup, once; `warn` then gets a sentence for each thing that is
    probably not meant, with names of variables and never a value. A set with nothing to send matches too:
    it makes its registry anonymous on purpose. Raises CredentialError for unknown names and bad hostnames.
    """

    name = "environment"

    def __init__(self, environ: Mapping[str, str], warn: Callable[[str], None]) -> None:
        self._environ = environ
        self._warn = warn
        self._sets = Once(self._read)

    def lookup(self, repository: Repository) -> Finding:
        """Answer with the best matching set; see `CredentialSource.lookup`."""
        sets = self._sets()
        matching = sets.matching(repository)
        if not matching:
            return Finding(self.name, Outcome.NO_MATCH, _why_none(sets, repository))
        winner, *others = matching
        detail = _why(sets, winner, others, repository)
        return Finding(self.name, Outcome.MATCHED, detail, winner.origin, winner.credential)

    def _read(self) -> EnvironmentSets:
        sets = read_sets(self._environ)
        for warning in sets.warnings:
            self._warn(warning)
        return sets


def _why(
    sets: EnvironmentSets, winner: EnvironmentSet, others: list[EnvironmentSet], repository: Repository
) -> str:
    target = Address.of(repository)
    direct = winner.pattern.matches(target)
    reasons = [f"matches {repository}" if direct else f"matches {repository}, another name of Docker Hub"]
    if winner.missing:
        reasons.append(f"there is no {winner.missing}, so the access is anonymous")
    elif winner.credential.is_anonymous:
        reasons.append("has no complete credential, so the access is anonymous")
    else:
        reasons.append(f"gives the {winner.credential.kind}")
    reasons.extend(_passed_over(winner, other, target) for other in others)
    missed = (one for one in sets.sets if one is not winner and one not in others)
    reasons.extend(why for one in missed if (why := _missed(one, repository)))
    return "; ".join(reasons)


def _passed_over(winner: EnvironmentSet, other: EnvironmentSet, target: Address) -> str:
    if winner.pattern.address.canonical() == other.pattern.address.canonical():
        return f"{other.origin} names the same place and is not used"
    if winner.rank(target) == other.rank(target):
        return f"{other.origin} is as specific and comes later by its suffix"
    return f"{other.origin} is less specific"


def _missed(one: EnvironmentSet, repository: Repository) -> str:
    reason = one.mismatch(repository)
    return "" if reason == ANOTHER_HOST else f"{one.origin}: {reason}"


def _why_none(sets: EnvironmentSets, repository: Repository) -> str:
    reasons = [f"{one.origin}: {one.mismatch(repository)}" for one in sets.sets]
    return "; ".join([*(reasons or [f"no {PREFIX}HOSTNAME variable is set"]), *sets.lost])

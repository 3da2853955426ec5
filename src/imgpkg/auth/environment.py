"""Credentials from `IMGPKG_REGISTRY_*` variables: the first source of the keychain."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from imgpkg.auth.keychain import Credential, Finding, Outcome
from imgpkg.auth.pattern import ANOTHER_HOST, Address, NoHost, Pattern, docker_hub_aliases
from imgpkg.dataclass import dataclass, replace
from imgpkg.errors import CredentialError
from imgpkg.locks import Once
from imgpkg.oci.reference import DOCKER_HUB

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from imgpkg.auth.keychain import Decision, NearMiss
    from imgpkg.auth.secret_file import SecretFile
    from imgpkg.oci.reference import Repository

PREFIX = "IMGPKG_REGISTRY_"
HOSTNAME, USERNAME, PASSWORD = "HOSTNAME", "USERNAME", "PASSWORD"
IDENTITY_TOKEN, REGISTRY_TOKEN = "IDENTITY_TOKEN", "REGISTRY_TOKEN"
_LOGIN_KINDS = (USERNAME, PASSWORD, IDENTITY_TOKEN, REGISTRY_TOKEN)
CLIENT_CERT, CLIENT_KEY, CA_CERT = "CLIENT_CERT", "CLIENT_KEY", "CA_CERT"
CERTIFICATE_KINDS = (CLIENT_CERT, CLIENT_KEY, CA_CERT)
KINDS = (HOSTNAME, *_LOGIN_KINDS, *CERTIFICATE_KINDS)
# The kinds whose variable names a file, and the field of a credential that its content is for.
FILE = "FILE"
FILES = {f"{kind}_{FILE}": kind.lower() for kind in _LOGIN_KINDS}

# A variable of an old Azure flag, which pipelines still set; its value is ignored.
_EXEMPT = frozenset({"IMGPKG_REGISTRY_AZURE_CR_CONFIG"})
_EXAMPLE = "(e.g. gcr.io, index.docker.io)"

Rank: TypeAlias = "tuple[bool | int, ...]"


class EnvironmentSource:
    """Match sets of variables, most specific pattern first.

    The variables are read once, at the first lookup; `warn` then gets a sentence for each probable mistake,
    with names of variables and never a value. A set without a credential matches too: requests to its
    registry are anonymous, unless it names certificates: then the other sources decide. Lookups raise
    CredentialError for unknown names, bad hostnames, and a file of the best matching set that is of no use.
    """

    name = "environment"

    def __init__(self, environ: Mapping[str, str], warn: Callable[[str], None]) -> None:
        self._environ = environ
        self._warn = warn
        self._sets = Once(self._read)

    def lookup(self, repository: Repository) -> Finding:
        """Return the best matching set; see `CredentialSource.lookup`."""
        sets = self._sets()
        matching = sets.matching(repository)
        if not matching:
            return Finding(self.name, Outcome.NO_MATCH, _why_none(sets, repository))
        winner, *others = matching
        credential, notes = winner.completed()
        detail = "; ".join((_why(sets, winner, others, repository), *notes))
        origin, kept_in = winner.origin_with_files, winner.kept_in
        return Finding(self.name, Outcome.MATCHED, detail, origin, credential, kept_in=kept_in)

    def near_misses(self, decision: Decision) -> Iterator[NearMiss]:
        """Yield sets for look-alikes and misspelt variables; see `ExplainsNearMisses.near_misses`."""
        from imgpkg.auth.diagnosis.environment import environment_misses

        return environment_misses(self._sets(), self._environ, decision)

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
    elif winner.stated.is_anonymous:
        reasons.append("has only a hostname, which asks for anonymous access")
    else:
        reasons.append(f"gives the {winner.stated.kind}")
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


@dataclass(frozen=True, slots=True)
class EnvironmentSet:
    """A pattern, and the credential for registries that it matches; `suffix` is None without one.

    The contents of `files`, by the field of the credential, are not yet in it.
    """

    suffix: str | None
    pattern: Pattern
    credential: Credential
    files: tuple[tuple[str, SecretFile], ...] = ()
    certificates: tuple[tuple[str, str], ...] = ()

    @property
    def origin(self) -> str:
        """The variable that matched and its value, such as `IMGPKG_REGISTRY_HOSTNAME_0=gcr.io/team`."""
        return f"{variable(HOSTNAME, self.suffix)}={self.pattern}"

    @property
    def origin_with_files(self) -> str:
        """The origin, and the variables that name files, with their paths."""
        return ", ".join((self.origin, *(f"{file.name}={file.path}" for _, file in self.files)))

    @property
    def order(self) -> tuple[object, ...]:
        """Sort among equals: Docker Hub's own name, then the set without suffix, then by code point."""
        return (self.pattern.address.host != DOCKER_HUB, self.suffix is not None, self.suffix or "")

    @property
    def stated(self) -> Credential:
        """The credential with the paths of files in place of their contents."""
        return replace(self.credential, **{name: file.path for name, file in self.files}, expires_at=None)

    @property
    def missing(self) -> str:
        """The variable that would make half a login whole; empty for all other sets."""
        stated = self.stated
        if not stated.is_anonymous:
            return ""
        if stated.username:
            return variable(PASSWORD, self.suffix)
        return variable(USERNAME, self.suffix) if stated.password else ""

    def completed(self) -> tuple[Credential, tuple[str, ...]]:
        """Return the credential with the contents of files, and sentences about them for the trail."""
        # Half a login is not sent, so its file is not read.
        if not self.files or self.stated.is_anonymous:
            return self.credential, ()
        from imgpkg.auth.secret_file import completed

        return completed(self.credential, dict(self.files))

    @property
    def leaves_login(self) -> bool:
        """True when the set names certificates and no part of a login, which other sources may have then."""
        return bool(self.certificates) and self.stated.is_anonymous and not self.missing

    @property
    def kept_in(self) -> str:
        """The variable or file that holds the secret, or the variable that is missing; empty for neither."""
        if self.stated.is_anonymous:
            return f"${self.missing}" if self.missing else ""
        kind = self.stated.kind.upper().replace(" ", "_").replace("LOGIN", PASSWORD)
        file = dict(self.files).get(kind.lower())
        return f"{file.path} (${file.name})" if file else f"${variable(kind, self.suffix)}"

    def mismatch(self, repository: Repository) -> str:
        """Return why the set has no login for `repository`; the names of Docker Hub are one host."""
        target = Address.of(repository)
        if self.leaves_login and self.rank(target) is not None:
            return "names certificates and no login"
        reasons = [self.pattern.mismatch(place) for place in (target, *docker_hub_aliases(target))]
        return next((reason for reason in reasons if reason != ANOTHER_HOST), ANOTHER_HOST)

    def rank(self, target: Address) -> Rank | None:
        """Return a key that sorts more specific sets first; None when the set does not match `target`.

        The names of Docker Hub are one host, and a path without `library/` is as long as one with it.
        """
        for place in (target, *docker_hub_aliases(target)):
            if self.pattern.matches(place):
                wild, segments, *rest = self.pattern.rank
                return (wild, segments - len(target.segments) + len(place.segments), *rest)
        return None


@dataclass(frozen=True, slots=True)
class EnvironmentSets:
    """The sets that can match; sentences about those that are `lost`, and `warnings`, both without values."""

    sets: tuple[EnvironmentSet, ...]
    lost: tuple[str, ...]
    warnings: tuple[str, ...]

    def matching(self, repository: Repository) -> tuple[EnvironmentSet, ...]:
        """Return the sets that match, the one to use first."""
        target = Address.of(repository)
        return ranked((one for one in self.sets if not one.leaves_login), target)


def ranked(sets: Iterable[EnvironmentSet], target: Address) -> tuple[EnvironmentSet, ...]:
    """Return those of `sets` that match `target`, the one to use first."""
    found = [(rank, one.order, one) for one in sets if (rank := one.rank(target)) is not None]
    return tuple(one for _, _, one in sorted(found, key=lambda item: item[:2]))


def read_sets(environ: Mapping[str, str]) -> EnvironmentSets:
    """Return all sets of variables; raise CredentialError for unknown names and malformed hostnames."""
    groups = _groups(environ)
    sets, impossible = _sets(groups)
    lost = tuple(_lost(groups))
    advice = (f"{text}; for all registries use IMGPKG_USERNAME/IMGPKG_PASSWORD" for text in lost)
    warnings = (*_group_warnings(groups), *advice, *impossible, *_duplicate_warnings(sets))
    return EnvironmentSets(sets, (*lost, *impossible), warnings)


def variable(kind: str, suffix: str | None) -> str:
    """Return the name of the variable of `kind` in the set `suffix`."""
    return f"{PREFIX}{kind}" if suffix is None else f"{PREFIX}{kind}_{suffix}"


def _groups(environ: Mapping[str, str]) -> dict[str | None, dict[str, str]]:
    groups: dict[str | None, dict[str, str]] = {}
    unknown: list[str] = []
    given = {
        name: value for name, value in environ.items() if name.startswith(PREFIX) and name not in _EXEMPT
    }
    for name, value in given.items():
        parts = _split(name, given)
        if parts is None:
            unknown.append(name)
            continue
        groups.setdefault(parts[1], {})[parts[0]] = value
    # An error and no warning: with a mistyped name, another source could match with a wrong credential.
    if unknown:
        raise _unknown(unknown)
    return groups


def _split(name: str, given: Mapping[str, str]) -> tuple[str, str | None] | None:
    """Return the kind and the suffix of a variable, whose meaning may depend on which others are `given`."""
    rest = name.removeprefix(PREFIX)
    for kind in KINDS:
        if rest == kind:
            return kind, None
        if rest.startswith(f"{kind}_"):
            return _split_file(kind, rest.removeprefix(f"{kind}_"), given)
    return None


def _split_file(kind: str, suffix: str, given: Mapping[str, str]) -> tuple[str, str | None]:
    """Return the kind and the suffix of a variable that names a file, or whose suffix begins with `FILE`.

    A set with a hostname has all variables with its suffix, so sets with such suffixes keep their meaning.
    """
    start, _, rest = suffix.partition("_")
    if start != FILE or kind not in _LOGIN_KINDS or given.get(variable(HOSTNAME, suffix), "").strip():
        return kind, suffix
    return f"{kind}_{FILE}", None if suffix == FILE else rest


def _unknown(names: list[str]) -> CredentialError:
    quoted = ", ".join(f"'{name}'" for name in names)
    return CredentialError(f"Unknown env variable {quoted}", hints=tuple(map(_suggestion, names)))


def _suggestion(name: str) -> str:
    from imgpkg.auth.diagnosis.environment import closest

    found = closest(name.removeprefix(PREFIX), (*KINDS, *FILES))
    if not found:
        return f"{name} is none of {', '.join(PREFIX + kind for kind in KINDS)}, with or without _SUFFIX."
    return f"Did you mean {' or '.join(variable(*parts) for parts in found)} instead of {name}?"


def _sets(
    groups: Mapping[str | None, Mapping[str, str]],
) -> tuple[tuple[EnvironmentSet, ...], tuple[str, ...]]:
    """Return the sets, and a sentence for each whose host cannot exist."""
    sets: list[EnvironmentSet] = []
    mistakes: list[str] = []
    impossible: list[str] = []
    mistakes_of_files: list[str] = []
    for suffix, values in groups.items():
        # An empty variable counts as missing: in CI, a secret that is not set often becomes one.
        if not values.get(HOSTNAME, "").strip():
            continue
        try:
            pattern = Pattern.parse(values[HOSTNAME])
        except NoHost as error:
            impossible.append(f"{variable(HOSTNAME, suffix)}: {error.message}; the set matches nothing")
        except CredentialError as error:
            mistakes.append(f"{variable(HOSTNAME, suffix)}: {error.message}")
        else:
            mistakes_of_files.extend(_refused_files(suffix, values))
            named = tuple((kind, values[kind]) for kind in CERTIFICATE_KINDS if values.get(kind))
            sets.append(EnvironmentSet(suffix, pattern, _credential(values), _files(suffix, values), named))
    if mistakes:
        raise CredentialError(f"Parsing registry hostname: {'; '.join(mistakes)} {_EXAMPLE}")
    if mistakes_of_files:
        raise CredentialError("; ".join(mistakes_of_files))
    return tuple(sets), tuple(impossible)


def _credential(values: Mapping[str, str]) -> Credential:
    return Credential(
        values.get(USERNAME, ""),
        values.get(PASSWORD, ""),
        values.get(IDENTITY_TOKEN, ""),
        values.get(REGISTRY_TOKEN, ""),
    )


def _files(suffix: str | None, values: Mapping[str, str]) -> tuple[tuple[str, SecretFile], ...]:
    named = [kind for kind in FILES if values.get(kind)]
    if not named:
        return ()
    from imgpkg.auth.secret_file import SecretFile

    return tuple(
        (
            FILES[kind],
            SecretFile(
                values[kind],
                variable(kind, suffix),
                variable(kind.removesuffix(f"_{FILE}"), suffix),
                is_password=FILES[kind] == "password",
            ),
        )
        for kind in named
    )


def _refused_files(suffix: str | None, values: Mapping[str, str]) -> Iterator[str]:
    for kind in _LOGIN_KINDS:
        if values.get(kind) and values.get(f"{kind}_{FILE}"):
            both = f"{variable(kind, suffix)} and {variable(f'{kind}_{FILE}', suffix)}"
            yield f"{both} are both set, and only one of them may be: unset the other"


def _group_warnings(groups: Mapping[str | None, Mapping[str, str]]) -> Iterator[str]:
    for suffix, values in groups.items():
        given = [kind for kind in (*_LOGIN_KINDS, *FILES) if values.get(kind)]
        if suffix == "":
            names = ", ".join(variable(kind, suffix) for kind in (*KINDS, *FILES) if kind in values)
            yield f"the suffix of {names} is empty: it is a set of its own, apart from the one without suffix"
        yield from _newline_warnings(suffix, values, given)
        is_half = len(given) == 1 and given[0].removesuffix(f"_{FILE}") in (USERNAME, PASSWORD)
        if values.get(HOSTNAME, "").strip() and is_half:
            yield _half_warning(suffix, given[0], groups)


def _newline_warnings(suffix: str | None, values: Mapping[str, str], given: Iterable[str]) -> Iterator[str]:
    for kind in given:
        if kind not in FILES and values[kind].endswith("\n"):
            yield f"{variable(kind, suffix)} ends in a newline, which is sent as a part of it"


def _lost(groups: Mapping[str | None, Mapping[str, str]]) -> Iterator[str]:
    for suffix, values in groups.items():
        names = ", ".join(variable(kind, suffix) for kind in (*KINDS[1:], *FILES) if values.get(kind))
        if names and not values.get(HOSTNAME, "").strip():
            yield f"{names}: there is no {variable(HOSTNAME, suffix)}, so this set is ignored"


def _half_warning(suffix: str | None, there: str, groups: Mapping[str | None, Mapping[str, str]]) -> str:
    missing = PASSWORD if there.startswith(USERNAME) else USERNAME
    text = (
        f"{variable(there, suffix)} is set without {variable(missing, suffix)}: "
        f"the registry of {variable(HOSTNAME, suffix)} is accessed anonymously"
    )
    other = FILE if suffix is None else f"{FILE}_{suffix}"
    if not groups.get(other, {}).get(missing):
        return text
    return f"{text} ({variable(missing, other)} belongs to {variable(HOSTNAME, other)}: rename that set)"


def _duplicate_warnings(sets: tuple[EnvironmentSet, ...]) -> Iterator[str]:
    # In the order of use, so that the first set of a place is the one that is used.
    first: dict[Address, EnvironmentSet] = {}
    for one in sorted((one for one in sets if not one.leaves_login), key=lambda one: one.order):
        used = first.setdefault(one.pattern.address.canonical(), one)
        if used.stated != one.stated:
            winner, loser = variable(HOSTNAME, used.suffix), variable(HOSTNAME, one.suffix)
            yield f"{winner} and {loser} name the same place with different credentials; {winner} is used"

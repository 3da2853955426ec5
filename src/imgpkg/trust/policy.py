"""The policy: which signatures and attestations an image needs, by patterns of its repository."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import Enum
from typing import TypeAlias, TypeVar

from imgpkg.dataclass import dataclass, field
from imgpkg.errors import InvalidSettings
from imgpkg.oci.reference import DOCKER_HUB, Repository
from imgpkg.trust.format import SIGNED
from imgpkg.trust.identity import SignerIdentity
from imgpkg.trust.key import PublicKey
from imgpkg.values import FrozenDict

T = TypeVar("T")

# The names that `cosign attest --type` has for predicate types.
PREDICATE_TYPES: Mapping[str, str] = FrozenDict(
    {
        "custom": "https://cosign.sigstore.dev/attestation/v1",
        "cyclonedx": "https://cyclonedx.org/bom",
        "link": "https://in-toto.io/Link/v1",
        "openvex": "https://openvex.dev/ns",
        "slsaprovenance": "https://slsa.dev/provenance/v0.2",
        "slsaprovenance02": "https://slsa.dev/provenance/v0.2",
        "slsaprovenance1": "https://slsa.dev/provenance/v1",
        "spdx": "https://spdx.dev/Document",
        "spdxjson": "https://spdx.dev/Document",
        "vuln": "https://cosign.sigstore.dev/attestation/vuln/v1",
    }
)
EVERYWHERE = ("**",)
_ANY, _DEEP = "*", "**"
# As users write the registry that the references of docker call index.docker.io.
_HUB = "docker.io"
Signer: TypeAlias = PublicKey | SignerIdentity


class Match(Enum):
    """Whether any of the keys and identities of a requirement is enough, or all of them have to sign."""

    ANY = "any"
    ALL = "all"


@dataclass(frozen=True, slots=True)
class Requirement:
    """A signature that an image needs, or with `predicate_type` an attestation of that type.

    It is made by one of `keys` or `identities`, or by all of them. `reference` is a pattern of the name that
    the image had when it was signed, and empty for any; signatures in sigstore bundles have no such name.
    `annotations` have to be among those of the signature. Raises InvalidSettings for one that nothing can
    fulfil, or that a second name of one key would fulfil.
    """

    keys: tuple[PublicKey, ...] = ()
    identities: tuple[SignerIdentity, ...] = ()
    match: Match = Match.ANY
    predicate_type: str = ""
    reference: str = ""
    annotations: Mapping[str, str] = field(default_factory=FrozenDict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "annotations", FrozenDict(self.annotations))
        if not self.keys and not self.identities:
            raise InvalidSettings(f"no key and no identity is given for {self.subject}")
        for signers in (self.keys, self.identities):
            if len(set(signers)) != len(signers):
                raise InvalidSettings(f"one key or identity is given twice for {self.subject}")
        if self.reference:
            check_pattern(self.reference)
        if self.predicate_type and (self.reference or self.annotations):
            raise InvalidSettings(f"reference and annotations are for signatures, not for {self.subject}")
        if self.predicate_type == SIGNED:
            raise InvalidSettings(f"{SIGNED} is the type of signatures; require a signature")

    @property
    def subject(self) -> str:
        """What is required, in words: `a signature` or `an attestation TYPE`."""
        return f"an attestation {self.predicate_type}" if self.predicate_type else "a signature"

    @property
    def signers(self) -> tuple[Signer, ...]:
        """The keys and the identities."""
        return (*self.keys, *self.identities)


@dataclass(frozen=True, slots=True)
class PolicyRule:
    """What images need whose repository matches one of `repositories`; nothing, without `requirements`.

    A pattern is `host/path`, in which `*` stands for any characters but `/`, and `**` for any number of whole
    parts.
    """

    repositories: tuple[str, ...] = EVERYWHERE
    requirements: tuple[Requirement, ...] = ()

    def __post_init__(self) -> None:
        for pattern in self.repositories:
            check_pattern(pattern)

    def applies_to(self, repository: Repository) -> bool:
        """Return whether one of the patterns matches."""
        return any(matches(pattern, str(repository)) for pattern in self.repositories)


@dataclass(frozen=True, slots=True)
class Policy:
    """Rules in their order: the first one that applies to a repository counts, and without one it is refused.

    A signed bundle vouches for the images that it names, whose digests it contains. With `checks_members`
    these images need what their own rules say, too.
    """

    rules: tuple[PolicyRule, ...]
    checks_members: bool = False

    @classmethod
    def signed_by(cls, keys: Iterable[PublicKey] = (), identities: Iterable[SignerIdentity] = ()) -> Policy:
        """Return the policy that wants a signature by any of `keys` or `identities` everywhere."""
        return cls((PolicyRule(EVERYWHERE, (Requirement(tuple(keys), tuple(identities)),)),))

    def rule(self, repository: Repository) -> PolicyRule | None:
        """Return the first rule that applies to `repository`."""
        return next((rule for rule in self.rules if rule.applies_to(repository)), None)


def check_pattern(pattern: str) -> None:
    """Raise InvalidSettings for a pattern that can match no repository."""
    parts = pattern.split("/")
    if not all(parts):
        raise InvalidSettings(f"the pattern {pattern!r} has an empty part")
    if any(_DEEP in part and part != _DEEP for part in parts):
        raise InvalidSettings(f"the pattern {pattern!r} has ** beside other characters of a part")
    if any(character in pattern for character in "@ \t"):
        raise InvalidSettings(f"the pattern {pattern!r} names a digest or has blanks; it is for repositories")
    if len(parts) == 1 and parts[0] != _DEEP:
        raise InvalidSettings(
            f"the pattern {pattern!r} has no path; the first part is the host, as in registry.example.com/**"
        )


def matches(pattern: str, repository: str) -> bool:
    """Return whether `repository`, `host/path`, matches.

    `*` stands for any characters but `/`, and `**` for any number of whole parts, also none.
    """
    host, slash, path = pattern.partition("/")
    parts = f"{DOCKER_HUB}{slash}{path}" if host == _HUB else pattern
    return _glob(parts.split("/"), repository.split("/"), _DEEP, _matches_part)


def _matches_part(pattern: str, part: str) -> bool:
    return _glob(pattern, part, _ANY, lambda one, other: one == other)


def _glob(pattern: Sequence[T], items: Sequence[T], wild: T, equal: Callable[[T, T], bool]) -> bool:
    """Match with `wild` for any number of items.

    Only the last wildcard is tried again, so that the work grows with the product of both lengths at most.
    """
    at = begun = 0
    star = -1
    here = 0
    while here < len(items):
        if at < len(pattern) and pattern[at] == wild:
            star, begun = at, here
            at += 1
        elif at < len(pattern) and equal(pattern[at], items[here]):
            at += 1
            here += 1
        elif star >= 0:
            begun += 1
            at, here = star + 1, begun
        else:
            return False
    return all(item == wild for item in pattern[at:])

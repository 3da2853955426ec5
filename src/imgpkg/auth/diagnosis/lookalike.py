"""Look-alikes: the place of a credential that differs a little from the one that is needed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from imgpkg.auth.keychain import NearMiss
from imgpkg.auth.pattern import ANOTHER_HOST, Address, Pattern
from imgpkg.dataclass import dataclass
from imgpkg.errors import CredentialError
from imgpkg.oci.reference import DOCKER_HUB

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from imgpkg.oci.reference import Repository

# Names of Docker Hub's web site and of its API, which serve no images.
_SITES = frozenset({"hub.docker.com", "registry.hub.docker.com", "www.docker.com", "docker.com"})
_PAGES = frozenset({"hub.docker.com", "www.docker.com", "docker.com"})
# Names of one machine that are different keys in every configuration file.
_THIS_MACHINE = frozenset({"localhost", "127.0.0.1", "[::1]"})
# Comparing takes time that grows with the product of the lengths; names of hosts are shorter.
_LONGEST = 253


@dataclass(frozen=True, slots=True)
class Likeness:
    """Why a place does not match, in words, and the text of a place that would."""

    reason: str
    corrected: str


def likeness(place: Address, target: Address) -> Likeness | None:
    """Return how `place` differs from `target`; None for the same place and for an unrelated one."""
    place, target = place.canonical(), target.canonical()
    if place.host != target.host:
        return _host_likeness(place, target)
    if place.port != target.port:
        reason = f"its port is {place.port or 443}, not {target.port or 443}"
        return Likeness(reason, _text(target, place.segments if place.covers(target) else ()))
    if place.covers(target):
        return None
    corrected = _text(target, target.segments[: len(place.segments)])
    return Likeness(f"its path is {place.path!r}, and {target.path!r} is not below it", corrected)


def reference_misses(repository: Repository) -> Iterator[NearMiss]:
    """Yield references that were perhaps meant instead of `repository`."""
    address = Address.of(repository)
    if address.host in _PAGES:
        # The addresses of pages are /r/team/app, and /_/nginx for an official image.
        segments = address.segments[1:] if address.segments[:1] in (("r",), ("_",)) else address.segments
        path = "/".join(segments) or "library/NAME"
        text = f"{address.host} is the web site of Docker Hub and not its registry"
        yield NearMiss("reference", text, f"imgpkg auth explain docker.io/{path}")
    # The rule of docker: a first part without a dot is a registry only with a port, or as `localhost`.
    is_word = "." not in address.host and address.host not in _THIS_MACHINE
    if is_word and address.port and not address.segments:
        text = f"{repository} was read as a registry and its port, and not as an image of Docker Hub"
        yield NearMiss("reference", text, f"imgpkg auth explain docker.io/library/{repository}")


def _host_likeness(place: Address, target: Address) -> Likeness | None:
    for reason, matches in _REASONS:
        if matches(place.host, target.host):
            return Likeness(reason, _text(target, place.segments if place.covers(target) else ()))
    return None


def _is_one_letter_away(one: str, other: str) -> bool:
    return one != other and max(len(one), len(other)) <= _LONGEST and distance(one, other) == 1


def _is_wildcard_for(one: str, other: str) -> bool:
    try:
        pattern = Pattern.parse(one)
    except CredentialError:
        return False
    return pattern.has_wildcard and pattern.mismatch(Address(other)) != ANOTHER_HOST


def _is_domain_above(one: str, other: str) -> bool:
    return "." in one and other.endswith(f".{one}")


_REASONS: tuple[tuple[str, Callable[[str, str], bool]], ...] = (
    (
        "that is the web site of Docker Hub and not its registry",
        lambda one, other: one in _SITES and other == DOCKER_HUB,
    ),
    (
        "it is another name of this machine, which is another registry",
        lambda one, other: {one, other} <= _THIS_MACHINE,
    ),
    ("a wildcard stands for one label of an environment set's host, and for nothing else", _is_wildcard_for),
    ("it names the host above, and not those below it", _is_domain_above),
    ("it names a host below, and not the one above it", lambda one, other: _is_domain_above(other, one)),
    ("its host is one letter away; if the reference is right", _is_one_letter_away),
)


def _text(target: Address, segments: tuple[str, ...]) -> str:
    port = f":{target.port}" if target.port else ""
    return "/".join((f"{target.host}{port}", *segments))


def distance(one: str, other: str) -> int:
    """Return how many insertions, removals, replacements and swaps of letters turn `one` into `other`."""
    # Optimal string alignment: the rows of the matrix, two before, one before and the present one.
    before: list[int] = []
    last = list(range(len(other) + 1))
    for row, letter in enumerate(one, 1):
        current = [row]
        for column, wanted in enumerate(other, 1):
            cost = min(last[column] + 1, current[column - 1] + 1, last[column - 1] + (letter != wanted))
            is_swap = row > 1 and column > 1 and letter == other[column - 2] and wanted == one[row - 2]
            current.append(min(cost, before[column - 2] + 1) if is_swap else cost)
        before, last = last, current
    return last[-1]

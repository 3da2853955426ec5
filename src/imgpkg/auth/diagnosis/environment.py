"""Near misses of environment sets and of variables: look-alike hosts, sets in parts, misspelt names."""

from __future__ import annotations

from difflib import SequenceMatcher
from typing import TYPE_CHECKING

from imgpkg.auth.diagnosis.lookalike import distance, likeness
from imgpkg.auth.keychain import NearMiss
from imgpkg.auth.pattern import Address
from imgpkg.dataclass import replace

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from imgpkg.auth.environment import EnvironmentSet, EnvironmentSets
    from imgpkg.auth.keychain import Credential, Decision

_NAME = "environment"
_ORDINARY = (
    "IMGPKG_USERNAME",
    "IMGPKG_PASSWORD",
    "IMGPKG_PASSWORD_FILE",
    "IMGPKG_TOKEN",
    "IMGPKG_TOKEN_FILE",
    "IMGPKG_ANON",
    "IMGPKG_ACTIVE_KEYCHAINS",
    "IMGPKG_PULL_SECRETS",
)
_PREFIX = "IMGPKG_REGISTRY_"
_OF_SETS = tuple(
    _PREFIX + kind for kind in ("HOSTNAME", "USERNAME", "PASSWORD", "IDENTITY_TOKEN", "REGISTRY_TOKEN")
)
# Names that users know from other tools, and that do not resemble ours.
_OTHER_WORDS = {
    "IMGPKG_USER": "IMGPKG_USERNAME",
    "IMGPKG_PASS": "IMGPKG_PASSWORD",
    "IMGPKG_PASSWD": "IMGPKG_PASSWORD",
    "IMGPKG_ANONYMOUS": "IMGPKG_ANON",
    "IMGPKG_KEYCHAINS": "IMGPKG_ACTIVE_KEYCHAINS",
    "IMGPKG_KEYCHAIN": "IMGPKG_ACTIVE_KEYCHAINS",
    "IMGPKG_HOSTNAME": f"{_PREFIX}HOSTNAME",
}
_NEAR = 2
# Longer names are not compared: they are too long for a misspelt one.
_LONGEST = 100
# A fast check first: an environment has many names, and comparing letters takes time.
_PARTS = ("PKG", "IMGP")
# The least similarity (0 to 1) of a name that is suggested; more is wanted where no whole word is the same.
_CLOSE, _CLOSE_WITHOUT_WORD = 0.5, 0.6
# Only so many times the length of the longest name is compared, since comparing takes quadratic time.
_MOST_TIMES_LONGER = 3


def environment_misses(
    sets: EnvironmentSets, environ: Mapping[str, str], decision: Decision
) -> Iterator[NearMiss]:
    """Yield what is wrong with sets and variables that were meant for the registry of `decision`, perhaps."""
    matching = sets.matching(decision.repository)
    for one in sets.sets:
        if one not in matching:
            yield from _look_alike(one, decision)
    yield from _same_place(matching, decision)
    for sentence in sets.lost:
        yield from _hostless(sentence, decision)
    yield from _misspelt(environ)
    yield from _token_beside_user(environ, decision)


def _look_alike(one: EnvironmentSet, decision: Decision) -> Iterator[NearMiss]:
    target, place = Address.of(decision.repository), one.pattern.address
    if one.pattern.matches(replace(place, host=target.host)):
        # Wildcards of the host are no difference.
        place = replace(place, host=target.host)
    like = likeness(place, target)
    if like is None:
        return
    if not target.segments and place.canonical() == replace(target.canonical(), segments=place.segments):
        text = f"{one.origin} is for a path, and was left out for the registry as a whole"
        remedy = f"imgpkg auth explain {decision.repository.registry}/{place.path}"
        yield NearMiss(_NAME, text, remedy, one.credential)
        return
    remedy = f"{_hostname(one)}={like.corrected}"
    yield NearMiss(_NAME, f"{one.origin}: {like.reason}", remedy, one.credential)


def _hostname(one: EnvironmentSet) -> str:
    return one.origin.partition("=")[0]


def _same_place(matching: tuple[EnvironmentSet, ...], decision: Decision) -> Iterator[NearMiss]:
    """Yield the sets for the very place of the one that is used."""
    for one in matching[1:]:
        used = matching[0]
        if one.pattern.address.canonical() == used.pattern.address.canonical():
            why = "names the same place and comes later"
            if None in (one.suffix, used.suffix):
                why = "names the same place, and the set without a suffix comes first"
            # The set in use hides the other one; removing either would do.
            remedy = f"unset {_hostname(used)}"
            yield NearMiss(_NAME, f"{one.origin} {why}", remedy, _other(one, decision))


def _other(one: EnvironmentSet, decision: Decision) -> Credential | None:
    return None if one.credential == decision.credential else one.credential


def _hostless(sentence: str, decision: Decision) -> Iterator[NearMiss]:
    missing = sentence.partition(": there is no ")[2].partition(",")[0]
    if missing:
        yield NearMiss(_NAME, sentence, f"{missing}={decision.repository.registry}")


def _misspelt(environ: Mapping[str, str]) -> Iterator[NearMiss]:
    # All names, since a misspelt one is by definition not in a list.
    for name in environ:
        # Names with our prefix are sets, or errors of their own.
        if name.startswith(_PREFIX) or name in _ORDINARY or len(name) > _LONGEST:
            continue
        meant = _meant(name.upper())
        if meant:
            yield NearMiss(_NAME, f"{name} is no variable of imgpkg, {meant} is", f"unset {name}")


def _meant(name: str) -> str:
    """Return the variable that an upper-case name resembles; empty if there is none."""
    if not any(part in name for part in _PARTS):
        return ""
    if name in _OTHER_WORDS:
        return _OTHER_WORDS[name]
    # The suffix of a set is free, so each part before an underscore may be the name.
    heads = [name, *(name[:at] for at, letter in enumerate(name) if letter == "_")]
    for known in (*_ORDINARY, *_OF_SETS):
        # Only sets have suffixes.
        for head in heads if known in _OF_SETS else heads[:1]:
            if abs(len(head) - len(known)) <= _NEAR and distance(head, known) <= _NEAR:
                return known + name[len(head) :]
    return ""


def _token_beside_user(environ: Mapping[str, str], decision: Decision) -> Iterator[NearMiss]:
    winner = decision.winner
    if winner and "$IMGPKG_USERNAME" in winner.origin and environ.get("IMGPKG_TOKEN"):
        text = "$IMGPKG_TOKEN is given too, and $IMGPKG_USERNAME comes first"
        yield NearMiss("flags", text, "unset IMGPKG_USERNAME")


def closest(rest: str, kinds: Collection[str]) -> tuple[tuple[str, str | None], ...]:
    """Return the kind and the suffix of each name that `rest` is most similar to; empty for none.

    `rest` is a kind, perhaps with a separator that is not a letter, and a suffix, which may be None.
    """
    start = rest[: _MOST_TIMES_LONGER * max(map(len, kinds))]
    heads = [start, *(start[:i] for i, character in enumerate(start) if not character.isalpha())]
    candidates = [
        (SequenceMatcher(None, head.upper(), kind).ratio(), kind, head) for kind in kinds for head in heads
    ]
    # All names of equal similarity are suggested: choosing one of them would be a guess.
    best = max(ratio for ratio, _, _ in candidates)
    found = [(kind, head) for ratio, kind, head in candidates if ratio == best]
    shares_word = any({*head.upper().split("_")} & {*kind.split("_")} for kind, head in found)
    if best < (_CLOSE if shares_word else _CLOSE_WITHOUT_WORD):
        return ()
    return tuple(dict.fromkeys((kind, rest[len(head) + 1 :] or None) for kind, head in found))

"""Near misses by precedence: flags and files of docker that an earlier source overrules."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from imgpkg.auth.activation import AVAILABLE
from imgpkg.auth.diagnosis.lookalike import likeness
from imgpkg.auth.diagnosis.secret import login_command
from imgpkg.auth.keychain import NearMiss, Outcome
from imgpkg.auth.pattern import Address

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from imgpkg.auth.authfile import AuthFile, Key
    from imgpkg.auth.keychain import Decision, Finding

    Files = Iterable[tuple[str, AuthFile]]

_FLAGS, _DOCKER = "flags", "docker config"


def flags_misses(finding: Finding, decision: Decision) -> Iterator[NearMiss]:
    """Yield flags and variables that an earlier source overrules, or that have no effect alone."""
    winner = decision.winner
    if finding.outcome is Outcome.MATCHED and winner is not None and winner.source != _FLAGS:
        text = f"{finding.origin}: not used, because {winner.source} comes first ({winner.origin})"
        yield NearMiss(_FLAGS, text, without(winner), finding.credential)
    if finding.outcome is Outcome.NOT_APPLICABLE:
        # The first reason is that nothing was given, the others are about what was.
        for reason in finding.detail.split("; ")[1:]:
            yield NearMiss(_FLAGS, reason, _to_make_it_count(reason))


def _to_make_it_count(reason: str) -> str:
    origin = reason.split(" ", maxsplit=1)[0]
    if reason.endswith(" is no boolean and counts for nothing"):
        return f"{origin[1:]}=true"
    if not reason.endswith(" counts only with a username"):
        return ""
    if origin.startswith("$"):
        return origin[1:].partition("PASSWORD")[0] + "USERNAME=NAME"
    return origin.partition("password")[0] + "username NAME"


def without(winner: Finding) -> str:
    """Return how to disable the source of a finding; empty where there is no way."""
    if winner.source == "environment":
        return f"unset {winner.origin.partition('=')[0]}"
    if winner.source in AVAILABLE:
        return f"take {winner.source} out of IMGPKG_ACTIVE_KEYCHAINS"
    if winner.source == _FLAGS:
        first = winner.origin.partition(", ")[0]
        # The origin of a secret in a file has its path after an equals sign.
        return f"unset {first[1:].partition('=')[0]}" if first.startswith("$") else f"leave out {first}"
    return ""


def docker_misses(
    environ: Mapping[str, str], read: Callable[[str], AuthFile | None], decision: Decision, files: Files
) -> Iterator[NearMiss]:
    """Yield entries that are overruled, or for a look-alike, or in a file that is not among `files`.

    `read` returns the file of a path, None without one. No helper is run.
    """
    for name, file in files:
        yield from _file_misses(name, file, decision)
    yield from _elsewhere(environ, read, decision)


def _file_misses(name: str, file: AuthFile, decision: Decision) -> Iterator[NearMiss]:
    target, winner = Address.of(decision.repository).canonical(), decision.winner
    for label, key, is_empty in _keys(file):
        where = f"{name}: {label} {key.quoted}"
        if key.mismatch(target):
            yield from _look_alike(where, key, decision)
        elif is_empty and winner is None:
            yield NearMiss(_DOCKER, f"{where} is empty", login_command(decision.repository.registry))
        elif not is_empty and winner is not None and winner.source != _DOCKER:
            text = f"{where}: not used, because {winner.source} comes first ({winner.origin})"
            yield NearMiss(_DOCKER, text, without(winner))


def _keys(file: AuthFile) -> Iterator[tuple[str, Key, bool]]:
    for entry in file.entries:
        yield "auths", entry.key, not entry.raw
    for key, helper in file.helpers:
        yield "credHelpers", key, not helper


def _look_alike(where: str, key: Key, decision: Decision) -> Iterator[NearMiss]:
    target = Address.of(decision.repository)
    if key.has_path and not target.segments and key.address.host == target.canonical().host:
        place = f"{decision.repository.registry}/{key.address.path}"
        text = f"{where} is for a path, and was left out for the registry as a whole"
        yield NearMiss(_DOCKER, text, f"imgpkg auth explain {place}")
        return
    like = likeness(key.address, target)
    if like is not None:
        yield NearMiss(_DOCKER, f"{where}: {like.reason}", login_command(like.corrected))


def _elsewhere(
    environ: Mapping[str, str], read: Callable[[str], AuthFile | None], decision: Decision
) -> Iterator[NearMiss]:
    """Yield files that are not read because DOCKER_CONFIG names another folder."""
    named, home = environ.get("DOCKER_CONFIG", ""), environ.get("HOME", "")
    # With a credential in use, another folder explains nothing.
    if not named or decision.winner is not None:
        return
    # The variable names the folder of config.json, and not the file: a common mistake.
    if os.path.isfile(named):
        text = f"DOCKER_CONFIG={named} names a file, and the folder of config.json is meant"
        yield NearMiss(_DOCKER, text, f"DOCKER_CONFIG={os.path.dirname(named) or '.'}")
    usual = os.path.join(home, ".docker", "config.json")
    file = read(usual) if home else None
    target = Address.of(decision.repository).canonical()
    if file is not None and file.entries_for(target, ()):
        text = f"{usual} has an entry for {decision.repository}, and DOCKER_CONFIG names {named}"
        yield NearMiss(_DOCKER, text, "unset DOCKER_CONFIG")

"""The files `registries.conf` (containers-registries.conf(5)): where they are, and their mirrors."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from importlib import import_module
from typing import TYPE_CHECKING, Any, cast

from imgpkg.errors import InvalidSettings
from imgpkg.registry.mirrors import Mirror, Mirrors, PullFrom, Rule

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

# In place of the name of a file: the places in which podman looks.
STANDARD = "auto"
_VARIABLES = ("CONTAINERS_REGISTRIES_CONF", "REGISTRIES_CONFIG_PATH")
_SYSTEM, _USER = "/etc/containers/registries.conf", ".config/containers/registries.conf"
# Bytes. Files of a few kilobytes are usual.
_MAX_SIZE = 1 << 20
# The first version of the format, which has no mirrors.
_OLD_TABLES = ("search", "insecure", "block")


def find_mirrors(chosen: str | None, environ: Mapping[str, str]) -> Mirrors:
    """Return the rules of the files that are chosen, see `conf_files`; raise InvalidSettings."""
    return read_mirrors(conf_files(chosen, environ))


def conf_files(chosen: str | None, environ: Mapping[str, str]) -> tuple[str, ...]:
    """Return the files to read, the later ones with precedence.

    `chosen`, else `IMGPKG_REGISTRIES_CONF`, is one file or `auto`, the files of podman: its variables, else
    its places, with drop-in files. Without both, a variable of podman counts, and otherwise nothing is read.
    """
    if chosen is None:
        chosen = environ.get("IMGPKG_REGISTRIES_CONF") or None
    named = next((environ[name] for name in _VARIABLES if environ.get(name)), "")
    if chosen is not None and chosen != STANDARD:
        return (chosen,) if chosen else ()
    user = os.path.join(environ["HOME"], _USER) if environ.get("HOME") else ""
    if named:
        return (named, *_drop_ins(_SYSTEM), *_drop_ins(user))
    if chosen is None:
        return ()
    # The file of the user hides all files of the system.
    if user and os.path.exists(user):
        return (user, *_drop_ins(user))
    system = (_SYSTEM,) if os.path.exists(_SYSTEM) else ()
    return (*system, *_drop_ins(_SYSTEM), *_drop_ins(user))


def read_mirrors(paths: Iterable[str]) -> Mirrors:
    """Return the rules of all files; raise InvalidSettings, which names the file.

    A rule replaces a rule of an earlier file with the same prefix.
    """
    # As podman merges drop-in files: a later file replaces the whole rule of a prefix.
    rules: dict[str, Rule] = {}
    for path in paths:
        rules.update((rule.prefix, rule) for rule in parse_rules(_decode(_read(path), path), path))
    return Mirrors(tuple(rules.values()))


def parse_rules(document: Mapping[str, Any], path: str) -> tuple[Rule, ...]:
    """Return the rules of one file; raise InvalidSettings. Keys that are not about mirrors are ignored."""
    tables = _tables(document, "registry", path)
    old = document.get("registries")
    if not isinstance(old, dict):
        return tuple(_rule(table, path) for table in tables)
    if tables:
        raise _invalid(path, "[[registry]] and the older [registries.…] exclude each other")
    return tuple(_old_rules(old, path))


def _drop_ins(main: str) -> tuple[str, ...]:
    folder = f"{main}.d"
    with suppress(OSError):
        return tuple(os.path.join(folder, name) for name in sorted(os.listdir(folder)) if _is_conf(name))
    return ()


def _is_conf(name: str) -> bool:
    return name.endswith(".conf") and not name.startswith(".")


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            data = file.read(_MAX_SIZE + 1)
    except OSError as error:
        raise _invalid(path, (error.strerror or str(error)).lower()) from error
    if len(data) > _MAX_SIZE:
        raise _invalid(path, f"it is larger than {_MAX_SIZE >> 20} MiB")
    return data


def _decode(data: bytes, path: str) -> dict[str, Any]:
    # The standard library has the same module from 3.11 on.
    toml = import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
    try:
        return cast("dict[str, Any]", toml.loads(data.decode()))
    except (ValueError, RecursionError) as error:
        raise _invalid(path, f"it is no TOML: {error}") from error


def _rule(table: Mapping[str, Any], path: str) -> Rule:
    # The location is the prefix of a rule without one (containers-registries.conf(5)).
    prefix = _place(table, "prefix", path) or _place(table, "location", path)
    location = _place(table, "location", path)
    if not location and not prefix.startswith("*."):
        location = prefix
    if not prefix:
        raise _invalid(path, "a [[registry]] has neither a prefix nor a location")
    if "*" in prefix and not _is_wildcard(prefix):
        raise _invalid(path, f"the prefix {prefix!r}: a wildcard is only *. before a host")
    # podman refuses this combination, too, so that the files stay exchangeable.
    if "pull-from-mirror" in table:
        raise _invalid(path, f"the [[registry]] {prefix!r}: pull-from-mirror is for mirrors alone")
    by_digest = _switch(table, "mirror-by-digest-only", path)
    mirrors = tuple(_mirror(one, by_digest, path) for one in _tables(table, "mirror", path))
    insecure, blocked = _switch(table, "insecure", path), _switch(table, "blocked", path)
    return Rule(prefix, location, insecure, blocked, mirrors, path)


def _mirror(table: Mapping[str, Any], by_digest: bool, path: str) -> Mirror:
    location = _place(table, "location", path)
    if not location:
        raise _invalid(path, "a [[registry.mirror]] has no location")
    chosen = table.get("pull-from-mirror")
    if chosen is not None and by_digest:
        raise _invalid(path, f"mirror {location!r} has pull-from-mirror beside mirror-by-digest-only")
    try:
        pull_from = PullFrom(PullFrom.ALL if chosen is None else chosen)
    except ValueError as error:
        names = ", ".join(repr(kind.value) for kind in PullFrom)
        raise _invalid(path, f"mirror {location!r}: pull-from-mirror is none of {names}") from error
    return Mirror(
        location, _switch(table, "insecure", path), PullFrom.DIGEST_ONLY if by_digest else pull_from
    )


def _old_rules(tables: Mapping[str, Any], path: str) -> Iterator[Rule]:
    lists = {name: _old_list(tables.get(name, {}), name, path) for name in _OLD_TABLES}
    for place in dict.fromkeys((*lists["insecure"], *lists["block"])):
        yield Rule(place, place, place in lists["insecure"], place in lists["block"], (), path)


def _old_list(table: Any, name: str, path: str) -> list[str]:
    found = table.get("registries", []) if isinstance(table, dict) else None
    if not isinstance(found, list) or not all(isinstance(place, str) for place in found):
        raise _invalid(path, f"[registries.{name}] has no list `registries` of names")
    return [place.rstrip("/") for place in found]


def _tables(table: Mapping[str, Any], key: str, path: str) -> list[dict[str, Any]]:
    found = table.get(key, [])
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise _invalid(path, f"{key!r} is no list of tables: write [[{key}]]")
    return found


def _place(table: Mapping[str, Any], key: str, path: str) -> str:
    value = table.get(key, "")
    if not isinstance(value, str):
        raise _invalid(path, f"{key!r} is no text")
    # The scheme is decided by `insecure`.
    if "://" in value:
        raise _invalid(path, f"{key} {value!r}: leave out the scheme")
    return value.rstrip("/")


def _switch(table: Mapping[str, Any], key: str, path: str) -> bool:
    value = table.get(key, False)
    if not isinstance(value, bool):
        raise _invalid(path, f"{key!r} is neither true nor false")
    return value


def _is_wildcard(prefix: str) -> bool:
    rest = prefix.removeprefix("*.")
    return rest != prefix and bool(rest) and not {"*", "/", ":", "@"} & set(rest)


def _invalid(path: str, text: str) -> InvalidSettings:
    return InvalidSettings(f"Reading {path}: {text}")

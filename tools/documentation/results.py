"""What a command gives to a script: the members of its JSON, and exit codes; for both of its pages."""

from __future__ import annotations

import json
import re
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

_DOCS = Path(__file__).parent.parent.parent / "docs"
SCRIPTING = "scripting.md"


class Member(NamedTuple):
    """A member of the document: its name, its type, and what it is."""

    name: str
    kind: str
    meaning: str


class ExitCode(NamedTuple):
    """An exit code, or several of one meaning, and what happened."""

    code: str
    meaning: str


def schema_of(name: str) -> str:
    """Return the place in `docs/` of the schema of a command, `tag-list` for example; empty without one."""
    return f"json/{name}.json" if (_DOCS / f"json/{name}.json").is_file() else ""


@lru_cache
def members(name: str) -> tuple[Member, ...]:
    """Return the members of the document of a command, those that every command has first."""
    place = schema_of(name)
    found = {key: _resolved(value, place) for key, value in _schema(place)["properties"].items()}
    return tuple(Member(key, _kind(value), str(value.get("description", ""))) for key, value in found.items())


@lru_cache
def exit_codes() -> tuple[ExitCode, ...]:
    """Return the rows of the table of exit codes on the page for scripts."""
    text = (_DOCS / SCRIPTING).read_text(encoding="utf-8").partition("\n## Exit codes\n")[2]
    rows = re.findall(r"^\| (\d+(?:, \d+)*) \| [^|]*\| ([^|]+?) \|", text.partition("\n## ")[0], re.MULTILINE)
    return tuple(ExitCode(code, meaning[0].upper() + meaning[1:]) for code, meaning in rows)


def _schema(place: str) -> dict[str, Any]:
    schema: dict[str, Any] = json.loads((_DOCS / place).read_text(encoding="utf-8"))
    return schema


def _resolved(value: dict[str, Any], place: str) -> dict[str, Any]:
    """Return the schema that a member refers to, perhaps in another file, with what is said beside that."""
    if "$ref" not in value:
        return value
    file, _, steps = value["$ref"].partition("#")
    found = _schema(f"json/{file}" if file else place)
    for step in filter(None, steps.split("/")):
        found = found[step]
    return {**found, **value}


def _kind(value: dict[str, Any]) -> str:
    """Return the type of a member in a word; one that is defined elsewhere is an object."""
    kind = value.get("type", "object")
    return " or ".join(kind) if isinstance(kind, list) else str(kind)

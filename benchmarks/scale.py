"""The measurements of scale, which take long: `make benchmark ARGS='--only scaling'`, and so on.

A study has parts, each of which is measured alone and has a record of its own in scale.json: the machine, the
command, the versions, and the numbers. The tables of README.md are made from these records.
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import capacity, machine, plan_size, scaling
from benchmarks.picture import THEMES

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).parent
RESULTS = HERE / "scale.json"
# Modules with `ABOUT`, the names of their `PARTS`, `numbers(part)`, which measures it, and `table(numbers)`.
STUDIES = {"scaling": scaling, "plan size": plan_size, "capacity": capacity}
_SAID = ("imgpkg", "processor", "cores", "system", "Python", "docker-registry", "load at the start")


@dataclass(frozen=True)
class Record:
    """What was measured of one part of a study, and where and how."""

    study: str
    part: str
    machine: dict[str, str]
    command: str
    numbers: list[dict[str, object]]

    @property
    def name(self) -> str:
        return name_of(self.study, self.part)


def name_of(study: str, part: str) -> str:
    """Return the name by which `--only` finds a part."""
    return f"scale: {study}: {part}"


def parts() -> Iterator[tuple[str, str]]:
    """Yield the names of each study and of its parts."""
    for study, module in STUDIES.items():
        for part in module.PARTS:
            yield study, part


def measured(study: str, part: str) -> Record:
    """Measure a part."""
    with tempfile.TemporaryDirectory(dir=machine.folder()) as folder:
        said = machine.described(Path(folder))
    command = f"""make benchmark ARGS='--only "{study}: {part}"'"""
    return Record(study, part, said, command, STUDIES[study].numbers(part))


def read(path: Path = RESULTS) -> list[Record]:
    """Return the records of a file."""
    return [Record(**one) for one in json.loads(path.read_text())]


def write(records: list[Record], path: Path = RESULTS) -> None:
    """Write records as JSON."""
    path.write_text(json.dumps([asdict(one) for one in records], indent=1, ensure_ascii=False) + "\n")


def replaced(older: list[Record], newer: list[Record]) -> list[Record]:
    """Return the records in their order, the newer ones in the place of the older ones."""
    found = {one.name: one for one in (*older, *newer)}
    return [found[name] for name in (name_of(*each) for each in parts()) if name in found]


def tables(records: list[Record]) -> dict[str, str]:
    """Return the tables of all studies by the names of their marks."""
    return {study: _table(study, [one for one in records if one.study == study]) for study in STUDIES}


def _table(study: str, records: list[Record]) -> str:
    if not records:
        return ""
    shown = STUDIES[study].table([number for one in records for number in one.numbers])
    return "\n".join([shown, *map(_said, records), ""])


def _said(record: Record) -> str:
    said = "; ".join(f"{name} {record.machine[name]}" for name in _SAID if record.machine.get(name))
    return f"- `{record.command}`, {record.machine['measured']}: {said}."


def pictures(records: list[Record]) -> dict[str, str]:
    """Return the pictures by the names of their files."""
    numbers = [number for one in records if one.study == "scaling" for number in one.numbers]
    return {f"scaling-{theme}.svg": scaling.picture(numbers, theme) for theme in THEMES} if numbers else {}

"""What was measured, as values: the numbers of each run, ratios of pairs, aims, and their JSON file."""

from __future__ import annotations

import json
import re
import statistics
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

OURS = "imgpkg"
# A program of the command line of the original, named with `--against`.
OTHER = "other"
FLOOR = "floor"
ABOVE = "CPU above start-up"


@dataclass(frozen=True)
class Aim:
    """`quantity` is at most `most`: seconds or MB, or times that of the program `beside`."""

    quantity: str
    most: float
    beside: str = ""


@dataclass(frozen=True)
class Ratio:
    """The median of pairs, and their extremes; all three are the same for a pair that was measured once."""

    middle: float
    least: float
    most: float


@dataclass(frozen=True)
class Program:
    """The runs of one program in a row of a table, in their order.

    CPU is user and system time of the process and of those that it waited for, `wall` the time from its start
    to its end, both in seconds; `peak` is its largest resident memory in MB, `requests` what its registries
    answered, `connections` the most that were open at once to one of them through a link. `start_cpu` is the
    CPU of the same command with hardly any bytes to move. A quantity that was not measured has no numbers.
    """

    name: str
    command: str = ""
    cpu: list[float] = field(default_factory=list)
    wall: list[float] = field(default_factory=list)
    peak: list[float] = field(default_factory=list)
    requests: list[int] = field(default_factory=list)
    connections: list[int] = field(default_factory=list)
    start_cpu: list[float] = field(default_factory=list)
    failure: str = ""

    def numbers(self, quantity: str) -> list[float]:
        """Return what each run needed of `quantity`."""
        if quantity == ABOVE:
            return [whole - start for whole, start in zip(self.cpu, self.start_cpu, strict=False)]
        return getattr(self, quantity)

    def middle(self, quantity: str) -> float | None:
        """Return the median, of memory the most; None if it was not measured."""
        numbers = self.numbers(quantity)
        if not numbers:
            return None
        return max(numbers) if quantity == "peak" else statistics.median(numbers)


@dataclass(frozen=True)
class Row:
    """One piece of work, ours first, and the programs that did the same in turns with it."""

    name: str
    group: str
    programs: list[Program]
    aims: list[Aim] = field(default_factory=list)
    date: str = ""
    # Seconds of CPU by function, of our program; only of rows that missed an aim.
    profile: dict[str, float] = field(default_factory=dict)
    # And seconds by the number of connections that were in use.
    in_use: dict[str, float] = field(default_factory=dict)

    def program(self, name: str) -> Program | None:
        """Return the program of that name; one that failed is none."""
        return next((each for each in self.programs if each.name == name and not each.failure), None)

    def value(self, quantity: str, name: str = OURS) -> float | None:
        """Return the median of a program."""
        program = self.program(name)
        return None if program is None else program.middle(quantity)

    def ratio(self, quantity: str, beside: str) -> Ratio | None:
        """Return ours divided by that of `beside`; None if one of them was not measured."""
        ours, theirs = (self.program(name) for name in (OURS, beside))
        if ours is None or theirs is None:
            return None
        above, below = ours.numbers(quantity), theirs.numbers(quantity)
        if not above or not below or not all(below):
            return None
        if len(above) != len(below):
            # One that takes long is measured once, and has no pairs.
            below = [statistics.median(below)] * len(above)
        pairs = [one / two for one, two in zip(above, below, strict=True)]
        return Ratio(statistics.median(pairs), min(pairs), max(pairs))

    def is_missed(self) -> bool:
        """Return whether an aim was missed."""
        return any(found.middle > aim.most for aim, found in self.reached())

    def reached(self) -> Iterator[tuple[Aim, Ratio]]:
        """Yield each aim with what was measured in its place, if anything was."""
        for aim in self.aims:
            if aim.beside:
                found = self.ratio(aim.quantity, aim.beside)
            else:
                ours = self.program(OURS)
                numbers = ours.numbers(aim.quantity) if ours else []
                found = numbers and Ratio(statistics.median(numbers), min(numbers), max(numbers))
            if found:
                yield aim, found


@dataclass(frozen=True)
class Results:
    """The rows, and the machine that they were measured on, by what is to be said of it."""

    machine: dict[str, str]
    rows: list[Row]

    def replaced(self, newer: Results) -> Results:
        """Return these with the rows of `newer` in the place of their older ones."""
        fresh = {(row.group, row.name): row for row in newer.rows}
        rows = [fresh.pop((row.group, row.name), row) for row in self.rows]
        return Results(newer.machine, rows + list(fresh.values()))

    def write(self, path: Path) -> None:
        """Write them as JSON, the numbers of a program on one line each."""
        text = json.dumps(asdict(self), indent=1, ensure_ascii=False)
        flat = re.sub(r"\[[^\[\]{}]*\]", lambda found: " ".join(found[0].split()), text)
        path.write_text(flat + "\n")


def read(path: Path) -> Results:
    """Return what `write` has written."""
    document = json.loads(path.read_text())
    rows = []
    for row in document["rows"]:
        programs = [Program(**program) for program in row["programs"]]
        aims = [Aim(**aim) for aim in row["aims"]]
        rows.append(Row(**{**row, "programs": programs, "aims": aims}))
    return Results(document["machine"], rows)

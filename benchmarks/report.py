"""The tables of README.md as Markdown: what was aimed at, each group of rows, and the machine."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from benchmarks.results import ABOVE, FLOOR, OTHER, OURS
from benchmarks.rows import GROUPS

if TYPE_CHECKING:
    from benchmarks.results import Aim, Program, Ratio, Results, Row

_BLOCK = re.compile(r"(<!-- measured: ([a-z0-9 -]+) -->\n).*?(<!-- end -->)", re.DOTALL)
_UNITS = {"cpu": " s", "wall": " s", ABOVE: " s", "peak": " MB"}
_WORDS = {"cpu": "CPU", "wall": "time", "peak": "memory"}
_PASS = "pass"
_SKOPEO = "skopeo"
_MOST_PROFILED = 6


def filled(page: str, blocks: dict[str, str]) -> str:
    """Return the page with the blocks between their marks."""
    return _BLOCK.sub(lambda found: f"{found[1]}{blocks[found[2]]}{found[3]}", page)


def text(results: Results) -> str:
    """Return all tables, for a terminal."""
    titles = {group.key: group.title for group in GROUPS}
    return "\n".join(
        f"## {titles.get(key, key)}\n\n{table}" for key, table in tables(results).items() if table
    )


def tables(results: Results) -> dict[str, str]:
    """Return the tables by the names of their marks; those without rows are empty."""
    made = {"machine": _machine(results.machine), "aims": _aims(results.rows)}
    for group in GROUPS:
        rows = [row for row in results.rows if row.group == group.key]
        made[group.key] = _starts(rows) if group.key == "start-up" else _works(rows)
    return made | {
        "above start-up": _above(results.rows),
        "profiles": _profiles(results.rows),
        "in use": _in_use(results.rows),
    }


def _machine(machine: dict[str, str]) -> str:
    return _table(["--", "--"], ["machine", ""], [[name, value] for name, value in machine.items() if value])


def _aims(rows: list[Row]) -> str:
    """What was aimed at, the missed ones first, those farthest from their aim at the top."""
    reached = [(row, aim, found) for row in rows for aim, found in row.reached()]
    reached.sort(key=lambda each: each[2].middle / each[1].most, reverse=True)
    lines = []
    for row, aim, found in reached:
        is_met = found.middle <= aim.most
        verdict = "met" if is_met else "**missed**"
        lines.append([row.name, row.group, _aimed(aim), _spread(found), verdict])
    return _table(["--", "--", "--", "--:", "--"], ["work", "where", "aim: at most", "measured", ""], lines)


def _aimed(aim: Aim) -> str:
    words = _WORDS.get(aim.quantity, aim.quantity)
    if not aim.beside:
        return f"{words} {aim.most:g}{_UNITS.get(aim.quantity, '')}"
    beside = "the floor's" if aim.beside == FLOOR else f"that of {aim.beside}"
    return f"{words} {aim.most:g} × {beside}"


def _starts(rows: list[Row]) -> str:
    """Start-up: milliseconds of CPU, and how many times those of others they are."""
    names = [(FLOOR, "× floor"), (_PASS, "× `python -c pass`"), (_SKOPEO, "× skopeo"), (OTHER, "× other")]
    names = [(name, title) for name, title in names if any(row.program(name) for row in rows)]
    lines = []
    for row in rows:
        aims = {aim.beside: aim for aim in row.aims}
        line = [f"`{row.name}`", f"{1000 * (row.value('cpu') or 0):.0f}"]
        for name, _ in names:
            found = row.ratio("cpu", name)
            is_missed = found and name in aims and found.middle > aims[name].most
            line.append((f"**{_spread(found)}**" if is_missed else _spread(found)) if found else "")
        line.append(f"{aims[FLOOR].most:g}" if FLOOR in aims else "")
        line += [f"{1000 * (row.value('wall') or 0):.0f}", _number(row.value("peak"), "peak")]
        lines.append([*line, _number(row.value("requests"), "requests")])
    heads = [
        "command",
        "CPU ms",
        *(title for _, title in names),
        "aim × floor",
        "wall ms",
        "peak MB",
        "requests",
    ]
    return _table(["--"] + ["--:"] * (len(heads) - 1), heads, lines)


def _works(rows: list[Row]) -> str:
    """Each row with the programs that it was measured beside, a line for each, and ours divided by theirs."""
    lines = []
    for row in rows:
        for number, program in enumerate(row.programs):
            line = [row.name if number == 0 else "", program.name]
            if program.failure:
                lines.append([*line, "failed", *[""] * 7])
                continue
            for quantity in ("cpu", "wall", "peak", "requests"):
                line.append(_number(program.middle(quantity), quantity))
                found = None if program.name == OURS else row.ratio(quantity, program.name)
                line.append(_spread(found, is_short=quantity in {"peak", "requests"}) if found else "")
            lines.append(line)
    heads = ["work", "program", "CPU s", "ratio", "wall s", "ratio", "peak MB", "ratio", "requests", "ratio"]
    return _table(["--", "--"] + ["--:"] * 8, heads, lines)


def _above(rows: list[Row]) -> str:
    """CPU above start-up, where that was measured."""
    lines = []
    for row in rows:
        aims = {aim.beside: f"{aim.most:g}" for aim in row.aims if aim.quantity == ABOVE}
        for program in row.programs:
            value = program.middle(ABOVE)
            if value is None:
                continue
            found = None if program.name == OURS else row.ratio(ABOVE, program.name)
            name = row.name if program.name == OURS else ""
            start = _number(_middle_of_starts(program), "cpu")
            cells = [name, program.name, _number(value, ABOVE), start, _spread(found) if found else ""]
            lines.append([*cells, aims.get(program.name, "")])
    heads = ["work", "program", "CPU s above start-up", "start-up CPU s", "ratio", "aim"]
    return _table(["--", "--", "--:", "--:", "--:", "--:"], heads, lines)


def _profiles(rows: list[Row]) -> str:
    """Where our CPU time goes in rows that missed an aim."""
    lines = []
    for row in rows:
        whole = sum(row.profile.values())
        for number, (name, seconds) in enumerate(list(row.profile.items())[:_MOST_PROFILED]):
            work = [row.name, row.group] if number == 0 else ["", ""]
            lines.append([*work, f"`{name}`", f"{1000 * seconds:.0f}", f"{seconds / whole:.0%}"])
    return _table(["--", "--", "--", "--:", "--:"], ["work", "where", "function", "CPU ms", "share"], lines)


def _in_use(rows: list[Row]) -> str:
    """The seconds in which so many connections were in use, of rows over a link that missed an aim."""
    shaped = {group.key for group in GROUPS if group.shape}
    rows = [row for row in rows if row.group in shaped and row.in_use]
    numbers = sorted({int(number) for row in rows for number in row.in_use})
    lines = [
        [row.name, row.group, *(f"{row.in_use.get(str(number), 0):.2f}" for number in numbers)]
        for row in rows
    ]
    heads = ["seconds with so many connections in use", "where", *map(str, numbers)]
    return _table(["--", "--"] + ["--:"] * len(numbers), heads, lines)


def _middle_of_starts(program: Program) -> float:
    return sorted(program.start_cpu)[len(program.start_cpu) // 2]


def _number(value: float | None, quantity: str) -> str:
    if value is None:
        return ""
    return f"{value:.0f}" if quantity in {"peak", "requests"} else f"{value:.2f}"


def _spread(ratio: Ratio, *, is_short: bool = False) -> str:
    """Return the median, and the extremes of the pairs if they are others."""
    middle, least, most = (f"{number:.2f}" for number in (ratio.middle, ratio.least, ratio.most))
    return middle if is_short or least == most else f"{middle} ({least}–{most})"


def _table(columns: list[str], heads: list[str], lines: list[list[str]]) -> str:
    if not lines:
        return ""
    rows = "".join(f"| {' | '.join(row)} |\n" for row in lines)
    return f"| {' | '.join(heads)} |\n|{'|'.join(columns)}|\n{rows}"

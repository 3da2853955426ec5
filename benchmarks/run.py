"""Measure the command beside other programs and write the numbers down: `make benchmark`, on a quiet machine.

Everything is written to results.json, and from it the tables of README.md and the pictures. With `--only` the
tables are printed; `--keep` then writes what was measured in the place of the older rows. The studies of
scale.py take longer than all else, and are measured only if `--only` names them.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import bench, machine, picture, report, results, scale
from benchmarks.measure import CommandFailed
from benchmarks.rows import GROUPS

if TYPE_CHECKING:
    from collections.abc import Iterable

HERE = Path(__file__).parent
RESULTS = HERE / "results.json"


def main() -> None:
    # Told to stop, it ends the servers that it has started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    options = _options()
    if options.list:
        print("\n".join(f"{group.key}: {work.name}" for group, work in _chosen()))
        print("\n".join(scale.name_of(*part) for part in scale.parts()))
    elif options.drawn:
        publish(results.read(RESULTS))
    else:
        _measure(options)


def _measure(options: argparse.Namespace) -> None:
    studies = [part for part in scale.parts() if _is_named(scale.name_of(*part), options.only)]
    if not list(_chosen(*options.only)) and not (options.only and studies):
        sys.exit("no row has this text in its name: --list prints them")
    is_kept = options.keep or not options.only
    if list(_chosen(*options.only)):
        found = measured(options)
        print(report.text(found))
        if options.only and options.keep and RESULTS.exists():
            found = _in_order(results.read(RESULTS).replaced(found))
        if is_kept:
            found.write(RESULTS)
    for study, part in studies if options.only else ():
        print(f"{scale.name_of(study, part)}", file=sys.stderr)
        record = scale.measured(study, part)
        print(f"## {study}\n\n{scale.tables([record])[study]}")
        if is_kept:
            scale.write(scale.replaced(scale.read(), [record]))
    if is_kept:
        publish(results.read(RESULTS))


def _options() -> argparse.Namespace:
    long = "; ".join(f"{study}: {module.ABOUT}" for study, module in scale.STUDIES.items())
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.run",
        description=__doc__.partition("\n")[0],
        epilog=f"Measured only if --only names them: {long}.",
    )
    parser.add_argument(
        "--only", action="append", default=[], metavar="TEXT", help="rows whose group or name has this text"
    )
    parser.add_argument("--repetitions", type=int, metavar="N", help="measure each row this often")
    parser.add_argument(
        "--against", default="", metavar="PATH", help="a program with the original's command line"
    )
    parser.add_argument(
        "--keep", action="store_true", help="write the rows of --only in the place of the older ones"
    )
    parser.add_argument("--long", action="store_true", help="also skopeo where it takes minutes")
    parser.add_argument("--list", action="store_true", help="print the names of the rows")
    parser.add_argument(
        "--drawn", action="store_true", help="measure nothing, write tables and pictures again"
    )
    return parser.parse_args()


def _chosen(*words: str):
    for group in GROUPS:
        for work in group.works:
            if not words or _is_named(f"{group.key}: {work.name}", words):
                yield group, work


def _is_named(name: str, words: Iterable[str]) -> bool:
    return any(word.lower() in name.lower() for word in words)


def _in_order(found: results.Results) -> results.Results:
    """Return the rows in the order of their table, without those that are not in it any longer."""
    rows = {(row.group, row.name): row for row in found.rows}
    named = [(group.key, work.name) for group, work in _chosen()]
    return results.Results(found.machine, [rows[name] for name in named if name in rows])


def measured(options: argparse.Namespace) -> results.Results:
    """Run the chosen rows, one after the other, and say on standard error how far it is."""
    chosen = list(_chosen(*options.only))
    other = os.path.abspath(options.against) if options.against else ""
    rows, started = [], time.monotonic()
    with tempfile.TemporaryDirectory(prefix="imgpkg-benchmark", dir=machine.folder()) as folder:
        said = machine.described(Path(folder), other)
        with bench.opened(Path(folder), other) as opened:
            for group, work in chosen:
                print(f"{time.monotonic() - started:4.0f} s  {group.key}: {work.name}", file=sys.stderr)
                try:
                    row = opened.row(group, work, options.repetitions or group.rounds, is_long=options.long)
                    if row.is_missed():
                        profile, in_use = opened.profile(group, work)
                        row = dataclasses.replace(row, profile=profile, in_use=in_use)
                    rows.append(row)
                except CommandFailed as failed:
                    sys.exit(str(failed))
        print(f"{time.monotonic() - started:4.0f} s  done", file=sys.stderr)
    return results.Results(said, rows)


def publish(found: results.Results) -> None:
    """Write the tables into README.md, and the picture beside it, which is in two pages."""
    for theme in picture.THEMES:
        (HERE / f"picture-{theme}.svg").write_text(picture.drawn(found, theme))
    records = scale.read()
    for name, drawn in scale.pictures(records).items():
        (HERE / name).write_text(drawn)
    for page, folder in ((HERE / "README.md", ""), (HERE.parent / "README.md", f"{HERE.name}/")):
        blocks = report.tables(found) | scale.tables(records) | {"picture": picture.element(found, folder)}
        page.write_text(report.filled(page.read_text(), blocks))


if __name__ == "__main__":
    main()

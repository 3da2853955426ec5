"""The bench: registries and material, on which the programs of a row work by turns."""

from __future__ import annotations

import contextlib
import datetime as dt
import itertools
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import trustme
from benchmarks.material import IMGPKG, Material
from benchmarks.measure import CommandFailed, Spent, spent
from benchmarks.registries import Link, Registry, docker_registry, free_port, link, settled
from benchmarks.results import FLOOR, OTHER, OURS, Program, Row

from imgpkg.session import Session
from imgpkg.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.rows import Group, Shape, Work

# Of one round: what a command needed, its answered requests, and what went through its links.
_One = tuple[Spent, int, list[Link]]
# `{source}` or `{image:small}`.
_PLACE = re.compile(r"\{([a-z]+(?::[\w-]+)?)\}")
_MODULES = {"imgpkg": "imgpkg.cli.main", "docker-credential-imgpkg": "imgpkg.cli.credential_helper"}
# A short command has few samples in each run.
_PROFILED = 15
_LEAST_SECONDS = 0.0005
_PYTHON_FOLDER = Path(sys.executable).parent


class Bench:
    """Runs command lines; `other` is the path of a program with the original's command line, or empty."""

    def __init__(
        self,
        *,
        work: Path,
        source: Registry,
        safe: Registry,
        material: Material,
        env: dict[str, str],
        other: str,
    ) -> None:
        self._work = work
        self._source = source
        self._safe = safe
        self._material = material
        self._env = env
        self._other = other
        self._numbers = itertools.count()
        # A bundle names its images by the address of the link: it stays while links come and go.
        self._ports: dict[Shape, int] = {}

    def row(self, group: Group, work: Work, rounds: int, *, is_long: bool = False) -> Row:
        """Measure each program `rounds` times, by turns, every other round in the opposite order.

        Programs that take very long at it are left out unless `is_long`.
        """
        commands = self._commands(work).items()
        programs = {n: Program(n, words) for n, words in commands if is_long or n not in work.long}
        floor = Program(FLOOR)
        for number in range(rounds):
            for name in list(programs)[:: 1 if number % 2 == 0 else -1]:
                if number and name in work.once:
                    continue
                links = self._measure(work, group.shape, programs, name)
                if name == OURS and group.shape:
                    floor.wall.append(_floor(group.shape, programs[OURS].requests[-1], links))
        if any(aim.beside == FLOOR and aim.quantity == "wall" for aim in work.aims):
            programs[FLOOR] = floor
        now = dt.datetime.now(dt.timezone.utc)
        return Row(
            work.name, group.key, list(programs.values()), list(work.aims), f"{now:%Y-%m-%d %H:%M} UTC"
        )

    def profile(self, group: Group, work: Work) -> tuple[dict[str, float], dict[str, float]]:
        """Return the seconds of CPU of our program by function, the largest first, and by connections in use.

        These are means of some runs; without any for a program that is none of ours.
        """
        first, _, words = work.words.partition(" ")
        if first not in _MODULES:
            return {}, {}
        file = self._work / "profile.json"
        rounds = _PROFILED if group.key == "start-up" else 1
        cpu: Counter[str] = Counter()
        in_use: Counter[str] = Counter()
        for _ in range(rounds):
            sampled = f"python -m benchmarks.sampling {file} {_MODULES[first]} {words}"
            self._run(OURS, sampled, work, group.shape)
            found = json.loads(file.read_text())
            for seconds, key in ((cpu, "cpu"), (in_use, "in use")):
                seconds.update({name: each / 1e9 / rounds for name, each in found[key].items()})
        by_function = {name: round(each, 4) for name, each in cpu.most_common() if each > _LEAST_SECONDS}
        return by_function, {name: round(each, 4) for name, each in sorted(in_use.items())}

    def _commands(self, work: Work) -> dict[str, str]:
        """Return the command lines by the names of their programs, without those that are not installed."""
        commands = {OURS: work.words} | work.others
        if self._other and work.original:
            commands[OTHER] = work.words
        return {name: words for name, words in commands.items() if self._program(name, words)}

    def _program(self, name: str, words: str) -> str:
        """Return the path of the program of a command line, empty if there is none."""
        first = words.split(maxsplit=1)[0]
        if name == OTHER:
            return self._other
        return {"imgpkg": IMGPKG, "python": sys.executable}.get(first) or (
            shutil.which(first, path=f"{_PYTHON_FOLDER}:{self._env['PATH']}") or ""
        )

    def _measure(
        self, work: Work, shape: Shape | None, programs: dict[str, Program], name: str
    ) -> list[Link]:
        """Add one run to a program; return the links that it used. One that has failed is not run again."""
        program = programs[name]
        if program.failure:
            return []
        try:
            if work.start:
                program.start_cpu.append(
                    self._run(name, program.command.replace(*work.start), work, shape)[0].cpu
                )
            one, requests, links = self._run(name, program.command, work, shape)
        except CommandFailed as failed:
            if name == OURS:
                raise
            print(f"{work.name}: {failed}", file=sys.stderr)
            programs[name] = Program(name, program.command, failure=str(failed))
            return []
        program.cpu.append(one.cpu)
        program.wall.append(one.wall)
        program.peak.append(one.peak)
        program.requests.append(requests)
        if links:
            program.connections.append(max(each.most for each in links))
        return links

    def _run(self, name: str, words: str, work: Work, shape: Shape | None) -> _One:
        with contextlib.ExitStack() as stack:
            places, registries, links = self._places(words, shape, stack)
            argv = [_PLACE.sub(lambda found: places[found[1]], part) for part in shlex.split(words)]
            argv[0] = self._program(name, words)
            before = sum(registry.requests() for registry in registries)
            env = self._env | work.env
            if words.startswith("python -m benchmarks"):
                env |= {"PYTHONPATH": str(Path(__file__).parent.parent)}
            one = spent(argv, env, given=work.given)
            requests = settled(registries) - before
            _remove(Path(places["out"]))
        return one, requests, links

    def _places(
        self, words: str, shape: Shape | None, stack: contextlib.ExitStack
    ) -> tuple[dict[str, str], list[Registry], list[Link]]:
        """Return the text for each place in a command line, whose servers run until `stack` ends."""
        registries, links = [self._source, self._safe] if _PLACE.search(words) else [], []

        def reached(registry: Registry, port: int) -> str:
            if shape is None:
                return registry.address
            shaped = link(registry.address, shape.round_trip, shape.speed, port=port)
            links.append(stack.enter_context(shaped))
            return links[-1].address

        shown = reached(self._source, self._ports.setdefault(shape, free_port()) if shape else 0)
        number = next(self._numbers)
        places = {"source": shown, "safe": self._safe.address, "number": str(number)}
        places |= {"ca": str(self._work / "certs" / "ca.crt"), "certs": str(self._work / "certs")}
        places["out"] = str(self._work / f"out{number}")
        for place in set(_PLACE.findall(words)) - set(places):
            kind, _, name = place.partition(":")
            if kind == "target":
                registries.append(stack.enter_context(docker_registry(self._work)))
                places[place] = reached(registries[-1], 0)
            else:
                places[place] = self._material.place(kind, name, shown)
        return places, registries, links


def _floor(shape: Shape, requests: int, links: list[Link]) -> float:
    """Return the seconds below which no client can get that has these requests and connections."""
    waiting = requests / shape.connections * shape.round_trip
    carried = sum(each.bytes for each in links) / (shape.speed * shape.connections) if shape.speed else 0
    return waiting + carried


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def opened(work: Path, other: str = "") -> Iterator[Bench]:
    """Start what all rows need, in the empty folder `work`: two registries, one of them on https."""
    for name in ("home", "tmp", "certs"):
        (work / name).mkdir()
    # Temporary files of all programs are in the same place: skopeo's would be in /var/tmp.
    env = {
        "HOME": str(work / "home"),
        "PATH": os.environ["PATH"],
        "LANG": "C.UTF-8",
        "TMPDIR": str(work / "tmp"),
    }
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(work / "certs" / "ca.crt"))
    certificate = work / "pair.pem"
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(certificate))
    with (
        docker_registry(work) as source,
        docker_registry(work, certificate=certificate) as safe,
        Session(Settings()) as session,
    ):
        material = Material(work, source, session, env)
        image = f"{safe.address}/bench/app:v1"
        trust = ["--registry-ca-cert-path", str(work / "certs" / "ca.crt")]
        argv = [IMGPKG, "push", "-i", image, "-f", material.place("folder", "small", ""), *trust]
        subprocess.run(argv, env=env, check=True, stdout=subprocess.DEVNULL)
        yield Bench(work=work, source=source, safe=safe, material=material, env=env, other=other)

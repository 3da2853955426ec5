"""One command run to its end: the time of the processor, time on the clock, and the peak of memory."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# A small process between us and the command: the peak of a child begins with that of whoever started it.
_WATCHER = """
import json, os, sys, time
actions = [(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]
started = time.perf_counter()
pid = os.posix_spawnp(sys.argv[1], sys.argv[1:], os.environ, file_actions=actions)
_, status, usage = os.wait4(pid, 0)
wall = time.perf_counter() - started
cpu, peak = usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024
print(json.dumps([os.waitstatus_to_exitcode(status), cpu, wall, peak]))
"""
_LINES_OF_FAILURE = 3


class CommandFailed(Exception):
    """A command that was to be measured ended with an error."""


@dataclass(frozen=True)
class Spent:
    """CPU and wall seconds, and the peak of resident memory in MB, of one command."""

    cpu: float
    wall: float
    peak: float


def spent(argv: Sequence[str], env: Mapping[str, str], *, given: str = "") -> Spent:
    """Run a command with `given` on its standard input; its output is thrown away.

    Raise CommandFailed, with the end of what it said, if its code is not 0.
    """
    watched = [sys.executable, "-I", "-S", "-c", _WATCHER, *argv]
    done = subprocess.run(watched, env=env, input=given, capture_output=True, text=True, check=False)
    code, *numbers = json.loads(done.stdout) if done.returncode == 0 else (done.returncode, 0, 0, 0)
    if code:
        said = " ".join(done.stderr.split("\n")[-_LINES_OF_FAILURE:]).strip()
        raise CommandFailed(f"`{' '.join(argv)}` ended with {code}: {said}")
    return Spent(*(round(number, 5) for number in numbers))

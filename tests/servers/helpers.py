"""Credential helpers of docker's protocol as small programs that keep a log of their calls."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path

_PROGRAM = """#!{python} -IS
import json, sys, time
data = json.load(open({data!r}))
asked = sys.stdin.read()
with open({log!r}, "a") as log:
    log.write(json.dumps([sys.argv[1:], asked]) + "\\n")
time.sleep(data["delay"])
found = data["answers"].get(asked.strip())
if data["output"] is not None:
    print(data["output"], end="")
    sys.exit(data["status"])
if found is None:
    print("credentials not found in native keychain")
    sys.exit(1)
print(json.dumps({{"ServerURL": asked.strip(), "Username": found[0], "Secret": found[1]}}))
"""


@dataclass(frozen=True)
class Helper:
    """A program `docker-credential-NAME`; `folder` belongs on the PATH."""

    name: str
    folder: Path

    @property
    def calls(self):
        """Each call so far: (arguments, what was written to it)."""
        log = self.folder / f"{self.name}.calls"
        if not log.exists():
            return ()
        return tuple((tuple(args), asked) for args, asked in map(json.loads, log.read_text().splitlines()))

    def path(self, *rest):
        """Return a PATH on which it is found first."""
        return os.pathsep.join([str(self.folder), *rest])


def write_helper(folder, name, answers=None, *, output=None, status=0, delay=0.0):
    """Write a helper that knows {server: (username, secret)}, or that always prints `output` and exits."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    data = folder / f"{name}.json"
    data.write_text(
        json.dumps({"answers": answers or {}, "output": output, "status": status, "delay": delay})
    )
    program = folder / f"docker-credential-{name}"
    log = str(folder / f"{name}.calls")
    program.write_text(_PROGRAM.format(python=sys.executable, data=str(data), log=log))
    program.chmod(0o755)
    return Helper(name, folder)

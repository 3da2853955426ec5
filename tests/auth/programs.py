"""Credential helpers for tests: real programs that log each call."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class Program:
    """A helper on a PATH of its own, and the log that it writes: a line `argument server` per call."""

    folder: Path
    name: str

    @property
    def environ(self) -> dict[str, str]:
        return {"PATH": f"{self.folder}:/usr/bin:/bin"}

    @property
    def calls(self) -> list[str]:
        log = self.folder / f"{self.name}.log"
        return log.read_text().splitlines() if log.exists() else []


def write_helper(folder: Path, name: str, body: str) -> Program:
    """Write `docker-credential-NAME`; `body` is shell, with $server and the call number $n."""
    folder.mkdir(parents=True, exist_ok=True)
    program = folder / f"docker-credential-{name}"
    log = folder / f"{name}.log"
    program.write_text(
        f'#!/bin/sh\nserver=$(cat)\necho "$1 $server" >> "{log}"\nn=$(wc -l < "{log}" | tr -d " ")\n{body}\n'
    )
    program.chmod(0o755)
    return Program(folder, name)


def answering(folder: Path, name: str, username: str, secret: str) -> Program:
    """Write a helper that gives the same login to everybody, through a file, so any character is safe."""
    folder.mkdir(parents=True, exist_ok=True)
    answer = folder / f"{name}.json"
    answer.write_text(json.dumps({"ServerURL": "", "Username": username, "Secret": secret}))
    return write_helper(folder, name, f'cat "{answer}"')


NOT_FOUND = "echo 'credentials not found in native keychain'; exit 1"

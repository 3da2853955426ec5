"""Programs that are asked for credentials: where they are looked for, and how they are ended."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Mapping


def search_path(environ: Mapping[str, str]) -> str:
    """Return the absolute folders of PATH: a program in the current one could come with a pulled bundle."""
    return os.pathsep.join(filter(os.path.isabs, environ.get("PATH", "").split(os.pathsep)))


def find(name: str, environ: Mapping[str, str]) -> str | None:
    """Return the path of the program `name`, None where there is none."""
    from shutil import which  # noqa: PLC0415 - only a configured program needs it

    return which(name, path=search_path(environ))


def kill_group(process: subprocess.Popen[bytes]) -> None:
    """Kill `process`, which leads a group, and all that it has started; take no lock and wait for nothing."""
    from signal import SIGKILL  # noqa: PLC0415 - only a program that hangs needs it

    # macOS says that it is not permitted where only a process is left that has ended already.
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, SIGKILL)


def end_group(process: subprocess.Popen[bytes]) -> None:
    """Kill the group of `process` and wait for it."""
    kill_group(process)
    process.wait()

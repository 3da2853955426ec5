"""What is to be known of the machine and the programs that were measured on it, found out by asking them."""

from __future__ import annotations

import datetime as dt
import os
import platform
import shutil
import ssl
import subprocess
from pathlib import Path

MEMORY_FOLDER = Path("/dev/shm")
# What all rows together have in files at most, with room to spare.
NEEDED = 8 << 30


def folder() -> str | None:
    """Return the folder for files: in memory if it has room, so that no disk is measured, or None."""
    if MEMORY_FOLDER.is_dir() and min(shutil.disk_usage(MEMORY_FOLDER).free, _available()) > NEEDED:
        return str(MEMORY_FOLDER)
    return None


def described(files: Path, other: str = "") -> dict[str, str]:
    """Return what is to be said of this machine; `files` is the folder of the run."""
    release = platform.freedesktop_os_release()
    now = dt.datetime.now(dt.timezone.utc)
    said = {
        "measured": f"{now:%Y-%m-%d %H:%M} UTC",
        "processor": _field("/proc/cpuinfo", "model name") or platform.machine(),
        "cores": str(len(os.sched_getaffinity(0))),
        "memory": f"{_kilobytes('MemTotal') / (1 << 20):.0f} GB",
        "system": f"{release.get('PRETTY_NAME', 'Linux')}, Linux {platform.release()}",
        "Python": f"{platform.python_version()}, {ssl.OPENSSL_VERSION}",
        "imgpkg": _commit(),
        "docker-registry": _version("docker-registry", "--version"),
        "skopeo": _version("skopeo", "--version"),
        "files in": "memory" if files.is_relative_to(MEMORY_FOLDER) else str(files.parent),
        "load at the start": f"{os.getloadavg()[0]:.2f}",
    }
    return said | ({"other": f"{other}: {_version(other, 'version')}"} if other else {})


def _available() -> int:
    return _kilobytes("MemAvailable") << 10


def _kilobytes(name: str) -> int:
    return int((_field("/proc/meminfo", name) or "0").split()[0])


def _field(path: str, name: str) -> str:
    """Return the value of the first line `name : value`."""
    for line in Path(path).read_text().splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return ""


def _commit() -> str:
    asked = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    done = subprocess.run(asked, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "not in a repository"


def _version(*argv: str) -> str:
    """Return the last word of the first line; empty for a program that is not installed."""
    if not shutil.which(argv[0]):
        return ""
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    return done.stdout.strip().partition("\n")[0].rpartition(" ")[2]

"""Schedulers and workers of Dask, each a process of its own, as people start them."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time

_SECONDS = 60


class Cluster:
    """A scheduler of this machine and its workers, which are ended by their process ids.

    `tls` are the paths of the authority, and of the certificate and key that all of them have.
    """

    def __init__(self, folder, *, tls=()):
        self.folder = folder
        self.workers = {}
        self.address = ""
        self._tls = [
            f"--tls-{name}={path}" for name, path in zip(("ca-file", "cert", "key"), tls, strict=False)
        ]
        self._file = folder / "scheduler.json"
        scheme = "tls" if tls else "tcp"
        self.scheduler = self._start(
            "scheduler", "--protocol", scheme, "--port", "0", "--scheduler-file", self._file, "--no-dashboard"
        )
        try:
            self._wait(self._written_address)
        except BaseException:
            end(self.scheduler)
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_exception):
        for process in (*self.workers.values(), self.scheduler):
            end(process)

    def add(self, *names, threads=2, **environ):
        """Start workers with these names, and wait until they have joined."""
        for name in names:
            self.workers[name] = self._start(
                "worker",
                self.address,
                "--name",
                name,
                "--nthreads",
                str(threads),
                "--no-nanny",
                "--no-dashboard",
                "--memory-limit",
                "0",
                "--local-directory",
                self.folder / name,
                environ=environ,
            )
        for name in names:
            self._wait(lambda name=name: "Registered to:" in self.log(name))
        return self

    def _written_address(self):
        # The file is there before it has been written.
        with contextlib.suppress(FileNotFoundError, ValueError):
            self.address = json.loads(self._file.read_text())["address"]
            return True
        return False

    def log(self, name):
        """Return what a worker, or the scheduler, has written."""
        return (self.folder / f"{name}.log").read_text()

    def environ(self):
        """Return the variables with which a client finds its certificates."""
        names = ("CA_FILE", "CLIENT__CERT", "CLIENT__KEY")
        paths = [option.partition("=")[2] for option in self._tls]
        return {
            f"DASK_DISTRIBUTED__COMM__TLS__{name}": path for name, path in zip(names, paths, strict=False)
        }

    def _start(self, program, *arguments, environ=()):
        name = arguments[2] if program == "worker" else program
        with open(self.folder / f"{name}.log", "wb") as log:
            return subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    f"distributed.cli.dask_{program}",
                    "--host",
                    "127.0.0.1",
                    *self._tls,
                    *map(str, arguments),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **dict(environ)},
                # A terminal's Ctrl-C is for the client alone.
                start_new_session=True,
            )

    def _wait(self, is_so):
        deadline = time.monotonic() + _SECONDS
        while not is_so():
            assert time.monotonic() < deadline, "Dask did not start"
            time.sleep(0.05)


def end(process):
    """Kill a process and wait for its end."""
    with contextlib.suppress(ProcessLookupError):
        process.kill()
    process.wait()

"""Programs that are asked for credentials: where they are looked for, how they are run and how they end."""

from __future__ import annotations

import errno
import os
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from imgpkg.errors import Cancelled, CredentialError

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Mapping, Sequence

# How long it may take to notice that a process has ended while others hold its output.
GLANCE = 0.05
# No answer is nearly as long.
LARGEST = 1 << 20


@dataclass(frozen=True, slots=True)
class Ended:
    """The exit status of a program, negative for a signal, and what it printed."""

    code: int
    printed: bytes = field(repr=False)


class Programs:
    """Runs programs, each as the head of a process group; safe from many threads."""

    def __init__(self) -> None:
        self._running: set[subprocess.Popen[bytes]] = set()
        self.is_stopped = False

    def stop(self) -> None:
        """End the programs that run, and run none from now on: who waits for one gets Cancelled.

        It takes no lock, for whoever is interrupted by the signal handler that calls it may hold one.
        """
        self.is_stopped = True
        for process in tuple(self._running):
            kill_group(process)

    def check(self) -> None:
        """Raise Cancelled when the work was stopped."""
        if self.is_stopped:
            raise Cancelled("nobody is asked for credentials any more: the work was stopped")

    def sleep(self, seconds: float) -> None:
        """Wait, but not longer than the work goes on."""
        ends = time.monotonic() + seconds
        while not self.is_stopped and (left := ends - time.monotonic()) > 0:
            time.sleep(min(left, GLANCE))
        self.check()

    def run(
        self,
        command: Sequence[str],
        environ: Mapping[str, str],
        seconds: float,
        *,
        given: bytes = b"",
        is_silent: bool = False,
    ) -> Ended | None:
        """Run `command` with `given` as its input; None when it has not ended within `seconds`.

        Its end is the end of its answer: a process that it has started, and that still holds its output, is
        neither waited for nor ended. After `seconds`, and when the work is stopped or interrupted, the whole
        group is ended. `is_silent` drops standard error. Raises OSError when it cannot be started,
        CredentialError when it prints more than any answer is long.
        """
        self.check()
        process = _start(command, environ, has_input=bool(given), is_silent=is_silent)
        self._running.add(process)
        with process:
            try:
                self.check()
                printed = _talk(process, given, time.monotonic() + seconds)
                self.check()
            except BaseException:
                end_group(process)
                raise
            finally:
                self._running.discard(process)
            if printed is None:
                end_group(process)
        return None if printed is None else Ended(process.returncode, printed)


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


def _start(
    command: Sequence[str], environ: Mapping[str, str], *, has_input: bool, is_silent: bool
) -> subprocess.Popen[bytes]:
    import subprocess  # noqa: PLC0415 - hardly any run starts a program

    try:
        # Its own session makes a process group that can be ended as a whole.
        return subprocess.Popen(  # noqa: S603 - the user's own configuration names the program
            command,
            bufsize=0,
            stdin=subprocess.PIPE if has_input else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL if is_silent else None,
            env=dict(environ),
            start_new_session=True,
        )
    except ValueError as error:
        # A variable with a NUL in its value, or with an equals sign in its name.
        raise OSError(errno.EINVAL, "the environment cannot be given to a program") from error


def _talk(process: subprocess.Popen[bytes], given: bytes, ends: float) -> bytes | None:
    """Return what `process` prints before it ends; None when that is not before `ends`."""
    from selectors import EVENT_READ, EVENT_WRITE, DefaultSelector  # noqa: PLC0415 - likewise

    printed = bytearray()
    with DefaultSelector() as selector:
        for pipe, event in ((process.stdin, EVENT_WRITE), (process.stdout, EVENT_READ)):
            if pipe is not None:
                os.set_blocking(pipe.fileno(), False)
                selector.register(pipe, event)
        while (left := ends - time.monotonic()) > 0:
            # Before the output is read: whatever it printed is in the pipe then.
            has_ended = process.poll() is not None
            ready = {key.fileobj for key, _ in selector.select(0 if has_ended else min(left, GLANCE))}
            if process.stdin is not None and process.stdin in ready:
                given = given[_write(process.stdin.fileno(), given) :]
                if not given:
                    selector.unregister(process.stdin)
                    process.stdin.close()
            if process.stdout is not None and process.stdout in ready:
                data = os.read(process.stdout.fileno(), LARGEST)
                printed += data
                if len(printed) > LARGEST:
                    raise CredentialError(f"more than {LARGEST} bytes were printed")
                if not data:
                    return bytes(printed) if _ends_within(process, left) else None
            elif has_ended:
                return bytes(printed)
    return None


def _write(pipe: int, given: bytes) -> int:
    """Return how much of `given` need not be written any more."""
    try:
        return os.write(pipe, given)
    except BrokenPipeError:
        # A program need not read what it does not want to know.
        return len(given)


def _ends_within(process: subprocess.Popen[bytes], seconds: float) -> bool:
    from subprocess import TimeoutExpired  # noqa: PLC0415 - likewise

    try:
        process.wait(seconds)
    except TimeoutExpired:
        return False
    return True

"""Programs that are asked for credentials: where they are looked for, how they are run and how they end."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from imgpkg.cancellation import QUIET_SECONDS, Cancellation, Wait, current, ignore
from imgpkg.errors import CredentialError

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Mapping, Sequence

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
    """Runs programs, each as the head of a process group; safe from many threads.

    Cancelling `cancellation`, or the scope that a thread works in, ends the programs that are waited for.
    `announce` gets a sentence when one has run for `quiet_time` seconds.
    """

    def __init__(
        self,
        cancellation: Cancellation | None = None,
        announce: Callable[[str], None] = ignore,
        quiet_time: float = QUIET_SECONDS,
    ) -> None:
        self._cancellation = cancellation or Cancellation()
        self._announce = announce
        self._quiet_time = quiet_time

    def stop(self) -> None:
        """End the programs that run, and run none from now on: who waits for one gets Cancelled.

        Signal handlers may call it.
        """
        self._cancellation.cancel()

    def check(self) -> None:
        """Raise Cancelled when the work was stopped."""
        current(self._cancellation).check()

    def sleep(self, seconds: float) -> None:
        """Pause for `seconds`; raise Cancelled when the work is stopped before they are over."""
        current(self._cancellation).sleep(seconds)

    def run(
        self,
        command: Sequence[str],
        environ: Mapping[str, str],
        seconds: float,
        *,
        given: bytes = b"",
        is_silent: bool = False,
        name: str = "",
    ) -> Ended | None:
        """Run `command` with `given` as its input; None when it has not ended within `seconds`.

        Its end is the end of its answer: a process that it has started, and that still holds its output, is
        neither waited for nor ended. After `seconds`, and when the work is stopped or interrupted, the whole
        group is ended. `is_silent` drops standard error, `name` is what an announcement calls it. Raises
        OSError when it cannot be started, CredentialError when it prints more than any answer is long.
        """
        self.check()
        process = _start(command, environ, has_input=bool(given), is_silent=is_silent)
        wait = Wait(
            seconds,
            current(self._cancellation),
            partial(self._tell, name or os.path.basename(command[0]), seconds),
            self._quiet_time,
        )
        with process:
            try:
                printed = _talk(process, given, wait)
            except TimeoutError:
                end_group(process)
                return None
            except BaseException:
                end_group(process)
                raise
        return Ended(process.returncode, printed)

    def _tell(self, name: str, seconds: float, spent: float) -> None:
        self._announce(f"{name}: no answer for {spent:.0f} s, waiting for up to {seconds:.0f} s")


def search_path(environ: Mapping[str, str]) -> str:
    """Return the absolute folders of PATH: a program in the current one could come with a pulled bundle."""
    return os.pathsep.join(filter(os.path.isabs, environ.get("PATH", "").split(os.pathsep)))


def find(name: str, environ: Mapping[str, str]) -> str | None:
    """Return the path of the program `name`, None where there is none."""
    from shutil import which  # noqa: PLC0415 - only a configured program needs it

    return which(name, path=search_path(environ))


def end_group(process: subprocess.Popen[bytes]) -> None:
    """Kill `process`, which leads a group, and all that it has started, and wait for it."""
    from signal import SIGKILL  # noqa: PLC0415 - only a program that hangs needs it

    # macOS says that it is not permitted where only a process is left that has ended already.
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, SIGKILL)
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


def _talk(process: subprocess.Popen[bytes], given: bytes, wait: Wait) -> bytes:
    """Return what `process` prints before it ends; raise TimeoutError when `wait` is over first."""
    from selectors import EVENT_READ, EVENT_WRITE, DefaultSelector  # noqa: PLC0415 - likewise

    printed = bytearray()
    with DefaultSelector() as selector:
        for pipe, event in ((process.stdin, EVENT_WRITE), (process.stdout, EVENT_READ)):
            if pipe is not None:
                os.set_blocking(pipe.fileno(), False)
                selector.register(pipe, event)
        while True:
            left = wait.slice(GLANCE)
            # Before the output is read: whatever it printed is in the pipe then.
            has_ended = process.poll() is not None
            ready = {key.fileobj for key, _ in selector.select(0 if has_ended else left)}
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
                    selector.unregister(process.stdout)
                    process.stdout.close()
            elif has_ended:
                return bytes(printed)


def _write(pipe: int, given: bytes) -> int:
    """Return how much of `given` need not be written any more."""
    try:
        return os.write(pipe, given)
    except BrokenPipeError:
        # A program need not read what it does not want to know.
        return len(given)

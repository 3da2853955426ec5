"""Programs that print credentials: where they are found, how they run and how they end."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from imgpkg.cancellation import QUIET_SECONDS, Cancellation, Wait, current, ignore
from imgpkg.dataclass import dataclass, field
from imgpkg.errors import CredentialError

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Mapping, Sequence

# When a process has ended but its children keep its output open, no event reports the end: it is polled.
GLANCE = 0.05
# Credentials are a few KiB; a program that prints more is broken, and must not fill the memory.
LARGEST = 1 << 20


class NotStarted(CredentialError):
    """The operating system could not start a program."""


class NoAnswer(CredentialError):
    """A program did not end in time."""


@dataclass(frozen=True, slots=True)
class Ended:
    """The exit status of a program, negative for a signal, and what it printed."""

    code: int
    printed: bytes = field(repr=False)

    def check(self, name: str) -> None:
        """Raise CredentialError unless the exit status is zero."""
        if self.code != 0:
            raise CredentialError(f"{name} ended with status {self.code}")


@dataclass(frozen=True, slots=True)
class Programs:
    """Run programs, each as the leader of a process group; safe from many threads.

    Cancelling `cancellation`, or the scope that a thread works in, ends the programs that are waited for.
    `announce` gets a sentence when one has run for `quiet_time` seconds.
    """

    cancellation: Cancellation = field(default_factory=Cancellation)
    announce: Callable[[str], None] = ignore
    quiet_time: float = QUIET_SECONDS

    @property
    def scope(self) -> Cancellation:
        """The scope that the calling thread works in."""
        return current(self.cancellation)

    def sleep(self, seconds: float) -> None:
        """Pause for `seconds`; raise Cancelled when the scope is cancelled before they are over."""
        self.scope.sleep(seconds)

    def run(
        self,
        command: Sequence[str],
        environ: Mapping[str, str],
        seconds: float,
        *,
        given: bytes = b"",
        is_silent: bool = False,
        name: str = "",
    ) -> Ended:
        """Run `command` with `given` as its input and return how it ended.

        Its output is complete when it ends, even if a process that it has started keeps the output open; such
        a process is left alone. The whole group is ended after `seconds`, and when the scope is cancelled.
        `is_silent` drops standard error; announcements use `name`.

        Raises NotStarted, NoAnswer after `seconds`, and CredentialError for more than `LARGEST` bytes.
        """
        self.scope.check()
        try:
            process = _start(command, environ, has_input=bool(given), is_silent=is_silent)
        except OSError as error:
            raise NotStarted(f"{command[0]}: {os.strerror(error.errno or 0).lower()}") from error
        name = name or os.path.basename(command[0])
        announce = partial(self._announce, name, seconds)
        waited_for = partial("{}: no answer".format, name)
        wait = Wait(seconds, self.scope, announce, self.quiet_time, waited_for=waited_for)
        with process:
            try:
                printed = _talk(process, given, wait)
                return Ended(process.returncode, printed)
            except TimeoutError:
                end_group(process)
            except BaseException:
                end_group(process)
                raise
        # Outside of the handler: the frames of the cause hold what was printed, perhaps half a secret.
        raise NoAnswer(f"no answer within {seconds:.3g} s")

    def _announce(self, name: str, seconds: float, spent: float) -> None:
        self.announce(f"{name}: no answer for {spent:.0f} s, waiting for up to {seconds:.0f} s")


def search_path(environ: Mapping[str, str]) -> str:
    """Return the absolute folders of PATH: the current folder may hold files of a bundle that was pulled."""
    return os.pathsep.join(filter(os.path.isabs, environ.get("PATH", "").split(os.pathsep)))


def find(name: str, environ: Mapping[str, str]) -> str | None:
    """Return the path of the program `name`, or None."""
    from shutil import which

    return which(name, path=search_path(environ))


def end_group(process: subprocess.Popen[bytes]) -> None:
    """Kill `process`, the leader of its group, with everything that it has started, and wait for it."""
    from signal import SIGKILL

    # macOS returns EPERM when the only process left in the group is a zombie.
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, SIGKILL)
    process.wait()


def _start(
    command: Sequence[str], environ: Mapping[str, str], *, has_input: bool, is_silent: bool
) -> subprocess.Popen[bytes]:
    import subprocess

    try:
        # A session of its own makes a process group, which can be ended as a whole.
        return subprocess.Popen(  # noqa: S603 - the user's own configuration names the program
            command,
            bufsize=0,
            stdin=subprocess.PIPE if has_input else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            # Messages of helpers, such as prompts for a PIN, go to the terminal.
            stderr=subprocess.DEVNULL if is_silent else None,
            env=dict(environ),
            start_new_session=True,
        )
    except ValueError as error:
        # A variable has a NUL in its value, or an equals sign in its name.
        raise OSError(errno.EINVAL, "the environment cannot be given to a program") from error


def _talk(process: subprocess.Popen[bytes], given: bytes, wait: Wait) -> bytes:
    """Write `given`, return what `process` prints before it ends; raise TimeoutError when `wait` is over."""
    from selectors import EVENT_READ, EVENT_WRITE, DefaultSelector

    printed = bytearray()
    with DefaultSelector() as selector:
        for pipe, event in ((process.stdin, EVENT_WRITE), (process.stdout, EVENT_READ)):
            if pipe is not None:
                # A program that prints before it has read its input would otherwise block both sides.
                os.set_blocking(pipe.fileno(), False)
                selector.register(pipe, event)
        while True:
            left = wait.slice(GLANCE)
            # Polled before the output is read: when it has ended, all of its output is in the pipe.
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
    """Write what the pipe takes; return how many bytes of `given` are done with."""
    try:
        return os.write(pipe, given)
    except BrokenPipeError:
        # The program has closed its input without reading all of it, which is no error.
        return len(given)

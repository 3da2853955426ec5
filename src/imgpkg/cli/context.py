"""The context of a running command: its flags, its output, its reporter and its sessions."""

from __future__ import annotations

import os
import sys
from contextlib import nullcontext
from typing import TYPE_CHECKING

from imgpkg.cli.output import is_document
from imgpkg.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from contextlib import AbstractContextManager
    from typing import Protocol

    from typing_extensions import Self

    from imgpkg.cli.arguments import Parsed
    from imgpkg.cli.digest_file import DigestFile
    from imgpkg.cli.output import Output
    from imgpkg.events import Event
    from imgpkg.oci.reference import Reference
    from imgpkg.session import Session
    from imgpkg.settings import Login, Settings, Side

    class Reporting(Protocol):
        """An event hook that shows what it is told."""

        def __call__(self, event: Event, /) -> None:
            """Report one event."""
            ...

        def trace(self, line: str) -> None:
            """Write a line of `--debug`."""
            ...

        def block(self, text: str) -> None:
            """Write a part of the result while the operation goes on."""
            ...

        def close(self) -> None:
            """End what is shown; what follows is shown again."""
            ...

        def end(self, *, is_complete: bool) -> None:
            """End what is shown for good; `is_complete` is false after an error."""
            ...

        def left(self) -> str:
            """Return what is left of a transfer, empty if that is not known."""
            ...


_UNITS = {
    "": 1,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "KIB": 1 << 10,
    "MIB": 1 << 20,
    "GIB": 1 << 30,
}


class Context:
    """One run of one command. Leaving it as a context manager removes the progress display."""

    def __init__(self, flags: Parsed, output: Output) -> None:
        self.flags = flags
        self._output = output
        self.is_quiet = flags.is_on("quiet")
        self.is_document = is_document(flags)
        self._reporter: Reporting | None = None
        self._sessions: list[Session] = []
        self._password_read: str | None = None
        self._digest_file: DigestFile | None = None

    @property
    def output(self) -> Output:
        """The output for results; the display of progress ends, so that they are not written into it."""
        if self._reporter is not None:
            self._reporter.close()
        return self._output

    @property
    def reporter(self) -> Reporting:
        """The event hook of the operations, made at first use."""
        if self._reporter is None:
            self._reporter = self._make_reporter()
        return self._reporter

    def _make_reporter(self) -> Reporting:
        form = self.flags.text("progress")
        if form not in ("auto", "json"):
            raise UsageError(f"--progress can only have the following values [auto, json], and not {form!r}")
        if self.is_quiet or form == "json":
            from imgpkg.cli.reporting import LineReporter, QuietReporter

            return (QuietReporter if self.is_quiet else LineReporter)(self._output, sys.stderr)
        from imgpkg.cli.progress import make_reporter

        return make_reporter(self.flags, self._output)

    @property
    def is_for_programs(self) -> bool:
        """True if the output is a JSON document of either form."""
        return self.is_document or self.flags.is_on("json")

    def result(
        self,
        *values: object,
        references: Iterable[Reference] = (),
        counts_blobs: bool = False,
        prints: bool = True,
    ) -> None:
        """Keep what the operation returned, and write the digests of `references` to `--digest-file`.

        `prints` is false if standard output has something else.
        """
        named = tuple(references)
        if self._digest_file is not None:
            self._digest_file.write(named)
        if prints:
            self.output.result(*values, references=named, counts_blobs=counts_blobs)

    def __enter__(self) -> Self:
        # Before anything is done: what cannot be written is no reason to do it twice.
        if "digest-file" in self.flags.given:
            from imgpkg.cli.digest_file import DigestFile

            self._digest_file = DigestFile.checked(self.flags.text("digest-file"))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: object) -> None:
        if self._reporter is not None:
            self._reporter.end(is_complete=kind is None)

    def session(self, side: Side | None = None, *, settings: Settings | None = None) -> Session:
        """Open a session with the registry flags and the process environment; the caller closes it.

        For one side of a copy, the flags of this side take precedence. `settings` replace all flags.
        """
        from imgpkg.session import Session

        # The same stream as progress and warnings, under the same lock, so that lines are not mixed.
        trace = self.reporter.trace if self.flags.is_on("debug") else None
        session = Session(settings or self.settings(side), on_event=self.reporter, trace=trace)
        # `stop` runs in a signal handler, which has no other way to the subprocesses of a session.
        self._sessions.append(session)
        return session

    def limits(self) -> AbstractContextManager[object]:
        """Return a context with the time limit of the command, of which it raises TimedOut."""
        seconds = self.flags.seconds("timeout") if "timeout" in self.flags.given else 0.0
        if seconds <= 0:
            return nullcontext()
        from imgpkg.deadline import limits

        return limits(timeout=seconds)

    def stop(self) -> None:
        """End the subprocesses of all sessions; safe in a signal handler."""
        for session in self._sessions:
            session.stop()

    def settings(self, side: Side | None = None) -> Settings:
        """Return the settings that the registry flags and the environment give for `side`, or for all."""
        from imgpkg.settings import Login, Settings

        flags = self.flags

        def name(plain: str) -> str:
            # A flag of the side, if given, replaces the plain flag; it adds nothing to it.
            of_side = f"{side.value}-{plain}" if side is not None else plain
            return of_side if of_side in flags.given else plain

        certificate, key = self._client_certificate(side)
        return Settings.from_environment(
            login=self._login(),
            ca_cert_paths=flags.texts(name("registry-ca-cert-path")),
            verify_certs=flags.is_on(name("registry-verify-certs")),
            insecure=flags.is_on(name("registry-insecure")),
            response_header_timeout=flags.seconds("registry-response-header-timeout"),
            idle_timeout=flags.seconds("registry-idle-timeout"),
            retry_count=flags.number("registry-retry-count"),
            concurrency=flags.number("concurrency") if "concurrency" in flags.values else 5,
            upload_chunk_size=size_of(self._given("upload-chunk-size"), "upload-chunk-size"),
            side=side,
            side_login=Login() if side is None else self._login(f"{side.value}-"),
            client_certificate=certificate,
            client_key=key,
            registries_conf=self._given("registries-conf"),
        )

    def _client_certificate(self, side: Side | None) -> tuple[str | None, str | None]:
        """Return the files of the flags for `side`, else of the plain flags; None is for the variables."""
        names = ("registry-client-cert", "registry-client-key")
        if side is not None:
            own = [self._given(f"{side.value}-{name}") for name in names]
            # A certificate and its key belong together: a plain key must not complete the certificate of a
            # side.
            if any(own) or os.environ.get(f"IMGPKG_{side.name}_CLIENT_CERT"):
                return own[0], own[1]
        certificate, key = map(self._given, names)
        return certificate, key

    def _login(self, prefix: str = "") -> Login:
        from imgpkg.settings import NO_LOGIN, Login

        # Commands that store or list logins take none from flags.
        if f"{prefix}registry-username" not in self.flags.values:
            return NO_LOGIN
        # None is a flag that is not given, whose variable counts. An empty or false flag clears the variable.
        anonymous = f"{prefix}registry-anon"
        return Login(
            username=self._given(f"{prefix}registry-username"),
            password=self._password(prefix),
            token=self._given(f"{prefix}registry-token"),
            anonymous=self.flags.is_on(anonymous) if anonymous in self.flags.given else None,
            password_file=self._given(f"{prefix}registry-password-file"),
            password_origin=self._password_origin(prefix),
            token_file=self._given(f"{prefix}registry-token-file"),
        )

    def _given(self, name: str) -> str | None:
        return self.flags.text(name) if name in self.flags.given else None

    def _password(self, prefix: str) -> str | None:
        name = f"{prefix}registry-password"
        if not self.flags.is_on(f"{name}-stdin"):
            return self._given(name)
        # Refused before standard input is read: at a terminal the command would wait for input first.
        for other in (name, f"{name}-file"):
            if other in self.flags.given:
                raise UsageError(f"Expected only one of --{other} and --{name}-stdin")
        self._check_user_of(name, prefix)
        # Kept: the sessions of both sides may ask for the same password.
        if self._password_read is None:
            self._password_read = read_password()
        if not self._password_read:
            raise UsageError(
                f"password missing: --{name}-stdin is given, and standard input is empty",
                hints=("Pipe the password into the command; a variable that should have it may be empty.",),
            )
        return self._password_read

    def _password_origin(self, prefix: str) -> str:
        name = f"{prefix}registry-password-stdin"
        return f"--{name}" if self.flags.is_on(name) else ""

    def _check_user_of(self, name: str, prefix: str) -> None:
        flag, variable = f"{prefix}registry-username", f"IMGPKG_{prefix.upper().replace('-', '_')}USERNAME"
        given = self._given(flag)
        if not (os.environ.get(variable, "") if given is None else given):
            raise UsageError(
                f"--{name}-stdin is given without a user name: give --{flag} or ${variable} as well"
            )


def read_password() -> str:
    """Read a password from standard input, without the line end after it."""
    # Read as bytes: a password need not be valid in the locale of the process.
    data = sys.stdin.buffer.read()
    text = os.fsdecode(data)
    # `echo` and editors add one line end; more, or blanks, may be part of the password.
    return text.removesuffix("\n").removesuffix("\r")


def size_of(text: str | None, flag: str) -> int:
    """Return a size such as `50MB` or `512KiB`; 0 for none. Raises UsageError, which names the flag."""
    unit = (text or "0").lstrip("0123456789")
    number = (text or "0").removesuffix(unit)
    if not number or unit.upper() not in _UNITS:
        raise UsageError(f"--{flag}: {text!r} is no size; write a number of bytes, 50MB or 512KiB")
    return int(number) * _UNITS[unit.upper()]

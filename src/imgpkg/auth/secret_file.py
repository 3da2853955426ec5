"""Files with secrets: read within limits, and read again once another file is in their place."""

from __future__ import annotations

import errno
import os
import select
import stat
import time
from threading import Lock
from typing import TYPE_CHECKING, Generic, TypeVar

from imgpkg.auth.keychain import claims_of
from imgpkg.dataclass import dataclass, field, replace
from imgpkg.errors import CredentialError, printable
from imgpkg.expression import expression
from imgpkg.locks import Once

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from io import FileIO

    from imgpkg.auth.keychain import Credential

T = TypeVar("T")

# The longest secret in use, the key of a service account of Google, has less than 3 KiB.
MAX_SIZE = 64 << 10
# Seconds until the next look at a file, so that a new secret is used before the old one is refused.
LOOK_AGAIN = 60.0
# Seconds to wait for a program that writes into a pipe.
PIPE_SECONDS = 30.0

_BYTE_ORDER_MARK = "\N{ZERO WIDTH NO-BREAK SPACE}"
_CONTROL = expression(r"[\x00-\x1f\x7f]")
# RFC 8259 section 2: tabs and line ends may stand between the tokens of JSON.
_CONTROL_IN_JSON = expression(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_OR_INSTEAD = "or give the secret itself with {instead}"
_ABSENT = ("which is not there", f"Write or mount the file, {_OR_INSTEAD}.")
_CLOSED = (
    "which this user may not read",
    "Let user {user} read it, with chmod, or with fsGroup or defaultMode in Kubernetes.",
)
_REASONS = {
    errno.ENOENT: _ABSENT,
    errno.ENOTDIR: _ABSENT,
    errno.EACCES: _CLOSED,
    errno.EPERM: _CLOSED,
    errno.EISDIR: (
        "which is a folder",
        "Name the file in it that holds the secret, such as {path}/password.",
    ),
    errno.ENODEV: ("which is a device", f"Name a file or a pipe, {_OR_INSTEAD}."),
    errno.ETIMEDOUT: (
        f"a pipe into which nothing was written in {PIPE_SECONDS:g} s",
        "Start the program that writes the secret into it.",
    ),
}
# With these, the value of the variable may be anything, also the secret itself.
_NO_FILE = (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.EINVAL)


class Reread(Generic[T]):
    """The value that `make` reads from the file at `path`, made again when the file has changed.

    If the file is gone, or `make` raises CredentialError, the value stays as it was, and `problem` is the
    reason. Other than regular files are read once. Safe from many threads.
    """

    def __init__(self, path: str, make: Callable[[], T]) -> None:
        self._path = path
        self._make = make
        self._lock = Lock()
        self._seen: tuple[int, ...] | None = None
        self._once: Once[T] | None = None
        self.problem = ""

    def __call__(self) -> T:
        """Return the value; raise the CredentialError of `make` if there never was one."""
        with self._lock:
            # Looked at before it is read: a file that comes in between is read twice, and never missed.
            seen = _identity(self._path)
            once = self._once
            if once is None or (seen != self._seen and once.failed):
                once = self._once = Once(self._make)
                self._seen = seen
            elif seen is not None and seen != self._seen:
                once = self._newer(once, seen)
            return once()

    def _newer(self, old: Once[T], seen: tuple[int, ...]) -> Once[T]:
        fresh = Once(self._make)
        try:
            fresh()
        except CredentialError as error:
            # A program that writes the file in place empties it first. The next lookup tries again.
            self.problem = str(error)
            return old
        self._once, self._seen, self.problem = fresh, seen, ""
        return fresh


def _identity(path: str) -> tuple[int, ...] | None:
    """Return numbers that change with the file and its content; None if there is none."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return None
    # A pipe gives its content only once, so it never counts as changed.
    if not stat.S_ISREG(status.st_mode):
        return ()
    # Kubernetes replaces the folder behind a link, which changes the inode and not the path.
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


@dataclass(frozen=True, slots=True)
class Secret:
    """The content of a file, and the Unix time of the next look; `problem` if it cannot be read again."""

    value: str = field(repr=False)
    look_again_at: float
    problem: str = ""


class SecretFile:
    """The secret in the file `path`, which the variable or flag `name` names.

    `instead` is the variable or flag for the secret itself, for messages. One line end after the secret and a
    byte order mark before it are left out. A secret is one line; only with `is_password` it may be JSON of
    many lines. Reads return an equal Secret until its `look_again_at`, unless the file changes.
    """

    def __init__(
        self,
        path: str,
        name: str,
        instead: str,
        *,
        is_password: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.path = path
        self.name = name
        self._instead = instead
        self._is_password = is_password
        self._clock = clock
        self._lock = Lock()
        self._content = Reread(path, self._read)
        self._secret: Secret | None = None

    def read(self) -> Secret:
        """Return the secret; raise CredentialError, with what to do, if the file holds none."""
        value, problem, now = self._content(), self._content.problem, self._clock()
        with self._lock:
            old = self._secret
            if old is None or (old.value, old.problem) != (value, problem) or old.look_again_at <= now:
                self._secret = old = Secret(value, _next_look(value, now), problem)
            return old

    def _read(self) -> str:
        try:
            data = _bytes(self.path)
        except (OSError, ValueError) as error:
            # A NUL in a path is a ValueError.
            number = (error.errno if isinstance(error, OSError) else None) or errno.EINVAL
        else:
            return self._text(data)
        raise self._unreadable(number)

    def _unreadable(self, number: int) -> CredentialError:
        if number in _NO_FILE and not _looks_like_path(self.path):
            text = "names no file that is there; its value is not shown, because it may be the secret itself"
            hint = f"Give the path of a file, {_OR_INSTEAD}.".format(instead=self._instead)
            return CredentialError(f"{self.name} {text}", hints=(hint,))
        other = (f"which cannot be read: {os.strerror(number).lower()}", f"Name a file, {_OR_INSTEAD}.")
        return self._error(*_REASONS.get(number, other))

    def _text(self, data: bytes) -> str:
        if len(data) > MAX_SIZE:
            reason = f"which holds more than {MAX_SIZE >> 10} KiB"
            raise self._error(reason, "Name a file that holds nothing but the secret.")
        text = data.decode("utf-8", "surrogateescape").removeprefix(_BYTE_ORDER_MARK)
        # One line end, as editors and `echo` write it; a second one would be part of the secret.
        text = text.removesuffix("\r\n") if text.endswith("\r\n") else text.removesuffix("\n")
        if not text.strip():
            raise self._error("which is empty", f"Write the secret into it, {_OR_INSTEAD}.")
        # A header with such characters would fail later, with a message about HTTP.
        self._refuse_control_characters(text)
        return text

    def _refuse_control_characters(self, text: str) -> None:
        # RFC 7617 section 2 allows none in a login, but registries of Google take a JSON key as password.
        is_json = self._is_password and text.startswith("{") and text.rstrip().endswith("}")
        found = (_CONTROL_IN_JSON if is_json else _CONTROL).search(text)
        if found is None:
            return
        if found[0] in "\r\n":
            raise self._error("which has more than one line", "Write only the secret into it, in one line.")
        reason = f"which holds the control character U+{ord(found[0]):04X}"
        raise self._error(reason, "Save it as plain text in UTF-8; in UTF-16 there are NUL characters.")

    def _error(self, reason: str, hint: str) -> CredentialError:
        # The path may hold braces: only the hints, which are ours, are formatted.
        hint = hint.format(instead=self._instead, path=self.path, user=os.geteuid())
        return CredentialError(
            printable(f"{self.name} names {self.path}, {reason}"), hints=(printable(hint),)
        )


def _looks_like_path(value: str) -> bool:
    """Return False for a value without an existing folder: it may be the secret itself."""
    folder = os.path.dirname(value)
    return value.startswith(("/", "./", "../", "~/")) or bool(folder and os.path.isdir(folder))


def _bytes(path: str) -> bytes:
    """Read at most one byte more than the limit; raise OSError, with ENODEV for a device."""
    # Non-blocking: otherwise opening a pipe waits for a writer.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISDIR(mode) or stat.S_ISCHR(mode) or stat.S_ISBLK(mode):
        os.close(descriptor)
        number = errno.EISDIR if stat.S_ISDIR(mode) else errno.ENODEV
        raise OSError(number, os.strerror(number))
    with open(descriptor, "rb", buffering=0) as file:
        return file.read(MAX_SIZE + 1) if stat.S_ISREG(mode) else _all_of_pipe(file)


def _all_of_pipe(file: FileIO) -> bytes:
    """Read until the last writer has closed the pipe; raise TimeoutError if there is none in time."""
    poll, deadline, data = select.poll(), time.monotonic() + PIPE_SECONDS, bytearray()
    poll.register(file, select.POLLIN)
    was_written = False
    while len(data) <= MAX_SIZE:
        block = file.read(MAX_SIZE + 1 - len(data))
        data += block or b""
        # Nothing, and not an empty block, is read while a writer is there and has not written.
        if block == b"" and was_written:
            break
        if not block:
            left = 1000 * (deadline - time.monotonic())
            if not poll.poll(max(left, 0)):
                raise TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))
        was_written = True
    return bytes(data)


def _next_look(secret: str, now: float) -> float:
    """Return when to look at the file again: before a JSON web token in it ends."""
    ends_at = claims_of(secret).ends_at
    return now + LOOK_AGAIN if ends_at is None or ends_at <= now else min(now + LOOK_AGAIN, ends_at)


def completed(credential: Credential, files: Mapping[str, SecretFile]) -> tuple[Credential, tuple[str, ...]]:
    """Return the credential with the secrets of files, by field, and sentences about them for a trail.

    Its `expires_at` is the next time at which to look at the files.
    """
    secrets = {name: file.read() for name, file in files.items()}
    notes = tuple(
        f"{files[name].name} cannot be read again, its last content is used: {secret.problem}"
        for name, secret in secrets.items()
        if secret.problem
    )
    expires_at = min((secret.look_again_at for secret in secrets.values()), default=None)
    values = {name: secret.value for name, secret in secrets.items()}
    return replace(credential, **values, expires_at=expires_at), notes

"""Logins in the configuration files of docker and podman: which file, which key, and how it is replaced."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from base64 import b64encode
from contextlib import contextmanager, suppress
from enum import Enum
from tempfile import mkstemp
from typing import TYPE_CHECKING

from imgpkg.auth.authfile import MAX_SIZE, AuthFile, Key
from imgpkg.auth.docker import DOCKER_HUB_SERVER
from imgpkg.auth.helper import IDENTITY_TOKEN_USER
from imgpkg.auth.jsontext import drop, put
from imgpkg.cancellation import sleep
from imgpkg.dataclass import dataclass
from imgpkg.errors import CredentialError, LocalIOError, UsageError, doing, local_io

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from imgpkg.auth.keychain import Credential
    from imgpkg.auth.pattern import Address

AUTHS = "auths"
_DOCKER_HUB_OF_PODMAN = "docker.io"
# Network file systems that cannot lock a folder; their users have one writer, as with docker itself.
_NO_LOCKS = frozenset({errno.EBADF, errno.EINVAL, errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS})
_OTHERS = 0o077
# Seconds between two looks at a lock that another process holds.
_PAUSE = 0.05


class Form(Enum):
    """The program whose file it is: it decides on the key of Docker Hub, and on the entries of helpers."""

    DOCKER = "docker"
    PODMAN = "podman"


@dataclass(frozen=True, slots=True)
class ConfigFile:
    """A file in which logins are stored; each method reads it again."""

    path: str
    form: Form

    @classmethod
    def choose(cls, environ: Mapping[str, str], authfile: str = "") -> ConfigFile:
        """Return the file of `authfile`, else that of `DOCKER_CONFIG`, `REGISTRY_AUTH_FILE` or HOME.

        The file is docker's unless `authfile` or `REGISTRY_AUTH_FILE` names it. Raises UsageError without
        any of them.
        """
        home = environ.get("HOME") or environ.get("USERPROFILE", "")
        named = environ.get("REGISTRY_AUTH_FILE", "")
        folder = environ.get("DOCKER_CONFIG", "")
        if not folder and home and not named:
            folder = os.path.join(home, ".docker")
        docker = os.path.join(folder, "config.json") if folder else ""
        podman = authfile or ("" if docker else named)
        # A file that is named for podman and is docker's own keeps the keys of docker.
        if podman and not (docker and os.path.realpath(podman) == os.path.realpath(docker)):
            return cls(podman, Form.PODMAN)
        if not docker:
            raise UsageError("no place for a login: neither HOME nor DOCKER_CONFIG is set; give --authfile")
        return cls(docker, Form.DOCKER)

    def key_of(self, place: Address) -> str:
        """Return the key under which the login of `place` is stored."""
        if not place.is_docker_hub:
            host = f"{place.host}:{place.port}" if place.port else place.host
        # docker login stores Docker Hub under this URL, podman under docker.io.
        elif self.form is Form.DOCKER and not place.segments:
            return DOCKER_HUB_SERVER
        else:
            host = _DOCKER_HUB_OF_PODMAN
        return "/".join((host, *place.segments))

    def read(self) -> AuthFile:
        """Return the content, which is empty if there is no file; raise CredentialError or LocalIOError."""
        with self._reading():
            return AuthFile.parse(self._bytes(), lambda _: None)

    def keys_of(self, place: Address) -> tuple[Key, ...]:
        """Return the keys of the entries for `place`, in each spelling, and not for a part of it."""
        wanted = place.canonical()
        return tuple(entry.key for entry in self.read().entries if entry.key.address == wanted)

    def keys_below(self, place: Address) -> tuple[Key, ...]:
        """Return the keys of the entries for parts of `place`."""
        wanted = place.canonical()
        keys = (entry.key for entry in self.read().entries)
        return tuple(key for key in keys if key.address != wanted and wanted.holds(key.address))

    def helper_for(self, place: Address) -> tuple[str, str] | None:
        """Return the helper that keeps the login of `place`, and the server that it is asked for.

        `credsStore` and the `credHelpers` of a host are for whole registries, not for a part of one.
        """
        content, target = self.read(), place.canonical()
        server = DOCKER_HUB_SERVER if target.is_docker_hub else target.registry
        # Only a helper for exactly this place: one for the whole host would store the login for all of it.
        for key, name in content.helpers_for(target, (self.key_of(place),)):
            if key.address.segments == target.segments:
                return (name, key.written if key.has_path else server) if name else None
        return (content.store, server) if content.store and not target.segments else None

    def store(self, place: Address, entry: Mapping[str, str]) -> None:
        """Put `entry` in the place of the present one; raise CredentialError for a malformed file."""
        self._replace(lambda data: put(data, AUTHS, self.key_of(place), entry))

    def erase(self, place: Address) -> None:
        """Remove the entries of `place`, in each spelling; a file without one is not written."""
        wanted = place.canonical()
        # A logout without a file must not create its folder.
        if self.keys_of(place):
            self._replace(lambda data: drop(data, AUTHS, lambda key: Key.read(key).address == wanted))

    @property
    def is_readable_for_others(self) -> bool:
        """True when the mode of the file lets other users read it."""
        with suppress(OSError):
            return bool(os.stat(self.path).st_mode & _OTHERS)
        return False

    def _replace(self, change: Callable[[bytes], bytes]) -> None:
        # A link stays one, and the file that it names is replaced.
        target = os.path.realpath(self.path)
        with local_io("write", self.path):
            os.makedirs(os.path.dirname(target), mode=0o700, exist_ok=True)
            self._check_kind(target)
            with _locked(os.path.dirname(target)):
                with self._reading():
                    data = self._bytes()
                    changed = change(data)
                if changed != data:
                    _write(target, changed)

    def _check_kind(self, target: str) -> None:
        """Raise LocalIOError for a device or pipe: a rename would put a file with logins in its place."""
        with suppress(FileNotFoundError):
            mode = os.stat(target).st_mode
            # Reading says what is wrong with a folder.
            if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
                raise LocalIOError(
                    f"write {self.path}: not a regular file, which a file of logins has to be",
                    hints=("Name another file with --authfile, DOCKER_CONFIG or REGISTRY_AUTH_FILE.",),
                )

    @contextmanager
    def _reading(self) -> Iterator[None]:
        with doing(f"loading config file: {self.path}"), local_io("open", self.path):
            yield

    def _bytes(self) -> bytes:
        try:
            # One byte more than the limit, so that a larger file is refused.
            with open(self.path, "rb") as file:
                return file.read(MAX_SIZE + 1)
        except FileNotFoundError:
            return b""


def entry_of(credential: Credential) -> dict[str, str]:
    """Return the entry of a login or an identity token, as docker writes it."""
    if not credential.identity_token:
        return {"auth": _base64(f"{credential.username}:{credential.password}")}
    # podman and skopeo skip an identity token in an entry without a user name.
    user = credential.username or IDENTITY_TOKEN_USER
    return {"auth": _base64(f"{user}:"), "identitytoken": credential.identity_token}


def check(credential: Credential) -> None:
    """Raise UsageError for a login that no request can carry, CredentialError for one without a secret."""
    if ":" in credential.username:
        raise UsageError("the user name must not contain a colon (RFC 7617)")
    if credential.is_anonymous or credential.registry_token:
        raise CredentialError("a user name and a password, or an identity token, are needed to log in")


def _base64(text: str) -> str:
    return b64encode(text.encode(errors="surrogateescape")).decode("ascii")


@contextmanager
def _locked(folder: str) -> Iterator[None]:
    """Hold the lock of `folder`: a file beside the target would be left there for good."""
    number = os.open(folder, os.O_RDONLY)
    try:
        try:
            # An flock ends with its process, however it ends; a lock file would stay.
            while not _is_free(number):
                sleep(_PAUSE)
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
        yield
    finally:
        os.close(number)


def _is_free(number: int) -> bool:
    try:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _write(target: str, data: bytes) -> None:
    """Replace `target` at once, with the mode and owner of the present file, or 0600 for a new one."""
    # In the same folder, because a rename does not cross file systems.
    number, path = mkstemp(prefix=f".{os.path.basename(target)}.", dir=os.path.dirname(target))
    try:
        with open(number, "wb") as file:
            with suppress(FileNotFoundError):
                _take_over(number, os.stat(target))
            file.write(data)
            file.flush()
            # Before the rename: after a crash the file must not be empty, since all logins are in it.
            os.fsync(number)
        os.replace(path, target)
    except BaseException:
        with suppress(OSError):
            os.unlink(path)
        raise


def _take_over(number: int, old: os.stat_result) -> None:
    # Only root may give a file away; anybody else becomes the owner of what they write.
    with suppress(PermissionError):
        os.fchown(number, old.st_uid, old.st_gid)
    os.fchmod(number, old.st_mode & 0o7777)

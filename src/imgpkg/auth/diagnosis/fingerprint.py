"""Fingerprints: short texts that differ for different secrets, and reveal nothing without a key."""

from __future__ import annotations

import errno
import os
from base64 import b32encode
from contextlib import suppress
from hashlib import sha256
from hmac import digest
from typing import TYPE_CHECKING

from imgpkg.dataclass import dataclass, field
from imgpkg.values import hiding

if TYPE_CHECKING:
    from collections.abc import Mapping

    from imgpkg.auth.keychain import Credential

_SIZE = 32
# 40 bits in eight letters: enough to distinguish secrets, too few to confirm a guess with certainty.
_SHOWN = 5
_FOLDER, _NAME = "imgpkg", "fingerprint.key"
_NO_KEY = errno.EINVAL


@hiding("value")
@dataclass(frozen=True)
class FingerprintKey:
    """The key of this machine's fingerprints, or one for this process only, whose `note` has the reason.

    Without the key, a fingerprint in a log cannot be compared with those of known passwords.
    """

    value: bytes = field(default=b"", repr=False)
    note: str = ""

    @classmethod
    def of_machine(cls, environ: Mapping[str, str]) -> FingerprintKey:
        """Read the key from `$XDG_STATE_HOME/imgpkg` or `~/.local/state/imgpkg`; create it at first use."""
        folder = _folder(environ)
        if not folder:
            return cls(os.urandom(_SIZE), _note("the environment names no folder for its key"))
        path = os.path.join(folder, _NAME)
        try:
            return cls(_read(path) or _created(folder, path))
        except OSError as error:
            # An explanation must not fail because a folder is read-only.
            return cls(os.urandom(_SIZE), _note(f"{path}: {os.strerror(error.errno or 0).lower()}"))

    def fingerprint(self, credential: Credential) -> str:
        """Return eight letters and digits for the secret that is sent; empty when there is none.

        Equal secrets have equal fingerprints with the same key, whatever their source, kind and user.
        """
        if credential.is_anonymous:
            return ""
        secret = credential.registry_token or credential.identity_token or credential.password
        # As in `os.environ`, bytes that are not UTF-8 are surrogate escapes; helpers may print any surrogate.
        hashed = digest(self.value, secret.encode("utf-8", "surrogatepass"), sha256)
        # Base32 has no letters that differ only in case, so that it can be read out aloud.
        return b32encode(hashed[:_SHOWN]).decode("ascii").lower()


def _note(why: str) -> str:
    return f"fingerprints are for this run only: {why}"


def _folder(environ: Mapping[str, str]) -> str:
    # XDG Base Directory Specification: a relative path is to be ignored.
    state = environ.get("XDG_STATE_HOME", "")
    if not os.path.isabs(state):
        home = environ.get("HOME", "")
        state = os.path.join(home, ".local", "state") if os.path.isabs(home) else ""
    return os.path.join(state, _FOLDER) if state else ""


def _read(path: str) -> bytes:
    """Return the key, empty if there is no file; raise OSError for a file of another size."""
    try:
        # Non-blocking: a pipe in its place would wait for a writer.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except FileNotFoundError:
        return b""
    with open(descriptor, "rb") as file:
        key = file.read(_SIZE + 1)
    if len(key) != _SIZE:
        raise OSError(_NO_KEY, os.strerror(_NO_KEY))
    return key


def _created(folder: str, path: str) -> bytes:
    os.makedirs(folder, mode=0o700, exist_ok=True)
    key, partial = os.urandom(_SIZE), f"{path}.{os.urandom(8).hex()}"
    # A link instead of a rename: when two processes create the key, both use that of the first.
    try:
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(descriptor, "wb") as file:
            file.write(key)
        with suppress(FileExistsError):
            os.link(partial, path)
    finally:
        with suppress(FileNotFoundError):
            os.unlink(partial)
    return _read(path) or key

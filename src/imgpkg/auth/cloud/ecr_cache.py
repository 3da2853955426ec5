"""The token cache that docker-credential-ecr-login keeps too: path, version, layout."""

from __future__ import annotations

import json
import os
from base64 import b64encode
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import sha256
from stat import S_ISREG
from tempfile import mkstemp
from typing import TYPE_CHECKING

from imgpkg.auth.cloud.renewal import renew_at
from imgpkg.values import format_time, parse_time

if TYPE_CHECKING:
    from collections.abc import Mapping

    from imgpkg.auth.cloud.ecr_registry import EcrRegistry

VERSION = "1.0"

_LARGEST = 1 << 24
# Older helpers wrote the MD5 of the empty string behind the key id, in place of a digest of it.
_OLD_DIGEST = bytes.fromhex("d41d8cd98f00b204e9800998ecf8427e")


@dataclass(frozen=True, slots=True)
class CachedToken:
    """A token in the API's own form, base64 of `user:password`, and its times in Unix seconds."""

    token: str = field(repr=False)
    requested_at: float
    expires_at: float

    def is_fresh(self, now: float) -> bool:
        """Tell whether it is too early to ask for another one."""
        return now < renew_at(self.expires_at, self.requested_at)


class EcrCache:
    """The file `cache.json` in `AWS_ECR_CACHE_DIR` or `~/.ecr`; its keys tell AWS credentials apart.

    `AWS_ECR_DISABLE_CACHE`, not empty, makes it read and write nothing, and so does a missing home. A file
    that cannot be read counts as empty; one that cannot be written is given up in silence: the token is good.
    """

    def __init__(self, environ: Mapping[str, str], access_key_id: str) -> None:
        self._folder = _folder(environ)
        self._path = os.path.join(self._folder, "cache.json")
        self._access_key_id = access_key_id

    def get(self, registry: EcrRegistry) -> CachedToken | None:
        """Give the token for a registry, fresh or not."""
        entries = self._read()
        found = (_token(entries.get(key)) for key in self._keys(registry))
        return next((token for token in found if token is not None), None)

    def put(self, registry: EcrRegistry, token: CachedToken) -> None:
        """Keep the token for a registry, for this program and others."""
        if not self._folder:
            return
        entry = {
            "AuthorizationToken": token.token,
            "RequestedAt": format_time(token.requested_at),
            "ExpiresAt": format_time(token.expires_at),
            "ProxyEndpoint": f"https://{registry.host}",
            "Service": registry.service,
        }
        entries = {**self._read(), self._keys(registry)[0]: entry}
        with suppress(OSError):
            self._write(json.dumps({"Version": VERSION, "Registries": entries}))

    def _keys(self, registry: EcrRegistry) -> tuple[str, str]:
        key_id = self._access_key_id.encode()
        sums = (sha256(key_id).digest(), key_id + _OLD_DIGEST)
        checks = [b64encode(one).decode("ascii") for one in sums]
        new, old = (
            f"ecr-public-{check}" if registry.is_public else f"{registry.region}-{check}-{registry.account}"
            for check in checks
        )
        return new, old

    def _read(self) -> dict[str, object]:
        if not self._folder:
            return {}
        try:
            document = json.loads(_text(self._path))
        except (OSError, ValueError, RecursionError):
            return {}
        if not isinstance(document, dict) or document.get("Version") != VERSION:
            return {}
        entries = document.get("Registries")
        return entries if isinstance(entries, dict) else {}

    def _write(self, text: str) -> None:
        os.makedirs(self._folder, mode=0o700, exist_ok=True)
        # mkstemp makes a file that nobody else can open.
        descriptor, path = mkstemp(prefix=".cache", suffix=".json", dir=self._folder)
        try:
            with open(descriptor, "w", encoding="utf-8") as file:
                file.write(text)
            os.replace(path, self._path)
        except BaseException:
            os.unlink(path)
            raise


def _folder(environ: Mapping[str, str]) -> str:
    if environ.get("AWS_ECR_DISABLE_CACHE"):
        return ""
    home = environ.get("HOME") or environ.get("USERPROFILE", "")
    named = environ.get("AWS_ECR_CACHE_DIR", "")
    if named and not named.startswith("~/"):
        return named
    return os.path.join(home, named[2:] or ".ecr") if home else ""


def _text(path: str) -> str:
    """Read a regular file of a likely size; a pipe or a device would not end, whoever has put it there."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    with open(descriptor, encoding="utf-8") as file:
        return file.read(_LARGEST) if S_ISREG(os.fstat(descriptor).st_mode) else ""


def _token(entry: object) -> CachedToken | None:
    if not isinstance(entry, dict):
        return None
    try:
        token = entry["AuthorizationToken"]
        requested_at, expires_at = parse_time(entry["RequestedAt"]), parse_time(entry["ExpiresAt"])
    except (LookupError, TypeError, ValueError):
        return None
    return CachedToken(token, requested_at, expires_at) if isinstance(token, str) else None

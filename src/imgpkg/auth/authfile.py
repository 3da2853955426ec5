"""One docker or podman configuration file: its entries, its keys, its helpers."""

from __future__ import annotations

import binascii
import json
from base64 import b64decode
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from imgpkg.auth.address import Address, why_no_host
from imgpkg.auth.credential import Credential
from imgpkg.auth.jsonfile import decode, fold, items, text
from imgpkg.errors import CredentialError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_URL_SAFE = str.maketrans("-_", "+/", "\r\n")


@dataclass(frozen=True, slots=True)
class Key:
    """A key of `auths` or `credHelpers`: as written, and where it points to."""

    written: str
    address: Address

    @classmethod
    def read(cls, written: str) -> Key:
        """Normalise a key in any of the spellings that tools write."""
        return cls(written, Address.read(written).canonical())

    @property
    def quoted(self) -> str:
        """The key as written, for a person: on one line and without control characters."""
        return json.dumps(self.written, ensure_ascii=False)

    @property
    def has_path(self) -> bool:
        """True when the key is for a part of the registry."""
        return bool(self.address.segments)

    def mismatch(self, target: Address) -> str:
        """Say why the key is not for `target`: empty when it is, `another host` when it is far away."""
        if self.address.host != target.host:
            return "another host"
        if self.address.port != target.port:
            return f"its port is {self.address.port or 443}, not {target.port or 443}"
        if not self.address.covers(target):
            return f"{target.path!r} is not below {self.address.path!r}"
        return ""


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry of `auths`, not decoded yet: one that is broken must not harm the others."""

    key: Key
    raw: object = field(repr=False)

    def credential(self) -> Credential | None:
        """Decode the entry; None when it says nothing; CredentialError naming the key when it is broken."""
        what = f"entry {self.key.quoted}"
        fields = fold(self.raw, what)
        values = {name: text(fields.get(name), f"{what}: {name}") for name in _FIELDS}
        username, password = values["username"], values["password"]
        if values["auth"]:
            username, password = _decode_auth(values["auth"], what)
        if not (username or password or values["identitytoken"] or values["registrytoken"]):
            return None
        return Credential(username, password, values["identitytoken"], values["registrytoken"])


_FIELDS = ("username", "password", "auth", "identitytoken", "registrytoken")


@dataclass(frozen=True, slots=True)
class AuthFile:
    """What a file says: entries and helpers in the order of the file, `store` empty when there is none."""

    entries: tuple[Entry, ...] = ()
    helpers: tuple[tuple[Key, str], ...] = ()
    store: str = ""

    @classmethod
    def parse(cls, data: bytes, warn: Callable[[str], None]) -> AuthFile:
        """Read a file's bytes; raise CredentialError with line and column.

        `warn` hears about a trailing comma, and about keys that no host can match.
        """
        document = decode(data)
        if document.comma:
            warn(f"{document.comma}: a comma before a closing bracket is not JSON; it is ignored")
        top = fold(document.value, "the top level")
        file = cls(
            tuple(Entry(Key.read(key), raw) for key, raw in items(top.get("auths"), "auths")),
            tuple(
                (Key.read(key), text(name, f'credHelpers "{key}"'))
                for key, name in items(top.get("credhelpers"), "credHelpers")
            ),
            text(top.get("credsstore"), "credsStore"),
        )
        for key in (*(entry.key for entry in file.entries), *(key for key, _ in file.helpers)):
            if problem := why_no_host(key.address.host):
                warn(f"key {key.quoted}: no host can be called so: {problem}; it matches nothing")
        return file

    def entries_for(self, target: Address, spellings: Iterable[str]) -> list[Entry]:
        """List the entries for `target`, longest path first, then those spelled as in `spellings`."""
        found = [entry for entry in self.entries if not entry.key.mismatch(target)]
        return sorted(found, key=lambda entry: _order(entry.key, spellings))

    def helpers_for(self, target: Address, spellings: Iterable[str]) -> list[tuple[Key, str]]:
        """List the `credHelpers` for `target` in the same order; an empty name means: no helper here."""
        found = [(key, name) for key, name in self.helpers if not key.mismatch(target)]
        return sorted(found, key=lambda pair: _order(pair[0], spellings))


def _order(key: Key, spellings: Iterable[str]) -> tuple[int, bool]:
    return (-len(key.address.segments), key.written not in spellings)


def _decode_auth(auth: str, what: str) -> tuple[str, str]:
    compact = auth.translate(_URL_SAFE).rstrip("=")
    try:
        plain = b64decode(compact + "=" * (-len(compact) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        raise CredentialError(f"{what}: auth is not base64") from error
    # A password may be any bytes; those that are no UTF-8 survive as surrogate escapes.
    username, colon, password = plain.decode("utf-8", "surrogateescape").partition(":")
    if not (colon and username):
        raise CredentialError(f"{what}: auth does not hold user:password: Invalid auth configuration file")
    return username, password.rstrip("\0")

"""The format of docker and podman configuration files: entries, keys, helpers, and lenient JSON."""

from __future__ import annotations

import binascii
import json
import re
from base64 import b64decode
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from imgpkg.auth.keychain import Credential
from imgpkg.auth.pattern import ANOTHER_HOST, Address, Pattern, why_no_host
from imgpkg.dataclass import dataclass, field, replace
from imgpkg.errors import CredentialError
from imgpkg.expression import expression

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_URL_SAFE = str.maketrans("-_", "+/", "\r\n")
# The largest that a Kubernetes secret can hold, many times over; a helper's answer is far smaller.
MAX_SIZE = 16 << 20
_ESCAPE_OR_SYMBOL = expression(r"\\.|[^ \t\r\n]", re.DOTALL)
_NOT_SPACE = expression(r"[^ \t\r\n]")


@dataclass(frozen=True, slots=True)
class Key:
    """A key of `auths` or `credHelpers`: as written, and its address.

    Only a key of a pull secret may have wildcards in its host: it has a `pattern`.
    """

    written: str
    address: Address
    pattern: Pattern | None = None

    @classmethod
    def read(cls, written: str, *, is_pull_secret: bool = False) -> Key:
        """Parse a key in any of the spellings that tools write."""
        key = cls(written, Address.read(written).canonical())
        if is_pull_secret:
            # A key that is no pattern matches nothing, and must not affect the others.
            with suppress(CredentialError):
                pattern = Pattern.parse(written)
                return replace(key, pattern=pattern) if pattern.has_wildcard else key
        return key

    @property
    def quoted(self) -> str:
        """The key for messages: on one line and without control characters."""
        return json.dumps(self.written, ensure_ascii=False)

    @property
    def has_path(self) -> bool:
        """True when the key is for a part of the registry."""
        return bool(self.address.segments)

    def mismatch(self, target: Address) -> str:
        """Return why the key is not for `target`; empty when it is."""
        if self.pattern is not None:
            return self.pattern.mismatch(target)
        if self.address.host != target.host:
            return ANOTHER_HOST
        if self.address.port != target.port:
            return f"its port is {self.address.port or 443}, not {target.port or 443}"
        if not target.segments and self.address.segments:
            return f"it is for {self.address.path!r} and below, not for the whole registry"
        if not self.address.covers(target):
            return f"{target.path!r} is not below {self.address.path!r}"
        return ""


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry of `auths`, decoded when it is used: a malformed one must not affect the others."""

    key: Key
    raw: object = field(repr=False)

    def credential(self) -> Credential | None:
        """Return the credential; None for an empty entry; raise CredentialError with the key if malformed."""
        what = f"entry {self.key.quoted}"
        fields = fold(self.raw, what)
        values = {name: text(fields.get(name), f"{what}: {name}") for name in _FIELDS}
        username, password = values["username"], values["password"]
        # docker writes both in `auth`; the fields beside it are those of Kubernetes secrets.
        if values["auth"]:
            username, password = _decode_auth(values["auth"], what)
        if not (username or password or values["identitytoken"] or values["registrytoken"]):
            return None
        return Credential(username, password, values["identitytoken"], values["registrytoken"])


_FIELDS = ("username", "password", "auth", "identitytoken", "registrytoken")


@dataclass(frozen=True, slots=True)
class AuthFile:
    """The content of a file: entries and helpers in its order; `store` is empty when there is none."""

    entries: tuple[Entry, ...] = ()
    helpers: tuple[tuple[Key, str], ...] = ()
    store: str = ""

    @classmethod
    def parse(
        cls,
        data: bytes,
        warn: Callable[[str], None],
        *,
        unwrap: Callable[[object], object] | None = None,
    ) -> AuthFile:
        """Parse the bytes of a file; raise CredentialError with line and column.

        For a pull secret, `unwrap` returns the configuration in its value. `warn` gets a sentence about a
        trailing comma, and about each key that no host can match.
        """
        document = decode(data)
        if document.comma:
            warn(f"{document.comma}: a comma before a closing bracket is not JSON; it is ignored")
        read = partial(Key.read, is_pull_secret=unwrap is not None)
        top = fold(unwrap(document.value) if unwrap else document.value, "the top level")
        file = cls(
            tuple(Entry(read(key), raw) for key, raw in items(top.get("auths"), "auths")),
            tuple(
                (read(key), text(name, f'credHelpers "{key}"'))
                for key, name in items(top.get("credhelpers"), "credHelpers")
            ),
            text(top.get("credsstore"), "credsStore"),
        )
        for key in (*(entry.key for entry in file.entries), *(key for key, _ in file.helpers)):
            if problem := why_no_host(key.address.host):
                warn(f"key {key.quoted}: no host can be called so: {problem}; it matches nothing")
        return file

    def entries_for(self, target: Address, spellings: Iterable[str]) -> list[Entry]:
        """Return the entries for `target`, longest path first, then those spelled as in `spellings`."""
        found = [entry for entry in self.entries if not entry.key.mismatch(target)]
        return sorted(found, key=lambda entry: _order(entry.key, spellings))

    def helpers_for(self, target: Address, spellings: Iterable[str]) -> list[tuple[Key, str]]:
        """Return the `credHelpers` for `target` in the same order; an empty name turns helpers off."""
        found = [(key, name) for key, name in self.helpers if not key.mismatch(target)]
        return sorted(found, key=lambda pair: _order(pair[0], spellings))


def _order(key: Key, spellings: Iterable[str]) -> tuple[int, tuple[bool, int, int, int], bool]:
    wildcards = (False, 0, 0, 0) if key.pattern is None else key.pattern.rank
    # The most specific entry is the one that podman uses, and docker has only whole hosts.
    return (-len(key.address.segments), wildcards, key.written not in spellings)


def _decode_auth(auth: str, what: str) -> tuple[str, str]:
    # Some tools write base64url, line breaks, or no padding; docker itself reads standard base64.
    compact = auth.translate(_URL_SAFE).rstrip("=")
    try:
        plain = b64decode(compact + "=" * (-len(compact) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        hint = "The value of auth is USER:PASSWORD in base64: log in again, and it is written anew."
        raise CredentialError(f"{what}: auth is not base64", hints=(hint,)) from error
    # A password may be any bytes; those that are not UTF-8 become surrogate escapes.
    username, colon, password = plain.decode("utf-8", "surrogateescape").partition(":")
    if not (colon and username):
        raise CredentialError(f"{what}: auth does not hold user:password: Invalid auth configuration file")
    # docker strips NUL bytes, with which old versions padded the password.
    return username, password.rstrip("\0")


@dataclass(frozen=True, slots=True)
class LenientJson:
    """A decoded JSON value; `comma` is the place of the first trailing comma, empty without one."""

    value: object = field(repr=False)
    comma: str = ""


def decode(data: bytes) -> LenientJson:
    """Decode the first JSON value in `data`, with trailing commas; ignore the rest; None if it is empty.

    Raises CredentialError with line and column, never with a part of the text.
    """
    if len(data) > MAX_SIZE:
        raise CredentialError(f"more than {MAX_SIZE >> 20} MiB, which is too large")
    text = _text(data)
    if not _NOT_SPACE.search(text):
        return LenientJson(None)
    try:
        # Strict first: only a file that is not JSON is searched for trailing commas.
        return LenientJson(_first_value(text))
    except CredentialError:
        commas = _trailing_commas(text)
    value = _first_value(_with_blanks(text, commas))
    return LenientJson(value, _place(text, commas[0]))


def fold(value: object, what: str) -> dict[str, object]:
    """Return a JSON object with lower-case keys, empty for None; the last of equal keys wins."""
    return {key.lower(): item for key, item in items(value, what)}


def items(value: object, what: str) -> list[tuple[str, object]]:
    """Return the pairs of a JSON object as written, none for None; raise CredentialError for other values."""
    if value is None:
        return []
    if not isinstance(value, dict):
        raise CredentialError(f"{what} must be an object")
    return list(value.items())


def text(value: object, what: str) -> str:
    """Return a JSON string, empty for None; halves of surrogate pairs become U+FFFD, as in Go."""
    if value is None:
        return ""
    if not isinstance(value, str):
        raise CredentialError(f"{what} must be a string")
    return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _text(data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = error.object[: error.start].decode()
    raise CredentialError(f"{_place(before, len(before))}: this is not UTF-8")


def _first_value(text: str) -> object:
    start = _NOT_SPACE.search(text)
    try:
        # No number is used here; `int` refuses long ones, `float` takes any.
        value, _ = json.JSONDecoder(parse_int=float).raw_decode(text, start.start() if start else 0)
    except json.JSONDecodeError as error:
        problem = f"{_place(text, error.pos)}: {error.msg}"
    except RecursionError:
        problem = "nested too deeply"
    else:
        return value
    # Outside of the handlers: JSONDecodeError holds the whole text, with its secrets.
    raise CredentialError(problem)


def _trailing_commas(text: str) -> list[int]:
    """Return the offsets of commas, outside of strings, that a closing bracket follows."""
    found: list[int] = []
    is_string, comma = False, -1
    for match in _ESCAPE_OR_SYMBOL.finditer(text):
        symbol = match[0]
        if symbol == '"':
            is_string = not is_string
        elif symbol in "}]" and comma >= 0:
            found.append(comma)
        comma = match.start() if symbol == "," and not is_string else -1
    return found


def _with_blanks(text: str, places: list[int]) -> str:
    """Replace the characters at `places` by blanks, which keeps lines and columns."""
    starts = [0, *(place + 1 for place in places)]
    return " ".join(text[start:end] for start, end in zip(starts, [*places, len(text)], strict=True))


def _place(text: str, offset: int) -> str:
    line = text.count("\n", 0, offset) + 1
    return f"line {line} column {offset - text.rfind(chr(10), 0, offset)}"

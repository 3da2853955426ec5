"""What is wrong with a text that should be a reference, and how it should be written."""

from __future__ import annotations

from typing import TYPE_CHECKING

from imgpkg.dataclass import dataclass
from imgpkg.expression import expression

if TYPE_CHECKING:
    from collections.abc import Callable

_SCHEME = expression(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_HEXADECIMAL = expression(r"[0-9a-fA-F]+")
_EMPTY_PORT = expression(r":(?=/|$)")
_PORT = expression(r"[^/]*:([0-9]+)(?=/|$)")
_SPACE = expression(r"\s")
_NOT_IN_TAG = expression(r"[^0-9A-Za-z_.-]")
_SHA256_DIGITS, _LAST_PORT, _LONGEST_TAG = 64, 65535, 128
_LOGIN = (
    "Leave out the login, and give it with --registry-username and --registry-password-stdin, or with "
    "imgpkg auth login."
)


@dataclass(frozen=True, slots=True)
class Written:
    """A text that should be a reference, the same without scheme and login, and what reads references."""

    text: str
    bare: str
    parse: Callable[[str], object]

    def is_valid(self, text: str) -> bool:
        """Return whether `text` is a reference."""
        try:
            self.parse(text)
        except ValueError:
            return False
        return True


def advice(written: Written, *, is_repository: bool = False) -> tuple[str, ...]:
    """Return how to correct a text, in whole sentences; they have no login that is in it.

    `is_repository` is True where no tag belongs to it.
    """
    bare = written.bare
    if is_repository and bare == written.text and written.is_valid(bare):
        base = bare.partition("@")[0] if "@" in bare else bare.rpartition(":")[0]
        return (f"A repository is expected here, without a tag or digest: {base}.",)
    scheme = _SCHEME.match(written.text)
    found: tuple[str, ...]
    if scheme is not None and written.is_valid(bare):
        found = (f"Leave out {scheme[1]}://: {bare}.",)
    else:
        found = _about_digest(bare) or _about_host(bare) or _about_names(written)
    has_login = bare != (written.text[scheme.end() :] if scheme else written.text)
    return (*found, *((_LOGIN,) if has_login else ()))


def _about_digest(text: str) -> tuple[str, ...]:
    base, at, digest = text.partition("@")
    if not at:
        return ()
    name, colon, digits = digest.rpartition(":")
    if not colon and _HEXADECIMAL.fullmatch(digits):
        return (f"A digest begins with its algorithm: {base}@sha256:{digits}.",)
    if name == "sha256" and len(digits) != _SHA256_DIGITS:
        return (f"A SHA-256 digest has {_SHA256_DIGITS} hexadecimal digits, and this one has {len(digits)}.",)
    if name in ("sha512", "sha384"):
        return (f"Only SHA-256 digests are supported: imgpkg tag resolve -i {base}:TAG prints one.",)
    return ()


def _about_host(text: str) -> tuple[str, ...]:
    host, _, rest = text.partition("/")
    if _SPACE.search(text):
        return (f"Take out the space: {_SPACE.sub('', text)}.",)
    if host.endswith(":"):
        without = f"{host.rstrip(':')}/{rest}"
        return (f"A port is missing behind the colon: {host}443/{rest}, or {without} for that of https.",)
    port = _PORT.match(text)
    if port is not None and (len(port[1]) > len("65535") or int(port[1]) > _LAST_PORT):
        return (f"There is no port {port[1]}: the highest is {_LAST_PORT}.",)
    return ()


def _about_names(written: Written) -> tuple[str, ...]:
    # A tag may stand before a digest.
    text, at, digest = written.bare.partition("@")
    # Without a host it is a name of Docker Hub.
    host, slash, path = text.partition("/") if "/" in text else ("", "", text)
    name, colon, tag = path.partition(":")
    lower = f"{host}{slash}{name.lower()}{colon}{tag}{at}{digest}"
    if name != name.lower() and written.is_valid(lower):
        return (f"The names of repositories have no capital letters: {lower}.",)
    if ":" in tag:
        one = f"{host}{slash}{name}:{tag.rpartition(':')[2]}{at}{digest}"
        return (f"There are two tags, and a reference has one: {one}.",)
    if len(tag) > _LONGEST_TAG:
        return (f"A tag has at most {_LONGEST_TAG} characters, and this one has {len(tag)}.",)
    written_tag = _NOT_IN_TAG.sub("_", tag)
    corrected = f"{host}{slash}{name}:{written_tag}{at}{digest}"
    if written_tag != tag and written.is_valid(corrected):
        return (f"A tag has letters, digits, _ . and - only: {corrected}.",)
    return ()

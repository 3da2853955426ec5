"""`docker-credential-imgpkg`: the environment sets and keychains for every tool that asks credential helpers.

The protocol is that of docker-credential-helpers: one word as argument, the server on standard input, JSON or
a message on standard output.
"""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING

from imgpkg.errors import ImgpkgError, printable
from imgpkg.events import Event, Warned
from imgpkg.version import VERSION

if TYPE_CHECKING:
    from collections.abc import Sequence

    from imgpkg.auth.credential import Credential

# The protocol's own words: callers compare them letter by letter.
_NOT_FOUND = "credentials not found in native keychain"
_NO_SERVER = "no credentials server URL"
_TOKEN_USER = "<token>"  # noqa: S105 - what stands in the place of a user name
_LONGEST_SERVER = 1 << 16
_INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Answer one request; return 0, 1 with the message on standard output, or 130 when interrupted."""
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        return _answer(words)
    except KeyboardInterrupt:
        return _INTERRUPTED


def _answer(words: list[str]) -> int:
    if words == ["get"]:
        return _get(os.fsdecode(sys.stdin.buffer.read(_LONGEST_SERVER)).strip())
    if words == ["list"]:
        return _say("{}")
    if words in (["version"], ["--version"]):
        return _say(f"docker-credential-imgpkg (imgpkg {VERSION})")
    if words in (["store"], ["erase"]):
        return _say(f"imgpkg keeps no credentials: nothing to {words[0]}; set IMGPKG_REGISTRY_* variables", 1)
    return _say("usage: docker-credential-imgpkg <get|list|version>", 1)


def _get(server: str) -> int:
    from imgpkg.auth.address import Address  # noqa: PLC0415 - the other requests need none of it

    if not Address.read(server).host:
        return _say(_NO_SERVER, 1)
    from imgpkg.session import Session, offer  # noqa: PLC0415 - likewise
    from imgpkg.settings import Login, Settings  # noqa: PLC0415 - likewise

    # Logins given by hand are never handed out, so a mistake in their variables must not matter.
    none_by_hand = Login("", "", "", anonymous=False)
    try:
        with Session(Settings.from_environment(login=none_by_hand), on_event=_warn) as session:
            credential = offer(server, session=session).credential
    except ImgpkgError as error:
        return _say(str(error), 1)
    login = _login(credential)
    if login is None:
        return _say(_NOT_FOUND, 1)
    username, secret = login
    if not _is_text(username + secret):
        return _say(f"the credential for {printable(server)} is not UTF-8, and JSON has no words for it", 1)
    return _say(json.dumps({"ServerURL": server, "Username": username, "Secret": secret}))


def _login(credential: Credential) -> tuple[str, str] | None:
    """Return what the protocol can say: a login or an identity token; it has no word for registry tokens."""
    if credential.registry_token:
        return None
    if credential.identity_token:
        return _TOKEN_USER, credential.identity_token
    return (credential.username, credential.password) if credential.has_login else None


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _warn(event: Event) -> None:
    if isinstance(event, Warned):
        sys.stderr.write(f"docker-credential-imgpkg: warning: {printable(event.text)}\n")


def _say(text: str, code: int = 0) -> int:
    sys.stdout.write(f"{text}\n")
    return code

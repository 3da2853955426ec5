"""`docker-credential-imgpkg`: environment sets and keychains for every tool that runs credential helpers.

The protocol is that of github.com/docker/docker-credential-helpers: one word as argument, the server on
standard input, JSON or a message on standard output.
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import sys
from typing import TYPE_CHECKING

from imgpkg.errors import ImgpkgError, printable
from imgpkg.events import Event, Warned
from imgpkg.version import VERSION

if TYPE_CHECKING:
    from collections.abc import Sequence

    from imgpkg.auth.keychain import Credential

# Clients of the protocol compare these texts for equality.
_NOT_FOUND = "credentials not found in native keychain"
_NO_SERVER = "no credentials server URL"
_TOKEN_USER = "<token>"  # noqa: S105 - in place of a user name
# More than any URL; a limit keeps a wrong pipe from filling the memory.
_LONGEST_SERVER = 1 << 16
_INTERRUPTED = 130
_NEW_OBJECTS = 50_000


def main(argv: Sequence[str] | None = None) -> int:
    """Answer one request and return the exit code; the message of a failure is on standard output."""
    words = list(sys.argv[1:] if argv is None else argv)
    if argv is None:
        # As in the main program: no module that is loaded is garbage.
        gc.set_threshold(_NEW_OBJECTS)
        atexit.register(gc.freeze)
    try:
        return _answer(words)
    except KeyboardInterrupt:
        return _INTERRUPTED


def _answer(words: list[str]) -> int:
    if words == ["get"]:
        return _get(os.fsdecode(sys.stdin.buffer.read(_LONGEST_SERVER)).strip())
    if words == ["list"]:
        return _list()
    if words in (["version"], ["--version"]):
        return _print(f"docker-credential-imgpkg (imgpkg {VERSION})")
    # `docker login` runs store, and prints this message.
    if words in (["store"], ["erase"]):
        return _print(
            f"imgpkg keeps no credentials: nothing to {words[0]}; set IMGPKG_REGISTRY_* variables", 1
        )
    return _print("usage: docker-credential-imgpkg <get|list|version>", 1)


def _list() -> int:
    from imgpkg.auth.inventory import named_logins

    try:
        named = named_logins(os.environ)
    except ImgpkgError as error:
        return _print(str(error), 1)
    return _print(json.dumps({name: user for name, user in named.items() if _is_text(name + user)}))


def _get(server: str) -> int:
    from imgpkg.auth.pattern import Address

    # As the helpers of docker do for an empty line.
    if not Address.read(server).host:
        return _print(_NO_SERVER, 1)
    from imgpkg.session import Session, offer
    from imgpkg.settings import NO_LOGIN, Settings

    # IMGPKG_USERNAME and the like name no registry, so they are never handed out and are not even read.
    try:
        with Session(Settings.from_environment(login=NO_LOGIN), on_event=_warn) as session:
            credential = offer(server, session=session).credential
    except ImgpkgError as error:
        return _print(str(error), 1)
    login = _login(credential)
    # Clients go on without a credential after this text and fail after any other.
    if login is None:
        return _print(_NOT_FOUND, 1)
    username, secret = login
    if not _is_text(username + secret):
        return _print(f"the credential for {printable(server)} is not UTF-8, and JSON cannot hold it", 1)
    return _print(json.dumps({"ServerURL": server, "Username": username, "Secret": secret}))


def _login(credential: Credential) -> tuple[str, str] | None:
    """Return the user name and secret of the protocol, which has no form for a registry token."""
    if credential.registry_token:
        return None
    if credential.identity_token:
        # By this user name clients recognize an identity token in place of a password.
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
        # Standard output is the answer, which clients parse.
        sys.stderr.write(f"docker-credential-imgpkg: warning: {printable(event.text)}\n")


def _print(text: str, code: int = 0) -> int:
    sys.stdout.write(f"{text}\n")
    return code

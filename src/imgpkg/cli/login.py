"""The functions of `imgpkg auth login`, `logout`, `list` and `token`."""

from __future__ import annotations

import sys
from getpass import getpass
from typing import TYPE_CHECKING

from imgpkg.auth.helper import Helpers
from imgpkg.auth.keychain import Credential
from imgpkg.cli.context import read_password
from imgpkg.cli.output import Table
from imgpkg.errors import UsageError, printable
from imgpkg.events import Warned
from imgpkg.operations.jsonform.form import as_json

if TYPE_CHECKING:
    from collections.abc import Iterator

    from imgpkg.cli.arguments import Parsed
    from imgpkg.cli.context import Context
    from imgpkg.operations.login import RemovedLogin, StoredLogin


def login(context: Context) -> None:
    """Check the login with the registry, store it, and print where."""
    from imgpkg.operations.login import login

    flags = context.flags
    # First of all: at a terminal a mistake is reported before a password is typed.
    _check_login(flags)
    credential, origin = _credential(flags)
    with context.session() as session:
        stored = login(
            _word(flags),
            credential,
            session=session,
            authfile=flags.text("authfile"),
            check=flags.is_on("check"),
            origin=origin,
        )
    for warning in stored.warnings:
        context.reporter(Warned(warning))
    context.output.result(stored)
    context.output.document(_stored_text(stored), as_json(stored))


def _check_login(flags: Parsed) -> None:
    """Refuse what cannot be right before anything is asked for or read."""
    from imgpkg.operations.login import check_registry

    if "password" in flags.given:
        raise UsageError(
            "--password is refused, since other users can see it in the process list and shells keep it in "
            "their history: leave it out to be asked for the password, or give --password-stdin"
        )
    if flags.is_on("password-stdin") and flags.is_on("identity-token-stdin"):
        raise UsageError("Expected only one of --password-stdin and --identity-token-stdin")
    if flags.is_on("password-stdin") and not flags.text("username"):
        raise UsageError("--password-stdin needs --username: standard input is the password")
    check_registry(_word(flags))


def _credential(flags: Parsed) -> tuple[Credential, str]:
    """Return what to log in with, and where it is from."""
    username = flags.text("username")
    if flags.is_on("identity-token-stdin"):
        return Credential(username, identity_token=read_password()), "standard input"
    if flags.is_on("password-stdin"):
        return Credential(username, read_password()), "standard input"
    if not sys.stdin.isatty():
        raise UsageError(
            "standard input is no terminal to ask for the password: give --password-stdin",
            hints=(
                "Pipe it into the command: imgpkg auth login HOST --username NAME --password-stdin < FILE.",
            ),
        )
    return _asked(username, _word(flags)), "the prompt"


def _asked(username: str, registry: str) -> Credential:
    """Ask at the terminal for what is missing; the password is not shown."""
    shown = printable(registry)
    if not username:
        # Standard output may be a file; questions go to the terminal.
        sys.stderr.write(f"User name for {shown}: ")
        sys.stderr.flush()
        username = sys.stdin.readline().strip()
    return Credential(username, getpass(f"Password of {printable(username)} for {shown}: "))


def _stored_text(stored: StoredLogin) -> str:
    what = f"the login of {stored.username!r}" if stored.username else "the identity token"
    where = f"{stored.helper}, which {stored.file} names" if stored.helper else stored.file
    return printable(f"Stored {what} for {stored.registry} in {where}") + "\n"


def logout(context: Context) -> None:
    """Remove the login, and print what was removed and what still gives a credential."""
    from imgpkg.operations.login import logout
    from imgpkg.settings import NO_LOGIN, Settings

    flags = context.flags
    # Without flags and their variables: they would count as a login that is left.
    with context.session(settings=Settings.from_environment(login=NO_LOGIN)) as session:
        removed = logout(_word(flags), session=session, authfile=flags.text("authfile"))
    for sentence in removed.left:
        context.reporter(Warned(sentence))
    context.output.result(removed)
    context.output.document("".join(_removed_text(removed)), as_json(removed))


def _removed_text(removed: RemovedLogin) -> Iterator[str]:
    for key in removed.keys:
        yield printable(f"Removed {key} from {removed.file}") + "\n"
    if removed.helper:
        yield printable(f"Removed the login for {removed.registry} from {removed.helper}") + "\n"
    if not removed.keys and not removed.helper:
        yield printable(f"No login for {removed.registry} is in {removed.file}") + "\n"


def list_logins(context: Context) -> None:
    """Print a table of the known logins, in the order in which they are asked for."""
    from imgpkg.auth.inventory import known_logins
    from imgpkg.settings import Settings

    # Without a session: nothing is sent to a registry or a cloud.
    environ = Settings.from_environment().environ
    known = known_logins(environ, Helpers(environ), lambda text: context.reporter(Warned(text)))
    rows = tuple((one.registry, one.username, one.kind, one.source, one.origin) for one in known)
    context.output.result({"logins": [as_json(one) for one in known]})
    context.output.table(Table("logins", ("Registry", "User", "Kind", "Source", "Origin"), rows))


def token(context: Context) -> None:
    """Print the token and a line end, and nothing else."""
    from imgpkg.operations.login import get_token

    flags = context.flags
    with context.session() as session:
        found = get_token(_word(flags), session=session, scopes=flags.texts("scope"))
    context.output.result(found)
    # Alone on standard output, so that `$(imgpkg auth token …)` works in a header.
    context.output.document(f"{found.value}\n", as_json(found))


def _word(flags: Parsed) -> str:
    if len(flags.words) != 1:
        raise UsageError(f"accepts 1 arg(s), received {len(flags.words)}")
    return flags.words[0]

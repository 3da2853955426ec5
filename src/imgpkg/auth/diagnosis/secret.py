"""Near misses in the secret that is sent: line ends, quotes, names of variables, and ended tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING

from imgpkg.auth.keychain import NearMiss, claims_of, format_time
from imgpkg.expression import expression

if TYPE_CHECKING:
    from collections.abc import Iterator

    from imgpkg.auth.keychain import Decision, Finding

_QUOTES = "'\""
# A variable of a shell, a GitHub workflow or a template that was not replaced by its value.
_VARIABLE = expression(r"\$[A-Za-z_][A-Za-z0-9_]*|\$\{[^{}]{1,100}\}|\$?\{\{[^{}]{1,100}\}\}")
# The end of the year 9999, the last that datetime has.
_LAST_YEAR = 253_402_300_799


def secret_misses(decision: Decision, now: float) -> Iterator[NearMiss]:
    """Yield what is odd about the secret that is sent, without any part of it; `now` is a Unix time."""
    winner, credential = decision.winner, decision.credential
    if winner is None or credential.is_anonymous:
        return
    kind, secret = "password", credential.password
    if credential.registry_token:
        kind, secret = "registry token", credential.registry_token
    elif credential.identity_token:
        kind, secret = "identity token", credential.identity_token
    for reason in (*_oddities(secret), *_end(secret, now)):
        text = f"the {kind} of {winner.origin} {reason}"
        yield NearMiss(winner.source, text, _remedy(winner, kind, decision))
    # The user name of a token is not sent.
    if kind == "password":
        for reason in _oddities(credential.username):
            yield NearMiss(winner.source, f"the user name of {winner.origin} {reason}")


def _oddities(value: str) -> Iterator[str]:
    if value.endswith(("\n", "\r")):
        yield "ends in a newline, which is sent as a part of it"
    elif value != value.strip():
        yield "begins or ends with a space, which is sent as a part of it"
    elif len(value) > 1 and value[0] in _QUOTES and value[0] == value[-1]:
        yield "stands in quotes, which are sent as a part of it"
    elif _VARIABLE.fullmatch(value):
        yield "is the name of a variable and not its value"


def _end(secret: str, now: float) -> Iterator[str]:
    ends_at = claims_of(secret).ends_at
    if ends_at is not None and 0 <= ends_at <= min(now, _LAST_YEAR):
        yield f"has ended at {format_time(int(ends_at))}"


def _remedy(winner: Finding, kind: str, decision: Decision) -> str:
    """Return how to give another secret in the same place; empty for a place that is not known."""
    named = kind.replace(" ", "_").upper()
    # A secret in a file: the origin ends in the flag or variable, an equals sign and the path.
    before, _, origin = winner.origin.rpartition(", ")
    name, is_file, path = origin.partition("=")
    if is_file and (winner.source == "flags" or (before and f"_{named}_FILE" in name)):
        return f"write another one into {path}"
    if winner.source == "environment":
        name = winner.origin.partition("=")[0].replace("_HOSTNAME", f"_{named}", 1)
        return f'{name}="$(cat FILE)"'
    if winner.source == "docker config":
        return login_command(decision.repository.registry)
    if winner.source == "flags":
        if origin.startswith("$"):
            return f'{origin[1:]}="$(cat FILE)"'
        return f"{origin}-stdin < FILE" if kind == "password" else f'{origin} "$(cat FILE)"'
    return ""


def login_command(place: str) -> str:
    """Return the command that stores a login for a registry, or a part of it."""
    return f"imgpkg auth login {place}"

"""The gcloud command as a source of access tokens."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

from imgpkg.auth.program import Programs, find
from imgpkg.errors import CredentialError
from imgpkg.values import parse_time

if TYPE_CHECKING:
    from collections.abc import Mapping

ARGUMENTS = ("config", "config-helper", "--force-auth-refresh", "--format=json(credential)")
DEADLINE = 30.0

_LARGEST = 1 << 20
_LOOK_FOR_METADATA = "CLOUDSDK_CORE_CHECK_GCE_METADATA"


def access_token(
    environ: Mapping[str, str],
    *,
    has_metadata: bool = True,
    deadline: float = DEADLINE,
    programs: Programs | None = None,
) -> tuple[str, float]:
    """Ask gcloud for an access token and the Unix time of its end; raise CredentialError without one.

    Where the metadata server is known to be absent, gcloud need not look for it, which can take it a minute.
    """
    program = find("gcloud", environ)
    if program is None:
        raise CredentialError("there is no gcloud on PATH")
    given = dict(environ) if has_metadata else {_LOOK_FOR_METADATA: "false", **environ}
    return _understand(_run(programs or Programs(), program, given, deadline))


def _understand(printed: bytes) -> tuple[str, float]:
    try:
        credential = json.loads(printed[:_LARGEST])["credential"]
        token, expires_at = credential["access_token"], parse_time(credential["token_expiry"])
    except (ValueError, TypeError, LookupError, RecursionError):
        token, expires_at = None, 0.0
    if not isinstance(token, str) or not token:
        # What was printed may be half a secret, so it is not shown.
        raise CredentialError("gcloud printed no access token with its time of expiry")
    return token, expires_at


def _run(programs: Programs, program: str, environ: dict[str, str], deadline: float) -> bytes:
    try:
        ended = programs.run([program, *ARGUMENTS], environ, deadline, is_silent=True)
    except OSError as error:
        raise CredentialError(f"{program}: {os.strerror(error.errno or 0).lower()}") from error
    if ended is None:
        raise CredentialError(f"gcloud gave no answer in {deadline:.3g} s")
    if ended.code != 0:
        raise CredentialError(f"gcloud ended with status {ended.code}")
    return ended.printed

"""Calling a vendor's SDK: in the settings' environment, in silence, for a limited time, one at a time."""

from __future__ import annotations

import logging
import os
import re
import warnings
from concurrent.futures import Future
from contextlib import contextmanager
from threading import Lock, Thread
from typing import TYPE_CHECKING, TypeVar

from imgpkg.errors import CredentialError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

T = TypeVar("T")

DEADLINE = 30.0

_LOCK = Lock()
_OFF = logging.CRITICAL + 1
_VENDORS = frozenset({"azure", "botocore", "google", "msal"})
_SECRET_VARIABLES = (
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN",
    "AZURE_CLIENT_SECRET",
    "AZURE_CLIENT_CERTIFICATE_PASSWORD",
    "AZURE_CERTIFICATE_PASSWORD",
    "IDENTITY_HEADER",
    "MSI_SECRET",
)
# JSON web tokens of any issuer, access tokens of Google, and the values of fields that hold tokens.
_TOKEN_FIELD = r"(?<=[_-][Tt]oken)['\"]?\s*[:=]\s*['\"]?[^\s'\",}]+|(?<=assertion)=[^&\s]+"  # noqa: S105 - a pattern
_TOKENS = re.compile(rf"eyJ[\w-]{{5,}}(?:\.[\w-]*)*|\bya29\.[\w.-]+|{_TOKEN_FIELD}")
# An error of AWS that repeats the request is whole.
_LONGEST_REASON = 2000


def call(environ: Mapping[str, str], work: Callable[[], T], *, deadline: float = DEADLINE) -> T:
    """Give what `work` gives; raise CredentialError with the SDK's reason, without secrets, when it fails.

    SDKs read the process's environment, some of it when they are imported, so `work` imports its SDK itself.
    Where the process's environment differs from `environ` it is made equal for the time of the call: other
    threads of the process see that, which is why calls are short, rare, and never two at a time. What these
    threads change meanwhile stays, unless it is a variable that was made equal. Log records
    and warnings of the SDKs are dropped for that time: they hold secrets, and they go to standard error.

    After `deadline` seconds the work is left alone in its thread, where its own time-outs end it.
    """
    with _LOCK, _silence(), _environment(environ):
        try:
            return within(deadline, work)
        except CredentialError:
            raise
        except Exception as error:  # noqa: BLE001 - an SDK may raise anything
            problem = reason(error, environ)
    # Outside of the handler: the cause would carry what a server had answered.
    raise CredentialError(problem)


def reason(error: BaseException, environ: Mapping[str, str]) -> str:
    """Tell in one line of limited length why an SDK failed, with every secret replaced by dots."""
    # google-auth's errors carry a text, and then whatever the server had answered.
    first = error.args[0] if len(error.args) > 1 else None
    text = (first if isinstance(first, str) else str(error)) or type(error).__name__
    secrets = (environ.get(variable, "") for variable in _SECRET_VARIABLES)
    for secret in sorted(filter(None, secrets), key=len, reverse=True):
        text = text.replace(secret, "…")
    line = " ".join(_TOKENS.sub("…", text).split())
    return f"{line[:_LONGEST_REASON]}…" if len(line) > _LONGEST_REASON else line


def within(seconds: float, work: Callable[[], T], *, asking: str = "") -> T:
    """Give what `work` gives, or raise what it raises; CredentialError when that takes longer than `seconds`.

    The work is then left alone in its thread, where its own time-outs end it.
    """
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:  # noqa: BLE001 - handed to the thread that waits
            future.set_exception(error)

    # Not from an executor: the interpreter would wait at its end for a call that hangs.
    thread = Thread(target=run, name="imgpkg-keychain", daemon=True)
    thread.start()
    thread.join(seconds)
    if not future.done():
        raise CredentialError(f"{asking}no answer within {seconds:.3g} s")
    return future.result()


@contextmanager
def _environment(environ: Mapping[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    differing = {name for name in before.keys() | environ.keys() if before.get(name) != environ.get(name)}
    try:
        _take(differing, environ)
        yield
    finally:
        _take(differing, before)


def _take(names: set[str], environ: Mapping[str, str]) -> None:
    """Change only what differs: other threads may be looking."""
    for name in names:
        if name in environ:
            os.environ[name] = environ[name]
        else:
            os.environ.pop(name, None)


@contextmanager
def _silence() -> Iterator[None]:
    loggers = [logging.getLogger(name) for name in sorted(_VENDORS | _known_loggers())]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(_OFF)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


def _known_loggers() -> set[str]:
    """Name the SDKs' own loggers that exist already: each may have a level of its own."""
    known = list(logging.root.manager.loggerDict)
    return {name for name in known if name.partition(".")[0] in _VENDORS}

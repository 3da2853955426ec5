"""The exception tree: catch by meaning, never by text.

ImgpkgError                     everything this package raises on purpose
├── UsageError                  options that do not go together, arguments that mean nothing
├── InvalidReference            text that is no image reference, repository or digest
├── InvalidManifest             bytes that are no manifest, index or image configuration
├── InvalidLock                 a lock file, bundle file or locations file that breaks its rules
├── InvalidSettings             an environment variable, file or option with an impossible value
├── CredentialError             a credential source that must not be passed over failed
├── TransportError              no answer: the request did not complete
│   ├── ConnectionFailed        refused, reset, unreachable, name unknown
│   │   └── NotTLS              the peer does not speak TLS on that port
│   ├── TimedOut                no connection or no response headers in time
│   └── CertificateRejected     TLS without agreement: the server's certificate did not verify
├── RegistryError               an answer, but not the one asked for: status and registry codes
│   ├── Unauthorized            401: with the decision that chose the credential
│   ├── Forbidden               403: likewise
│   └── NotFound                404
├── ChallengeError              a challenge that cannot or must not be answered
├── VerificationError           bytes that are not what their descriptor says
├── UnpackError                 a layer that cannot be unpacked, or must not be
├── ArchiveError                a tar file or layout folder that is not whole
├── NotABundle, IsABundle       the image is of the other kind
├── LocalIOError                the operating system refused a file or folder
└── Cancelled                   an event hook asked to stop

Each error carries its `context`, outermost first, so that its text reads `outer: inner: message`, as the
original prints it, and its `hints`: whole sentences on what to do next, never part of the text.

Names, answers and values of others are in messages as they are. Text for people, such as `str()` of an error
and its hints, has gone through `printable`: a terminal obeys nothing in it, and a line is never two.
"""

from __future__ import annotations

import errno
import os
import re
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


# What terminals obey, what breaks lines, and what reorders other characters or hides among them: controls,
# bidirectional marks (Unicode Standard Annex 9), invisible operators and tags. Joiners belong to real words.
_UNPRINTABLE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\U000e0000-\U000e007f]"
)
_SHORT_ESCAPES = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def printable(text: str) -> str:
    """Write `text`, which others may have chosen, for people: on one line, without anything terminals obey.

    It is changed once however often it is written. Bytes that are no UTF-8 stay (PEP 383).
    """
    return _UNPRINTABLE.sub(_escaped, text)


def _escaped(match: re.Match[str]) -> str:
    character = match[0]
    code = ord(character)
    if code < 0x100:  # noqa: PLR2004 - what two digits hold
        return _SHORT_ESCAPES.get(character, f"\\x{code:02x}")
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"  # noqa: PLR2004 - what four digits hold


class ImgpkgError(Exception):
    """Everything this package raises on purpose.

    `lines` are further lines of the text, where the original writes more than one.
    """

    def __init__(self, message: str, *, hints: tuple[str, ...] = (), lines: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.context: tuple[str, ...] = ()
        self.lines = lines
        self.hints = hints

    @property
    def hints(self) -> tuple[str, ...]:
        """What to do next, in whole sentences."""
        return self._hints

    @hints.setter
    def hints(self, hints: tuple[str, ...]) -> None:
        self._hints = tuple(map(printable, hints))

    def __str__(self) -> str:
        return "\n".join(map(printable, (": ".join((*self.context, self.message)), *self.lines)))

    def __reduce__(self) -> tuple[object, ...]:
        # Workers in other processes report errors as pickles, and the constructors take more than `args`.
        return _unpickled, (type(self), self.args), self.__dict__


def _unpickled(kind: type[ImgpkgError], arguments: tuple[object, ...]) -> ImgpkgError:
    return kind.__new__(kind, *arguments)


class UsageError(ImgpkgError):
    """Options that do not go together, or an argument that means nothing."""


class InvalidReference(ImgpkgError, ValueError):
    """Text that is no image reference, repository or digest."""


class InvalidManifest(ImgpkgError, ValueError):
    """Bytes that are no manifest, index or image configuration."""


class InvalidLock(ImgpkgError, ValueError):
    """A lock file, bundle file or locations file that breaks its rules."""


class InvalidSettings(ImgpkgError, ValueError):
    """An environment variable, file or option with an impossible value."""


class CredentialError(ImgpkgError):
    """A credential source that must not be passed over failed."""


class TransportError(ImgpkgError):
    """No answer: the request did not complete.

    The text has the original's form, `Get "https://host/v2/": reason`.
    """

    def __init__(self, method: str, url: str, reason: str, *, hints: tuple[str, ...] = ()) -> None:
        super().__init__(f'{method.capitalize()} "{url}": {reason}', hints=hints)
        self.method = method
        self.url = url
        self.reason = reason


class ConnectionFailed(TransportError):
    """Refused, reset, unreachable, or a name nobody knows."""


class NotTLS(ConnectionFailed):
    """The peer answers on that port, but in something else than TLS."""


class TimedOut(TransportError):
    """No connection, or no response headers, within the time allowed."""


class CertificateRejected(TransportError):
    """TLS without agreement: the server's certificate did not verify, or the server refused the handshake."""


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One entry of a registry's `errors` list; `detail` is rendered text, empty when there is none."""

    code: str
    message: str
    detail: str = ""

    def __str__(self) -> str:
        text = f"{self.code}: {self.message}"
        return f"{text}; {self.detail}" if self.detail else text


class RegistryError(ImgpkgError):
    """An answer, but not the one asked for.

    `url` has its query values redacted; `diagnostics` is what the registry said itself.
    `retry_after` is the pause it asked for, in seconds, None when it did not.
    """

    def __init__(
        self,
        message: str,
        *,
        method: str,
        url: str,
        status: int,
        diagnostics: tuple[Diagnostic, ...] = (),
        hints: tuple[str, ...] = (),
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message, hints=hints)
        self.method = method
        self.url = url
        self.status = status
        self.diagnostics = diagnostics
        self.retry_after = retry_after

    @property
    def codes(self) -> frozenset[str]:
        """The registry's own error codes, such as `MANIFEST_UNKNOWN`."""
        return frozenset(diagnostic.code for diagnostic in self.diagnostics)


class Unauthorized(RegistryError):
    """401: the hints tell which source gave the credential, and why the others did not."""


class Forbidden(RegistryError):
    """403: the credential was understood and is not enough."""


class NotFound(RegistryError):
    """404: there is no such repository, manifest, tag or blob, or it is hidden."""


class ChallengeError(ImgpkgError):
    """A challenge that cannot or must not be answered, or a token service that failed."""


class VerificationError(ImgpkgError):
    """Bytes that are not what their descriptor says."""


class UnpackError(ImgpkgError):
    """A layer that cannot be unpacked, or must not be."""


class ArchiveError(ImgpkgError):
    """A tar file or layout folder that is not whole."""


class NotABundle(ImgpkgError):
    """The image is not a bundle."""


class IsABundle(ImgpkgError):
    """The image is a bundle."""


class LocalIOError(ImgpkgError):
    """The operating system refused a file or folder; texts as `open PATH: no such file or directory`."""


class Cancelled(ImgpkgError):
    """An event hook asked to stop."""

    def __init__(self, message: str = "Cancelled") -> None:
        super().__init__(message)


_EXHAUSTED = {
    errno.EMFILE: (
        "This process has as many files and connections open as it may have: raise the limit (ulimit -n), "
        "or lower the concurrency."
    ),
    errno.ENFILE: "All processes of this machine together have as many files open as they may have.",
}


@contextmanager
def doing(*what: str) -> Iterator[None]:
    """Put `what`, outermost first, before the text of any error that passes: `Fetching image: GET https://…`."""
    try:
        yield
    except ImgpkgError as error:
        error.context = (*what, *error.context)
        raise


@contextmanager
def local_io(verb: str, path: str | os.PathLike[str]) -> Iterator[None]:
    """Turn an OSError into `verb PATH: reason`, the form that the original prints."""
    try:
        yield
    except OSError as error:
        reason = os.strerror(error.errno).lower() if error.errno else str(error)
        hint = _EXHAUSTED.get(error.errno or 0)
        hints = (hint,) if hint else ()
        raise LocalIOError(f"{verb} {os.fspath(path)}: {reason}", hints=hints) from error

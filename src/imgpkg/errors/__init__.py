"""The exceptions of the package. Catch them by class; texts may change.

ImgpkgError                     base class of all exceptions of the package
├── UsageError                  invalid arguments, or options that exclude each other
├── InvalidReference            text that is not an image reference, repository or digest
├── InvalidManifest             bytes that are not a manifest, index or image configuration
├── InvalidDocument             a Kubernetes document, values file or inventory that cannot be used
│   └── InvalidLock             an invalid lock file, bundle file or locations file
├── Several                     several parts of an operation failed, each with an error of its own
│   └── Unresolved              image references that were not resolved to digests
├── InvalidSettings             an environment variable, file or option with an invalid value
├── CredentialError             a credential source failed, and the next one must not be used instead
├── TransportError              the request did not complete: there is no response
│   ├── ConnectionFailed        refused, reset, unreachable, unknown host name
│   │   └── NotTLS              the server does not use TLS on that port
│   ├── ConnectionTimedOut      no connection or no data within the time limit of one wait; also a TimedOut
│   └── CertificateRejected     the certificate was not accepted, or the TLS handshake failed
├── RegistryError               a response with an error status, and the registry's error codes
│   ├── Unauthorized, Forbidden status 401, and 403
│   ├── NotFound                status 404
│   ├── ImmutableTag            the tag names another image, and the registry lets nobody change that
│   └── Unsupported             the registry does not offer it, as where deletion is switched off
├── ChallengeError              a challenge that cannot or must not be answered, a failed token request
├── VerificationError           content that differs from its digest or size
│   └── Untrusted               an image without the signatures that the policy requires
├── UnpackError                 a layer that cannot be unpacked, or must not be
├── ArchiveError                an incomplete or damaged tar file or layout folder
│   ├── NotInFile               a whole one that does not have the image
│   └── MissingBase             a whole one that was made without blobs, which are not where they should be
├── NotInImage                  the image does not have the file
├── NotABundle, IsABundle       the image is of the other kind
├── ExecutorError               the workers of a copy, or what gives them work, failed
├── InUse                       what should be deleted or replaced is needed by something that would stay
├── LocalIOError                the operating system refused access to a file or folder
├── TimedOut                    work was not finished within its time limit; also a TimeoutError
└── Cancelled                   a `CancelToken`, an event hook, or `Session.stop` ended the operation

`str(error)` is `outer: inner: message`, with the parts of `context` before the message. It begins with the
sentence of `refusal` where a registry or token service did not accept a credential, or got none.
`message` and `context` contain names and responses of others unchanged; `printable` has escaped all others.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable  # noqa: TC003 - a program may look it up
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING

import imgpkg  # noqa: TC001 - a program may look up the types
from imgpkg.expression import expression

if TYPE_CHECKING:
    from collections.abc import Iterator

    from imgpkg.errors.details import Diagnostic as Diagnostic
    from imgpkg.errors.details import Refusal as Refusal
    from imgpkg.errors.details import RefusalKind as RefusalKind
    from imgpkg.errors.details import SourceAnswer as SourceAnswer
    from imgpkg.errors.exit_codes import FailureKind as FailureKind
    from imgpkg.errors.seldom import ExecutorError as ExecutorError
    from imgpkg.errors.seldom import MissingBase as MissingBase
    from imgpkg.errors.seldom import NotInImage as NotInImage

# Control characters, line separators, bidirectional controls (Unicode Standard Annex 9), invisible operators
# and tags: they command a terminal, or reorder and hide other characters. U+200C and U+200D are left, since
# Persian and Hindi words need them.
_UNPRINTABLE = expression(
    "[\x00-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\U000e0000-\U000e007f]"
)


def printable(text: str) -> str:
    """Return `text` on one line, with control characters and invisible characters escaped.

    Every text of a registry, file or user passes through it before it is printed. A second call changes
    nothing. Bytes that are not UTF-8 stay as they are (PEP 383).
    """
    return _UNPRINTABLE.sub(lambda match: ascii(match[0])[1:-1], text)


class ImgpkgError(Exception):
    """Base class of all exceptions that the package raises.

    `lines` are further lines of the text, `hints` whole sentences on what to do next; `context` is what was
    being done, outermost first. `refusal` is about the credential of the request, if the error is. `trail` is
    what each credential source answered for it, once somebody has looked at the refusal or the hints.
    """

    _refusal: imgpkg.errors.Refusal | None = None
    trail: tuple[imgpkg.errors.SourceAnswer, ...] = ()
    _explain: Callable[[], None] | None = None

    def __init__(self, message: str, *, hints: tuple[str, ...] = (), lines: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.context: tuple[str, ...] = ()
        self.lines = lines
        self.hints = hints

    def add_context(self, *what: str) -> None:
        """Put `what`, outermost first, in front of the `context`; `doing` does so for a whole block."""
        self.context = (*what, *self.context)

    @property
    def hints(self) -> tuple[str, ...]:
        """What to do next, in sentences that are safe to print; the first look may send a request."""
        self._explain_now()
        return self._hints

    @hints.setter
    def hints(self, hints: tuple[str, ...]) -> None:
        self._explain = None
        # What is done again inside of something that is done again may be advised twice.
        self._hints = tuple(dict.fromkeys(map(printable, hints)))

    @property
    def refusal(self) -> imgpkg.errors.Refusal | None:
        """What became of the credential of the request."""
        self._explain_now()
        return self._refusal

    @refusal.setter
    def refusal(self, refusal: imgpkg.errors.Refusal | None) -> None:
        self._refusal = refusal

    def explain_later(self, explain: Callable[[], None]) -> None:
        """Have `explain` set the refusal and the hints when somebody looks at them, since it takes long."""
        self._explain = explain

    def _explain_now(self) -> None:
        explain, self._explain = self._explain, None
        if explain is not None:
            explain()

    @property
    def cause(self) -> str:
        """The sentence of the refusal, with which the text begins; empty for errors without one."""
        return self.refusal.sentence if self.refusal else ""

    def __str__(self) -> str:
        first = ": ".join((*filter(None, [self.cause]), *self.context, self.message))
        return "\n".join(map(printable, (first, *self.lines)))

    def __reduce__(self) -> tuple[object, ...]:
        # Errors of worker processes are pickled, and the constructors have more parameters than `args`.
        self._explain_now()
        return _unpickled, (type(self), self.args), self.__dict__


def _unpickled(kind: type[ImgpkgError], arguments: tuple[object, ...]) -> ImgpkgError:
    error = kind.__new__(kind, *arguments)
    error.args = arguments
    return error


class UsageError(ImgpkgError):
    """Invalid arguments, or options that exclude each other."""


# Also a ValueError, as the constructors of values usually raise it.
class InvalidReference(ImgpkgError, ValueError):
    """Text that is not an image reference, repository or digest."""


class InvalidManifest(ImgpkgError, ValueError):
    """Bytes that are not a manifest, index or image configuration."""


class InvalidDocument(ImgpkgError, ValueError):
    """A Kubernetes document, values file or inventory that cannot be read, or an image in it.

    `line` and `column` count from 1, and are 0 where the error is about no single place.
    """

    def __init__(self, message: str, *, place: tuple[int, int] = (0, 0), **texts: tuple[str, ...]) -> None:
        super().__init__(message, **texts)
        self.line: int = place[0]
        self.column: int = place[1]


class InvalidLock(InvalidDocument):
    """An invalid lock file, bundle file or locations file."""


class Several(ImgpkgError):
    """Several parts failed; `errors` has their reasons, in order, `kinds` those of parts without an error."""

    errors: tuple[ImgpkgError, ...] = ()
    kinds: frozenset[imgpkg.errors.FailureKind] = frozenset()


class Unresolved(Several):
    """Image references that were not resolved to digests."""


class InvalidSettings(ImgpkgError, ValueError):
    """An environment variable, file or option with an invalid value."""


class CredentialError(ImgpkgError):
    """A credential source failed, and the next one must not be used instead of it."""


class TransportError(ImgpkgError):
    """The request did not complete. The text is that of Go: `Get "https://host/v2/": reason`."""

    def __init__(self, method: str, url: str, reason: str, *, hints: tuple[str, ...] = ()) -> None:
        super().__init__(f'{method.capitalize()} "{url}": {reason}', hints=hints)
        self.method = method
        self.url = url
        self.reason = reason


class ConnectionFailed(TransportError):
    """The connection was refused or reset, or the host is unreachable or unknown."""


class NotTLS(ConnectionFailed):
    """The server does not use TLS on that port."""


class TimedOut(ImgpkgError, TimeoutError):
    """Not finished within `seconds`, but stopped after `spent`; `waited_for` is the last wait, if any."""

    seconds: float = 0.0
    spent: float = 0.0
    waited_for: str = ""


class ConnectionTimedOut(TransportError, TimedOut):
    """No connection, TLS handshake, response or data within the time limit of that wait."""


class CertificateRejected(TransportError):
    """The server's certificate was not accepted, or the server refused the TLS handshake."""


class RegistryError(ImgpkgError):
    """A response with an error status; the query values of its `url` are redacted.

    `diagnostics` are the errors in its body, `retry_after` is its Retry-After in seconds, None without one.
    """

    def __init__(
        self,
        message: str,
        *,
        method: str,
        url: str,
        status: int,
        diagnostics: tuple[imgpkg.errors.Diagnostic, ...] = (),
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
        """The error codes in the response, such as `MANIFEST_UNKNOWN`."""
        return frozenset(diagnostic.code for diagnostic in self.diagnostics)


class Unauthorized(RegistryError):
    """Status 401. `refusal` has the reason and a remedy, the hints the origin of the credential."""


class Forbidden(RegistryError):
    """Status 403: mostly a valid credential that does not allow the request; as for a 401."""


class NotFound(RegistryError):
    """Status 404: the repository, manifest, tag or blob does not exist or is hidden."""

    # `refusal` is set where no credential was sent, but most of what is not found does not exist.
    @property
    def cause(self) -> str:
        """Empty: the message itself is the first sentence."""
        return ""


class ImmutableTag(RegistryError):
    """The registry lets nobody give this tag to another image, or delete it."""


class Unsupported(RegistryError):
    """The registry does not offer what was asked for: deletion, or that of tags alone, or a catalog."""


class ChallengeError(ImgpkgError):
    """A challenge that cannot or must not be answered, or a failed request to a token service."""


class VerificationError(ImgpkgError):
    """Content that differs from its digest or size, or a signature that is none."""


class Untrusted(VerificationError):
    """An image without a signature or attestation that the policy requires; nothing was written."""


class UnpackError(ImgpkgError):
    """A layer that cannot be unpacked, or must not be."""


class ArchiveError(ImgpkgError):
    """An incomplete or damaged tar file or layout folder."""


class NotInFile(ArchiveError):
    """A whole tar file or layout folder that does not have the image."""


class NotABundle(ImgpkgError):
    """The image is not a bundle."""


class IsABundle(ImgpkgError):
    """The image is a bundle."""


class InUse(ImgpkgError):
    """What should be deleted or replaced has other tags, belongs to what would stay, or is itself to stay."""


class LocalIOError(ImgpkgError):
    """The operating system refused access to a file or folder: `open PATH: no such file or directory`."""


class Cancelled(ImgpkgError):
    """A `CancelToken`, an event hook, or `Session.stop` ended the operation; see `TimedOut.waited_for`."""

    waited_for: str = ""
    _scope = 0  # the number of the scope that has ended; a hook ends none

    def __init__(self, message: str = "Cancelled") -> None:
        super().__init__(message)


# Where no file can be opened any more, the module with the words for the others cannot be loaded.
_EXHAUSTED = {
    errno.EMFILE: "The limit of open files is reached: raise it (ulimit -n), or lower the concurrency.",
    errno.ENFILE: "The limit of open files of the whole system is reached.",
}


@contextmanager
def doing(*what: str) -> Iterator[None]:
    """Return a context that adds `what`, outermost first, to errors inside: `Fetching image: GET …`."""
    try:
        yield
    except ImgpkgError as error:
        error.add_context(*what)  # in front: the innermost `doing` has added its words first
        raise


@contextmanager
def local_io(verb: str, path: str | os.PathLike[str]) -> Iterator[None]:
    """Return a context that turns an OSError into a LocalIOError, `verb PATH: reason`, as Go prints it."""
    try:
        yield
    except ImgpkgError:  # a TimedOut is an OSError, too
        raise
    except OSError as error:
        # Go prints these texts in lower case, and scripts test for them.
        reason, exhausted = os.strerror(error.errno or 0).lower(), _EXHAUSTED.get(error.errno or 0, "")
        text = f"{verb} {os.fspath(path)}: {reason if error.errno else error}"
        failure = LocalIOError(text, hints=(exhausted,) if exhausted else ())
        if not exhausted:
            failure.explain_later(partial(_explain, failure, error, os.fspath(path)))
        raise failure from error


def _explain(failure: LocalIOError, error: OSError, path: str) -> None:
    failure.hints = tuple(import_module("imgpkg.errors.system").remedies(error, path))


# What few programs name is loaded when they do.
_ELSEWHERE = dict.fromkeys(("Diagnostic", "Refusal", "RefusalKind", "SourceAnswer"), "details")
_ELSEWHERE |= dict.fromkeys(("ExecutorError", "MissingBase", "NotInImage"), "seldom")
_ELSEWHERE["FailureKind"] = "exit_codes"

if not TYPE_CHECKING:
    # With a module `__getattr__`, type checkers would accept any name.

    def __getattr__(name: str) -> object:
        home = _ELSEWHERE.get(name)
        if home is None:
            raise AttributeError(f"module 'imgpkg.errors' has no attribute {name!r}")
        return getattr(import_module(f"imgpkg.errors.{home}"), name)

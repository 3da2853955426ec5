"""The kind of each failure, and the exit code of a command that ends with it."""

from __future__ import annotations

from enum import Enum
from types import MappingProxyType
from typing import TYPE_CHECKING

from imgpkg import errors

if TYPE_CHECKING:
    from collections.abc import Mapping


class FailureKind(Enum):
    """What a program does next may depend on it: correct the command, log in, try again, fetch a file again.

    The value is the word in JSON.
    """

    OTHER = "other"
    USAGE = "usage"
    NOT_FOUND = "notFound"
    REFUSED = "refused"
    NETWORK = "network"
    VERIFICATION = "verification"
    LOCAL = "local"
    INTERRUPTED = "interrupted"


# 2 is what shells and most programs use for wrong arguments; 126 and more have a meaning for shells.
EXIT_CODES: Mapping[FailureKind, int] = MappingProxyType(
    {
        FailureKind.OTHER: 1,
        FailureKind.USAGE: 2,
        FailureKind.NOT_FOUND: 3,
        FailureKind.REFUSED: 4,
        FailureKind.NETWORK: 5,
        FailureKind.VERIFICATION: 6,
        FailureKind.LOCAL: 7,
        # 128 and the number of SIGINT; a command that SIGTERM ends has 143.
        FailureKind.INTERRUPTED: 130,
    }
)
# A class that is not here has the kind of the class above it.
KINDS: Mapping[type[errors.ImgpkgError], FailureKind] = MappingProxyType(
    {
        errors.ImgpkgError: FailureKind.OTHER,
        errors.UsageError: FailureKind.USAGE,
        errors.InvalidReference: FailureKind.USAGE,
        errors.InvalidSettings: FailureKind.USAGE,
        # The reference is right, and the flag is that for the other kind of image.
        errors.NotABundle: FailureKind.USAGE,
        errors.IsABundle: FailureKind.USAGE,
        errors.NotFound: FailureKind.NOT_FOUND,
        errors.NotInFile: FailureKind.NOT_FOUND,
        errors.NotInImage: FailureKind.NOT_FOUND,
        errors.MissingBase: FailureKind.NOT_FOUND,
        errors.Unauthorized: FailureKind.REFUSED,
        errors.Forbidden: FailureKind.REFUSED,
        errors.ChallengeError: FailureKind.REFUSED,
        errors.CredentialError: FailureKind.REFUSED,
        errors.TransportError: FailureKind.NETWORK,
        errors.TimedOut: FailureKind.NETWORK,
        errors.VerificationError: FailureKind.VERIFICATION,
        errors.InvalidManifest: FailureKind.VERIFICATION,
        errors.UnpackError: FailureKind.VERIFICATION,
        errors.LocalIOError: FailureKind.LOCAL,
        errors.InvalidDocument: FailureKind.LOCAL,
        errors.ArchiveError: FailureKind.LOCAL,
        errors.Cancelled: FailureKind.INTERRUPTED,
    }
)
# Request Timeout and Too Many Requests (RFC 9110 section 15.5.9, RFC 6585 section 4).
_TEMPORARY = frozenset({408, 429})
_FIRST_ERROR, _SERVER_ERROR = 400, 500


def kind_of(error: errors.ImgpkgError) -> FailureKind:
    """Return the kind of `error`; of several failures together it is the one that they all have.

    A response that says that the server cannot answer at present is one of the network: trying again may
    help. One that says that all is well, and cannot be used, is content that is not what it should be.
    """
    if isinstance(error, errors.Several):
        kinds = {kind_of(each) for each in error.errors} | error.kinds
        return next(iter(kinds)) if len(kinds) == 1 else FailureKind.OTHER
    kind = next(KINDS[each] for each in type(error).__mro__ if each in KINDS)
    if isinstance(error, errors.RegistryError) and kind is FailureKind.OTHER:
        return _kind_of_status(error.status)
    return kind


def _kind_of_status(status: int) -> FailureKind:
    if status in _TEMPORARY or status >= _SERVER_ERROR:
        return FailureKind.NETWORK
    # A web page in the place of a list of tags.
    return FailureKind.VERIFICATION if status < _FIRST_ERROR else FailureKind.OTHER


def exit_code(error: errors.ImgpkgError) -> int:
    """Return the exit code of a command that ends with `error`."""
    return EXIT_CODES[kind_of(error)]

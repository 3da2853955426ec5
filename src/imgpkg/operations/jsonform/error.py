"""The JSON form of errors: what happened, why, which credential sources were asked, and what to do next."""

from __future__ import annotations

from typing import TYPE_CHECKING

from imgpkg.errors import (
    InvalidDocument,
    MissingBase,
    RegistryError,
    Several,
    TransportError,
)
from imgpkg.errors.exit_codes import kind_of
from imgpkg.expression import expression

if TYPE_CHECKING:
    from imgpkg.errors import Diagnostic, ImgpkgError, Refusal

# The userinfo of a URL (RFC 3986 section 3.2.1), which may stand in an argument, a file or a response.
_LOGIN = expression(r"://[^\s/?#@]*@")


def failed(error: ImgpkgError) -> dict[str, object]:
    """Return the form of an error.

    `message` is the whole text. `status`, `method`, `url` and `codes` are those of the response of a registry
    or token service, `refusal` and `trail` are about the credential of the request, `line` and `column` about
    a document. `errors` are the parts of an error that is about several things.
    """
    # Looked at first: the trail is set with them.
    hints = [without_logins(hint) for hint in error.hints]
    request = error if isinstance(error, RegistryError | TransportError) else None
    response = error if isinstance(error, RegistryError) else None
    document = error if isinstance(error, InvalidDocument) and error.line else None
    return {
        "class": type(error).__name__,
        "kind": kind_of(error).value,
        "message": without_logins(str(error)),
        "status": response and response.status,
        "codes": sorted(response.codes) if response else [],
        "diagnostics": [_diagnostic(each) for each in response.diagnostics] if response else [],
        "method": request and request.method.upper(),
        "url": request and without_logins(request.url),
        "retryAfterSeconds": response and response.retry_after,
        "refusal": _refusal(error.refusal),
        "trail": [
            {"source": answer.source, "outcome": answer.outcome, "detail": answer.detail}
            for answer in error.trail
        ],
        "hints": hints,
        "line": document and document.line,
        "column": document and document.column,
        "digests": [str(digest) for digest in error.digests] if isinstance(error, MissingBase) else [],
        "errors": [failed(each) for each in error.errors] if isinstance(error, Several) else [],
    }


def without_logins(text: str) -> str:
    """Return `text` without the logins in the URLs that are in it."""
    return _LOGIN.sub("://REDACTED@", text)


def _refusal(refusal: Refusal | None) -> dict[str, object] | None:
    if refusal is None:
        return None
    return {
        "kind": refusal.kind.value,
        "sentence": without_logins(refusal.sentence),
        "remedy": without_logins(refusal.remedy) or None,
    }


def _diagnostic(diagnostic: Diagnostic) -> dict[str, object]:
    return {
        "code": diagnostic.code,
        "message": without_logins(diagnostic.message),
        "detail": without_logins(diagnostic.detail) or None,
    }

"""From an unexpected response to the RegistryError that describes it."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from imgpkg.errors import (
    Forbidden,
    ImmutableTag,
    InvalidManifest,
    NotFound,
    RegistryError,
    TransportError,
    Unauthorized,
)
from imgpkg.expression import expression
from imgpkg.transport.message import read_at_most, redact_url
from imgpkg.transport.retry import parse_retry_after

if TYPE_CHECKING:
    from collections.abc import Iterable

    from imgpkg.errors.details import Diagnostic
    from imgpkg.transport.message import Request, Response

_SMALLEST, _LARGEST = -4, 6
# Bytes of a body that are read, and characters of it that are printed.
_MOST_READ = 64 << 10
_MOST_SHOWN = 1 << 10
_HTML = expression(rb"\s*<(!doctype html|html|head|body)", re.IGNORECASE)
_NOTHING = "A proxy or a registry with a fault answers so: try again, or ask its operator."
_REDACTED = "<redacted>"
WEB_PAGE = (
    "A web page came back: a proxy, a firewall or a login page may have answered in place of the service. "
    "Open the address in a browser, or check HTTPS_PROXY and NO_PROXY."
)
_ABSENT = 404
_OF_PROXIES = frozenset({413, 502, 503, 504})
_BY_STATUS: dict[int, type[RegistryError]] = {401: Unauthorized, 403: Forbidden, 404: NotFound}
# There is no code for it in the distribution-spec: ECR, Harbor, Artifact Registry, Nexus and others say it in
# words, with different statuses. A name that contains the word is not meant.
_IMMUTABLE = expression(
    r"(?<![A-Za-z0-9/.-])immutab(?:le|ility)(?![\w/-])|cannot be overwritten|does not allow updating",
    re.IGNORECASE,
)
_OF_IMMUTABLE = frozenset({400, 403, 405, 409, 412, 422})
# Without 404, which answers the question, and 408 and 429, after which the request is repeated.
_REFUSALS = frozenset({400, 401, 402, 403, 405, 406, 409, 410, 411, 412, 415, 422, 451, 501})
# Python changes these phrases from release to release; the first answers many questions of a good day, which
# need no list of all statuses.
_PHRASES = {
    404: "Not Found",
    413: "Request Entity Too Large",
    414: "Request URI Too Long",
    416: "Requested Range Not Satisfiable",
    422: "Unprocessable Entity",
}


def go_text(value: Any) -> str:
    """Print decoded JSON: `map[k1:v1 k2:v2]` with sorted keys, `[a b]`, `<nil>`, numbers like `1e+06`.

    Raises RecursionError for a value nested too deeply.
    """
    # The original prints `detail` with Go's `%v`.
    match value:
        case None:
            return "<nil>"
        case bool():
            return str(value).lower()
        case int() | float():
            return _number(value)
        case dict():
            return f"map[{' '.join(f'{key}:{go_text(value[key])}' for key in sorted(value))}]"
        case list():
            return f"[{' '.join(map(go_text, value))}]"
        case _:
            return str(value)


def _number(value: float) -> str:
    """Print as `%g` does: shortest digits, an exponent from a million on and below one ten-thousandth."""
    from decimal import Decimal

    try:
        number = Decimal(repr(float(value)))
    except OverflowError:
        return "+Inf" if value > 0 else "-Inf"
    if not number.is_finite():
        return "NaN" if number.is_nan() else f"{'-' if number < 0 else '+'}Inf"
    if not number:
        return "-0" if number.is_signed() else "0"
    exponent = number.adjusted()
    if _SMALLEST <= exponent < _LARGEST:
        return f"{number.normalize():f}"
    mantissa = number.normalize().scaleb(-exponent)
    return f"{mantissa:f}e{exponent:+03d}"


def failure(
    request: Request,
    response: Response,
    *,
    now: float,
    hints: tuple[str, ...] = (),
    secrets: Iterable[str] = (),
    can_be_absent: bool = True,
) -> RegistryError:
    """Read `response`, close it, and return its error; `secrets` are left out of the text.

    That is ImmutableTag for a change that is refused because of one, Unauthorized for 401, Forbidden for 403,
    NotFound for 404, and RegistryError otherwise, also for a 404 that does not mean that the manifest or blob
    is absent (`can_be_absent`). `now` is a Unix time, for Retry-After.
    """
    body = read_start(response)
    diagnostics = _diagnostics(body, secrets)
    # A registry's own proxy answers so, too, when it cannot reach the registry, or for a large request.
    if is_web_page(response, body) and response.status not in _OF_PROXIES:
        hints = (WEB_PAGE, *hints)
    kind = _BY_STATUS.get(response.status, RegistryError)
    # A token service that does not exist is not an image that does not exist.
    if kind is NotFound and not can_be_absent:
        kind = RegistryError
    url = redact_url(request.url)
    text = _message(diagnostics) or _unexpected(request, response, body, secrets)
    if _keeps_tags(request, response.status, text):
        kind = ImmutableTag
    return kind(
        f"{request.method} {url}: {text}",
        method=request.method,
        url=url,
        status=response.status,
        diagnostics=diagnostics,
        hints=hints,
        retry_after=parse_retry_after(response.headers.get("Retry-After"), now),
    )


def unusable(
    request: Request, response: Response, reason: str, *, hints: tuple[str, ...] = ()
) -> RegistryError:
    """Close a response whose status is right and return the error that describes what is wrong with it."""
    response.close()
    url = redact_url(request.url)
    return RegistryError(
        f"{request.method} {url}: {reason}",
        method=request.method,
        url=url,
        status=response.status,
        hints=hints,
    )


def decides_nothing(error: RegistryError) -> bool:
    """Return True when a response leaves open whether something exists, because the request was refused.

    Some registries answer 403 for what does not exist, and some credentials may write and not read. After
    such a response the write is tried, which is refused too where nothing is allowed.
    """
    return error.status in _REFUSALS


def misses_a_blob(error: RegistryError) -> bool:
    """Return True when a manifest was refused because one of its blobs is not in the repository."""
    return error.status == _ABSENT or any(code.endswith("BLOB_UNKNOWN") for code in error.codes)


def of_another_form(response: Response, raw: bytes) -> InvalidManifest | None:
    """Return the error for what came back in place of a manifest; None if it may be meant as one."""
    # The text of the parser would be about a character of a page that the user has not seen.
    if is_web_page(response, raw):
        return InvalidManifest("a web page came back in place of a manifest", hints=(WEB_PAGE,))
    if not raw.strip():
        return InvalidManifest("an empty answer came back in place of a manifest", hints=(_NOTHING,))
    return None


def _keeps_tags(request: Request, status: int, said: str) -> bool:
    is_change = request.method in {"PUT", "DELETE"} and "/manifests/" in request.url
    return is_change and status in _OF_IMMUTABLE and bool(_IMMUTABLE.search(said))


def read_start(response: Response) -> bytes:
    """Return the start of the body of an error and close it; b"" when it cannot be read."""
    with response:
        try:
            return read_at_most(response, _MOST_READ)
        # The status alone is an error, too.
        except (TransportError, RegistryError):
            return b""


def _diagnostics(body: bytes, secrets: Iterable[str]) -> tuple[Diagnostic, ...]:
    try:
        document = json.loads(body)
        entries = document.get("errors") if isinstance(document, dict) else None
        # Only the form of the distribution-spec ("Error Codes") is read as error codes.
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            return ()
        return tuple(_diagnostic(entry, secrets) for entry in entries)
    except (ValueError, RecursionError):
        return ()


def _diagnostic(entry: dict[str, Any], secrets: Iterable[str]) -> Diagnostic:
    from imgpkg.errors.details import Diagnostic

    detail = entry.get("detail")
    return Diagnostic(
        _clean(str(entry.get("code") or ""), secrets),
        _clean(str(entry.get("message") or ""), secrets),
        "" if detail is None else _clean(go_text(detail), secrets),
    )


def _message(diagnostics: tuple[Diagnostic, ...]) -> str:
    if len(diagnostics) > 1:
        return f"multiple errors returned: {'; '.join(map(str, diagnostics))}"[: 4 * _MOST_SHOWN]
    return "".join(map(str, diagnostics))


def _unexpected(request: Request, response: Response, body: bytes, secrets: Iterable[str]) -> str:
    text = f"unexpected status code {response.status} {_phrase(response.status)}".rstrip()
    # The words are those of the original, and scripts test for them.
    if request.method == "HEAD":
        return f"{text} (HEAD responses have no body, use GET for details)"
    # Pages of proxies and load balancers are of no use in an error.
    if is_web_page(response, body):
        return f"{text} (a web page)"
    said = _clean(body.decode(errors="replace"), secrets)
    return f"{text}: {said}" if said else text


def is_web_page(response: Response, body: bytes) -> bool:
    """Return True for HTML, which no registry and no token service sends on purpose."""
    return "html" in response.headers.get("Content-Type", "").lower() or bool(_HTML.match(body))


def _phrase(status: int) -> str:
    if status in _PHRASES:
        return _PHRASES[status]
    from http import HTTPStatus

    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""


def _clean(text: str, secrets: Iterable[str]) -> str:
    # A registry may repeat a credential in its response.
    for secret in secrets:
        text = text.replace(secret, _REDACTED)
    shown = " ".join(text.split())
    return shown if len(shown) <= _MOST_SHOWN else f"{shown[:_MOST_SHOWN]}…"

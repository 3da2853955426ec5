"""Traces of requests and responses for `--debug`: heads only, never a body or a secret."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Protocol

from imgpkg.dataclass import dataclass
from imgpkg.errors import TransportError, printable
from imgpkg.transport.message import redact_header, redact_url

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from imgpkg.transport.message import Request, Response

_BINARY = " [body redacted: omitting binary blobs from logs]"
_TOKEN_REQUEST = " [body redacted: token request contains credentials]"  # noqa: S105 - a remark, no password
_TOKEN_RESPONSE = " [body redacted: basic token response contains credentials]"  # noqa: S105


class Tracer(Protocol):
    """Sees every exchange; called from many threads."""

    def carry(self, request: Request, send: Callable[[Request], Response]) -> Response:
        """Return what `send` returns for `request`, which has all of its headers, or one with more.

        The body of the response has not been read when `send` returns.
        """
        ...


@dataclass(frozen=True, slots=True)
class TextTracer:
    """Write each request and response as an arrow line and a head, with one call of `write`.

    `write` gets whole lines, which begin with the time if it `has_time`. `clock` returns the Unix time in
    seconds. Bodies are never written. Credentials in headers are `<redacted>`, URLs go through `redact_url`,
    and the query of a secret request is left out.
    """

    write: Callable[[str], None]
    clock: Callable[[], float] = time.time
    has_time: bool = True

    def carry(self, request: Request, send: Callable[[Request], Response]) -> Response:
        """Send `request` by `send`, and write both heads, or the reason of a failure."""
        self.sent(request)
        started = time.monotonic()
        try:
            response = send(request)
        except TransportError as error:
            self.failed(request, error, time.monotonic() - started)
            raise
        self.answered(request, response, time.monotonic() - started)
        return response

    def sent(self, request: Request) -> None:
        """Write `TIME --> METHOD URL` and the request's head."""
        arrow = f"--> {request.method} {_shown_url(request)}{_request_remark(request)}"
        self._write(arrow, request.headers.items())

    def answered(self, request: Request, response: Response, seconds: float) -> None:
        """Write `TIME <-- STATUS URL (duration)` and the response's head."""
        remark = _response_remark(request, response)
        arrow = f"<-- {response.status} {_shown_url(request)} ({_duration(seconds)}){remark}"
        self._write(arrow, _header_lines(response))

    def failed(self, request: Request, error: TransportError, seconds: float) -> None:
        """Write `TIME <-- REASON METHOD URL (duration)`."""
        self._write(f"<-- {error.reason} {request.method} {_shown_url(request)} ({_duration(seconds)})", ())

    def _write(self, arrow: str, headers: Iterable[tuple[str, str]]) -> None:
        # The lines are those of the original's --debug.
        format_ = "%Y/%m/%d %H:%M:%S "
        prefix = time.strftime(format_, time.localtime(self.clock())) if self.has_time else ""
        # Header values come from servers: without control characters they cannot forge lines.
        lines = (f"{_canonical(name)}: {redact_header(name, value)}" for name, value in headers)
        head = "".join(f"{printable(line)}\n" for line in lines)
        first = f"{prefix}{printable(arrow)}\n"
        self.write(f"{first}{head}\n" if head else first)


def _shown_url(request: Request) -> str:
    # The query of a token request has the account, and that of a GET to some services a secret.
    if not request.secret:
        return redact_url(request.url)
    address, question_mark, _ = request.url.partition("?")
    return redact_url(address) + ("?<redacted>" if question_mark else "")


def _header_lines(response: Response) -> Iterator[tuple[str, str]]:
    for name in response.headers:
        for line in response.header_list(name):
            yield name, line


def _request_remark(request: Request) -> str:
    if request.body is None:
        return ""
    if request.secret or request.body.secret:
        return _TOKEN_REQUEST
    return _BINARY if _is_binary(request.headers.get("Content-Type", "")) else ""


def _response_remark(request: Request, response: Response) -> str:
    if request.secret:
        return _TOKEN_RESPONSE
    return _BINARY if _is_binary(response.headers.get("Content-Type", "")) else ""


def _is_binary(content_type: str) -> bool:
    kind = content_type.partition(";")[0].strip().lower()
    return kind.endswith(("octet-stream", "gzip", "zstd", "tar"))


def _canonical(name: str) -> str:
    return "-".join(part.capitalize() for part in name.split("-"))


def _duration(seconds: float) -> str:
    return f"{seconds:.3f}s" if seconds >= 1 else f"{seconds * 1000:.1f}ms"

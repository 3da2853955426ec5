"""Operations and requests as spans of OpenTelemetry; whoever imports this has its API package."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from opentelemetry import trace
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from imgpkg.dataclass import replace
from imgpkg.expression import expression
from imgpkg.transport.message import Origin
from imgpkg.version import VERSION

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from opentelemetry.trace import Span

    from imgpkg.events import Transfer
    from imgpkg.transport.message import Request, Response

# Endpoints of the distribution-spec: names, tags and digests are parameters of them, and so is the ID of an
# upload, which some registries sign.
_ENDPOINTS = (
    (expression(r"/v2/?"), "/v2/"),
    (expression(r"/v2/_catalog"), "/v2/_catalog"),
    (expression(r"/v2/.+/blobs/uploads/.*"), "/v2/{name}/blobs/uploads/{id}"),
    (expression(r"/v2/.+/manifests/[^/]+"), "/v2/{name}/manifests/{reference}"),
    (expression(r"/v2/.+/blobs/[^/]+"), "/v2/{name}/blobs/{digest}"),
    (expression(r"/v2/.+/tags/list"), "/v2/{name}/tags/list"),
    (expression(r"/v2/.+/referrers/[^/]+"), "/v2/{name}/referrers/{digest}"),
)
_UNAUTHORIZED, _NOT_FOUND, _FIRST_ERROR = 401, 404, 400


@contextmanager
def operation_span(name: str) -> Iterator[Span]:
    """Return a context with a span for an operation, which requests in it have as parent.

    An error is named by its class: its text may say more than a trace should have.
    """
    with lasting_span(name) as span, within(span):
        yield span


@contextmanager
def lasting_span(name: str) -> Iterator[Span]:
    """Return a context with a span for an operation, which is the parent of nothing by itself."""
    span = trace.get_tracer("imgpkg", VERSION).start_span(f"imgpkg.{name}")
    try:
        yield span
    except BaseException as error:
        _fail(span, type(error).__name__)
        raise
    finally:
        span.end()


def within(span: Span) -> AbstractContextManager[Span]:
    """Return a context whose requests and operations have `span` as parent."""
    return trace.use_span(span, record_exception=False, set_status_on_exception=False)


def describe_transfer(span: Span, transfer: Transfer) -> None:
    """Add the numbers of blobs, and their bytes, to the span of an operation."""
    for kind in ("moved", "mounted", "present"):
        if count := getattr(transfer, kind):
            span.set_attribute(f"imgpkg.blobs.{kind}", count)
            span.set_attribute(f"imgpkg.bytes.{kind}", getattr(transfer, f"{kind}_size"))


class SpanTracer:
    """A tracer with a span for each request, by the conventions of OpenTelemetry for HTTP clients.

    It has method, scheme, host, port, status, and which endpoint of the distribution-spec: neither a path,
    which may have the ID of an upload, nor a query, nor a header. It ends with the head of the response.
    If it `sends_context`, registries that the user named get the header `traceparent` of W3C Trace Context,
    and no other host does; never is there any baggage.
    """

    def __init__(self, *, sends_context: bool) -> None:
        self._sends_context = sends_context

    def carry(self, request: Request, send: Callable[[Request], Response]) -> Response:
        """Send `request` by `send`, in a span."""
        template = _template(request)
        tracer = trace.get_tracer("imgpkg", VERSION)
        with tracer.start_as_current_span(
            f"{request.method} {template}".rstrip(),
            kind=trace.SpanKind.CLIENT,
            attributes=_attributes(request, template),
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            try:
                response = send(self._with_context(request))
            except BaseException as error:
                _fail(span, type(error).__name__)
                raise
            span.set_attribute("http.response.status_code", response.status)
            if not _is_expected(request, response.status):
                _fail(span, str(response.status))
            return response

    def _with_context(self, request: Request) -> Request:
        if not (self._sends_context and request.to_registry):
            return request
        context: dict[str, str] = {}
        TraceContextTextMapPropagator().inject(context)
        return replace(request, headers={**request.headers, **context})


def _attributes(request: Request, template: str) -> dict[str, str | int]:
    origin = Origin.of(request.url)
    attributes: dict[str, str | int] = {
        "http.request.method": request.method,
        "url.scheme": origin.scheme,
        "server.address": origin.host,
        "server.port": origin.port,
    }
    return {**attributes, "url.template": template} if template else attributes


def _template(request: Request) -> str:
    if not request.to_registry:
        return ""
    path = "/" + request.url.partition("?")[0].partition("://")[2].partition("/")[2]
    return next((template for pattern, template in _ENDPOINTS if pattern.fullmatch(path)), "")


def _is_expected(request: Request, status: int) -> bool:
    # A challenge is answered by the next request, and HEAD asks whether something is there.
    is_answer = status == _UNAUTHORIZED or (request.method == "HEAD" and status == _NOT_FOUND)
    return status < _FIRST_ERROR or is_answer


def _fail(span: Span, kind: str) -> None:
    span.set_attribute("error.type", kind)
    span.set_status(trace.StatusCode.ERROR)

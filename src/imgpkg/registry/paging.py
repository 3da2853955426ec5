"""Lists that come in pages, each naming the next in a Link header (RFC 8288)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from imgpkg.registry.failure import read_start, unusable
from imgpkg.transport.message import Request, read_at_most

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from imgpkg.registry.authorizer import Answer
    from imgpkg.registry.exchange import Exchange
    from imgpkg.registry.scope import Access

MAX_PAGE = 32 << 20
_LONGEST_LINE = 64 << 10

_OK = 200
_LINK = re.compile(r'<([^<>]*)>((?:[^,"<]|"[^"]*")*)')
_RELATION = re.compile(r';\s*rel\s*=\s*(?:"([^"]*)"|([^\s;,"]+))', re.IGNORECASE)


def pages(
    exchange: Exchange,
    path: str,
    access: Access,
    *,
    headers: Mapping[str, str],
    also_accept: Collection[int] = (),
) -> Iterator[tuple[Answer, bytes]]:
    """Yield each answer, closed, with its body; an answer of a status in `also_accept` is the last.

    Of such an answer it is the start of the body, as far as it can be read.

    Raises RegistryError for a page that is too large, for a link that was followed before, and for one that
    leads away from the registry.
    """
    url, seen = path, {path}
    while url:
        request = Request("GET", url, headers)
        answer, body = exchange.repeat(lambda request=request: _page(exchange, request, access, also_accept))  # type: ignore[misc]
        yield answer, body
        link = next_link(answer.response.header_list("Link")) if answer.response.status == _OK else ""
        url = exchange.location(link, answer, access.repository) if link else ""
        if url in seen:
            raise unusable(answer.request, answer.response, "the list of pages goes in circles")
        if url and not exchange.is_own(url, access.repository):
            raise unusable(answer.request, answer.response, "the next page is not on the registry")
        seen.add(url)


def next_link(lines: list[str]) -> str:
    """Return the target of the `next` relation, or of a first link that says no relation; else empty."""
    links = [match for line in lines for match in _LINK.finditer(line[:_LONGEST_LINE])]
    for position, link in enumerate(links):
        relation = _RELATION.search(link[2])
        words = (relation[1] or relation[2] or "").lower().split() if relation else []
        if "next" in words or (position == 0 and relation is None):
            return link[1]
    return ""


def _page(
    exchange: Exchange, request: Request, access: Access, also_accept: Collection[int]
) -> tuple[Answer, bytes]:
    answer = exchange.call(request, access, (_OK, *also_accept))
    if answer.response.status != _OK:
        return answer, read_start(answer.response)
    with answer.response as response:
        body = read_at_most(response, MAX_PAGE + 1)
    if len(body) > MAX_PAGE:
        raise unusable(answer.request, response, f"the page is larger than {MAX_PAGE >> 20} MiB")
    return answer, body

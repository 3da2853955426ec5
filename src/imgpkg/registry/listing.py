"""Lists in pages, each with the URL of the next one in a Link header (RFC 8288): tags, and other names."""

from __future__ import annotations

import json
import re
from itertools import chain
from typing import TYPE_CHECKING

from imgpkg.errors import RegistryError
from imgpkg.expression import expression
from imgpkg.registry.auth.challenge import Access
from imgpkg.registry.failure import WEB_PAGE, is_web_page, read_start, unusable
from imgpkg.transport.message import Request, read_at_most

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from imgpkg.oci.reference import Repository
    from imgpkg.registry.endpoint import Answer
    from imgpkg.registry.exchange import Exchange

# Bytes, and far more than a thousand tags of 128 characters.
MAX_PAGE = 32 << 20
_LONGEST_LINE = 64 << 10
# A hundred million tags, at a thousand a page: a list that is longer has no end.
MOST_PAGES = 100_000

_OK = 200
_LINK = expression(r'<([^<>]*)>((?:[^,"<]|"[^"]*")*)')
_RELATION = expression(r';\s*rel\s*=\s*(?:"([^"]*)"|([^\s;,"]+))', re.IGNORECASE)
_PER_PAGE = 1000
# Statuses for a number that is too large for the registry. 404 is not one: there is no such repository.
_NOT_SO_MANY = frozenset({400, 405, 406, 413, 414, 416, 422, 501})


def pages(
    exchange: Exchange,
    path: str,
    access: Access,
    *,
    headers: Mapping[str, str],
    also_accept: Collection[int] = (),
) -> Iterator[tuple[Answer, bytes]]:
    """Yield each answer, closed, with its body; an answer with a status in `also_accept` is the last.

    The body of such an answer may be cut short. Raises RegistryError for a page that is too large, for too
    many pages, for a link that was followed before, and for one to another host.
    """
    url, seen = path, {path}
    while url:
        request = Request("GET", url, headers)
        answer, body = exchange.repeat(lambda request=request: _page(exchange, request, access, also_accept))  # type: ignore[misc]
        yield answer, body
        link = next_link(answer.response.header_list("Link")) if answer.response.status == _OK else ""
        url = exchange.location(link, answer, access.repository) if link else ""
        # Otherwise the list would never end.
        if url in seen:
            raise unusable(answer.request, answer.response, "the list of pages goes in circles")
        # Another host must not add tags to the list, and gets no credential.
        if url and not exchange.is_own(url, access.repository):
            raise unusable(answer.request, answer.response, "the next page is not on the registry")
        if len(seen) >= MOST_PAGES and url:
            raise unusable(answer.request, answer.response, f"the list has more than {MOST_PAGES} pages")
        seen.add(url)


def next_link(lines: list[str]) -> str:
    """Return the target of the `next` relation, or of a first link without a relation; empty for none."""
    # A Link header may have several links, and a response several Link headers.
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


def list_tags(exchange: Exchange, repository: Repository, per_page: int = _PER_PAGE) -> Iterator[str]:
    """See `RegistryClient.tags`."""
    return list_names(
        exchange, f"/v2/{repository.path}/tags/list", Access.read(repository), "tags", per_page=per_page
    )


def list_names(
    exchange: Exchange, path: str, access: Access, member: str, *, per_page: int = _PER_PAGE
) -> Iterator[str]:
    """Yield the texts of the list `member`, such as `tags`, of the documents at `path`, page by page.

    Raises RegistryError for documents of another form, and for texts that cannot be printed.
    """
    listing = pages(exchange, f"{path}?n={per_page}", access, headers={})
    # The registry decides about `n` on the first page.
    try:
        first = next(listing)
    except RegistryError as error:
        if error.status not in _NOT_SO_MANY:
            raise
        listing = pages(exchange, path, access, headers={})
        first = next(listing)
    for answer, body in chain((first,), listing):
        yield from _names(answer, body, member)


def _names(answer: Answer, body: bytes, member: str) -> list[str]:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        is_page = is_web_page(answer.response, body)
        raise unusable(
            answer.request,
            answer.response,
            f"a web page came back in place of the list of {member}"
            if is_page
            else f"the list of {member} is not JSON",
            hints=(WEB_PAGE,) if is_page else (),
        ) from error
    # Registries written in Go send `null` for an empty list.
    names = (document.get(member) or []) if isinstance(document, dict) else None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise unusable(answer.request, answer.response, f"the answer is no list of {member}")
    # Tags are printed to terminals and read by scripts line by line.
    if not all(name.isprintable() for name in names):
        said = f"the list of {member} has a name with unprintable characters"
        raise unusable(answer.request, answer.response, said)
    return names

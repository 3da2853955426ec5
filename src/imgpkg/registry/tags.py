"""The tags of a repository."""

from __future__ import annotations

import json
from itertools import chain
from typing import TYPE_CHECKING

from imgpkg.errors import RegistryError
from imgpkg.registry.failure import unusable
from imgpkg.registry.paging import pages
from imgpkg.registry.scope import Access

if TYPE_CHECKING:
    from collections.abc import Iterator

    from imgpkg.oci.reference import Repository
    from imgpkg.registry.authorizer import Answer
    from imgpkg.registry.exchange import Exchange

_PER_PAGE = 1000
# What registries answer to a number that is too large for them; 404 says that there is no such repository.
_NOT_SO_MANY = frozenset({400, 405, 406, 413, 414, 416, 422, 501})


def list_tags(exchange: Exchange, repository: Repository) -> Iterator[str]:
    """See `RegistryClient.tags`."""
    path, access = f"/v2/{repository.path}/tags/list", Access.read(repository)
    listing = pages(exchange, f"{path}?n={_PER_PAGE}", access, headers={})
    try:
        first = next(listing)
    except RegistryError as error:
        if error.status not in _NOT_SO_MANY:
            raise
        listing = pages(exchange, path, access, headers={})
        first = next(listing)
    for answer, body in chain((first,), listing):
        yield from _names(answer, body)


def _names(answer: Answer, body: bytes) -> list[str]:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise unusable(answer.request, answer.response, "the list of tags is not JSON") from error
    tags = (document.get("tags") or []) if isinstance(document, dict) else None
    if not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
        raise unusable(answer.request, answer.response, "the answer is no list of tags")
    # They are shown in terminals and read by scripts, line by line.
    if not all(tag.isprintable() for tag in tags):
        raise unusable(answer.request, answer.response, "a tag of the list has unprintable characters")
    return tags

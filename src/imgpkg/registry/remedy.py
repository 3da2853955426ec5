"""What to do about answers of registries that are about no credential; what there is in place of a tag."""

from __future__ import annotations

import re
from difflib import get_close_matches
from itertools import islice
from typing import TYPE_CHECKING

from imgpkg.errors import ImgpkgError, ImmutableTag, NotFound
from imgpkg.expression import expression
from imgpkg.oci.derived_tags import DerivedTag
from imgpkg.oci.reference import DOCKER_HUB
from imgpkg.registry.listing import list_tags

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from imgpkg.errors import RegistryError
    from imgpkg.oci.reference import Repository
    from imgpkg.registry.exchange import Exchange

# One page of tags; more requests would be too much for a hint.
_MOST_TAGS, _MOST_SHOWN = 1000, 5
# How alike a tag has to be, from 0 to 1.
_ALIKE = 0.5
_MANIFEST = expression(r"/manifests/([^/?]+)$")
# The words of Harbor, GitLab, Quay, GitHub and of clouds for storage that is used up.
_QUOTA = expression(
    r"quota|storage (?:resource|limit|space)|insufficient storage|exceed(?:s|ed|ing)? .{0,60}\blimit",
    re.IGNORECASE,
)
_READING, _WRITING = frozenset({"GET", "HEAD"}), frozenset({"POST", "PUT", "PATCH"})
_TOO_LARGE, _WRONG_TYPE, _TOO_MANY, _SERVER_ERROR = 413, 415, 429, 500
_NO_METHOD = frozenset({405, 501})
_GATEWAY = frozenset({502, 503, 504})
_NO_STORAGE = 507
# Docker Hub has repositories of two components and no other.
_HUB_COMPONENTS = 2


def is_about_quota(error: RegistryError) -> bool:
    """Return True when a registry refuses for want of space, whatever the status of its answer."""
    said = " ".join(str(diagnostic) for diagnostic in error.diagnostics)
    return error.status == _NO_STORAGE or bool(_QUOTA.search(said))


def remedies(error: RegistryError, repository: Repository) -> Iterator[str]:
    """Yield what to do about an answer with an error status, in whole sentences."""
    registry, status = repository.registry, error.status
    is_write = error.method not in _READING
    if status == _TOO_MANY:
        yield (
            f"{registry} limits the number of requests: wait, log in where that raises the limit, or send "
            "fewer at once (--concurrency 1)."
        )
    elif isinstance(error, ImmutableTag):
        yield (
            f"{registry} keeps this tag as it is, by a rule of the repository or the project, which no login "
            "changes: write another tag, or have the rule changed where it is set."
        )
    elif is_write and is_about_quota(error):
        yield (
            f"The quota of {repository} at {registry} is used up, which no login changes: delete what is not "
            "needed there (imgpkg prune), or have its operator raise the quota."
        )
    elif status == _TOO_LARGE:
        yield (
            f"A proxy before {registry}, or the registry itself, limits the size of a request: "
            "--upload-chunk-size 50MB sends blobs in pieces; its operator can raise the limit "
            "(client_max_body_size of nginx)."
        )
    elif error.method in _WRITING and (status in _NO_METHOD or "UNSUPPORTED" in error.codes):
        yield f"{registry} can only be read: it is a mirror, a cache, or was made read-only by its operator."
    elif status == _WRONG_TYPE or "MANIFEST_INVALID" in error.codes:
        yield (
            f"{registry} does not take this kind of manifest: update the registry, or ask its operator which "
            "media types it allows."
        )
    elif is_write and "NAME_UNKNOWN" in error.codes:
        yield f"{registry} has no project or repository {repository.path}: create it there first."
    elif status in _GATEWAY:
        yield (
            f"A proxy or load balancer answered for {registry}, since the registry behind it did not: try "
            "again later, or tell its operator."
        )
    elif status >= _SERVER_ERROR:
        yield f"{registry} failed itself: try again later, or have its operator look into its log."


def absence(error: RegistryError, exchange: Exchange, repository: Repository) -> tuple[bool, tuple[str, ...]]:
    """Return whether the repository can be seen, and what there is in it in place of what was not found.

    The list of its tags is requested once, as `exchange` sends all requests; a failure means less to say.
    """
    asked = _MANIFEST.search(error.url)
    missing = f"There is no repository {repository.path} at {repository.registry} that can be seen."
    if asked is None:
        # The list of tags itself, where 404 has one meaning only.
        is_list = "NAME_UNKNOWN" in error.codes
        return False, (*((missing,) if is_list else ()), *misread(repository))
    try:
        tags = islice(list_tags(exchange, repository), _MOST_TAGS)
        named = [tag for tag in tags if DerivedTag.parse(tag) is None]
        return True, (_instead(repository, asked[1], named),)
    except NotFound:
        return False, (missing, *misread(repository))
    except ImgpkgError:
        return False, tuple(misread(repository))


def _instead(repository: Repository, asked: str, tags: Sequence[str]) -> str:
    if not tags:
        return f"The repository {repository} is there and has no tags."
    count = f"{len(tags)} tags" if len(tags) > 1 else "one tag"
    if ":" in asked:
        return (
            f"The repository {repository} is there, with {count}, and has no image with this digest: it was "
            "deleted, or is in another repository."
        )
    near = get_close_matches(asked, tags, n=_MOST_SHOWN, cutoff=_ALIKE)
    if near:
        return f"The repository has {count} and not {asked}; the nearest: {', '.join(near)}."
    some = ", ".join(tags[-_MOST_SHOWN:])
    return (
        f"The repository has {count} and not {asked}{': ' if len(tags) <= _MOST_SHOWN else '; some: '}{some}."
    )


def misread(repository: Repository) -> Iterator[str]:
    """Yield what may have been meant by a name that was read as one of Docker Hub, or is a URL."""
    first, *rest = repository.path.split("/")
    if repository.registry != DOCKER_HUB:
        if first == "v2" or "manifests" in rest:
            yield f"{repository} is a URL of the API: a reference has the name of the repository alone."
        return
    if first == "library" and len(rest) == 1 and "." in rest[0]:
        yield f"{rest[0]} is read as an image of Docker Hub: if it is a registry, write {rest[0]}/REPOSITORY."
    elif first == "localhost" or len(rest) >= _HUB_COMPONENTS:
        yield (
            f"{first} has no dot and no port, so that {repository.path} is read as a name of Docker Hub: "
            f"write {first}:PORT/{'/'.join(rest)}."
        )

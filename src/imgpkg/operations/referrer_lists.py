"""The lists of what refers to an image, in which every manifest with a subject has to be."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from imgpkg import cancellation
from imgpkg.dataclass import dataclass
from imgpkg.errors import RegistryError, doing

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from imgpkg.oci.descriptor import Digest
    from imgpkg.oci.manifest import Manifest
    from imgpkg.oci.reference import Repository
    from imgpkg.operations.workers import WorkerPool
    from imgpkg.registry.client import RegistryClient

_MOST_LOOKS = 6
# Whoever has read the list before it was written will have written it by then. In seconds; and as a multiple
# of the time that a look takes, since others wait for the registry as long.
_SHORTEST_PAUSE, _LONGEST_PAUSE, _LOOKS_IN_A_PAUSE = 0.1, 3.0, 5


def confirm_lists(
    client: RegistryClient,
    repository: Repository,
    manifests: Iterable[Manifest],
    fresh: Collection[Digest],
    workers: WorkerPool,
) -> list[tuple[Digest, Manifest]]:
    """See that `repository` lists all `manifests` with a subject, and write those again that it does not.

    Where a registry has no referrers API, the clients keep the lists (distribution-spec, "Referrers Tag
    Schema"). Each reads the list, adds to it and writes it, so that of two clients at once one may undo what
    the other did; and a client may have been killed between a manifest and its list. `fresh` are the digests
    of those that were just written: for these the list is looked at twice, with a pause between. Returns what
    is not listed after all, behind its subject. Raises an error of the registry when a manifest cannot be
    written.
    """
    open_lists = _lists(manifests, fresh)
    keeper = _ListKeeper(client, repository)
    for look in range(_MOST_LOOKS):
        started = time.monotonic()
        looked = workers.map(keeper.look, open_lists)
        spent = time.monotonic() - started
        workers.map(keeper.write, [each for one in looked for each in one.missing])
        open_lists = [one for one in looked if one.is_open]
        if not open_lists:
            break
        if look < _MOST_LOOKS - 1:
            cancellation.sleep(min(max(spent * _LOOKS_IN_A_PAUSE, _SHORTEST_PAUSE), _LONGEST_PAUSE))
    return [(one.subject, manifest) for one in open_lists for manifest in one.missing]


@dataclass(frozen=True, slots=True)
class _List:
    """The list of what refers to `subject`: what has to be in it, and what a look has missed there.

    `looks` is how many times nothing must be missing, one after the other, until the list is settled.
    """

    subject: Digest
    manifests: tuple[Manifest, ...]
    looks: int
    missing: tuple[Manifest, ...] = ()

    @property
    def is_open(self) -> bool:
        return bool(self.missing) or self.looks > 0


def _lists(manifests: Iterable[Manifest], fresh: Collection[Digest]) -> list[_List]:
    referrers: dict[Digest, dict[Digest, Manifest]] = {}
    for manifest in manifests:
        if manifest.subject is not None:
            referrers.setdefault(manifest.subject.digest, {})[manifest.digest] = manifest
    return [
        _List(subject, tuple(found.values()), _looks(found, fresh)) for subject, found in referrers.items()
    ]


def _looks(found: Mapping[Digest, Manifest], fresh: Collection[Digest]) -> int:
    return 1 + any(digest in fresh for digest in found)


@dataclass(frozen=True, slots=True)
class _ListKeeper:
    """A repository that keeps the lists."""

    client: RegistryClient
    repository: Repository

    def look(self, one: _List) -> _List:
        """Return the list with what is missing in it now."""
        subject, manifests = one.subject, one.manifests
        try:
            # A registry that lists them itself loses none.
            if not self._unlisted(one, tag_scheme=False):
                return _List(subject, manifests, looks=0)
            missing = self._unlisted(one, tag_scheme=True)
        except RegistryError:
            # A login that may write and not read has written what it can.
            return _List(subject, manifests, looks=0)
        return _List(subject, manifests, 2 if missing else one.looks - 1, missing)

    def write(self, manifest: Manifest) -> None:
        """Write a manifest once more, and with it its entry."""
        with doing("Listing what refers to an image"):
            self.client.push_manifest(self.repository.digest(manifest.digest), manifest)

    def _unlisted(self, one: _List, *, tag_scheme: bool) -> tuple[Manifest, ...]:
        found = self.client.referrers(self.repository, one.subject, tag_scheme=tag_scheme)
        listed = {entry.digest for entry in found}
        return tuple(manifest for manifest in one.manifests if manifest.digest not in listed)

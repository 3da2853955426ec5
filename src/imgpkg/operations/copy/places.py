"""The plan of a copy by repositories of the destination: which roots, blobs and records each of them gets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from imgpkg.dataclass import replace
from imgpkg.errors import UsageError
from imgpkg.oci.reference import Reference
from imgpkg.operations.copy.plan import Places, RepositoryPlan, digests_of, nodes_of
from imgpkg.operations.copy.tags import subjects_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from imgpkg.bundle.locations import Location
    from imgpkg.bundle.placement import Placement
    from imgpkg.oci.cut import Cut
    from imgpkg.oci.descriptor import Digest
    from imgpkg.oci.reference import Repository
    from imgpkg.operations.copy.collection import Collected, Record
    from imgpkg.operations.copy.plan import BlobMove, Item, OpenedSource, Root, TransferPlan

_MOST_NAMED = 5


def places_of(opened: OpenedSource, home: Repository, placement: Placement) -> Places:
    """Return where `placement` puts each image of `opened` in a copy to `home`.

    What is attached to an image goes where the image goes. Raises UsageError if repositories with different
    names would be one at the destination, and InvalidReference for what cannot be a name there.
    """
    roots = opened.plan.roots
    of_roots = _Placing(roots, home, placement).run()
    records = located_records(opened.collected, roots, of_roots)
    return spread(opened.plan, of_roots, records, is_local=opened.is_local)


def spread(
    plan: TransferPlan,
    of_roots: Mapping[tuple[str, str], tuple[Repository, ...]],
    records: Mapping[Repository, Sequence[Record]],
    *,
    is_local: bool,
) -> Places:
    """Return what each repository gets of `plan`, whose roots go where `of_roots` says."""
    by_repository: dict[Repository, list[Root]] = {}
    for root in plan.roots:
        for repository in of_roots[root.item.key]:
            by_repository.setdefault(repository, []).append(root)
    places = tuple(
        RepositoryPlan(repository, _part(plan, placed), tuple(records.get(repository, ())))
        for repository, placed in by_repository.items()
    )
    return Places(_mounting(places, is_local=is_local), of_roots)


def name_of(item: Item) -> Repository:
    """Return the repository by which people know an image: that of the images lock, if there is one."""
    if item.origin:
        return Reference.parse(item.origin).repository
    return (item.elsewhere or item.reference).repository


class _Placing:
    """Places roots by their names, and then those that are attached to others."""

    def __init__(self, roots: Sequence[Root], home: Repository, placement: Placement) -> None:
        self._roots = roots
        self._home = home
        self._placement = placement
        self._found: dict[tuple[str, str], tuple[Repository, ...]] = {}
        # The roots whose trees have this digest.
        self._holders: dict[Digest, list[Root]] = {}
        for root in roots:
            for digest in digests_of((root,)):
                self._holders.setdefault(digest, []).append(root)

    def run(self) -> Mapping[tuple[str, str], tuple[Repository, ...]]:
        subjects = {root.item.key: self._subjects(root) for root in self._roots}
        named = [root for root in self._roots if not subjects[root.item.key]]
        self._place_names(named)
        left = [root for root in self._roots if subjects[root.item.key]]
        while left:
            placed = [root for root in left if self._place_attached(root, subjects[root.item.key])]
            if not placed:
                # Referrers may refer to each other in a circle.
                self._place_names(left[:1])
                placed = left[:1]
            left = [root for root in left if root.item.key not in self._found]
        return {root.item.key: self._found[root.item.key] for root in self._roots}

    def _place_names(self, roots: Iterable[Root]) -> None:
        named: dict[Repository, dict[Repository, bool]] = {}
        for root in roots:
            name = name_of(root.item)
            place = self._placement.place((name, root.item.reference.repository), self._home)
            named.setdefault(place.repository, {})[name] = place.is_kept
            self._found[root.item.key] = (place.repository,)
        _refuse_collisions(named)

    def _subjects(self, root: Root) -> list[Root]:
        """Return the roots that contain what `root` is attached to."""
        holders = [holder for digest in subjects_of(root) for holder in self._holders.get(digest, ())]
        others = [holder for holder in holders if holder.item.key != root.item.key]
        # Of an image that was read in two places, each has its own attachments.
        beside = [one for one in others if one.item.reference.repository == root.item.reference.repository]
        return beside or others

    def _place_attached(self, root: Root, subjects: Sequence[Root]) -> bool:
        places = [self._found[one.item.key] for one in subjects if one.item.key in self._found]
        if len(places) < len(subjects):
            return False
        distinct = dict.fromkeys(repository for found in places for repository in found)
        self._found[root.item.key] = tuple(distinct)
        return True


def _refuse_collisions(named: Mapping[Repository, Mapping[Repository, bool]]) -> None:
    """Raise UsageError where a name that is kept is also that of another repository."""
    collisions = [
        f"{', '.join(str(name) for name in sorted(names))} in {repository}"
        for repository, names in sorted(named.items())
        if len(names) > 1 and any(names.values())
    ]
    if collisions:
        more = f" and {len(collisions) - _MOST_NAMED} more" if len(collisions) > _MOST_NAMED else ""
        raise UsageError(
            f"Several repositories would become one: {'; '.join(collisions[:_MOST_NAMED])}{more}",
            hints=("--keep-hosts keeps the registry in the name; --map puts each of them elsewhere.",),
        )


def _part(plan: TransferPlan, roots: Sequence[Root]) -> TransferPlan:
    if tuple(roots) == plan.roots:
        return plan
    digests = {blob.digest for node in nodes_of(roots) for blob in node.manifest.parts()}
    blobs = {digest: move for digest, move in plan.blobs.items() if digest in digests}
    return replace(plan, roots=tuple(roots), blobs=blobs)


def _mounting(places: Sequence[RepositoryPlan], *, is_local: bool) -> tuple[RepositoryPlan, ...]:
    """Let each blob be sent once to each registry, and be mounted into its other repositories."""
    if len(places) == 1:
        return tuple(places)
    first: dict[tuple[str, Digest], Repository] = {}
    changed = []
    for place in places:
        registry = place.repository.registry
        blobs: dict[Digest, BlobMove] = {}
        for digest, move in place.plan.blobs.items():
            sent = first.setdefault((registry, digest), place.repository)
            is_near = not is_local and move.origin.registry == registry
            is_mounted = sent != place.repository and not is_near and not move.is_missing
            blobs[digest] = replace(move, nearer=sent) if is_mounted else move
        changed.append(replace(place, plan=replace(place.plan, blobs=blobs)))
    return tuple(changed)


def located_records(
    collected: Collected, roots: Sequence[Root], of_roots: Mapping[tuple[str, str], tuple[Repository, ...]]
) -> Mapping[Repository, list[Record]]:
    """Return the records of each repository, with the place of each image that is not beside its bundle.

    Likewise of each index that was cut, which is not there by the digest that its bundle names.
    """
    by_name: dict[tuple[Repository, Digest], Repository] = {}
    by_digest: dict[Digest, list[Repository]] = {}
    cuts: dict[Digest, Cut] = {}
    for root in roots:
        if (digest := root.named.digest) is not None:
            by_name.setdefault((name_of(root.item), digest), of_roots[root.item.key][0])
        if root.item.cut is not None:
            cuts.setdefault(root.item.cut.whole.digest, root.item.cut)
        # A lock may name an image that a file has only as a part of an index.
        for found in digests_of((root,)):
            by_digest.setdefault(found, []).extend(of_roots[root.item.key])
    records: dict[Repository, list[Record]] = {}
    for record in collected.records:
        # A record promises that all images are there; of what is not copied it can say nothing.
        if not all(Reference.parse_digest(image.image).digest in by_digest for image in record.images):
            continue
        for repository in dict.fromkeys(by_digest[record.bundle]):
            images = tuple(_located(record.images, repository, by_name, by_digest, cuts))
            records.setdefault(repository, []).append(replace(record, images=images))
    return records


def records_beside(
    records: Iterable[Record],
    home: Repository,
    cuts: Mapping[Digest, Cut],
    copied: Collection[Digest] | None,
) -> tuple[Record, ...]:
    """Return the records of bundles whose images are all in `home`, those of `cuts` by their new digests.

    `copied` are the digests of what was copied, None if that is everything: of what is not copied, a record
    can say nothing.
    """
    found = []
    for record in records:
        names = [Reference.parse_digest(image.image).digest for image in record.images]
        if copied is None or all(digest in copied for digest in names):
            by_digest = {digest: (home,) for digest in names if digest is not None}
            images = tuple(_located(record.images, home, {}, by_digest, cuts))
            found.append(replace(record, images=images))
    return tuple(found)


def _located(
    images: Iterable[Location],
    beside: Repository,
    by_name: Mapping[tuple[Repository, Digest], Repository],
    by_digest: Mapping[Digest, Sequence[Repository]],
    cuts: Mapping[Digest, Cut],
) -> Iterator[Location]:
    for image in images:
        named = Reference.parse_digest(image.image)
        assert named.digest is not None  # noqa: S101 - a digest reference was parsed
        found = by_name.get((named.repository, named.digest)) or by_digest[named.digest][0]
        cut = cuts.get(named.digest)
        if cut is not None:
            yield replace(image, place=str(found.digest(cut.result.digest)), cut=cut)
        else:
            yield image if found == beside else replace(image, place=str(found.digest(named.digest)))

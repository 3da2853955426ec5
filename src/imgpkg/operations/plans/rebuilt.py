"""The source and the places of a copy from the lines of its plan, which must say what the manifests say."""

from __future__ import annotations

from itertools import zip_longest
from typing import TYPE_CHECKING

from imgpkg.bundle.image import Image
from imgpkg.bundle.locations import ImageLocations
from imgpkg.bundle.lock import ImagesLock, LockedImage
from imgpkg.dataclass import replace
from imgpkg.errors import ImgpkgError, NotFound, doing
from imgpkg.oci.reference import Reference
from imgpkg.operations.copy.collection import ROOT_LABELS, Collected, Record
from imgpkg.operations.copy.places import spread
from imgpkg.operations.copy.plan import Item, Node, Places, RepositoryPlan, Root, digests_of, plan_of
from imgpkg.operations.copy.source import remote_source
from imgpkg.operations.copy.trees import check_depth, check_kind
from imgpkg.operations.plans.lines import PlanImage, PlanLocked, PlanManifest, PlanRecord
from imgpkg.operations.plans.reader import mistake
from imgpkg.operations.plans.writer import lines_of
from imgpkg.values import FrozenDict

if TYPE_CHECKING:
    from collections.abc import Mapping

    from imgpkg.oci.descriptor import Digest
    from imgpkg.oci.manifest import Manifest
    from imgpkg.oci.reference import Repository
    from imgpkg.operations.copy.plan import OpenedSource, TransferPlan
    from imgpkg.operations.copy.values import CopyOptions
    from imgpkg.operations.disclosure import Disclosure
    from imgpkg.operations.plans.reader import CopyPlan
    from imgpkg.operations.workers import WorkerPool
    from imgpkg.session import Session

# Characters of a value in an error.
_SHOWN = 200


def rebuilt(
    plan: CopyPlan, session: Session, options: CopyOptions, workers: WorkerPool, disclosure: Disclosure
) -> OpenedSource:
    """Return the source and the places of `plan`, whose manifests are read from their registries.

    Nothing is taken from the plan that the manifests could say otherwise. Raises InvalidDocument with the
    number of the line, VerificationError, or an error of a registry.
    """
    lines = _GivenLines(plan)
    nodes = _nodes(plan, lines, _manifests(plan, lines, session, workers, disclosure))
    roots = tuple(_root(plan, number, image, nodes) for number, image in lines.images)
    if len({(image.image, image.tag) for _, image in lines.images}) != len(roots):
        raise mistake(plan.path, lines.images[0][0], "an image is listed twice")
    include = options.include_non_distributable_layers
    transfer = plan_of(roots, include_non_distributable=include)
    places = _places(plan, lines, transfer)
    opened = remote_source(_collected(plan, lines, roots), transfer, session, options)
    opened = replace(opened, places=places)
    _compare(plan, opened, places)
    return opened


def _places(plan: CopyPlan, lines: _GivenLines, transfer: TransferPlan) -> Places:
    """Return what each repository gets."""
    records = _records(plan, lines, transfer.roots)
    distinct = set(lines.repositories)
    if not distinct:
        return Places((RepositoryPlan(plan.header.destination, transfer),))
    first = next(iter(distinct))
    if len(distinct) == len(first) == 1:
        return Places((RepositoryPlan(first[0], transfer, tuple(records.get(first[0], ()))),))
    keys = (root.item.key for root in transfer.roots)
    of_roots = dict(zip(keys, lines.repositories, strict=True))
    return spread(transfer, of_roots, records, is_local=False)


class _GivenLines:
    """What cannot be derived from other lines, with the numbers of the lines.

    Of two equal references there is one, and `repositories` are those to which each of the images goes:
    where manifests and images are uploaded to is compared when all lines are.
    """

    def __init__(self, plan: CopyPlan) -> None:
        self.manifests: list[tuple[int, PlanManifest]] = []
        self.records: list[tuple[int, PlanRecord]] = []
        self.locked: list[tuple[int, PlanLocked]] = []
        self.images: list[tuple[int, PlanImage]] = []
        self.repositories: list[tuple[Repository, ...]] = []
        known: dict[Reference, Reference] = {}
        shared: dict[tuple[Repository, ...], tuple[Repository, ...]] = {}
        for number, line in plan.lines():
            if isinstance(line, PlanManifest):
                known[line.source] = line.source
                self.manifests.append((number, replace(line, destinations=())))
            elif isinstance(line, PlanRecord):
                self.records.append((number, line))
            elif isinstance(line, PlanLocked):
                self.locked.append((number, replace(line, image=known.get(line.image, line.image))))
            elif isinstance(line, PlanImage):
                places = tuple(one.repository for one in line.destinations)
                self.repositories.append(shared.setdefault(places, places))
                image, source = (known.get(one, one) for one in (line.image, line.source))
                self.images.append((number, replace(line, image=image, source=source, destinations=())))

    @property
    def cuts(self) -> Mapping[Digest, Manifest]:
        """The indexes that were cut, which no registry has."""
        cuts = [image.cut for _, image in self.images if image.cut is not None]
        return {result.digest: result for cut in cuts for result in cut.results.values()}


def _manifests(
    plan: CopyPlan, lines: _GivenLines, session: Session, workers: WorkerPool, disclosure: Disclosure
) -> list[Manifest]:
    """Return the manifests of the plan, in its order; all but those of cuts are read from registries."""
    cuts = lines.cuts

    def read(line: tuple[int, PlanManifest]) -> Manifest:
        number, named = line
        source = named.source
        found = cuts.get(source.digest) if source.digest is not None else None
        if found is None:
            disclosure.approach(source)
            with doing("Collecting packaging metadata", f"Working with {source}"):
                found = _fetched(plan, number, source, session)
        if (found.media_type, found.descriptor.size) != (named.media_type, named.size):
            raise mistake(
                plan.path,
                number,
                f"{source} has {found.descriptor.size} bytes of {found.media_type}, and not {named.size} of "
                f"{named.media_type}",
            )
        return found

    return workers.map(read, lines.manifests)


def _fetched(plan: CopyPlan, number: int, source: Reference, session: Session) -> Manifest:
    try:
        manifest = session.client.manifest(source)
        check_kind(manifest)
    except NotFound as error:
        error.hints = (*error.hints, gone(f"line {number} of {plan.path}"))
        raise
    return manifest


def gone(line: str) -> str:
    """Return what to do about something that a `line` of a plan, or a plan, names and that is not there."""
    return f"It was there when {line} was written: make the plan again."


def _nodes(plan: CopyPlan, lines: _GivenLines, manifests: list[Manifest]) -> Mapping[Reference, Node]:
    """Return the trees of all manifests by where they are read."""
    nodes: dict[Reference, Node] = {}
    heights: dict[Reference, int] = {}
    for (number, line), manifest in zip(lines.manifests, manifests, strict=True):
        source = line.source
        children = [source.repository.digest(child.digest) for child in manifest.children]
        missing = next((child for child in children if child not in nodes), None)
        if missing is not None or source in nodes:
            what = "it is listed twice" if missing is None else f"it lists {missing}, which is not before it"
            raise mistake(plan.path, number, what)
        heights[source] = 1 + max((heights[child] for child in children), default=0)
        check_depth(source, heights[source])
        nodes[source] = Node(Image(source, manifest), tuple(nodes[child] for child in children))
    return nodes


def _root(plan: CopyPlan, number: int, image: PlanImage, nodes: Mapping[Reference, Node]) -> Root:
    node = nodes.get(image.source)
    if node is None:
        raise mistake(plan.path, number, f"{image.source} is not among the manifests")
    labels = ROOT_LABELS if image.is_root_bundle else FrozenDict[str, str]()
    return Root(Item(image.image, image.tag, image.origin, labels, cut=image.cut), node)


def _records(
    plan: CopyPlan, lines: _GivenLines, roots: tuple[Root, ...]
) -> Mapping[Repository, list[Record]]:
    """Return the records of each repository; they name what is copied and nothing else."""
    if not lines.records:
        return {}
    there = digests_of(roots)
    spread_to = {
        place.digest(root.node.manifest.digest)
        for root, places in zip(roots, lines.repositories, strict=True)
        for place in places
    }
    found: dict[Repository, list[Record]] = {}
    for number, line in lines.records:
        try:
            places = ImageLocations(line.images, line.is_partial).places()
            named = {Reference.parse_digest(one.image).digest for one in line.images}
        except ImgpkgError as error:
            raise mistake(plan.path, number, str(error)) from error
        if line.destination.digest(line.bundle) not in spread_to or not named <= there:
            raise mistake(
                plan.path, number, f"the record of {line.bundle} is about images that are not copied"
            )
        if not spread_to.issuperset(places.values()):
            raise mistake(
                plan.path, number, f"the record of {line.bundle} names places where nothing is copied to"
            )
        record = Record(line.bundle, line.images, line.is_partial)
        found.setdefault(line.destination, []).append(record)
    return found


def _collected(plan: CopyPlan, lines: _GivenLines, roots: tuple[Root, ...]) -> Collected:
    header, items = plan.header, tuple(root.item for root in roots)
    root_item = None
    if header.root_bundle is not None:
        reference, tag = header.root_bundle
        root_item = next((item for item in items if (item.reference, item.tag) == (reference, tag)), None)
        if root_item is None:
            raise mistake(plan.path, 1, f"rootBundle {reference} is not among the images")
    named = {item.named.digest for item in items}
    for number, line in lines.locked:
        if line.image.digest not in named:
            raise mistake(plan.path, number, f"{line.image} is not among the images")
    lock = ImagesLock(tuple(LockedImage(line.image, line.annotations) for _, line in lines.locked))
    return Collected(items, root_item, images_lock=lock if header.has_images_lock else None)


def _compare(plan: CopyPlan, opened: OpenedSource, places: Places) -> None:
    """Raise InvalidDocument for the first line that is not as the manifests say."""
    number = 0
    for line, wanted in zip_longest(plan.lines(), lines_of(opened, places, plan.header)):
        number, found = (number + 1, None) if line is None else line
        if found == wanted:
            continue
        have, want = ({} if one is None else {"kind": one.kind, **one.fields()} for one in (found, wanted))
        names = [name for name in ({**want, **have}) if want.get(name) != have.get(name)]
        text = ", ".join(f"{name} is {_shown(have, name)}, and not {_shown(want, name)}" for name in names)
        raise mistake(plan.path, number, f"it is not as the manifests say: {text}")


def _shown(fields: Mapping[str, object], name: str) -> str:
    return str(fields.get(name))[:_SHOWN]

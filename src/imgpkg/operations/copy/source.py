"""The source of a copy: registries, a tar file or a layout, each read as a plan and a way to open blobs."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from imgpkg.bundle.graph import FIRST_REQUESTS, choose_all, expect_nothing
from imgpkg.bundle.lock import ImagesLock
from imgpkg.dataclass import dataclass, field, replace
from imgpkg.errors import UsageError
from imgpkg.oci.reference import Repository, parse_any
from imgpkg.operations.copy.collection import (
    Collected,
    collect_bundle,
    collect_image,
    collect_lock,
    merged,
    read_source_lock,
    signatures,
)
from imgpkg.operations.copy.plan import (
    Item,
    OpenedSource,
    Root,
    TransferPlan,
    named,
    plan_of,
)
from imgpkg.operations.copy.trees import read_roots
from imgpkg.operations.disclosure import Disclosure
from imgpkg.operations.workers import METADATA_JOBS, open_workers
from imgpkg.values import FrozenDict

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    from imgpkg.bundle.graph import Chooses, Expect
    from imgpkg.bundle.image import Starter
    from imgpkg.bundle.lock import BundleLock
    from imgpkg.oci.descriptor import ByteReader
    from imgpkg.oci.platform import Platform
    from imgpkg.operations.copy.attachments import AttachmentNotes
    from imgpkg.operations.copy.plan import BlobMove
    from imgpkg.operations.copy.values import CopyOptions, CopySource, Log
    from imgpkg.registry.client import RegistryClient
    from imgpkg.session import Session
    from imgpkg.values import StrPath

EMPTY_LOCKS: Mapping[StrPath, BundleLock | ImagesLock] = FrozenDict()
# More images than these are planned in batches, if nothing forbids it.
_STREAMED_FROM = 10_000
# Beginning anew reads again what was read; this part of the images at most.
_READ_AGAIN = 0.1
_INCOMPLETE = (
    "{} names {} images that are not in {}: they are not copied, and a pull of the bundle leaves its images "
    "where its images.yml names them"
)


@contextmanager
def open_source(
    session: Session,
    source: CopySource,
    options: CopyOptions,
    log: Log,
    *,
    with_configs: bool = False,
    to: Repository | None = None,
    writer: Session | None = None,
    expect: Expect = expect_nothing,
    locks: Mapping[StrPath, BundleLock | ImagesLock] = EMPTY_LOCKS,
) -> Iterator[OpenedSource]:
    """Return a context with the opened `source`, which is closed at its end.

    `with_configs` reads the configurations too. `to` is the repository to copy to, if the destination is one;
    it names the images of a layout that another tool made. `writer` is the session of the destination if it
    is not `session`; stopping it ends the reading too. `expect` is called while the source is read, with the
    number of images that are known by then. `locks` are those of the lock files that were read before. What
    the policy of `options` requires is verified at the end. Raises UsageError for a concurrency below 1,
    Untrusted, and what reading the source raises.
    """
    check_concurrency(session, writer or session)
    if options.selection is not None:
        check_selectable(source)
    if source.is_local:
        from imgpkg.operations.copy.store import open_file

        with open_file(source, options, log, to=to) as opened:
            report_choice(opened.collected, options, log)
            for bundle, count in opened.collected.incomplete.items():
                log.caution(_INCOMPLETE.format(bundle, count, source.shown))
            yield _prepared(opened, options, log)
    else:
        disclosure = disclosure_of(session, source, to, writer)
        for part in source.parts:
            if part.bundle:
                session.expect(parse_any(part.bundle).repository.registry, FIRST_REQUESTS)
        # Manifests are small, so that more requests at once shorten the wait.
        jobs = max(session.settings.concurrency, METADATA_JOBS)
        with open_workers(session, jobs, log.on_event, other=writer, activity="planning") as workers:
            export = Export(session.client, options, workers, disclosure, with_configs, expect, locks)
            collected, plan = export.run(source, log)
        yield _prepared(remote_source(collected, plan, session, options), options, log)


def disclosure_of(
    session: Session, source: CopySource, to: Repository | None, writer: Session | None
) -> Disclosure:
    """Return what warns before a login goes where only `source` leads, and not the repository `to`."""
    disclosure = Disclosure(session, source.shown, has_sides=to is not None)
    # With a login for each side, the destination has no bearing on the registries to read from.
    if to is not None and writer in (None, session):
        disclosure.name(to.registry)
    return disclosure


def check_concurrency(*sessions: Session) -> None:
    """Raise UsageError for sessions that may not send a request."""
    for session in sessions:
        if session.settings.concurrency < 1:
            raise UsageError(f"Expected --concurrency to be >= 1, but was {session.settings.concurrency}")


def streams(
    source: CopySource, locks: Mapping[StrPath, BundleLock | ImagesLock], options: CopyOptions
) -> bool:
    """Return whether a copy between registries moves what is planned before the rest is.

    Raises UsageError where that was asked for and cannot be.
    """
    obstacle = _obstacle(source, locks, options)
    if options.stream_plan and obstacle:
        raise UsageError(f"Flag --stream-plan cannot be used with {obstacle}")
    if options.stream_plan is not None:
        return options.stream_plan
    images = sum(len(lock.images) for lock in locks.values() if isinstance(lock, ImagesLock))
    return images > _STREAMED_FROM and not obstacle


class IsLarge(Exception):
    """Raised while a source is read that turns out to name more images than are planned at once."""


class SizeWatch:
    """Raises IsLarge when so many images of `source` are known, and few of them are read."""

    def __init__(
        self, source: CopySource, locks: Mapping[StrPath, BundleLock | ImagesLock], options: CopyOptions
    ) -> None:
        self._may_stream = options.stream_plan is None and not _obstacle(source, locks, options)
        self._read = 0

    def expect(self, images: int) -> None:
        """Know of so many images, all that were known before being read."""
        if self._may_stream and images > _STREAMED_FROM and self._read <= images * _READ_AGAIN:
            raise IsLarge
        self._read = images


def _obstacle(
    source: CopySource, locks: Mapping[StrPath, BundleLock | ImagesLock], options: CopyOptions
) -> str:
    """Return which option has to know everything before anything is written, and why; empty for none."""
    if options.policy is not None:
        return "--verify-key and other policies: all signatures are verified before anything is written"
    if options.placement is not None:
        return "--map, --map-file and --keep-names: all names are known before one of them is written"
    first, *others = source.parts
    if options.to_tags and (others or isinstance(locks.get(first.lock), ImagesLock)):
        return "--to-tag for other sources than one image or bundle"
    return ""


def check_selectable(source: CopySource) -> None:
    """Raise UsageError for a source with nothing to choose from."""
    if all(part.image for part in source.parts):
        raise UsageError(
            "Expected a bundle, a lock or a file with --include and --exclude: they choose from the images "
            "that these name, and what is named by --image (-i) is always copied"
        )


def chooser(options: CopyOptions) -> Chooses:
    """Return whether an image that a bundle or lock names is copied."""
    return choose_all if options.selection is None else options.selection.chooses


def report_choice(collected: Collected, options: CopyOptions, log: Log) -> None:
    """Say what was not chosen, and warn of patterns that match nothing."""
    for left in collected.unselected:
        log(f"leaving out {left.reference}, which {left.named_by} names")
    selection = options.selection
    for pattern in () if selection is None else selection.without_effect(collected.locked):
        # It may be mistyped.
        log.caution(f"the pattern '{pattern}' matches none of the images to choose from")


def _prepared(opened: OpenedSource, options: CopyOptions, log: Log) -> OpenedSource:
    """Return `opened` with its further tags and with what was verified by a signature, or raise Untrusted."""
    if options.to_tags:
        from imgpkg.operations.copy.tags import with_tags

        opened = with_tags(opened, options.to_tags)
    if options.policy is None:
        return opened
    from imgpkg.operations.verification import verify_copy

    return replace(opened, verified=verify_copy(opened, options.policy, options, log))


def remote_source(
    collected: Collected, plan: TransferPlan, session: Session, options: CopyOptions
) -> OpenedSource:
    """Return the source for a plan whose blobs are in registries."""
    # Registries often lack such layers, and their descriptors list other addresses (image-spec,
    # descriptor.md, "urls").
    use_urls = options.include_non_distributable_layers

    def open_blob(move: BlobMove) -> AbstractContextManager[ByteReader]:
        stream = session.client.blob(move.origin, move.descriptor, use_urls=use_urls)
        return named(stream, move, str(move.origin))

    return OpenedSource(collected, plan, open_blob, session)


@dataclass(frozen=True, slots=True)
class Export:
    """Reads the items and the plan of a source in a registry: manifests, and the layers of bundles."""

    client: RegistryClient
    options: CopyOptions
    workers: Starter
    disclosure: Disclosure
    with_configs: bool
    expect: Expect = expect_nothing
    locks: Mapping[StrPath, BundleLock | ImagesLock] = field(default_factory=FrozenDict)

    def run(self, source: CopySource, log: Log) -> tuple[Collected, TransferPlan]:
        """Return both; raise UsageError, IsABundle, NotABundle, InvalidLock, or an error of the registry."""
        collected = self._collect(source.parts)
        report_choice(collected, self.options, log)
        include = self.options.include_non_distributable_layers
        return collected, plan_of(self.roots(collected.items, log), include_non_distributable=include)

    def roots(
        self, items: Sequence[Item], log: Log, notes: AttachmentNotes | None = None
    ) -> tuple[Root, ...]:
        """Return the trees of `items`, and of what the options take along of what is attached to them.

        Where `items` are not all, warnings about what is attached wait in `notes`. Raises UsageError for
        platforms that are not there, InvalidManifest, or an error of the registry.
        """
        distinct = sorted({item.key for item in items})
        log(f"exporting {len(distinct)} images...")
        for reference, _ in distinct:
            log(f"will export {reference}")
        platforms = self.options.platforms
        roots = self._attaching(self._roots(items, platforms), log, notes)
        if platforms:
            from imgpkg.operations.copy.platforms import restricted

            roots = restricted(roots, platforms, log, notes)
        log(f"exported {len(distinct)} images")
        return roots

    def images(self, sources: Sequence[CopySource]) -> Mapping[str, Collected]:
        """Return those of `sources` that are images, by their names."""
        named = [text for part in sources if (text := part.image or part.bundle)]
        if len(sources) > 1:
            # Before any of them leads to other registries.
            self.disclosure.name(*(parse_any(text).repository.registry for text in named))
        images = [part.image for part in sources if part.image]
        return dict(zip(images, self.workers.map(self._image, images), strict=True))

    def signed(self, items: Sequence[Item]) -> tuple[Item, ...]:
        """Return `items` with their signatures, if the options take them along as images."""
        if not self.options.cosign_signatures or self.options.attachments:
            return tuple(items)
        return (*items, *signatures(self.client, items, self.workers))

    def _collect(self, sources: Sequence[CopySource]) -> Collected:
        found = self.images(sources)
        parts: list[Collected] = []
        for part in sources:
            known = sum(len(one.items) for one in parts)
            parts.append(found[part.image] if part.image else self._part(part, known))
        collected = merged(parts)
        return replace(collected, items=self.signed(collected.items))

    def _image(self, text: str) -> Collected:
        return collect_image(self.client, text)

    def _part(self, source: CopySource, known: int) -> Collected:
        def expect(images: int) -> None:
            self.expect(known + images)

        if source.lock:
            named = source.lock, self.locks.get(source.lock) or read_source_lock(source.lock)
            return collect_lock(
                self.client, named, self.workers, self.disclosure, expect, chooses=chooser(self.options)
            )
        return collect_bundle(
            self.client, source.bundle, self.workers, self.disclosure, expect, chooses=chooser(self.options)
        )

    def _roots(self, items: Iterable[Item], platforms: Collection[Platform] = ()) -> tuple[Root, ...]:
        return read_roots(
            self.client,
            items,
            self.workers,
            with_configs=self.with_configs,
            approach=self.disclosure.approach,
            platforms=platforms,
        )

    def _attaching(
        self, roots: tuple[Root, ...], log: Log, notes: AttachmentNotes | None
    ) -> tuple[Root, ...]:
        """Add what the options take along of all that is attached to `roots`."""
        options = self.options
        if not (options.attachments or options.referrers or options.cosign_signatures):
            return roots
        from imgpkg.operations.copy.attachments import AttachmentNotes, with_referrers

        own = notes or AttachmentNotes()
        if options.attachments:
            roots = self._with_attachments(roots, log, own)
        else:
            if options.referrers:
                roots = with_referrers(roots, self.client, self.workers, self._roots)
            if options.cosign_signatures:
                own.look(roots, self.client, self.workers)
        if notes is None:
            own.report(log, has_referrers=options.referrers)
        return roots

    def _with_attachments(
        self, roots: tuple[Root, ...], log: Log, notes: AttachmentNotes
    ) -> tuple[Root, ...]:
        from imgpkg.operations.attachments import AttachmentSearch
        from imgpkg.operations.copy.attachments import summary, with_attachments

        search = AttachmentSearch(self.client, self.workers, self.client, notes.lists)
        roots = with_attachments(roots, search, self._roots, log, notes)
        log(f"will export what is attached to them: {summary(roots) or 'nothing'}")
        return roots

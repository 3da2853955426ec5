"""The options, the log and the results of a copy."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import imgpkg
from imgpkg.bundle.image import is_cosign_tag
from imgpkg.dataclass import dataclass
from imgpkg.errors import UsageError, doing
from imgpkg.events import Hook, Message, Warned, silent
from imgpkg.oci.reference import Reference, Repository, listed, without_login
from imgpkg.operations.copy.collection import Unselected
from imgpkg.operations.copy.plan import ROOT_BUNDLE_LABEL, LeftOut
from imgpkg.values import StrPath

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from imgpkg.operations.copy.collection import Collected
    from imgpkg.operations.copy.plan import Places, Root, TransferPlan

_SKIPPED = (
    "Skipped the followings layer(s) due to it being non-distributable. If you would like to include "
    "non-distributable layers, use the --include-non-distributable-layers flag"
)
_NOTHING_SKIPPED = (
    "'--include-non-distributable-layers' flag provided, but no images contained a non-distributable layer."
)

_SOURCES = (
    "Say what to copy: -i IMAGE, -b BUNDLE and --lock FILE may be repeated and mixed; --tar FILE and "
    "--from-oci-layout FOLDER stand alone."
)


@dataclass(frozen=True, slots=True)
class CopySource:
    """What to copy: a tar file, a layout, or anything from registries.

    `image` and `bundle` are references, `lock` is the path of a BundleLock or ImagesLock file, `tar` that of
    a tar file, `layout` that of an OCI image layout folder. `images`, `bundles` and `locks` are further ones,
    which are copied in one go.
    """

    image: str = ""
    bundle: str = ""
    lock: StrPath = ""
    tar: StrPath = ""
    layout: StrPath = ""
    images: Sequence[str] = ()
    bundles: Sequence[str] = ()
    locks: Sequence[StrPath] = ()

    def __post_init__(self) -> None:
        for name in ("images", "bundles", "locks"):
            object.__setattr__(self, name, listed(name, getattr(self, name)))

    def check(self) -> None:
        """Raise UsageError unless there is a source, and a file is the only one."""
        # The text is that of the Go version, which has no layouts.
        given = (bool(self._named), self.tar, self.layout)
        if sum(1 for one in given if one) != 1:
            raise UsageError(
                "Expected either --lock, --bundle (-b), --image (-i), or --tar as a source",
                hints=(_SOURCES,),
            )
        # An empty variable in a script must not make the copy smaller.
        if not all(os.fspath(text) for text in (*self.images, *self.bundles, *self.locks)):
            raise UsageError("Expected a source in each --image (-i), --bundle (-b) and --lock; one is empty")

    @property
    def parts(self) -> tuple[CopySource, ...]:
        """The sources one by one, each once: bundles, images, locks."""
        return self._named or (self,)

    @property
    def _named(self) -> tuple[CopySource, ...]:
        bundles = (CopySource(bundle=text) for text in (self.bundle, *self.bundles) if text)
        images = (CopySource(image=text) for text in (self.image, *self.images) if text)
        locks = (CopySource(lock=path) for path in (self.lock, *self.locks) if path)
        return tuple(dict.fromkeys((*bundles, *images, *locks)))

    @property
    def shown(self) -> str:
        """The source as the user named it, without a login in front of a host."""
        # It is printed in warnings, and a reference may contain a password.
        return ", ".join(without_login(part._text) for part in self.parts)  # noqa: SLF001 - of its own class

    @property
    def _text(self) -> str:
        given = (self.bundle, self.image, self.lock, self.tar, self.layout)
        return next((os.fspath(text) for text in given if text), "")

    @property
    def is_local(self) -> bool:
        """True if the source is a tar file or layout, and no registry is read from."""
        return bool(self.tar or self.layout)


@dataclass(frozen=True, slots=True)
class CopyOptions:
    """How to copy.

    `include_non_distributable_layers` copies layers that registries usually do not have, such as those of
    Windows base images. `repo_based_tags` names the uploaded images by their original repositories instead of
    their digests alone. `cosign_signatures` copies the cosign signature of every image, `referrers` the
    manifests whose `subject` is one of the copied ones. `policy`, an `imgpkg.Policy`, says which signatures
    are required: they are verified before anything is written. `to_tags` are tags that the image or bundle
    gets in the repository that is copied to, besides its own; a tag there that names another image is
    replaced. `placement`, an `imgpkg.Placement`, distributes the images over several repositories. `split`
    is the size in bytes of the pieces in which a tar file is written, 0 for one file.
    `attachments` copies what `cosign_signatures` and `referrers` copy, and cosign's attestations and SBOMs:
    of every image, of the images of an index, and of what is attached itself.
    `mount_from` are repositories of the registry to copy to, for blobs that a tar file or layout was made
    without and the destination does not have.
    `selection`, an `imgpkg.Selection`, says which of the images that bundles and locks name are copied.
    `platforms` are those to which indexes are cut, all if empty.
    Where an executor moves the blobs, it gets `in_flight` of them before the first is done, and with
    `send_credentials` the credentials of the sessions along with each.
    With `stream_plan` a copy between registries moves what is planned while the rest is still being planned,
    and keeps little of either in memory; without it, nothing is written before all is known. None streams
    lock files and bundles of more than 10,000 images.
    """

    include_non_distributable_layers: bool = False
    repo_based_tags: bool = False
    cosign_signatures: bool = False
    referrers: bool = False
    policy: imgpkg.Policy | None = None
    to_tags: tuple[str, ...] = ()
    attachments: bool = False
    split: int = 0
    placement: imgpkg.Placement | None = None
    mount_from: tuple[str, ...] = ()
    selection: imgpkg.Selection | None = None
    platforms: tuple[imgpkg.Platform, ...] = ()
    in_flight: int = 256
    send_credentials: bool = False
    stream_plan: bool | None = None

    def __post_init__(self) -> None:
        # A list is as good as a tuple, and the caller may change it later.
        for name, what in (("to_tags", "tags"), ("mount_from", "repositories"), ("platforms", "platforms")):
            object.__setattr__(self, name, listed(what, getattr(self, name)))

    def mount_places(self, registries: Iterable[str]) -> tuple[Repository, ...]:
        """Return the repositories of `mount_from`; raise InvalidReference, UsageError if one is elsewhere."""
        with doing("Parsing --mount-from"):
            places = tuple(map(Repository.parse, self.mount_from))
        known = tuple(dict.fromkeys(registries))
        for place in places:
            if place.registry not in known:
                raise UsageError(f"Expected --mount-from to be in {', '.join(known)}, but was {place}")
        return places


DEFAULT_OPTIONS = CopyOptions()


def parse_destination(to_repo: str, options: CopyOptions = DEFAULT_OPTIONS) -> Repository:
    """Parse the repository that is copied to; raise InvalidReference, also for the tags of `options`."""
    with doing("Building import repository ref"):
        repository = Repository.parse(to_repo)
    if options.to_tags:
        from imgpkg.operations.copy.tags import check_names

        check_names(options.to_tags, repository)
    return repository


@dataclass(frozen=True, slots=True)
class Copied:
    """An image or index that was copied, and its tag at the destination besides imgpkg's own, empty for none.

    `destination` equals `source` if the destination is a file. `attached` says what it is attached to; None
    for an image of its own. `cut` is set for an index that was copied with some of its platforms, and so with
    another digest than that of `source`.
    """

    source: Reference
    destination: Reference
    tag: str = ""
    attached: imgpkg.Attached | None = None
    cut: imgpkg.Cut | None = None


@dataclass(frozen=True, slots=True)
class Verified:
    """An image that a policy accepts: `signers` are the names of the keys and identities that signed it.

    `predicate_types` are those of the attestations that were required and found.
    """

    reference: Reference
    signers: tuple[str, ...] = ()
    predicate_types: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CopyResult:
    """The result of a copy: `images` in ascending order of their sources, with the root bundle as `bundle`.

    `bundles` are all root bundles. With several sources there is no `bundle`, but one or more of these.
    `asked` are the copies of what was asked for: bundles and images, or the images of a lock.

    `left_out` are the non-distributable layers that were not copied, `unselected` the images that bundles and
    locks name and that were not selected. `verified` is what was verified by a signature, if there was a
    policy. `bases` say without which blobs a tar file or layout was made. `workers` are those of the executor
    that has moved the blobs, if there was one, each with what it has done.
    """

    images: tuple[Copied, ...]
    bundle: Copied | None = None
    left_out: tuple[LeftOut, ...] = ()
    verified: tuple[Verified, ...] = ()
    bundles: tuple[Copied, ...] = ()
    bases: tuple[imgpkg.Base, ...] = ()
    unselected: tuple[Unselected, ...] = ()
    asked: tuple[Reference, ...] = ()
    workers: tuple[imgpkg.WorkerShare, ...] = ()


class Log:
    """Reports log lines of a copy as events, with the prefix `copy | `, as the Go version writes them.

    Another command that uses a part of a copy `is_quiet`, and reports its events only.
    """

    def __init__(self, on_event: Hook, *, is_quiet: bool = False) -> None:
        self.on_event = on_event
        self._is_quiet = is_quiet

    def __call__(self, text: str) -> None:
        """Report `text`, one line or several."""
        if self._is_quiet:
            return
        lines = text.split("\n")
        self.on_event(Message("".join(f"copy | {line}\n" for line in lines), is_block=True))

    def caution(self, text: str) -> None:
        """Report a warning, in the log and as an event of its own for hooks that ignore the log."""
        self(f"Warning: {text}")
        self.on_event(Warned(text, is_logged=True))


QUIET = Log(silent)


def disputed_tags(roots: Iterable[Root], log: Log, first: dict[str, Reference]) -> frozenset[tuple[str, str]]:
    """Return the keys of the roots whose tag of cosign is that of another one before them, with a warning.

    One image may be in several repositories, and have other signatures in each. `first` has what other roots
    have been given, by their tags, and is added to.
    """
    found: set[tuple[str, str]] = set()
    # A tar file has another order than what it was made of.
    for root in sorted(roots, key=lambda root: root.item.key):
        tag, digest = root.item.tag, root.node.manifest.digest
        if not is_cosign_tag(tag):
            continue
        other = first.setdefault(tag, root.item.reference.repository.digest(digest))
        if other.digest != digest:
            found.add(root.item.key)
            log.caution(
                f"{root.item.reference} does not get its tag {tag}, which is another one in "
                f"{other.repository}: that one is found by the tag"
            )
    return frozenset(found)


def result_of(collected: Collected, plan: TransferPlan, places: Places | None) -> CopyResult:
    """Return the result of a copy to `places`, or to a file if that is None."""
    images = {root.item.key: tuple(copies_of(root, places)) for root in plan.roots}
    marked = (root.item.key for root in plan.roots if ROOT_BUNDLE_LABEL in root.item.labels)
    return result_with(collected, images, marked, plan.left_out)


def result_with(
    collected: Collected,
    images: Mapping[tuple[str, str], Sequence[Copied]],
    marked: Iterable[tuple[str, str]],
    left_out: tuple[LeftOut, ...],
) -> CopyResult:
    """Return the result of a copy of `images`, by the keys of their items; `marked` ones are root bundles."""
    bundle = None if collected.root is None else images[collected.root.key][0]
    everything = tuple(copied for found in images.values() for copied in found)
    bundles: dict[Reference, Copied] = {}
    for key in marked:
        # A bundle with several tags is there once.
        bundles.setdefault(images[key][0].destination, images[key][0])
    return CopyResult(
        everything,
        bundle,
        left_out,
        bundles=tuple(bundles.values()),
        unselected=collected.unselected,
        asked=_asked(collected, bundle, everything),
    )


def _asked(
    collected: Collected, bundle: Copied | None, everything: tuple[Copied, ...]
) -> tuple[Reference, ...]:
    """Return the copies of what was asked for, each once."""
    if bundle is not None:
        return (bundle.destination,)
    if collected.images_lock is None:
        # An image with several tags, or a file of which nothing is known.
        found = (copied.destination for copied in everything if copied.attached is None)
        return tuple(dict.fromkeys(found))
    by_source = {copied.source: copied.destination for copied in everything}
    by_digest = {copied.destination.digest: copied.destination for copied in everything}
    places = (
        by_source.get(one.reference) or by_digest.get(one.digest) for one in collected.images_lock.images
    )
    return tuple(dict.fromkeys(place for place in places if place is not None))


def report_left_out(plan: TransferPlan, options: CopyOptions, log: Log, places: Places | None) -> None:
    """Warn about layers that were left out, or about an option to include them that had no effect."""
    if options.include_non_distributable_layers:
        # An option without an effect may be a mistake.
        if not plan.has_non_distributable:
            log.caution(_NOTHING_SKIPPED)
        return
    if not plan.left_out:
        return
    lines = [_SKIPPED]
    images: dict[Reference, list[str]] = {}
    for skipped in plan.left_out:
        images.setdefault(skipped.reference, []).append(str(skipped.layer.digest))
    moved = {} if places is None else places.relocations()
    for reference, layers in images.items():
        lines += [
            f" - Image: {moved.get(reference, reference)}",
            "   Layers:",
            *(f"     - {layer}" for layer in layers),
        ]
    log.caution("\n".join(lines))


def copies_of(root: Root, places: Places | None) -> Iterator[Copied]:
    """Yield the copies of `root` in `places`, or in a file if that is None."""
    item, digest = root.item, root.node.manifest.digest
    attached = attached_root(root)
    if places is None:
        # In a file, images keep the names that they have.
        yield Copied(item.named, item.reference.repository.digest(digest), item.tag, attached, item.cut)
        return
    for repository in places.of(root):
        yield Copied(item.named, repository.digest(digest), item.tag, attached, item.cut)


def attached_root(root: Root) -> imgpkg.Attached | None:
    """Return what a root of a copy is attached to; None for an image of its own."""
    manifest, tag = root.node.manifest, root.item.tag
    if manifest.subject is None and not tag.startswith("sha256-"):
        return None
    from imgpkg.operations.attachments import attached_by

    return attached_by(tag, manifest)

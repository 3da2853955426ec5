"""Verify a tar file, a layout or what is in a registry: every byte, and everything that is named."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

import imgpkg
from imgpkg.bundle.image import fetch_image
from imgpkg.dataclass import dataclass
from imgpkg.errors import ArchiveError, Cancelled, ImgpkgError, NotABundle, NotFound, UsageError
from imgpkg.events import BlobOutcome, BlobTransfer, Hook, Planned, silent
from imgpkg.oci.descriptor import BLOCK
from imgpkg.oci.reference import parse_any, without_login
from imgpkg.operations.integrity.holders import Held, of_registry, open_layout, open_tar
from imgpkg.operations.integrity.report import (
    Defect,
    DefectKind,
    IntegrityReport,
    MissingLayer,
    defect_of,
)
from imgpkg.operations.integrity.survey import NamedBlob, Surveyed, survey
from imgpkg.operations.workers import METADATA_JOBS, open_workers
from imgpkg.session import Session, operation
from imgpkg.values import StrPath

if TYPE_CHECKING:
    from collections.abc import Iterator

    from imgpkg.oci.descriptor import Digest
    from imgpkg.operations.workers import WorkerPool


@operation
def verify(
    *,
    session: Session,
    tar: StrPath = "",
    layout: StrPath = "",
    image: str = "",
    bundle: str = "",
    on_event: Hook = silent,
    timeout: float | None = None,
    cancel: imgpkg.CancelToken | None = None,
) -> IntegrityReport:
    """Read all of a tar file, a layout folder, or an image or bundle in a registry, and report every defect.

    Every byte is compared with its digest, and everything that an index, an image, a bundle or a record of
    locations names has to be there, to any depth; of a registry also what is attached. A defect is no
    exception: look at `is_ok`. No request is sent for a file.

    Raises UsageError unless exactly one thing is named, LocalIOError or ArchiveError for what cannot be
    opened at all, InvalidReference, NotABundle, TransportError or RegistryError for a root that cannot
    be read.
    """
    if sum(1 for text in (tar, layout, image, bundle) if text) != 1:
        raise UsageError("Expected one of --tar, --from-oci-layout, --bundle (-b) and --image (-i) to verify")
    shown = without_login(os.fspath(tar or layout or image or bundle))
    jobs = max(session.settings.concurrency, METADATA_JOBS)
    with _opened(session, tar=tar, layout=layout, image=image, bundle=bundle) as held:
        with open_workers(session, jobs, on_event, activity="reading manifests") as workers:
            surveyed = survey(held.holder, held.roots, workers)
        with open_workers(session, session.settings.concurrency, on_event) as workers:
            return _Verification(held, surveyed, workers).report(shown)


@contextmanager
def _opened(session: Session, *, tar: StrPath, layout: StrPath, image: str, bundle: str) -> Iterator[Held]:
    if tar:
        with open_tar(os.fspath(tar)) as held:
            yield held
    elif layout:
        with open_layout(os.fspath(layout)) as held:
            yield held
    else:
        # Not a defect: nothing has been found that could have one.
        found = fetch_image(session.client, parse_any(image or bundle))
        if bundle and not found.is_bundle:
            raise NotABundle(f"{without_login(bundle)} is not a bundle (hint: use -i for images)")
        yield of_registry(session.client, found.reference)


@dataclass(frozen=True, slots=True)
class _Read:
    """What became of one blob: it is whole if all of these are empty."""

    part: NamedBlob
    defects: tuple[Defect, ...] = ()
    is_left_out: bool = False
    is_relied_on: bool = False

    @property
    def is_absent(self) -> bool:
        """True for a blob that need not be there."""
        return self.is_left_out or self.is_relied_on


class _Verification:
    """Reads all blobs of a survey, and all others that a file has."""

    def __init__(self, held: Held, surveyed: Surveyed, workers: WorkerPool) -> None:
        self._held = held
        self._surveyed = surveyed
        self._workers = workers

    def report(self, subject: str) -> IntegrityReport:
        parts = self._surveyed.parts
        named = {part.descriptor.digest for part in parts} | self._digests()
        more = [NamedBlob(blob) for blob in self._held.blobs if blob.digest not in named]
        # The largest first, so that no long one is begun last.
        every = sorted((*parts, *more), key=lambda part: -part.descriptor.size)
        self._workers.on_event(Planned(len(every), sum(part.descriptor.size for part in every)))
        read = self._workers.map(self._read, every)
        gone = [each for each in read if each.is_absent]
        found = [defect for each in read for defect in each.defects]
        return IntegrityReport(
            subject,
            tuple(root.places[0] for root in self._held.roots),
            len(self._digests()),
            len(every) - len(gone),
            sum(each.part.descriptor.size for each in read if not each.is_absent),
            (*self._held.defects, *self._surveyed.defects, *sorted(found, key=lambda defect: defect.subject)),
            tuple(
                MissingLayer(each.part.descriptor.digest, each.part.names)
                for each in gone
                if each.is_left_out
            ),
            tuple(each.part.descriptor.digest for each in gone if each.is_relied_on),
            tuple(part.descriptor.digest for part in more),
            self._dangling(),
        )

    def _digests(self) -> set[Digest]:
        return {manifest.digest for _, manifest in self._surveyed.manifests}

    def _dangling(self) -> tuple[str, ...]:
        """Return the attachments whose image is not there, which the image-spec allows for `subject`."""
        by_field = [
            (str(reference), manifest.subject.digest)
            for reference, manifest in self._surveyed.manifests
            if manifest.subject is not None
        ]
        there = self._digests()
        pairs = (*by_field, *self._held.subjects)
        return tuple(dict.fromkeys(name for name, digest in pairs if digest not in there))

    def _read(self, part: NamedBlob) -> _Read:
        blob = part.descriptor
        transfer = BlobTransfer(blob, "verify", self._workers.on_event)
        try:
            with self._held.holder.blob(part.repository, blob) as stream:
                counted, block = transfer.counted(stream), bytearray(BLOCK)
                while counted.readinto(block):
                    pass
            absent = self._absent(part)
        except Cancelled:
            raise
        except ImgpkgError as error:
            return self._failed(part, error)
        finally:
            transfer.finish(BlobOutcome.MOVED)
        if not absent:
            return _Read(part)
        reason = f"it is in {part.repository}, and not in the repositories of these images"
        return _Read(part, (Defect(DefectKind.MISSING, str(blob.digest), reason, absent),))

    def _absent(self, part: NamedBlob) -> tuple[str, ...]:
        """Return the manifests that name the blob and whose repository does not have it."""
        others = {place for place, _ in part.named_by} - {part.repository}
        lacking = {place for place in others if not self._held.holder.has_blob(place, part.descriptor.digest)}
        return tuple(name for place, name in part.named_by if place in lacking)

    def _failed(self, part: NamedBlob, error: ImgpkgError) -> _Read:
        blob = part.descriptor
        if isinstance(error, ArchiveError | NotFound):
            if not blob.is_distributable:
                return _Read(part, is_left_out=True)
            if blob.digest in self._held.relied_on:
                return _Read(part, is_relied_on=True)
        return _Read(part, (defect_of(error, str(blob.digest), part.names),))

"""Check both ends of a copy: that each repository can be read, and the destination be written to."""

from __future__ import annotations

from typing import TYPE_CHECKING

import imgpkg
from imgpkg.bundle.lock import ImagesLock
from imgpkg.events import Hook, silent
from imgpkg.oci.reference import Repository, parse_any
from imgpkg.operations.check import AccessReport, check_access
from imgpkg.operations.copy.collection import read_source_lock
from imgpkg.operations.copy.destination import planned_places
from imgpkg.operations.copy.source import check_selectable, chooser, disclosure_of, open_source
from imgpkg.operations.copy.values import DEFAULT_OPTIONS, CopyOptions, CopySource, Log, parse_destination
from imgpkg.operations.workers import open_workers
from imgpkg.session import Session, operation

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from imgpkg.bundle.graph import Chooses
    from imgpkg.oci.reference import Reference
    from imgpkg.operations.disclosure import Disclosure
    from imgpkg.values import StrPath


@operation
def check_copy(
    source: CopySource,
    to_repo: str = "",
    *,
    session: Session,
    source_session: Session | None = None,
    options: CopyOptions = DEFAULT_OPTIONS,
    on_event: Hook = silent,
    timeout: float | None = None,
    cancel: imgpkg.CancelToken | None = None,
) -> tuple[AccessReport, ...]:
    """Check that a copy of `source` can be read and, unless it is to a file, be written to `to_repo`.

    The destination is the last report; several repositories are the last ones. What is named is checked
    first; when that is accessible, the manifests are read, and each further repository that they name is
    checked with one image. `source_session` reads, where that is another one. Raises what reading the source
    raises.
    """
    source.check()
    reading = source_session or session
    if options.selection is not None:
        check_selectable(source)
    home = parse_destination(to_repo, options) if to_repo else None
    is_placed = home is not None and options.placement is not None
    # The destination is checked with its own session, which has the login that writes. Of several
    # repositories it is known later which are written to.
    to = () if home is None or is_placed else _written((home,), session)
    first = _by_repository(_named(source, disclosure_of(reading, source, home, session), chooser(options)))
    reports = _checked(first, reading)
    # A source that cannot be read has no manifests to follow.
    if all(report.is_ok for report in (*reports, *to)) and (is_placed or not source.is_local):
        images, places = _read((reading, session), source, options, on_event, home)
        others = {} if source.is_local else _by_repository(images)
        left = {repository: image for repository, image in others.items() if repository not in first}
        reports = (*reports, *_checked(left, reading))
        to = to or _written(places, session)
    return (*reports, *to)


def _written(repositories: Iterable[Repository], session: Session) -> tuple[AccessReport, ...]:
    return tuple(check_access(str(place), session=session, push=True) for place in repositories)


def _named(source: CopySource, disclosure: Disclosure, chooses: Chooses) -> Iterable[Reference]:
    """Return what is read first, without any request; warn before a login goes to where a lock leads."""
    if source.is_local:
        return ()
    named = [parse_any(part.image or part.bundle) for part in source.parts if not part.lock]
    if len(source.parts) > 1:
        disclosure.name(*(reference.repository.registry for reference in named))
    for part in source.parts:
        if part.lock:
            named += _locked(part.lock, disclosure, chooses)
    return named


def _locked(path: StrPath, disclosure: Disclosure, chooses: Chooses) -> list[Reference]:
    lock = read_source_lock(path)
    named = [lock.reference] if not isinstance(lock, ImagesLock) else []
    if isinstance(lock, ImagesLock):
        named = [image.reference for image in lock.images if chooses(image)]
    disclosure.approach_named(named)
    return named


def _read(
    sessions: tuple[Session, Session],
    source: CopySource,
    options: CopyOptions,
    on_event: Hook,
    home: Repository | None,
) -> tuple[Iterable[Reference], tuple[Repository, ...]]:
    """Return the images of `source`, and the repositories that a copy to `home` would write to."""
    reading, writing = sessions
    with open_source(reading, source, options, Log(on_event), to=home, writer=writing) as opened:
        places = () if home is None else planned_places(opened, home, options.placement).repositories
        return [root.item.reference for root in opened.plan.roots], places


def _by_repository(references: Iterable[Reference]) -> Mapping[Repository, Reference]:
    """Return the first reference of each repository: what holds for one image holds for all of them."""
    found: dict[Repository, Reference] = {}
    for reference in references:
        found.setdefault(reference.repository, reference)
    return found


def _checked(places: Mapping[Repository, Reference], session: Session) -> tuple[AccessReport, ...]:
    with open_workers(session, session.settings.concurrency) as workers:
        return tuple(workers.map(lambda image: check_access(str(image), session=session), places.values()))

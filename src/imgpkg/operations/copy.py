"""Copy images, bundles and all they name between registries and files (imgpkg-spec section 5)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from imgpkg.errors import UsageError, doing
from imgpkg.events import Hook, silent
from imgpkg.oci.reference import Repository
from imgpkg.operations.copy_values import DEFAULT_OPTIONS, CopyOptions, CopyResult, CopySource, Log
from imgpkg.operations.export import export
from imgpkg.operations.lock_output import write_lock
from imgpkg.operations.publish import publish

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from imgpkg.oci.digest import Readable
    from imgpkg.operations.plan import BlobMove
    from imgpkg.session import Session


def copy_to_repository(
    source: CopySource,
    to_repo: str,
    *,
    session: Session,
    options: CopyOptions = DEFAULT_OPTIONS,
    lock_output: str = "",
    on_event: Hook = silent,
) -> CopyResult:
    """Copy an image, a bundle with all it names, or what a lock names into the repository `to_repo`.

    Blobs go straight from source to destination, or are mounted within one registry; `lock_output` names a
    lock file to write. Raises UsageError, IsABundle, NotABundle, InvalidLock, VerificationError,
    ArchiveError, or an error of either registry.
    """
    source.check()
    _check_concurrency(session)
    with doing("Building import repository ref"):
        repository = Repository.parse(to_repo)
    log = Log(on_event)
    collected, plan = export(session, source, options, log, with_configs=False)

    def open_blob(move: BlobMove) -> AbstractContextManager[Readable]:
        use_urls = options.include_non_distributable_layers
        return session.client.blob(move.origin, move.descriptor, use_urls=use_urls)

    result = publish(collected, plan, session, repository, options, open_blob=open_blob, log=log)
    if lock_output:
        write_lock(lock_output, collected, result)
    return result


def _check_concurrency(session: Session) -> None:
    if session.settings.concurrency < 1:
        raise UsageError(f"Expected --concurrency to be >= 1, but was {session.settings.concurrency}")

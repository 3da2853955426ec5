"""Where a copy reads from: registries, a tar file or a layout, all as one plan and one way to open blobs."""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from imgpkg.content.archive import Archive
from imgpkg.content.layout import Layout
from imgpkg.errors import UsageError, doing
from imgpkg.operations.export import export
from imgpkg.operations.import_archive import read_archive
from imgpkg.operations.import_layout import read_layout
from imgpkg.operations.plan import plan_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from imgpkg.oci.digest import Readable
    from imgpkg.oci.reference import Repository
    from imgpkg.operations.collect import Collected
    from imgpkg.operations.copy_values import CopyOptions, CopySource, Log
    from imgpkg.operations.plan import BlobMove, Root, TransferPlan
    from imgpkg.session import Session


@dataclass(frozen=True, slots=True)
class Origin:
    """What a copy was asked for, the plan for it, and how to open a blob of the plan."""

    collected: Collected
    plan: TransferPlan
    open_blob: Callable[[BlobMove], AbstractContextManager[Readable]]
    is_local: bool = False


@contextmanager
def opened(
    session: Session,
    source: CopySource,
    options: CopyOptions,
    log: Log,
    *,
    with_configs: bool = False,
    fallback: Repository | None = None,
) -> Iterator[Origin]:
    """Read what `source` stands for; a tar file or layout stays open until the block ends.

    `fallback` names the images of a layout that does not say where it is from. Raises UsageError for a
    session without workers.
    """
    if session.settings.concurrency < 1:
        raise UsageError(f"Expected --concurrency to be >= 1, but was {session.settings.concurrency}")
    if source.tar:
        path = os.fspath(source.tar)
        with Archive(path) as archive:
            yield _local(*read_archive(archive), archive, path, options)
    elif source.layout:
        path = os.fspath(source.layout)
        layout = Layout(path)
        yield _local(*read_layout(layout, fallback), layout, path, options)
    else:
        collected, plan = export(session, source, options, log, with_configs=with_configs)
        use_urls = options.include_non_distributable_layers
        yield Origin(
            collected,
            plan,
            lambda move: _named(
                session.client.blob(move.origin, move.descriptor, use_urls=use_urls), move, str(move.origin)
            ),
        )


def _local(
    collected: Collected, roots: tuple[Root, ...], store: Archive | Layout, path: str, options: CopyOptions
) -> Origin:
    plan = plan_of(roots, include_non_distributable=options.include_non_distributable_layers)
    moves = plan.blobs.values()
    missing = [move for move in moves if move.data is None and not store.has(move.descriptor)]
    blobs = {move.descriptor.digest: replace(move, is_missing=True) for move in missing}
    plan = replace(plan, blobs={**plan.blobs, **blobs})
    return Origin(
        collected, plan, lambda move: _named(store.blob(move.descriptor), move, path), is_local=True
    )


@contextmanager
def _named(context: AbstractContextManager[Readable], move: BlobMove, place: str) -> Iterator[Readable]:
    with context as stream:
        yield _NamedStream(stream, f"Reading blob {move.descriptor.digest} of {place}")


class _NamedStream:
    """A blob that fails with the place where it is: who receives it cannot know."""

    def __init__(self, stream: Readable, what: str) -> None:
        self._stream = stream
        self._what = what

    def read(self, size: int = 1 << 20, /) -> bytes:
        with doing(self._what):
            return self._stream.read(size)

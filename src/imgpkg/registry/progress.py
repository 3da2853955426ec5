"""Telling a hook how a body moves while it is read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from imgpkg.events import BlobAdvanced

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self

    from imgpkg.events import Hook
    from imgpkg.oci.digest import Digest
    from imgpkg.transport.message import OpenBody


class Progress:
    """Counts what was read of one blob; when it is opened again, what was counted is taken back."""

    def __init__(self, digest: Digest, on_event: Hook) -> None:
        self._digest = digest
        self._on_event = on_event
        self._count = 0

    def watch(self, source: OpenBody) -> OpenBody:
        """Return `source`, watched from its start."""
        if self._count:
            self._on_event(BlobAdvanced(self._digest, -self._count))
        self._count = 0
        return _Watched(source, self)

    def add(self, count: int) -> None:
        """Hear that `count` more bytes were read."""
        self._count += count
        self._on_event(BlobAdvanced(self._digest, count))


class _Watched:
    """A file that reports what is read from it."""

    def __init__(self, source: OpenBody, progress: Progress) -> None:
        self._source = source
        self._progress = progress

    def read(self, size: int, /) -> bytes:
        data = self._source.read(size)
        if data:
            self._progress.add(len(data))
        return data

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._source.__exit__(kind, error, trace)

"""The progress bar of a terminal, drawn by rich on standard error."""

from __future__ import annotations

from typing import TYPE_CHECKING, TextIO

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

if TYPE_CHECKING:
    from rich.progress import TaskID


class Bar:
    """One line for bytes and blobs; gone when it is closed."""

    def __init__(self, err: TextIO, *, color: bool) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(binary_units=True),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            console=Console(file=err, no_color=None if color else True),
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._task: TaskID = self._progress.add_task("", total=None)
        self._progress.start()

    def update(self, done: int, blobs: int, moved: int, size: int) -> None:
        """Show that `done` of `blobs` and `moved` of `size` bytes are through."""
        self._progress.update(self._task, description=f"{done}/{blobs} blobs", completed=moved, total=size)

    def close(self) -> None:
        """Stop drawing and leave nothing behind."""
        self._progress.stop()

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
        self._moved = 0
        self._progress.start()

    def update(self, what: str, moved: int, size: int) -> None:
        """Show that `moved` of `size` bytes of `what` are through."""
        if moved < self._moved:
            # Another count begins: its speed is not that of the one before.
            self._progress.reset(self._task)
        self._moved = moved
        self._progress.update(self._task, description=what, completed=moved, total=size)

    def close(self) -> None:
        """Stop drawing and leave nothing behind."""
        self._progress.stop()

"""Read a plan line by line, with limits: it may come from anybody."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from typing import TypeVar

from imgpkg.dataclass import dataclass
from imgpkg.errors import ImgpkgError, InvalidDocument, UsageError, local_io
from imgpkg.oci.reference import Repository
from imgpkg.operations.plans.lines import (
    LINES,
    PlanBlob,
    PlanEnd,
    PlanHeader,
    PlanImage,
    PlanLine,
    PlanManifest,
)
from imgpkg.operations.plans.parsing import parse_line
from imgpkg.values import StrPath

Line = TypeVar("Line", bound=PlanLine)

# Bytes. The record of a bundle with a hundred thousand images has 20 MB.
_MAX_LINE = 64 << 20
_RANKS = {line.kind: rank for rank, line in enumerate(LINES)}
_CUT_OFF = ("The file was cut off, or is still being written: have it made or sent again.",)


@dataclass(frozen=True, slots=True)
class CopyPlan:
    """A plan in the file `path`, of which only the `header` has been read.

    Each of the methods reads the file from its start, and holds one line at a time. They raise LocalIOError,
    and InvalidDocument with the number of the line, for lines after those that they have yielded, too. What
    the lines say is checked against the manifests when the plan is run.
    """

    path: str
    header: PlanHeader

    def lines(self) -> Iterator[tuple[int, PlanLine]]:
        """Yield the number of each line, from 1, and the line; the last one is a PlanEnd."""
        with local_io("open", self.path), open(self.path, "rb") as file:
            yield from _lines(self.path, iter(lambda: file.readline(_MAX_LINE + 1), b""))

    def blobs(self) -> Iterator[PlanBlob]:
        """Yield the blobs, the largest first."""
        yield from self._of(PlanBlob)

    def manifests(self) -> Iterator[PlanManifest]:
        """Yield the manifests, children before the indexes that list them."""
        yield from self._of(PlanManifest)

    def images(self) -> Iterator[PlanImage]:
        """Yield the images."""
        yield from self._of(PlanImage)

    def end(self) -> PlanEnd:
        """Read all lines; return the last one, with the sums."""
        *_, end = self._of(PlanEnd)
        return end

    def _of(self, kind: type[Line]) -> Iterator[Line]:
        for _, line in self.lines():
            if isinstance(line, kind):
                yield line


def read_plan(path: StrPath) -> CopyPlan:
    """Return the plan in the file `path`; raise LocalIOError, or InvalidDocument for what is no plan.

    Raises UsageError for a pipe or device, which can be read once only.
    """
    name = os.fspath(path)
    with local_io("open", path):
        mode = os.stat(path).st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise UsageError(
            f"A plan is read more than once, and {name} is no regular file",
            hints=("Write the plan to a file, and name that.",),
        )
    with local_io("open", path), open(path, "rb") as file:
        line = _read(name, 1, file.readline(_MAX_LINE + 1))
    if not isinstance(line, PlanHeader):
        raise mistake(name, 1, "this is no plan")
    return CopyPlan(name, line)


def _lines(name: str, texts: Iterator[bytes]) -> Iterator[tuple[int, PlanLine]]:
    number, last, counts, blobs = 0, -1, dict.fromkeys(_RANKS, 0), _BlobLines()
    for number, text in enumerate(texts, 1):
        line = _read(name, number, text)
        rank = _RANKS[line.kind]
        if rank < last or (rank == last and isinstance(line, (PlanHeader, PlanEnd))):
            raise mistake(name, number, f"a line of kind {line.kind} after one of kind {LINES[last].kind}")
        if last < 0 and rank:
            raise mistake(name, number, "this is no plan")
        last = rank
        counts[line.kind] += 1
        if wrong := blobs.look(line):
            raise mistake(name, number, wrong)
        if isinstance(line, PlanEnd):
            found = PlanEnd(
                counts[PlanBlob.kind], blobs.size, counts[PlanManifest.kind], counts[PlanImage.kind]
            )
            if line != found:
                raise mistake(name, number, f"the plan has {found.fields()}, and not {line.fields()}")
        yield number, line
    if last != _RANKS[PlanEnd.kind]:
        raise mistake(name, number, "the plan has no line of kind end", hints=_CUT_OFF)


class _BlobLines:
    """What is true of the blobs of every plan, also for a shard, which reads no manifests."""

    def __init__(self) -> None:
        self.size = 0
        # The repository that all go to, None if the images are placed in several.
        self._only: Repository | None = None
        self._last: tuple[int, str, str] | None = None
        self._places: set[Repository] = set()

    def look(self, line: PlanLine) -> str:
        """Take the next line; return what is wrong with it, empty for nothing."""
        if isinstance(line, PlanHeader) and not line.is_placed:
            self._only = line.destination
        return self._wrong(line) if isinstance(line, PlanBlob) else ""

    def _wrong(self, line: PlanBlob) -> str:
        blob, to = line.descriptor, line.destination
        self.size += blob.size
        if self._only not in (None, to):
            return f"destination is {to}, and that of the plan is {self._only}"
        place = -blob.size, blob.digest.hex, to.registry
        if self._last is not None and place < self._last:
            return "blobs are not in the order of a plan: the largest first, then by digest and registry"
        if place != self._last:
            self._last, self._places = place, set()
        if to in self._places:
            return f"{blob.digest} for {to} is listed twice"
        self._places.add(to)
        return ""


def _read(name: str, number: int, text: bytes) -> PlanLine:
    if len(text) > _MAX_LINE:
        raise mistake(name, number, f"more than {_MAX_LINE >> 20} MiB")
    try:
        document = json.loads(text)
    # A number of thousands of digits is a ValueError too.
    except (ValueError, RecursionError) as error:
        hints = () if text.endswith(b"\n") else _CUT_OFF
        # Lines are counted in the plan, and not in the text of one.
        why = f"{error.msg} at {error.pos + 1}" if isinstance(error, json.JSONDecodeError) else str(error)
        raise mistake(name, number, f"it is not JSON: {why}", hints=hints) from error
    try:
        return parse_line(document)
    except ImgpkgError as error:
        raise mistake(name, number, str(error), hints=error.hints) from error


def mistake(name: str, number: int, text: str, *, hints: tuple[str, ...] = ()) -> InvalidDocument:
    """Return the error for the line `number` of the plan `name`."""
    return InvalidDocument(f"Reading plan {name}: line {number}: {text}", place=(number, 0), hints=hints)

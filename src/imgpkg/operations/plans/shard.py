"""A part of the blobs of a plan, for one of several jobs that run at the same time."""

from __future__ import annotations

from heapq import heapify, heapreplace
from itertools import groupby
from typing import TYPE_CHECKING

from imgpkg.dataclass import dataclass
from imgpkg.errors import UsageError
from imgpkg.expression import expression

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from imgpkg.operations.plans.lines import PlanBlob

# Each of them reads the whole plan.
_MAX_SHARDS = 10_000
# Bytes that could be sent in the time that the requests for a blob take: a shard of a million small blobs
# would last longer than one with as many bytes in large ones.
_REQUESTS = 1 << 18
_SHARD = expression(r"([0-9]{1,9})/([0-9]{1,9})")
_NUMBER = expression(r"[0-9]{1,9}")
_AUTO = expression(r"auto(?:/([0-9]{1,9}))?")
_HOW = (
    "--shard 3/16 is the third of 16; --shard auto takes both numbers from the variables of GitLab or Slurm, "
    "and --shard auto/16 the first one from those of a Kubernetes indexed job."
)


@dataclass(frozen=True, slots=True)
class Shard:
    """The shard `number` of `count`, from 1; `str()` is `3/16`. Raises UsageError for another number."""

    number: int
    count: int

    def __post_init__(self) -> None:
        if not 1 <= self.count <= _MAX_SHARDS:
            raise UsageError(f"Expected from 1 to {_MAX_SHARDS} shards, but was {self}", hints=(_HOW,))
        if not 1 <= self.number <= self.count:
            raise UsageError(
                f"Expected a shard from 1/{self.count} to {self.count}/{self.count}, but was {self}",
                hints=(_HOW,),
            )

    @classmethod
    def parse(cls, text: str, environ: Mapping[str, str] | None = None) -> Shard:
        """Parse `3/16`; `auto` and `auto/16` are looked up in `environ`. Raises UsageError.

        CI_NODE_INDEX and CI_NODE_TOTAL of GitLab count from 1; JOB_COMPLETION_INDEX of a Kubernetes indexed
        job counts from 0, and nothing says how many there are; SLURM_ARRAY_TASK_ID counts from
        SLURM_ARRAY_TASK_MIN, in steps of SLURM_ARRAY_TASK_STEP, or from 1 where the array has another number
        of tasks than `auto/16` says: some of them are run again.
        """
        if found := _SHARD.fullmatch(text):
            return cls(int(found[1]), int(found[2]))
        auto = _AUTO.fullmatch(text)
        if auto is None:
            raise UsageError(f"Expected --shard to be like 3/16 or auto, but was '{text}'", hints=(_HOW,))
        return _of_job({} if environ is None else environ, int(auto[1]) if auto[1] else 0)

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    def of(self, blobs: Iterable[PlanBlob]) -> Iterator[PlanBlob]:
        """Yield those of `blobs` that are in this shard.

        Each blob is in exactly one shard, and those with one digest for one registry are in the same one. A
        group goes to the shard that has the fewest bytes by then: `blobs` are the largest first.
        """
        loads = [(0, number) for number in range(1, self.count + 1)]
        heapify(loads)
        for _, group in groupby(blobs, lambda blob: (blob.descriptor.digest, blob.destination.registry)):
            load, number = loads[0]
            for blob in group:
                # What is mounted is not sent.
                load += _REQUESTS + (blob.descriptor.size if blob.mount_from is None else 0)
                if number == self.number:
                    yield blob
            heapreplace(loads, (load, number))


def _of_job(environ: Mapping[str, str], count: int) -> Shard:
    """Return the shard of the job whose variables are in `environ`; `count` is 0 if they have to say it."""
    jobs = [name for name, names in _JOBS.items() if environ.get(names[0])]
    if len(jobs) != 1:
        named = f"those of {' and '.join(jobs)}" if jobs else "none"
        raise UsageError(
            f"Expected the variables of one kind of job for --shard auto, but there are {named}: "
            f"{', '.join(names[0] for names in _JOBS.values())}",
            hints=(_HOW,),
        )
    index, *_ = names = _JOBS[jobs[0]]
    numbers = {name: _number(environ, name) for name in names if environ.get(name)}
    told = numbers.get(names[1], 0) if names[1:] else 0
    number = numbers[index] + (1 if jobs[0] == "Kubernetes" else 0)
    if jobs[0] == "Slurm":
        if not count or count == told:
            first, step = numbers.get("SLURM_ARRAY_TASK_MIN", 0), numbers.get("SLURM_ARRAY_TASK_STEP", 1) or 1
            number = (number - first) // step + 1
    elif told and count and told != count:
        raise UsageError(f"Expected --shard auto/{told}, as {names[1]} says, but was auto/{count}")
    if not (told or count):
        raise UsageError(
            f"Nothing says how many jobs there are: write --shard auto/16, or how many {jobs[0]} has"
        )
    return Shard(number, count or told)


def _number(environ: Mapping[str, str], name: str) -> int:
    text = environ[name]
    if not _NUMBER.fullmatch(text):
        raise UsageError(f"Expected {name} to be a number, but was '{text}'")
    return int(text)


# The variable with the number of a job, that with the count, and others.
_JOBS: dict[str, tuple[str, ...]] = {
    "GitLab": ("CI_NODE_INDEX", "CI_NODE_TOTAL"),
    "Slurm": (
        "SLURM_ARRAY_TASK_ID",
        "SLURM_ARRAY_TASK_COUNT",
        "SLURM_ARRAY_TASK_MIN",
        "SLURM_ARRAY_TASK_STEP",
    ),
    "Kubernetes": ("JOB_COMPLETION_INDEX",),
}

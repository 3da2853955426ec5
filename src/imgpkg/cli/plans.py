"""Copies by a plan on the command line: which flags fit it, and the run of the plan or of a shard."""

from __future__ import annotations

import os
from contextlib import nullcontext
from typing import TYPE_CHECKING

from imgpkg.cli.command import DASK, FROM_REGISTRY, GLOBAL, REGISTRY, TO_REGISTRY
from imgpkg.errors import UsageError

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from imgpkg.cli.arguments import Parsed
    from imgpkg.cli.context import Context
    from imgpkg.operations.transfer.dispatch import BlobExecutor

# Flags of a copy that are about the run; what to copy, where and how is in the plan.
_OWN = ("plan", "shard", "lock-output", "digest-file", "concurrency", "upload-chunk-size")
_FITTING = {*_OWN, *(flag.name for flag in (*DASK, *GLOBAL, *REGISTRY, *FROM_REGISTRY, *TO_REGISTRY))}
_LAST = "Run all shards, and then imgpkg copy --plan {} without --shard: it writes manifests and tags."


def copy_by_plan(context: Context) -> None:
    """Run the plan, or move the blobs of a shard of it."""
    from imgpkg.cli.sides import check_sides, open_sides
    from imgpkg.operations.copy.values import CopyOptions
    from imgpkg.operations.plans.run import run_plan
    from imgpkg.operations.plans.shard import Shard

    flags = context.flags
    _check(flags)
    shard = Shard.parse(flags.text("shard"), os.environ) if "shard" in flags.given else None
    check_sides(flags)
    options = CopyOptions(send_credentials=flags.is_on("dask-send-credentials"))
    with open_sides(context) as (session, source_session), _executor(context) as executor:
        copied = run_plan(
            flags.text("plan"),
            session=session,
            source_session=source_session,
            shard=str(shard or ""),
            options=options,
            executor=executor,
            lock_output=flags.text("lock-output"),
            on_event=context.reporter,
        )
    fields = {"dryRun": False} if shard is None else {"dryRun": False, "shard": str(shard)}
    context.result(copied, fields, references=copied.asked, counts_blobs=True)
    if copied.workers:
        from imgpkg.cli.cluster import print_shares

        print_shares(context.output, copied.workers)


def _executor(context: Context) -> AbstractContextManager[BlobExecutor | None]:
    if not context.flags.text("dask"):
        return nullcontext()
    from imgpkg.cli.cluster import open_cluster

    return open_cluster(context)


def _check(flags: Parsed) -> None:
    """Raise UsageError for flags that a plan decides, before a password is read from standard input."""
    if not flags.text("plan"):
        raise UsageError("Flag --shard can only be used with --plan, and --plan names a file")
    others = sorted(f"--{name}" for name in flags.given - _FITTING)
    if others:
        raise UsageError(
            f"Cannot use {' and '.join(others)} with --plan: the plan says what is copied, where and how",
            hints=("Give them to the command with --dry-run --plan-output that makes the plan.",),
        )
    if any(name.startswith("dask") for name in flags.given):
        from imgpkg.cli.cluster import check_cluster

        check_cluster(flags)
    if "shard" in flags.given and {"lock-output", "digest-file"} & flags.given:
        raise UsageError(
            "Flags --lock-output and --digest-file can only be used with --plan where there is no --shard",
            hints=(_LAST.format(flags.text("plan")),),
        )


def check_plan_flags(flags: Parsed) -> None:
    """Raise UsageError for a plan of a copy that is not previewed, or has none, and for half a preview."""
    if flags.is_on("stream-plan") and flags.is_on("dry-run"):
        raise UsageError("Flag --stream-plan cannot be used with --dry-run, which prints the whole plan")
    if "plan-output" in flags.given and not (flags.is_on("dry-run") and flags.text("plan-output")):
        raise UsageError("Flag --plan-output can only be used with --dry-run, and names a file")

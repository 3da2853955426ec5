"""Copies whose blobs the workers of a Dask cluster move: `--dask`."""

from __future__ import annotations

import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING

from imgpkg.cli.quantities import readable, seconds
from imgpkg.cli.rendering import count_of
from imgpkg.errors import UsageError
from imgpkg.operations.cluster.address import ClusterAddress

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from imgpkg.cli.arguments import Parsed
    from imgpkg.cli.context import Context
    from imgpkg.cli.output import Output
    from imgpkg.operations.transfer.dispatch import BlobExecutor
    from imgpkg.operations.transfer.shares import WorkerShare

# Lines for people; a program finds all workers in the JSON document.
_MOST_LINES = 20
_FILES = ("to-tar", "to-oci-layout", "tar", "from-oci-layout")


def check_cluster(flags: Parsed) -> None:
    """Raise UsageError for flags that do not fit, before a password is read or a worker asked."""
    for name in ("dask-send-credentials", "dask-timeout"):
        if name in flags.given and "dask" not in flags.given:
            raise UsageError(f"--{name} is only for copies with --dask")
    if not flags.text("dask"):
        # An empty variable in a script must not have one machine do the work of many.
        raise UsageError("--dask is empty; leave it out if this machine shall move the blobs")
    for name in _FILES:
        if flags.text(name):
            raise UsageError(
                f"Cannot use --dask with --{name}",
                hints=("A tar file or layout is read and written by one machine.",),
            )
    if flags.seconds("dask-timeout") <= 0:
        raise UsageError("--dask-timeout: expected more than 0")
    address = ClusterAddress.parse(flags.text("dask"))
    if flags.is_on("dask-send-credentials") and not address.is_encrypted:
        raise UsageError(
            f"--dask-send-credentials: others could read the secrets on their way to {address}",
            hints=("Use a scheduler at tls://, or give the workers credentials of their own.",),
        )


@contextmanager
def open_cluster(context: Context) -> Iterator[BlobExecutor]:
    """Return a context with the executor of `--dask`; raise UsageError and ExecutorError."""
    import logging

    from imgpkg.operations.cluster.dask import dask_executor

    flags = context.flags
    with warnings.catch_warnings():
        if not flags.is_on("debug"):
            # Dask writes to standard error what it also raises, and whose versions differ between machines,
            # of which those that matter to a copy have been compared.
            logging.disable(logging.CRITICAL)
            warnings.simplefilter("ignore")
        with dask_executor(
            flags.text("dask"),
            timeout=flags.seconds("dask-timeout"),
            threads=max(flags.number("concurrency"), 1),
        ) as executor:
            yield executor


def print_shares(output: Output, shares: Sequence[WorkerShare]) -> None:
    """Write a line for each worker to a terminal: what it has done, and how long it was busy with that."""
    lines = [_share_text(share) for share in shares[:_MOST_LINES]]
    if len(shares) > _MOST_LINES:
        lines.append(f"and {len(shares) - _MOST_LINES} more workers")
    output.text("".join(f"{line}\n" for line in lines), is_block=True)


def _share_text(share: WorkerShare) -> str:
    done = share.transfer
    others = ((done.mounted, "mounted"), (done.present, "there already"))
    parts = [f"{count_of(done.moved, 'blob')}, {readable(done.moved_size)} in {seconds(share.seconds)}"]
    parts += [f"{count} {what}" for count, what in others if count]
    return f"{share.name}: {', '.join(parts)}"

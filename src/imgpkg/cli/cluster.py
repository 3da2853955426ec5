"""Copies whose blobs the workers of a Dask cluster move: `--dask`."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from imgpkg.errors import UsageError
from imgpkg.operations.cluster.address import ClusterAddress

if TYPE_CHECKING:
    from collections.abc import Iterator

    from imgpkg.cli.arguments import Parsed
    from imgpkg.cli.context import Context
    from imgpkg.operations.transfer.dispatch import BlobExecutor

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
    if not flags.is_on("debug"):
        # Dask writes to standard error what it also raises.
        logging.disable(logging.CRITICAL)
    with dask_executor(
        flags.text("dask"),
        timeout=flags.seconds("dask-timeout"),
        threads=max(flags.number("concurrency"), 1),
    ) as executor:
        yield executor

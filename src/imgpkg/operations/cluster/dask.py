"""The executor of a Dask cluster, for programs; nothing of Dask is loaded before it is opened."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import imgpkg
from imgpkg.errors import UsageError
from imgpkg.operations.cluster.address import ClusterAddress

# Of `Client.get_executor`: a unit has a key of its own, and is not tried again after an error.
_UNIMPORTANT = frozenset({"pure", "retries"})

# Seconds: Dask and the system know no time that is much later.
_LONGEST = 365 * 86400.0


@contextmanager
def dask_executor(
    cluster: object, *, timeout: float = 30.0, threads: int = 5
) -> Iterator[imgpkg.BlobExecutor]:
    """Return a context with an executor for copies, whose blobs the workers of a Dask cluster move.

    `cluster` is an address, `tls://HOST:PORT` or `tcp://HOST:PORT`, a `distributed.Client`, which stays open,
    or `local:N` for N processes of this machine with so many `threads` each, which end with the context; a
    program that starts these needs `if __name__ == "__main__":`. For `tls://` Dask is configured with the
    certificates, by its variables `DASK_DISTRIBUTED__COMM__TLS__…` for example.

    `timeout`, in seconds, is that for the scheduler to answer, and the longest time without any worker, at
    the beginning and later; a year at most. All workers must have this version of the package; one that joins
    later without it gets nothing, and a warning names it. Workers find credentials with their own environment
    and files; `CopyOptions(send_credentials=True)` sends those of the sessions, over TLS only.

    Events of a copy come as from threads. A worker that cannot reach a registry gets no more of its blobs,
    with a warning, and the blobs of one that dies go to others. The copy raises ExecutorError if the
    scheduler is lost, or the context was left, and ends what runs at the workers when it fails or is
    cancelled.

    Raises UsageError for another address, a missing certificate, and without the extra `imgpkg-py[dask]`,
    and ExecutorError for a cluster that does not answer, cannot be started, is without workers, or has other
    versions.
    """
    # Not a number is not more than 0 either.
    if not timeout > 0 or threads < 1:
        raise UsageError(
            f"A cluster needs some time, and at least one thread, not {timeout:g} s and {threads}"
        )
    place = ClusterAddress.parse(cluster) if isinstance(cluster, str) else cluster
    try:
        from imgpkg.operations.cluster.connection import connected
    except ModuleNotFoundError as error:
        raise UsageError(
            f"A Dask cluster needs the package distributed, which is not installed: {error}",
            hints=("Install it with: pip install 'imgpkg-py[dask]'",),
        ) from error
    with connected(place, timeout=min(timeout, _LONGEST), threads=threads) as executor:
        yield executor


def client_of(executor: imgpkg.BlobExecutor) -> Any:
    """Return the client of Dask whose `get_executor` has made `executor`, None for another one."""
    # By names: a program that has none of Dask shall not load it.
    if any(kind.__module__ == "distributed.cfexecutor" for kind in type(executor).__mro__):
        return getattr(executor, "_client", None)
    return None


def adopted(executor: imgpkg.BlobExecutor) -> AbstractContextManager[imgpkg.BlobExecutor]:
    """Return a context with `executor`, or with what `dask_executor` gives for the client that has made it.

    One that chooses workers or resources stays what it is.
    """
    client = client_of(executor)
    if client is None or not getattr(executor, "_kwargs", {}).keys() <= _UNIMPORTANT:
        return nullcontext(executor)
    return dask_executor(client)

"""What each worker has done: its blobs, their bytes, and the time from the first to the last."""

from __future__ import annotations

import pytest

from imgpkg import as_json
from imgpkg.events import BlobOutcome, Transfer
from imgpkg.oci.descriptor import Digest
from imgpkg.oci.reference import Repository
from imgpkg.operations.copy.values import CopyResult
from imgpkg.operations.transfer.shares import WorkerShare, WorkerShares
from imgpkg.operations.transfer.unit import Transferred

PLACE = Repository.parse("to.example.com/app")


def done(worker, size, seconds, outcome=BlobOutcome.MOVED):
    return Transferred(PLACE, Digest.of(b"blob"), outcome, size, seconds, worker=worker)


def shares(*results):
    """Return what is counted of pairs of a time and the result that comes then."""
    times = iter([now for now, _ in results])
    counted = WorkerShares(clock=lambda: next(times))
    for _, result in results:
        counted.count(result)
    return counted.shares()


def test_blobs_are_counted_by_workers_whose_numbers_are_in_order():
    found = shares(
        (10.0, done("worker 10", 5, 1.0)),
        (11.0, done("worker 2", 7, 4.0)),
        (12.0, done("worker 2", 3, 1.5, BlobOutcome.MOUNTED)),
        (13.0, done("worker 2", 2, 0.5, BlobOutcome.PRESENT)),
    )
    assert found == (
        WorkerShare("worker 2", Transfer(1, 7, 1, 3, 1, 2), 6.0),
        WorkerShare("worker 10", Transfer(1, 5), 1.0),
    )


def test_the_time_of_blobs_that_move_at_once_counts_once():
    [share] = shares((10.0, done("one", 1, 3.0)), (10.5, done("one", 1, 5.0)), (11.0, done("one", 1, 1.0)))
    assert share.seconds == pytest.approx(5.5)


def test_nothing_is_known_of_workers_without_blobs():
    assert shares() == ()
    assert "workers" not in as_json(CopyResult(()))


def test_the_process_of_the_copy_has_no_name():
    result = CopyResult((), workers=shares((10.0, done("", 7, 0.25))))
    assert as_json(result)["workers"] == [
        {
            "name": None,
            "blobs": {"moved": 1, "mounted": 0, "present": 0},
            "bytes": {"moved": 7, "mounted": 0, "present": 0},
            "seconds": 0.25,
        }
    ]

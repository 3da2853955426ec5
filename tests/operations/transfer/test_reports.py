"""Events are whole and in order, whatever of the positions that workers tell is late, lost or repeated."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgpkg.events import BlobAdvanced, BlobFinished, BlobOutcome, BlobStarted, Warned
from imgpkg.oci.descriptor import Descriptor, Digest
from imgpkg.oci.reference import Repository
from imgpkg.operations.transfer.reports import BlobPosition, BlobReports
from imgpkg.operations.transfer.unit import Transferred, TransferUnit
from imgpkg.settings import Settings

SIZE = 1000
BLOB = Descriptor("application/octet-stream", Digest.of(b"blob"), SIZE)
PLACE = Repository.parse("to.example.com/app")
UNIT = TransferUnit("run", BLOB, Repository.parse("from.example.com/app"), PLACE, Settings(), Settings())


def done(outcome=BlobOutcome.MOVED, **more):
    return Transferred(PLACE, BLOB.digest, outcome, SIZE, 1.0, worker="worker 1", **more)


def at(position):
    return BlobPosition(str(PLACE), str(BLOB.digest), position)


def told(*reports, end=None):
    """Return the events that a hook gets."""
    events = []
    ledger = BlobReports(events.append)
    ledger.begin(UNIT)
    for report in reports:
        ledger.tell(report)
    ledger.finish(end or done())
    return events


STARTED = BlobStarted(BLOB.digest, SIZE, "push")


@given(st.lists(st.integers(0, 2 * SIZE)), st.sampled_from(BlobOutcome))
def test_counts_add_up_whatever_is_told(positions, outcome):
    first, *between, last = told(*map(at, positions), end=done(outcome))
    assert first == STARTED
    assert all(event.count >= 0 for event in between)
    counted = sum(event.count for event in between)
    assert last == BlobFinished(BLOB.digest, last.outcome, SIZE)
    assert counted == (SIZE if last.outcome is BlobOutcome.MOVED else 0)
    assert last.outcome is (BlobOutcome.MOVED if any(positions) else outcome)


def test_a_unit_that_is_done_again_counts_its_bytes_once():
    events = told(at(600), at(100), at(700))
    assert [event.count for event in events if isinstance(event, BlobAdvanced)] == [600, 0, 100, 300]


def test_a_unit_that_was_given_twice_is_told_once():
    events = []
    ledger = BlobReports(events.append)
    ledger.begin(UNIT)
    ledger.begin(UNIT)
    ledger.finish(done())
    ledger.finish(done(BlobOutcome.PRESENT, warnings=("careful",)))
    assert [type(event) for event in events] == [BlobStarted, BlobAdvanced, BlobFinished, Warned]


def test_what_comes_after_the_end_or_is_of_others_is_ignored():
    events = []
    ledger = BlobReports(events.append)
    ledger.tell(at(1))
    ledger.begin(UNIT)
    ledger.finish(done(BlobOutcome.PRESENT))
    ledger.tell(at(SIZE))
    assert events == [STARTED, BlobFinished(BLOB.digest, BlobOutcome.PRESENT, SIZE)]


def test_what_its_own_process_has_told_is_not_told_again():
    assert told(end=done(is_reported=True)) == []


@pytest.mark.parametrize("count", [1, 3])
def test_warnings_come_once_for_each_worker(count):
    events = []
    ledger = BlobReports(events.append)
    for _ in range(count):
        ledger.begin(UNIT)
        ledger.finish(done(is_reported=True, warnings=("slow", "old")))
    assert events == [Warned("worker 1: slow"), Warned("worker 1: old")]


def test_warnings_of_the_executor_pass():
    assert told(Warned("a worker has gone"), end=done(is_reported=True)) == [Warned("a worker has gone")]

"""The sessions that a worker keeps for a copy, and their end."""

from __future__ import annotations

import threading
import time

import pytest
from tests.operations.making import put_blob
from tests.servers.faults import always

from imgpkg import errors
from imgpkg.embedded.message import Fault
from imgpkg.embedded.server import serve
from imgpkg.events import BlobOutcome
from imgpkg.oci.descriptor import Descriptor, Digest
from imgpkg.oci.reference import Repository
from imgpkg.operations.transfer.unit import TransferUnit
from imgpkg.operations.transfer.worker import _SESSIONS, end, stop, transfer
from imgpkg.settings import Settings

BLOB = Descriptor("application/octet-stream", Digest.of(b"blob"), 4)


@pytest.fixture
def source(embedded_registry, session):
    repository = Repository.parse(f"{embedded_registry.address}/worker/from")
    put_blob(session, repository, b"blob", BLOB.media_type)
    return repository


@pytest.fixture
def unit(request, source, another_registry):
    to = Repository.parse(f"{another_registry.address}/worker/{request.node.name.lower()}")
    return TransferUnit(request.node.name, BLOB, source, to, Settings(), Settings())


def test_a_unit_has_the_name_of_its_worker_and_is_done_again_without_harm(unit):
    first, second = (transfer(unit, worker="worker 7") for _ in range(2))
    assert (first.outcome, first.worker) == (BlobOutcome.MOVED, "worker 7")
    assert (second.outcome, second.size) == (BlobOutcome.PRESENT, 4)
    end(unit.run)


def test_sessions_are_kept_until_the_run_ends(unit):
    transfer(unit)
    kept = _SESSIONS._runs[unit.run]
    end(unit.run)
    end(unit.run)
    assert unit.run not in _SESSIONS._runs
    with pytest.raises(errors.UsageError, match="closed"):
        _ = kept.writing.client


def test_a_unit_that_comes_after_the_end_begins_anew(unit):
    end(unit.run)
    assert transfer(unit).outcome is BlobOutcome.MOVED
    end(unit.run)


@pytest.mark.parametrize("ending", [stop, end])
def test_a_unit_that_runs_at_the_end_is_stopped_or_goes_on(ending, source):
    with serve(faults=always(Fault(delay=0.5 if ending is end else 20), method="PUT")) as there:
        place = Repository.parse(f"{there.address}/worker/to")
        unit = TransferUnit(f"run to {ending.__name__}", BLOB, source, place, Settings(), Settings())
        threading.Timer(0.2, ending, (unit.run,)).start()
        started = time.monotonic()
        if ending is end:
            assert transfer(unit).outcome is BlobOutcome.MOVED
        else:
            with pytest.raises(errors.Cancelled):
                transfer(unit)
            with pytest.raises(errors.Cancelled):
                transfer(unit)
            end(unit.run)
        assert time.monotonic() - started < 5
    assert unit.run not in _SESSIONS._runs

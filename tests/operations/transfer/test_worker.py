"""The sessions that a worker keeps for a copy, and their end."""

from __future__ import annotations

import threading
import time

import pytest
from tests.operations.making import put_blob
from tests.servers.faults import always, refusing

from imgpkg import errors
from imgpkg.embedded.message import Fault
from imgpkg.embedded.server import serve
from imgpkg.events import BlobOutcome
from imgpkg.oci.descriptor import Descriptor, Digest
from imgpkg.oci.reference import Repository
from imgpkg.operations.transfer.unit import TransferUnit
from imgpkg.operations.transfer.worker import _SESSIONS, end, is_of_source, stop, transfer
from imgpkg.settings import Settings
from imgpkg.testing.faults import corrupted, disconnected

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


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (corrupted(), errors.VerificationError),
        (refusing(404), errors.NotFound),
        (disconnected(), errors.TransportError),
    ],
    ids=["other bytes", "not there", "no answer"],
)
def test_an_error_says_that_it_is_one_of_the_source(fault, error, request, another_registry, session):
    with serve(faults=lambda asked: fault if asked.method == "GET" else None) as there:
        source = Repository.parse(f"{there.address}/worker/broken")
        put_blob(session, source, b"blob", BLOB.media_type)
        to = Repository.parse(f"{another_registry.address}/worker/broken-{error.__name__.lower()}")
        name, settings = request.node.name, Settings(retry_count=1)
        with pytest.raises(error, match=f"Copying blob .* to {to}: Reading blob .*{source}") as raised:
            transfer(TransferUnit(name, BLOB, source, to, settings, settings))
        end(name)
    assert is_of_source(raised.value)


def test_an_error_of_the_destination_is_none_of_the_source(source, request):
    with serve(faults=always(refusing(500), method="POST")) as there:
        settings, to = Settings(retry_count=1), Repository.parse(f"{there.address}/worker/to")
        with pytest.raises(errors.RegistryError) as raised:
            transfer(TransferUnit(request.node.name, BLOB, source, to, settings, settings))
        end(request.node.name)
    assert not is_of_source(raised.value)


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

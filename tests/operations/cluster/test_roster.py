"""Which workers may have a unit, after some of them could not reach a registry."""

from __future__ import annotations

import pytest

from imgpkg.dataclass import replace
from imgpkg.errors import ConnectionFailed
from imgpkg.oci.descriptor import Descriptor, Digest
from imgpkg.oci.reference import Repository
from imgpkg.operations.cluster.roster import Roster
from imgpkg.operations.cluster.task import Unreachable
from imgpkg.operations.transfer.unit import TransferUnit
from imgpkg.settings import Settings

SOURCE, DESTINATION = "from.example.com", "to.example.com"
UNIT = TransferUnit(
    "run",
    Descriptor("application/octet-stream", Digest.of(b"blob"), 4),
    Repository.parse(f"{SOURCE}/app"),
    Repository.parse(f"{DESTINATION}/app"),
    Settings(),
    Settings(),
)


def unreachable(address, registry=SOURCE):
    error = ConnectionFailed("get", f"https://{registry}/v2/", "connection refused")
    return Unreachable(address, f"worker {address[-1]}", registry, error)


@pytest.fixture
def roster():
    return Roster({"tcp://1": 2, "tcp://2": 3})


def test_all_may_have_it_at_first(roster):
    assert roster.workers_for(UNIT) is None
    assert roster.threads == 5


def test_others_get_what_one_cannot_reach_and_that_is_new_once(roster):
    assert roster.bar("run", unreachable("tcp://1")) is True
    assert roster.bar("run", unreachable("tcp://1")) is False
    assert roster.workers_for(UNIT) == ("tcp://2",)


def test_another_registry_and_another_run_are_left_alone(roster):
    roster.bar("run", unreachable("tcp://1", "third.example.com"))
    roster.bar("other run", unreachable("tcp://1"))
    assert roster.workers_for(UNIT) is None


def test_a_worker_that_joins_may_have_it(roster):
    roster.bar("run", unreachable("tcp://1"))
    roster.update({"tcp://1": 2, "tcp://3": 1})
    assert roster.workers_for(UNIT) == ("tcp://3",)
    assert not roster.has_any(("tcp://2",))
    assert roster.has_any(("tcp://2", "tcp://3"))
    assert roster.has_any(None)


def test_a_blob_that_is_in_its_descriptor_needs_no_source(roster):
    roster.bar("run", unreachable("tcp://1"))
    inline = replace(UNIT, descriptor=replace(UNIT.descriptor, data=b"blob"))
    assert roster.workers_for(inline) is None


def test_the_last_error_names_all_workers(roster):
    roster.bar("run", unreachable("tcp://1"))
    roster.bar("run", unreachable("tcp://2", DESTINATION))
    with pytest.raises(ConnectionFailed, match="refused") as raised:
        roster.workers_for(UNIT)
    assert f"No worker can reach {SOURCE} or {DESTINATION} (worker 1, worker 2)" in str(raised.value)


def test_a_run_that_is_over_is_forgotten(roster):
    roster.bar("run", unreachable("tcp://1"))
    roster.forget("run")
    assert roster.workers_for(UNIT) is None

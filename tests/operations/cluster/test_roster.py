"""Which workers may have a unit, after some of them could not reach a registry."""

from __future__ import annotations

import pytest
from tests.operations.cluster.making import DESTINATION, SOURCE, UNIT

from imgpkg.dataclass import replace
from imgpkg.errors import ConnectionFailed
from imgpkg.operations.cluster.roster import Roster
from imgpkg.operations.cluster.task import Unreachable
from imgpkg.version import VERSION


def unreachable(address, registry=SOURCE):
    error = ConnectionFailed("get", f"https://{registry}/v2/", "connection refused")
    return Unreachable(address, f"worker {address[-1]}", registry, error)


@pytest.fixture
def roster():
    return Roster({"tcp://1": 2, "tcp://2": 3})


def test_all_may_have_it_at_first(roster):
    assert roster.workers_for(UNIT) == ("tcp://1", "tcp://2")
    assert roster.threads == 5


def test_others_get_what_one_cannot_reach_and_that_is_new_once(roster):
    assert roster.bar("run", unreachable("tcp://1")) is True
    assert roster.bar("run", unreachable("tcp://1")) is False
    assert roster.workers_for(UNIT) == ("tcp://2",)


def test_another_registry_and_another_run_are_left_alone(roster):
    roster.bar("run", unreachable("tcp://1", "third.example.com"))
    roster.bar("other run", unreachable("tcp://1"))
    assert roster.workers_for(UNIT) == ("tcp://1", "tcp://2")


def test_a_worker_that_joins_may_have_it_when_its_version_is_known(roster):
    roster.bar("run", unreachable("tcp://1"))
    assert roster.update({"tcp://1": 2, "tcp://2": 3, "tcp://3": 1}) == ("tcp://3",)
    assert (roster.workers_for(UNIT), roster.threads) == (("tcp://2",), 5)
    roster.learn("tcp://3", "third", VERSION)
    assert (roster.workers_for(UNIT), roster.threads) == (("tcp://2", "tcp://3"), 6)
    assert roster.unfit == {}
    assert roster.update({"tcp://1": 2, "tcp://3": 1}) == ()
    assert not roster.has_any(("tcp://2",))
    assert roster.has_any(("tcp://2", "tcp://3"))


@pytest.mark.parametrize(
    ("found", "text"),
    [
        ("0.9.0", "third (tcp://3) has imgpkg 0.9.0"),
        (ModuleNotFoundError("No module named 'imgpkg'"), "third (tcp://3) has no imgpkg (No module named"),
        ("\x1b[2J", "third (tcp://3) has imgpkg \\x1b[2J"),
    ],
)
def test_a_worker_that_joins_with_something_else_is_left_out(found, text, roster):
    there = {"tcp://1": 2, "tcp://2": 3, "tcp://3": 1}
    roster.update(there)
    roster.learn("tcp://3", "third (tcp://3)", found)
    assert (roster.workers_for(UNIT), roster.threads) == (("tcp://1", "tcp://2"), 5)
    assert roster.unfit["tcp://3"].startswith(text)
    assert roster.update(there) == ()
    roster.update({"tcp://1": 2})
    assert roster.unfit == {}
    # Another one at the same address is asked anew.
    assert roster.update(there) == ("tcp://2", "tcp://3")


def test_an_answer_of_a_worker_that_has_gone_says_nothing(roster):
    roster.learn("tcp://3", "third", VERSION)
    roster.learn("tcp://4", "fourth", "0.9.0")
    assert roster.unfit == {}
    assert roster.update({"tcp://3": 1}) == ("tcp://3",)


def test_a_unit_waits_for_the_last_workers_when_all_have_gone(roster):
    roster.bar("run", unreachable("tcp://1"))
    roster.update({})
    assert (roster.workers_for(UNIT), roster.threads) == (("tcp://1", "tcp://2"), 0)
    assert not roster.has_any(("tcp://1", "tcp://2"))


def test_a_unit_names_some_of_many_workers_in_turn():
    everybody = {f"tcp://{number}": 1 for number in range(120)}
    roster = Roster(everybody)
    chosen = [roster.workers_for(UNIT) for _ in range(3)]
    assert {len(addresses) for addresses in chosen} == {50}
    assert {address for addresses in chosen for address in addresses} == set(everybody)


def test_a_blob_that_is_in_its_descriptor_needs_no_source(roster):
    roster.bar("run", unreachable("tcp://1"))
    inline = replace(UNIT, descriptor=replace(UNIT.descriptor, data=b"blob"))
    assert roster.workers_for(inline) == ("tcp://1", "tcp://2")


def test_the_last_error_names_all_workers(roster):
    roster.bar("run", unreachable("tcp://1"))
    roster.bar("run", unreachable("tcp://2", DESTINATION))
    with pytest.raises(ConnectionFailed, match="refused") as raised:
        roster.workers_for(UNIT)
    assert f"No worker can reach {SOURCE} or {DESTINATION} (worker 1, worker 2)" in str(raised.value)
    assert "of their own machines" in raised.value.hints[-1]


def test_each_unit_that_no_worker_may_have_has_an_error_of_its_own(roster):
    roster.bar("run", unreachable("tcp://1"))
    roster.bar("run", unreachable("tcp://2"))
    raised = []
    for _ in range(3):
        with pytest.raises(ConnectionFailed) as one:
            roster.workers_for(UNIT)
        raised.append(one.value)
    assert {str(error) for error in raised} == {str(raised[0])}
    assert str(raised[0]).count("No worker can reach") == 1


def test_a_run_that_is_over_is_forgotten(roster):
    roster.bar("run", unreachable("tcp://1"))
    roster.forget("run")
    assert roster.workers_for(UNIT) == ("tcp://1", "tcp://2")

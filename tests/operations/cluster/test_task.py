"""What a worker knows of registries that it cannot reach."""

from __future__ import annotations

import gc
import weakref
from types import SimpleNamespace

import pytest
from tests.operations.cluster.making import DESTINATION, SOURCE, UNIT

from imgpkg.errors import ConnectionFailed
from imgpkg.operations.cluster.task import Unreachable, _Failures, _registry, _unreachable


@pytest.mark.parametrize(
    ("host", "context", "registry"),
    [
        (SOURCE, "", SOURCE),
        (DESTINATION, "", DESTINATION),
        # The storage to which a registry has sent its client.
        ("storage.example.com", f"Reading blob from {SOURCE}/app", SOURCE),
        ("storage.example.com", "", DESTINATION),
    ],
)
def test_the_registry_that_cannot_be_reached_is_known(host, context, registry):
    error = ConnectionFailed("get", f"https://{host}/v2/", "refused")
    if context:
        error.add_context(context)
    assert _registry(error, UNIT) == registry


def test_what_is_kept_of_a_failure_keeps_nothing_of_the_unit_alive():
    worker = SimpleNamespace(address="tcp://1", name="one")

    class Secret:
        """The credential of a unit, which those that have failed have in a variable."""

    def fail(secret):
        raise ConnectionFailed("get", f"https://{SOURCE}/v2/", "refused") from ValueError(repr(secret))

    secret = Secret()
    seen = weakref.ref(secret)
    try:
        fail(secret)
    except ConnectionFailed as error:
        found = _unreachable(error, UNIT, worker)
    del secret
    gc.collect()
    assert seen() is None
    assert (found.worker, str(found.error)) == ("one", f'Get "https://{SOURCE}/v2/": refused')


def test_what_is_known_is_that_of_the_newest_copies():
    known = _Failures()
    error = ConnectionFailed("get", f"https://{SOURCE}/v2/", "refused")
    found = Unreachable("tcp://1", "one", SOURCE, error)
    for number in range(6):
        known.add(str(number), found)
    assert [known.find(str(number), SOURCE) for number in range(6)] == [None, None, *[found] * 4]
    assert known.find("5", DESTINATION) is None

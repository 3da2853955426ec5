"""Addresses of Dask clusters, as they are typed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgpkg.errors import UsageError
from imgpkg.operations.cluster.address import ClusterAddress


@pytest.mark.parametrize(
    ("text", "url", "is_encrypted"),
    [
        ("tls://scheduler.example.com:8787", "tls://scheduler.example.com:8787", True),
        ("tcp://10.0.0.1:8786", "tcp://10.0.0.1:8786", False),
        ("tls://scheduler", "tls://scheduler:8786", True),
        ("tcp://[::1]:9000/", "tcp://[::1]:9000", False),
    ],
)
def test_those_of_schedulers(text, url, is_encrypted):
    address = ClusterAddress.parse(text)
    assert (str(address), address.url, address.is_encrypted) == (url, url, is_encrypted)


@given(st.integers(1, 1000))
def test_processes_of_this_machine_speak_tls(count):
    address = ClusterAddress.parse(f"local:{count}")
    assert (address.processes, address.is_encrypted, str(address)) == (count, True, f"local:{count}")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "scheduler:8786",
        "http://scheduler:8786",
        "tls://",
        "tls://host:port",
        "tls://host:99999",
        "tls://[::1",
        "tcp://host:1/path",
        "tcp://host:1?query",
        "tcp://host:1#part",
        "tcp://host:0",
        "tcp://:geheim@host:1",
        "local:",
        "local:0",
        "local:-1",
        "local:two",
        "local:²",
        "local:8786",
        "local:0004",
        "local:00001000000",
        f"local:{'9' * 5000}",
    ],
)
def test_others_are_refused_with_the_forms(text):
    with pytest.raises(UsageError, match="no address of a Dask cluster") as raised:
        ClusterAddress.parse(text)
    assert "local:N" in raised.value.hints[0]


def test_a_password_in_it_is_not_shown():
    with pytest.raises(UsageError) as raised:
        ClusterAddress.parse("tls://user:geheim@host:1")
    assert "geheim" not in str(raised.value)


@given(st.text())
def test_any_text_is_an_address_or_a_mistake(text):
    try:
        address = ClusterAddress.parse(text)
    except UsageError:
        return
    assert ClusterAddress.parse(str(address)) == address

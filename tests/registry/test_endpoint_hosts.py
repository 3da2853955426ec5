"""Which hosts are local, which are forbidden, and which may be reached over http."""

from __future__ import annotations

import pytest

from imgpkg.registry.endpoint import is_forbidden_host, is_loopback, may_speak_http


@pytest.mark.parametrize(
    "registry",
    [
        "localhost:5000",
        "a.localhost",
        "a.localhost:80",
        "127.0.0.1",
        "127.9.9.9:5000",
        "[::1]:5000",
        "[::1]",
        "printer.local",
        "printer.local:5000",
        "10.0.0.1",
        "172.16.0.1:5000",
        "172.31.255.1",
        "192.168.1.1",
    ],
)
def test_local_and_private_registries_may_speak_http(registry):
    assert may_speak_http(registry)


@pytest.mark.parametrize(
    "registry",
    [
        "index.docker.io",
        "172.32.0.1",
        "host:80",
        "foo.local.example.com",
        "127.0.0.1.example.com",
        "my127.0.0.1x.io",
        "LOCALHOST:5000",
        "11.0.0.1",
        "[::2]",
        "[fe80::1]:5000",
        "0.0.0.0:5000",
    ],
)
def test_others_speak_https_only_unless_configured(registry):
    assert not may_speak_http(registry)
    assert may_speak_http(registry, insecure=True)


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LOCALHOST",
        "localhost.",
        "x.localhost",
        "127.0.0.1",
        "127.1",
        "0x7f000001",
        "2130706433",
        "0177.0.0.1",
        "::1",
        "::ffff:127.0.0.1",
        "::1%lo",
        "64:ff9b::7f00:1",
        "ip6-localhost",
    ],
)
def test_this_machine_is_recognised_in_any_spelling(host):
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["example.com", "127.0.0.1.example", "10.0.0.1", "", "127.0.0.1 x", "ä"])
def test_other_hosts_are_not_this_machine(host):
    assert not is_loopback(host)


@pytest.mark.parametrize(
    "host",
    [
        "169.254.169.254",
        "169.254.170.2",
        "0xa9fea9fe",
        "2852039166",
        "::ffff:169.254.169.254",
        "fe80::1%eth0",
        "fd00:ec2::254",
        "100.100.100.200",
        "168.63.129.16",
        "192.0.0.192",
        "0.0.0.0",
        "0.1.2.3",
        "::",
        "0",
        "metadata.google.internal",
        "METADATA.google.internal.",
        "metadata",
        "224.0.0.1",
        "ff02::1",
    ],
)
def test_metadata_link_local_and_unspecified_addresses_are_off_limits(host):
    assert is_forbidden_host(host)


@pytest.mark.parametrize("host", ["example.com", "10.0.0.1", "192.168.1.1", "127.0.0.1", "2001:db8::1"])
def test_ordinary_and_private_hosts_are_not_off_limits(host):
    assert not is_forbidden_host(host)

"""Which hosts are local, which are nobody's business, and who may speak http: pure, no name is looked up."""

from __future__ import annotations

import re
import socket
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import TypeAlias

Address: TypeAlias = "IPv4Address | IPv6Address"

_PRIVATE = tuple(map(IPv4Network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")))
_METADATA_NAMES = frozenset(
    {"metadata", "metadata.google.internal", "metadata.goog", "instance-data", "instance-data.ec2.internal"}
)
# Besides the link-local ones: Amazon over IPv6, Alibaba, Azure, Oracle.
_METADATA_ADDRESSES = frozenset(
    map(ip_address, ("fd00:ec2::254", "100.100.100.200", "168.63.129.16", "192.0.0.192"))
)
_LOOPBACK_NAMES = frozenset({"localhost", "localhost.localdomain", "ip6-localhost", "ip6-loopback"})
_TRANSLATED = IPv6Network("64:ff9b::/96")
_PORT = re.compile(r":\d*$")


def may_speak_http(registry: str, *, insecure: bool = False) -> bool:
    """Tell whether `registry`, `host[:port]`, may be asked over http once https has failed (auth-spec 6.2).

    True for every one when `insecure`, and for loopback, `*.local` and private IPv4 addresses. Upper-case
    names are not local, as in the original.
    """
    host = _PORT.sub("", registry)
    if insecure or host == "localhost" or host.endswith((".localhost", ".local")):
        return True
    try:
        address = ip_address(host.strip("[]"))
    except ValueError:
        return False
    return address.is_loopback or any(address in network for network in _PRIVATE)


def is_loopback(host: str) -> bool:
    """Tell whether `host`, a name or an address in any spelling, is this machine."""
    name = host.lower().rstrip(".")
    if name in _LOOPBACK_NAMES or name.endswith(".localhost"):
        return True
    address = _address(name)
    return address is not None and address.is_loopback


def is_off_limits(host: str) -> bool:
    """Tell whether `host` is nothing a registry could send anybody to: link-local, metadata, unspecified."""
    name = host.lower().rstrip(".")
    if name in _METADATA_NAMES:
        return True
    address = _address(name)
    if address is None:
        return False
    if address in _METADATA_ADDRESSES or address.is_multicast:
        return True
    # All of 0.0.0.0/8 reaches this machine on some systems.
    is_zero = isinstance(address, IPv4Address) and address.packed[0] == 0
    return address.is_link_local or address.is_unspecified or is_zero


def _address(host: str) -> Address | None:
    """Read an address as the resolver would, also `127.1`, `0x7f000001` and IPv4 inside IPv6."""
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return _loose_ipv4(host)
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if address in _TRANSLATED:
            return IPv4Address(address.packed[-4:])
    return address


def _loose_ipv4(host: str) -> IPv4Address | None:
    try:
        # inet_aton would ignore what follows a blank.
        return None if not host or " " in host else IPv4Address(socket.inet_aton(host))
    except (OSError, UnicodeError):
        return None

"""Laws of NO_PROXY, of redaction and of pauses."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, ip_network

from hypothesis import given
from hypothesis import strategies as st

from imgpkg.registry.exchange import LONGEST_RETRY_AFTER, delay_before
from imgpkg.transport.message import SHOWN_QUERY_KEYS, redact_url
from imgpkg.transport.proxy import is_bypassed
from imgpkg.transport.retry import parse_retry_after

labels = st.from_regex(r"[a-z][a-z0-9]{0,8}", fullmatch=True).filter(lambda label: label != "localhost")
names = st.lists(labels, min_size=1, max_size=4).map(".".join)
ports = st.integers(1, 65535)
public = st.ip_addresses(v=4).filter(lambda address: not address.is_loopback)


@given(names, names, ports)
def test_a_domain_covers_itself_and_what_ends_in_dot_domain_and_nothing_else(host, domain, port):
    """NO_PROXY (Go httpproxy): "foo.com" matches "foo.com" and "bar.foo.com"."""
    covered = host == domain or host.endswith("." + domain)
    assert is_bypassed(host, port, domain) is covered


@given(names, names, ports)
def test_a_leading_dot_covers_subdomains_only(host, domain, port):
    """NO_PROXY (Go httpproxy): ".foo.com" matches "bar.foo.com" but not "foo.com"."""
    assert is_bypassed(host, port, "." + domain) is host.endswith("." + domain)
    assert is_bypassed(host, port, "*." + domain) is is_bypassed(host, port, "." + domain)


@given(public, public, st.integers(0, 32), ports)
def test_a_range_covers_the_addresses_in_it(address, base, bits, port):
    """NO_PROXY (Go httpproxy): an entry may be an IP address prefix in CIDR notation."""
    network: IPv4Network = ip_network(f"{base}/{bits}", strict=False)
    assert is_bypassed(str(address), port, f"{base}/{bits}") is (address in network)


@given(names | public.map(str), ports, ports)
def test_a_port_narrows_an_entry_to_that_port(host, port, other):
    """NO_PROXY (Go httpproxy): each IP address or domain name may include a literal port number."""
    assert is_bypassed(host, port, f"{host}:{other}") is (port == other)


@given(names | public.map(str), ports, st.text(max_size=20), st.text(max_size=20))
def test_more_entries_never_bring_a_proxy_back(host, port, before, after):
    """NO_PROXY: entries are alternatives, whatever stands beside them."""
    assert is_bypassed(host, port, f"{before},{host},{after}")


@given(st.integers(0, 2**24 - 1), ports, st.text(max_size=20))
def test_loopback_is_never_proxied(low, port, no_proxy):
    """Go httpproxy: requests to localhost or a loopback address never use a proxy."""
    assert is_bypassed(str(IPv4Address((127 << 24) + low)), port, no_proxy)


@given(
    st.from_regex(r"[a-z]{1,6}", fullmatch=True),
    st.lists(st.tuples(st.text(min_size=1, max_size=8), st.text(max_size=8)), max_size=5),
)
def test_no_unknown_query_value_survives_redaction(host, pairs):
    """The URL in a text keeps the values of known query keys; all others become REDACTED."""
    from urllib.parse import quote

    secret = "SECRET"
    query = "&".join(f"{quote(key)}={secret}{quote(value)}" for key, value in pairs)
    shown = redact_url(f"https://user:{secret}@{host}/path?{query}#{secret}")
    expected = sum(key in SHOWN_QUERY_KEYS for key, _ in pairs)
    assert shown.count(secret) == expected


@given(st.text(max_size=60))
def test_redacting_twice_changes_nothing_and_leaves_one_printable_line(url):
    """What has been redacted is fit to be shown, and to be redacted again by whoever wraps it."""
    once = redact_url(url)
    assert redact_url(once) == once
    assert not any(character.isspace() and character.isascii() for character in once)


@given(st.text(max_size=40), st.floats(0, 4e9))
def test_any_retry_after_is_a_finite_pause_or_none(value, now):
    """Retry-After (RFC 9110 10.2.3), from a stranger: never an exception, never a negative pause."""
    pause = parse_retry_after(value, now)
    assert pause is None or 0 <= pause <= 1e12


@given(
    st.integers(2, 10**6), st.floats(0, 1, exclude_max=True), st.none() | st.floats(0, LONGEST_RETRY_AFTER)
)
def test_every_pause_is_between_50_milliseconds_and_a_minute(attempt, fraction, asked):
    """100 ms doubling up to 1 s with jitter; Retry-After up to 60 s."""
    assert 0.05 <= delay_before(attempt, fraction, asked) <= LONGEST_RETRY_AFTER

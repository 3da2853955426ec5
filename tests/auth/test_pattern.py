"""Patterns: which are refused, what they match, and which of two is more specific."""

from __future__ import annotations

import pytest

from imgpkg.auth.pattern import Address, NoHost, Pattern, docker_hub_aliases
from imgpkg.errors import CredentialError
from imgpkg.oci.reference import Repository


def matches(pattern: str, repository: str) -> bool:
    return Pattern.parse(pattern).matches(Address.of(Repository.parse(repository)))


@pytest.mark.parametrize(
    ("text", "host", "port", "path"),
    [
        ("gcr.io", "gcr.io", "", ""),
        ("https://gcr.io", "gcr.io", "", ""),
        ("http://gcr.io", "gcr.io", "", ""),
        ("gcr.io/", "gcr.io", "", ""),
        ("docker.io/v2/", "docker.io", "", ""),
        ("https://index.docker.io/v1/", "index.docker.io", "", ""),
        ("gcr.io/v1/proj", "gcr.io", "", "proj"),
        ("gcr.io/v2", "gcr.io", "", ""),
        ("gcr.io/v2/v2", "gcr.io", "", "v2"),
        ("gcr.io/proj/", "gcr.io", "", "proj"),
        ("gcr.io/proj/img", "gcr.io", "", "proj/img"),
        ("HTTPS://gcr.io", "gcr.io", "", ""),
        ("GCR.IO/Team", "gcr.io", "", "Team"),
        (" gcr.io:5000\n", "gcr.io", "5000", ""),
        ("gcr.io:443", "gcr.io", "", ""),
        ("localhost:", "localhost", "", ""),
        ("gcr.io/p%2Fi", "gcr.io", "", "p%2Fi"),
        ("[::1]:5000", "[::1]", "5000", ""),
        ("[::1]", "[::1]", "", ""),
        ("[FE80::A]/team", "[fe80::a]", "", "team"),
        ("[::ffff:127.0.0.1]:5000", "[::ffff:127.0.0.1]", "5000", ""),
        ("g[^x]r.io", "g[!x]r.io", "", ""),
    ],
)
def test_a_value_of_the_table_becomes_its_key(text, host, port, path):
    assert Pattern.parse(text).address == Address(host, port, tuple(path.split("/")) if path else ())


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("gcr.io/proj/img:v1", "tag or digest"),
        ("gcr.io/proj@sha256:abc", "tag or digest"),
        ("ftp://gcr.io", "only http:// and https://"),
        ("//gcr.io", "only http:// and https://"),
        ("https:///path", "host is missing"),
        (":5000", "host is missing"),
        ("/path", "host is missing"),
        ("https://hunter2:hunter2@gcr.io", "a login belongs"),
        ("hunter2@gcr.io", "a login belongs"),
        ("https://hunter2:hunter2/x@gcr.io", "tag or digest|port"),
        ("gcr.io?x=1", "query"),
        ("gcr.io/p?x", "query"),
        ("gcr.io#x", "fragment"),
        ("gcr.io/p#x", "fragment"),
        ("localhost:abc", "port"),
        ("localhost:51*", "port"),
        ("localhost:70000", "port"),
        ("gcr.io:[0-9]", "the port is not a number"),
        ("localhost:٣", "port"),
        ("::1", "IPv6 address stands in brackets"),
        ("g[cr.io", "syntax error in pattern"),
        ("gcr].io", "syntax error in pattern"),
        ("g[]cr.io", "syntax error in pattern"),
        ("g[a.b]cr.io", "syntax error in pattern"),
        ("g[z-a]cr.io", "syntax error in pattern"),
        ("g[!a-c9-0]cr.io", "syntax error in pattern"),
        ("g cr.io", "character"),
        ("g!cr.io", "character"),
        ("gcr.io,quay.io", "character"),
        ("g\\cr.io", "character"),
        ("gcr.io/\x1b[31m", "control character"),
        ("gcr.io/a\nb", "control character"),
    ],
)
def test_a_value_that_means_no_place_is_refused_without_repeating_it(text, reason):
    with pytest.raises(CredentialError, match=reason) as caught:
        Pattern.parse(text)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("Bücher.example:5000/team", "xn--bcher-kva.example"),
        ("*.bücher.example", "*.xn--bcher-kva.example"),
        ("bücher.r[0-9].example", "xn--bcher-kva.r[0-9].example"),
        ("https://straße.example", "xn--strae-oqa.example"),
    ],
)
def test_a_host_in_letters_of_the_world_takes_its_form_for_dns(text, host):
    assert Pattern.parse(text).address.host == host


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a..b", "a dot comes first"),
        (".b", "a dot comes first"),
        (".", "a dot comes first"),
        ("*..b", "a dot comes first"),
        ("a" * 64 + ".b", "longer than a host name"),
        ("é" * 60 + ".b", "no form for DNS"),
        ("a." * 130 + "b", "longer than a host name"),
        ("bü*.example", "no form for DNS"),
        ("a\u2100b.example", "no form for DNS"),
        ("g!cr.io", "character"),
        ("gcr.io,quay.io", "character"),
    ],
)
def test_a_host_that_cannot_exist_is_distinguished_and_not_repeated(text, reason):
    with pytest.raises(NoHost, match=reason) as caught:
        Pattern.parse(text)
    assert text not in str(caught.value)


@pytest.mark.parametrize(
    ("pattern", "repository"),
    [
        ("bücher.example", "xn--bcher-kva.example/p/i"),
        ("xn--bcher-kva.example", "bücher.example/p/i"),
        ("BÜCHER.example:5000", "bücher.example:5000/p/i"),
        ("*.bücher.example", "r.bücher.example/p/i"),
        ("gcr.io.", "gcr.io./p/i"),
        ("gcr.io", "gcr.io:443/p/i"),
        ("gcr.io:443", "gcr.io/p/i"),
        ("gcr.io", "GCR.io/p/i"),
        ("gcr.io:5000", "gcr.io:5000/p/i"),
        ("*.*.docker.io", "bar.foo.docker.io/x/y"),
        ("*.docker.io", "ubuntu"),
        ("host.io/foo", "host.io/foo"),
        ("host.io/foo", "host.io/foo/bar"),
        ("gcr.io/proj/img", "gcr.io/proj/img"),
        ("gc*.io", "gcr.io/p/i"),
        ("*cr.io", "gcr.io/p/i"),
        ("**.io", "gcr.io/p/i"),
        ("gcr*.io", "gcr.io/p/i"),
        ("g?r.io", "gcr.io/p/i"),
        ("g[a-z]r.io", "gcr.io/p/i"),
        ("loc[a-z]lhost:5110", "localhost:5110/p/i"),
        ("[lm]ocalhost:5110", "localhost:5110/p/i"),
        ("g[!x]r.io", "gcr.io/p/i"),
        ("g[^x]r.io", "gcr.io/p/i"),
        ("z-a[a-c_-]r.io", "z-abr.io/p/i"),
        ("127.*.*.1:5000", "127.0.0.1:5000/p/i"),
        ("[::1]:5000", "[::1]:5000/p/i"),
        ("[::1]", "[::1]:443/p/i"),
        ("localhost:", "localhost:443/p/i"),
        ("host.io/v1/v1/x", "host.io/v1/x/y"),
    ],
)
def test_a_pattern_matches(pattern, repository):
    assert matches(pattern, repository)


@pytest.mark.parametrize(
    ("pattern", "repository", "reason"),
    [
        ("gcr.io", "gcr.io:5000/p/i", "its port is 443, not 5000"),
        ("gcr.io:5000", "gcr.io/p/i", "its port is 5000, not 443"),
        ("*.docker.io", "bar.foo.docker.io/x/y", "a wildcard stays within one label"),
        ("127.*:5000", "127.0.0.1:5000/p/i", "a wildcard stays within one label"),
        ("host.io/fo", "host.io/foo/bar", "whole segments"),
        ("host.io/foo", "host.io/foobar/x", "whole segments"),
        ("host.io/foo/bar", "host.io/foo", "whole segments"),
        ("host.io/f*", "host.io/foo", "whole segments"),
        ("host.io/Foo", "host.io/foo", "whole segments"),
        ("host.io/foo", "host.io/v2/foo", "whole segments"),
        ("g[!c]r.io", "gcr.io/p/i", "another host"),
        ("g?r.io", "gr.io/p/i", "another host"),
        ("gcr.io", "quay.io/p/i", "another host"),
        ("[::1]:5000", "[::2]:5000/p/i", "another host"),
        ("[ab]:5000", "c:5000/p/i", "another host"),
    ],
)
def test_a_pattern_that_does_not_match_has_the_reason(pattern, repository, reason):
    target = Address.of(Repository.parse(repository))
    assert reason in Pattern.parse(pattern).mismatch(target)
    assert not matches(pattern, repository)


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        ("gcr.io", "gcr*.io"),
        ("gcr.io", "gcr.io*"),
        ("gcr.io", "g[a-z]r.io"),
        ("r1.io", "r[0-9].io"),
        ("us.gcr.io", "*.gcr.io/p/i"),
        ("host.io/foo/bar", "host.io/foo"),
        ("host.io/foo", "host.io"),
        ("*.io/foo", "gcr.*"),
        ("*.gcr.io", "*.*.io"),
        ("us-*.gcr.io", "*.gcr.io"),
        ("*ocalhost:80", "l*:80"),
        ("[::1]:5000", "*:5000"),
    ],
)
def test_the_more_specific_pattern_ranks_first(better, worse):
    assert Pattern.parse(better).rank < Pattern.parse(worse).rank


def test_only_images_of_docker_hub_have_aliases():
    assert docker_hub_aliases(Address.of(Repository.parse("gcr.io/p/i"))) == ()
    assert [str(alias.path) for alias in docker_hub_aliases(Address.of(Repository.parse("o/i")))] == [
        "o/i"
    ] * 3
    hub = docker_hub_aliases(Address.of(Repository.parse("ubuntu")))
    assert {(alias.host, alias.path) for alias in hub} == {
        (host, path)
        for host in ("index.docker.io", "docker.io", "registry-1.docker.io")
        for path in ("library/ubuntu", "ubuntu")
    }

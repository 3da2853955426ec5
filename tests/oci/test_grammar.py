"""References by Docker's rules: the specification's grammar, and `localhost` is a registry."""

from __future__ import annotations

import pytest

from imgpkg.errors import InvalidReference
from imgpkg.oci.reference import Reference

H = "a" * 64


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("nginx", "index.docker.io/library/nginx:latest"),
        ("user/app:v1", "index.docker.io/user/app:v1"),
        ("docker.io/nginx", "index.docker.io/library/nginx:latest"),
        ("localhost:5000/ab", "localhost:5000/ab:latest"),
        ("LOCALHOST:5000/ab", "LOCALHOST:5000/ab:latest"),
        ("r.example/a.b/c_d/e__f/g---h:V.1-_", "r.example/a.b/c_d/e__f/g---h:V.1-_"),
        (f"r.example/ab:v1@sha256:{H}", f"r.example/ab@sha256:{H}"),
        (f"r.example/ab@sha512:{H}{H}", f"r.example/ab@sha512:{H}{H}"),
        (f"r.example/{H}", f"r.example/{H}:latest"),
        (f"r.example/ab:{'t' * 128}", f"r.example/ab:{'t' * 128}"),
        ("ab:80/cd", "ab:80/cd:latest"),
        ("[::1]:5000/ab", "[::1]:5000/ab:latest"),
        ("[2001:DB8::1]/ab", "[2001:DB8::1]/ab:latest"),
        ("a--b.example/ab", "a--b.example/ab:latest"),
        ("127.0.0.1/ab", "127.0.0.1/ab:latest"),
    ],
)
def test_a_reference_has_its_canonical_name(text, canonical):
    assert str(Reference.parse_docker(text)) == canonical


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("https://r.example/ab", "a reference has no scheme and no login"),
        ("r.example//ab", "invalid name of a repository: /ab"),
        ("r.example/a..b", "invalid name of a repository: a..b"),
        ("r.example/a___b", "invalid name of a repository: a___b"),
        ("r.example/ab/", "invalid name of a repository: ab/"),
        ("r.example/-ab", "invalid name of a repository: -ab"),
        ("r.example/aB", "invalid name of a repository: aB"),
        ("", "invalid name of a repository: "),
        ("r.example/ab:", "invalid tag: "),
        ("r.example/ab:.v1", "invalid tag: .v1"),
        (f"r.example/ab:{'t' * 129}", f"invalid tag: {'t' * 129}"),
        ("r.example/ab@v1", "unsupported digest algorithm: v1"),
        (f"r.example/ab@sha256:{H}@sha256:{H}", f"invalid checksum digest format: sha256:{H}@sha256:{H}"),
        (H, f"64 hexadecimal digits are no name, but an identifier of Docker: {H}"),
        ("localhost/ab", "a registry without a dot needs its port: localhost"),
        ("Host/ab", "a registry without a dot needs its port: Host"),
        ("r.example/a", "repository must be between 2 and 255 characters in length: a"),
        ("r.example:0x/ab", "invalid name of a registry: r.example:0x"),
        ("r.example:/ab", "invalid name of a registry: r.example:"),
        ("r..example/ab", "invalid name of a registry: r..example"),
        ("-r.example/ab", "invalid name of a registry: -r.example"),
        ("r-.example/ab", "invalid name of a registry: r-.example"),
        ("r_.example/ab", "invalid name of a registry: r_.example"),
        ("bücher.example/ab", "invalid name of a registry: bücher.example"),
        ("::1/ab", "invalid name of a registry: ::1"),
        ("[::1/ab", "invalid name of a registry: [::1"),
    ],
)
def test_what_docker_refuses_is_refused(text, message):
    with pytest.raises(InvalidReference) as caught:
        Reference.parse_docker(text)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("r.example/aB", "The names of repositories have no capital letters: ab."),
        ("localhost/ab:v1", "Write localhost:5000/ab:v1, or :80 or :443 in place of :5000."),
    ],
)
def test_a_mistake_has_a_hint(text, hint):
    with pytest.raises(InvalidReference) as caught:
        Reference.parse_docker(text)
    assert hint in caught.value.hints

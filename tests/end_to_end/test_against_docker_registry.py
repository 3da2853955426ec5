"""The installed command against docker-registry: open, with a login, behind TLS, with a token service."""

from __future__ import annotations

import json

import pytest

TREE = {"config/app.yml": "greeting: hello\n", "README.txt": "read me\n", "run.sh": "#!/bin/sh\n"}


@pytest.fixture
def tree(tmp_path):
    root = tmp_path / "tree"
    for name, text in TREE.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def round_trip(imgpkg, image, tree, tmp_path, *flags, **options):
    """Push, resolve, list and pull; return the digest reference."""
    pushed = imgpkg("push", "-i", image, "-f", tree, *flags, **options)
    assert (pushed.returncode, pushed.stdout, pushed.stderr) == (0, "", "")
    resolved = imgpkg("tag", "resolve", "-i", image, *flags, **options)
    assert resolved.returncode == 0
    assert resolved.stdout.startswith(image.rpartition(":")[0] + "@sha256:")
    listed = imgpkg("tag", "list", "-i", image, *flags, **options)
    assert image.rpartition(":")[2] in listed.stdout
    pulled = imgpkg("pull", "-i", resolved.stdout, "-o", "out", *flags, **options)
    assert (pulled.returncode, pulled.stdout, pulled.stderr) == (0, "", "")
    out = tmp_path / "out"
    assert {p.relative_to(out).as_posix(): p.read_text() for p in out.rglob("*") if p.is_file()} == TREE
    return resolved.stdout


def test_an_open_registry(imgpkg, docker_registry, tree, tmp_path):
    round_trip(imgpkg, f"{docker_registry.address}/team/open:v1", tree, tmp_path)


class TestALogin:
    def test_comes_from_the_environment(self, imgpkg, docker_registry_htpasswd, tree, tmp_path):
        server = docker_registry_htpasswd
        round_trip(
            imgpkg,
            f"{server.address}/team/login:v1",
            tree,
            tmp_path,
            secrets=[server.password],
            IMGPKG_REGISTRY_HOSTNAME_0=server.address,
            IMGPKG_REGISTRY_USERNAME_0=server.username,
            IMGPKG_REGISTRY_PASSWORD_0=server.password,
        )

    def test_comes_from_flags_with_the_password_on_standard_input(
        self, imgpkg, docker_registry_htpasswd, tree, tmp_path
    ):
        server = docker_registry_htpasswd
        flags = ("--registry-username", server.username, "--registry-password-stdin")
        image = f"{server.address}/team/flags:v1"
        options = {"stdin": f"{server.password}\n", "secrets": [server.password]}
        round_trip(imgpkg, image, tree, tmp_path, *flags, **options)

    def test_comes_from_the_docker_config(self, imgpkg, docker_registry_htpasswd, tree, tmp_path):
        server = docker_registry_htpasswd
        entry = {"username": server.username, "password": server.password}
        (tmp_path / "config.json").write_text(json.dumps({"auths": {server.address: entry}}))
        image = f"{server.address}/team/docker:v1"
        options = {"DOCKER_CONFIG": str(tmp_path), "secrets": [server.password]}
        round_trip(imgpkg, image, tree, tmp_path, **options)

    def test_that_is_wrong_is_explained(self, imgpkg, docker_registry_htpasswd):
        server = docker_registry_htpasswd
        done = imgpkg(
            "tag",
            "list",
            "-i",
            f"{server.address}/team/login",
            secrets=["not-the-password"],
            IMGPKG_REGISTRY_HOSTNAME_7=server.address,
            IMGPKG_REGISTRY_USERNAME_7="somebody",
            IMGPKG_REGISTRY_PASSWORD_7="not-the-password",
        )
        assert done.returncode == 4
        assert done.stdout == ""
        assert "UNAUTHORIZED: authentication required" in done.stderr
        assert "IMGPKG_REGISTRY_HOSTNAME_7" in done.stderr
        assert "somebody" in done.stderr
        assert "Traceback" not in done.stderr

    def test_that_is_missing_is_explained(self, imgpkg, docker_registry_htpasswd):
        done = imgpkg("tag", "list", "-i", f"{docker_registry_htpasswd.address}/team/login")
        assert done.returncode == 4
        assert "Error: no credential was sent to the registry" in done.stderr


class TestTLS:
    def test_with_a_private_authority_needs_its_certificate(
        self, imgpkg, docker_registry_tls, tree, tmp_path
    ):
        server = docker_registry_tls
        flags = ("--registry-ca-cert-path", server.ca_path)
        round_trip(imgpkg, f"{server.address}/team/tls:v1", tree, tmp_path, *flags)

    def test_without_the_authority_is_refused_and_never_falls_back_to_http(self, imgpkg, docker_registry_tls):
        done = imgpkg("tag", "list", "-i", f"{docker_registry_tls.address}/team/tls")
        assert done.returncode == 5
        assert "certificate" in done.stderr

    def test_can_go_unverified(self, imgpkg, docker_registry_tls, tree, tmp_path):
        image = f"{docker_registry_tls.address}/team/unverified:v1"
        round_trip(imgpkg, image, tree, tmp_path, "--registry-verify-certs=false")


class TestATokenService:
    def test_gives_tokens_for_what_is_asked(self, imgpkg, docker_registry_token, tree, tmp_path):
        server = docker_registry_token
        round_trip(
            imgpkg,
            f"{server.address}/team/token:v1",
            tree,
            tmp_path,
            secrets=[server.password],
            IMGPKG_REGISTRY_HOSTNAME_0=server.address,
            IMGPKG_REGISTRY_USERNAME_0=server.username,
            IMGPKG_REGISTRY_PASSWORD_0=server.password,
        )

    def test_that_refuses_is_explained(self, imgpkg, docker_registry_token):
        server = docker_registry_token
        done = imgpkg(
            "tag",
            "list",
            "-i",
            f"{server.address}/team/token",
            "--registry-username=x",
            "--registry-password=wrong-one",
            secrets=["wrong-one"],
        )
        assert done.returncode == 4
        assert "flags" in done.stderr

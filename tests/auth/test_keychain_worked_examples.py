"""Worked examples without a cloud: which credential is decided for a repository."""

from __future__ import annotations

import base64
import json

import pytest
from tests.auth.programs import answering

from imgpkg.auth.docker import DockerConfigSource
from imgpkg.auth.environment import EnvironmentSource
from imgpkg.auth.flags import ExplicitSource
from imgpkg.auth.keychain import ANONYMOUS, Credential, Keychain
from imgpkg.oci.reference import Repository
from imgpkg.settings import Login

NO_FLAGS, FLAGS = Login(), Login("fu", "fp")


def one_set(hostname, name, suffix):
    values = {"HOSTNAME": hostname, "USERNAME": name, "PASSWORD": f"{name}-secret"}
    return {f"IMGPKG_REGISTRY_{kind}_{suffix}": value for kind, value in values.items()}


def login_of(name):
    return Credential(name, f"{name}-secret")


def docker(config):
    return {"DOCKER_AUTH_CONFIG": json.dumps(config)}


def entry(**fields):
    return docker({"auths": {"h.io": fields}})


def decide(environ, login, target):
    sources = (
        EnvironmentSource(environ, lambda _: None),
        ExplicitSource(login, environ),
        DockerConfigSource(environ, lambda _: None),
    )
    return Keychain(sources).resolve(Repository.parse(target)).credential


@pytest.mark.parametrize(
    ("environ", "login", "target", "credential"),
    [
        ({"IMGPKG_REGISTRY_HOSTNAME": "localhost:5110"}, FLAGS, "localhost:5110/foo/bar", ANONYMOUS),
        (
            {"IMGPKG_REGISTRY_USERNAME": "u", "IMGPKG_REGISTRY_PASSWORD": "p"},
            FLAGS,
            "any.io/foo/bar",
            Credential("fu", "fp"),
        ),
        (
            {**one_set("*.docker.io", "glob", 1), **one_set("foo.docker.io", "literal", 2)},
            NO_FLAGS,
            "foo.docker.io/image",
            login_of("literal"),
        ),
        (one_set("*.*.docker.io", "glob", 1), NO_FLAGS, "bar.foo.docker.io/x/y", login_of("glob")),
        (one_set("docker.io", "hub", 1), NO_FLAGS, "ubuntu", login_of("hub")),
        (one_set("host.io/foo", "foo", 1), NO_FLAGS, "host.io/foobar/x", ANONYMOUS),
        (
            {
                **one_set("host.io", "host", 1),
                **one_set("host.io/foo", "foo", 2),
                **one_set("host.io/foo/bar", "bar", 3),
            },
            NO_FLAGS,
            "host.io/foo/bar",
            login_of("bar"),
        ),
        (
            entry(username="a", password="b", auth=base64.b64encode(b"c:d").decode()),
            NO_FLAGS,
            "h.io/xx",
            Credential("c", "d"),
        ),
        (
            entry(registrytoken="RT"),
            NO_FLAGS,
            "h.io/xx",
            Credential(registry_token="RT"),
        ),
        (
            entry(identitytoken="I"),
            NO_FLAGS,
            "h.io/xx",
            Credential(identity_token="I"),
        ),
    ],
)
def test_a_small_case_of_the_table(environ, login, target, credential):
    assert decide(environ, login, target) == credential


def test_a_helper_that_prints_the_user_token_gives_an_identity_token(tmp_path):
    program = answering(tmp_path, "x", "<token>", "I")
    credential = decide({**program.environ, **docker({"credHelpers": {"h.io": "x"}})}, NO_FLAGS, "h.io/xx")
    assert (credential.kind, credential.identity_token) == ("identity token", "I")


def test_two_robots_of_one_registry_are_distinguished():
    environ = {**one_set("h.io/auth", "srcu", 0), **one_set("h.io/dst", "dstu", 1)}
    assert decide(environ, NO_FLAGS, "h.io/auth/one") == login_of("srcu")
    assert decide(environ, NO_FLAGS, "h.io/dst/copy") == login_of("dstu")


def test_a_public_source_can_be_exempted_from_the_flags():
    environ = {"IMGPKG_REGISTRY_HOSTNAME_1": "public.io"}
    assert decide(environ, FLAGS, "public.io/a/b") == ANONYMOUS
    assert decide(environ, FLAGS, "private.io/a/b") == Credential("fu", "fp")

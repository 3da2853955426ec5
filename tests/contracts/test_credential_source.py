"""Environment, flags, docker config and helpers keep the promises of a credential source."""

from __future__ import annotations

import base64
import json

from tests.auth.programs import NOT_FOUND, answering, write_helper
from tests.contracts.credential_source import (
    DIFFICULT_SECRETS,
    Clueless,
    CredentialSourceContract,
    Known,
    Login,
)

from imgpkg.auth.docker import DockerConfigSource
from imgpkg.auth.environment import EnvironmentSource
from imgpkg.auth.flags import ExplicitSource
from imgpkg.auth.keychain import Keychain
from imgpkg.oci.reference import Repository
from imgpkg.settings import Login as Flags

HERE, ELSEWHERE = (
    Repository.parse("host.example.com/team/app"),
    Repository.parse("other.example.com/team/app"),
)


class Counting(dict):
    """An environment that counts how often somebody goes through it."""

    reads = 0

    def items(self):
        self.reads += 1
        return super().items()


class TestEnvironment(CredentialSourceContract):
    def knowing(self, folder, login):
        environ = Counting(
            IMGPKG_REGISTRY_HOSTNAME_0="host.example.com/team",
            IMGPKG_REGISTRY_USERNAME_0=login.username,
            IMGPKG_REGISTRY_PASSWORD_0=login.secret,
        )
        warnings = []
        return Known(EnvironmentSource(environ, warnings.append), HERE, lambda: environ.reads, warnings)

    def clueless(self, folder):
        one = {"IMGPKG_REGISTRY_HOSTNAME": "host.example.com"}
        lost = {"IMGPKG_REGISTRY_USERNAME": "u", "IMGPKG_REGISTRY_PASSWORD": "p"}
        return [
            Clueless(EnvironmentSource({}, print), HERE, "no variables"),
            Clueless(EnvironmentSource(one, print), ELSEWHERE, "another registry"),
            Clueless(EnvironmentSource(lost, print), HERE, "no hostname"),
        ]


def write_secret(folder, name, text):
    """Write a file as most tools do, with a line end after the secret; return its path."""
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"{text}\n", encoding="utf-8", newline="")
    return str(folder / name)


class InFiles(CredentialSourceContract):
    # No secret in a file has control characters, unless it is JSON.
    secrets = (
        *(secret for secret in DIFFICULT_SECRETS if secret.isprintable()),
        '{\n\t"private_key": "-----BEGIN\\n"\r\n}',
    )

    def test_no_secret_is_in_anything_that_can_be_printed(self, tmp_path):
        known = self.knowing(tmp_path, Login(self.usernames[0], "hunter2-never-shown"))
        finding = known.source.lookup(known.repository)
        decision = Keychain([known.source]).resolve(known.repository)
        assert self.secret_of(finding.credential) == "hunter2-never-shown"
        assert "hunter2" not in f"{finding!r} {decision!r} {known.source!r} {decision.explain()}"


class TestFilesOfEnvironment(InFiles):
    def knowing(self, folder, login):
        environ = Counting(
            IMGPKG_REGISTRY_HOSTNAME_0="host.example.com/team",
            IMGPKG_REGISTRY_USERNAME_FILE_0=write_secret(folder, "username", login.username),
            IMGPKG_REGISTRY_PASSWORD_FILE_0=write_secret(folder, "password", login.secret),
        )
        warnings = []
        return Known(EnvironmentSource(environ, warnings.append), HERE, lambda: environ.reads, warnings)

    def clueless(self, folder):
        lost = {"IMGPKG_REGISTRY_PASSWORD_FILE": str(folder / "nowhere")}
        other = {"IMGPKG_REGISTRY_HOSTNAME": "host.example.com", **lost}
        return [
            Clueless(EnvironmentSource(lost, print), HERE, "no hostname, and no file"),
            Clueless(EnvironmentSource(other, print), ELSEWHERE, "another registry, and no file"),
        ]


class TestFileOfFlags(InFiles):
    def knowing(self, folder, login):
        path = write_secret(folder, "password", login.secret)
        return Known(ExplicitSource(Flags(login.username, password_file=path), {}), HERE)

    def clueless(self, folder):
        path = folder / "nowhere"
        return [Clueless(ExplicitSource(Flags(password_file=path), {}), HERE, "a password only")]


class TestFileOfVariables(InFiles):
    usernames = ("",)
    secrets = tuple(secret for secret in DIFFICULT_SECRETS if secret.isprintable())

    def secret_of(self, credential):
        return credential.registry_token

    def knowing(self, folder, login):
        environ = {"IMGPKG_TOKEN_FILE": write_secret(folder, "token", login.secret)}
        return Known(ExplicitSource(Flags(), environ), HERE)

    def clueless(self, folder):
        environ = {"IMGPKG_TOKEN_FILE": str(folder / "nowhere")}
        return [Clueless(ExplicitSource(Flags(token=""), environ), HERE, "cleared by a flag")]


class TestFlags(CredentialSourceContract):
    def knowing(self, folder, login):
        return Known(ExplicitSource(Flags(login.username, login.secret), {}), HERE)

    def clueless(self, folder):
        return [
            Clueless(ExplicitSource(Flags(), {}), HERE, "nothing given"),
            Clueless(ExplicitSource(Flags(password="p"), {"IMGPKG_ANON": "0"}), HERE, "password only"),
        ]


class TestVariablesOfFlags(CredentialSourceContract):
    def knowing(self, folder, login):
        environ = {"IMGPKG_USERNAME": login.username, "IMGPKG_PASSWORD": login.secret}
        return Known(ExplicitSource(Flags(), environ), HERE)

    def clueless(self, folder):
        environ = {"IMGPKG_USERNAME": "u", "IMGPKG_PASSWORD": "p"}
        return [Clueless(ExplicitSource(Flags(username=""), environ), HERE, "cleared by a flag")]


class TestDockerConfigFile(CredentialSourceContract):
    def knowing(self, folder, login):
        auth = base64.b64encode(f"{login.username}:{login.secret}".encode()).decode()
        folder.mkdir(exist_ok=True)
        # The trailing comma is there to be warned about, which counts how often the file is read.
        text = json.dumps({"auths": {"host.example.com/team": {"auth": auth}}})[:-1] + ",}"
        (folder / "config.json").write_text(text)
        warnings = []
        source = DockerConfigSource({"DOCKER_CONFIG": str(folder)}, warnings.append)
        return Known(source, HERE, lambda: len(warnings), warnings)

    def clueless(self, folder):
        known = self.knowing(folder, Login("u", "p"))
        empty = {
            "DOCKER_CONFIG": str(folder / "nowhere"),
            "DOCKER_AUTH_CONFIG": '{"auths": {"host.example.com": {}}}',
        }
        return [
            Clueless(known.source, ELSEWHERE, "another registry"),
            Clueless(DockerConfigSource({}, print), HERE, "no place"),
            Clueless(DockerConfigSource(empty, print), HERE, "an empty entry and no file"),
        ]


class TestPullSecret(CredentialSourceContract):
    def knowing(self, folder, login):
        auth = base64.b64encode(f"{login.username}:{login.secret}".encode()).decode()
        # The key that matches nothing is there to be warned about, which counts how often the file is read.
        write_secret(folder, ".dockercfg", json.dumps({"*.example.com": {"auth": auth}, ".com": {}}))
        warnings = []
        source = DockerConfigSource({"IMGPKG_PULL_SECRETS": str(folder)}, warnings.append)
        return Known(source, HERE, lambda: len(warnings), warnings)

    def clueless(self, folder):
        known = self.knowing(folder, Login("u", "p"))
        nowhere = {"IMGPKG_PULL_SECRETS": str(folder / "nowhere")}
        return [
            Clueless(known.source, Repository.parse("a.b.example.com/x/y"), "another registry"),
            Clueless(DockerConfigSource(nowhere, print), HERE, "no folder"),
        ]


class TestCredentialHelper(CredentialSourceContract):
    def knowing(self, folder, login):
        program = answering(folder / "bin", "store", login.username, login.secret)
        environ = {**program.environ, "DOCKER_AUTH_CONFIG": '{"credsStore": "store"}'}
        warnings = []
        return Known(DockerConfigSource(environ, warnings.append), HERE, lambda: len(program.calls), warnings)

    def clueless(self, folder):
        program = write_helper(folder / "bin", "store", NOT_FOUND)
        environ = {**program.environ, "DOCKER_AUTH_CONFIG": '{"credsStore": "store"}'}
        return [Clueless(DockerConfigSource(environ, print), HERE, "the helper knows nothing")]


class TestIdentityTokenOfHelper(CredentialSourceContract):
    usernames = ("",)

    def secret_of(self, credential):
        return credential.identity_token

    def knowing(self, folder, login):
        program = answering(folder / "bin", "store", "<token>", login.secret)
        environ = {**program.environ, "DOCKER_AUTH_CONFIG": '{"credHelpers": {"host.example.com": "store"}}'}
        return Known(DockerConfigSource(environ, print), HERE, lambda: len(program.calls))

    def clueless(self, folder):
        known = self.knowing(folder, Login("", "p"))
        return [Clueless(known.source, ELSEWHERE, "the helper is for another registry")]

"""Every keychain of a cloud keeps the promises of a credential source."""

from __future__ import annotations

import json
import shlex
from contextlib import ExitStack

import pytest
from tests.contracts.credential_source import (
    DIFFICULT_SECRETS,
    DIFFICULT_USERNAMES,
    Clueless,
    CredentialSourceContract,
    Known,
)
from tests.servers.cloud import AzureRegistry, Ecr, EntraId, GoogleMetadata, serving

from imgpkg.auth.cloud.aks import AksSource
from imgpkg.auth.cloud.ecr import EcrSource
from imgpkg.auth.cloud.github import GithubSource
from imgpkg.auth.cloud.gke import GkeSource
from imgpkg.oci.reference import Repository
from imgpkg.transport.pool import Pool

ELSEWHERE = Repository("registry.example.com", "team/app")
GOOGLE = Repository("gcr.io", "team/app")
AWS = Repository("123456789012.dkr.ecr.eu-west-1.amazonaws.com", "team/app")
AZURE = Repository("team.azurecr.io", "team/app")
GITHUB = Repository("ghcr.io", "team/app")


class CloudContract(CredentialSourceContract):
    @pytest.fixture(autouse=True)
    def running_servers(self):
        with ExitStack() as stack:
            self.stack = stack
            yield

    def serve(self, answer):
        return self.stack.enter_context(serving(answer))


class SdkContract(CloudContract):
    """Each login is asked for in a process of its own, so all difficulties are in one."""

    secrets = (f" {''.join(DIFFICULT_SECRETS)} ",)
    usernames = ("AWS", "".join(DIFFICULT_USERNAMES))


class TestGithub(CloudContract):
    def knowing(self, folder, login):
        environ = {"GITHUB_TOKEN": login.secret, "GITHUB_ACTOR": login.username}
        return Known(GithubSource(environ), GITHUB)

    def clueless(self, folder):
        return [
            Clueless(GithubSource({"GITHUB_TOKEN": "token"}), ELSEWHERE, "another registry"),
            Clueless(GithubSource({}), GITHUB, "no token"),
        ]


class TestMetadataServerOfGoogle(SdkContract):
    usernames = ("_token",)

    def knowing(self, folder, login):
        metadata, warnings = GoogleMetadata(login.secret), []
        environ = {"GCE_METADATA_HOST": self.serve(metadata).address, "PATH": ""}
        return Known(GkeSource(environ, warnings.append), GOOGLE, lambda: metadata.tokens, warnings)

    def clueless(self, folder):
        nowhere = {"NO_GCE_CHECK": "true", "PATH": ""}
        return [
            Clueless(GkeSource(nowhere, print), ELSEWHERE, "another registry"),
            Clueless(GkeSource(nowhere, print), GOOGLE, "no credentials"),
        ]


class TestGcloud(SdkContract):
    usernames = ("_token",)

    def knowing(self, folder, login):
        folder.mkdir(exist_ok=True)
        answer = {"credential": {"access_token": login.secret, "token_expiry": "2099-01-01T00:00:00Z"}}
        (folder / "answer").write_text(json.dumps(answer))
        (folder / "calls").write_text("")
        place = shlex.quote(str(folder))
        (folder / "gcloud").write_text(f"#!/bin/sh\necho called >> {place}/calls\ncat {place}/answer\n")
        (folder / "gcloud").chmod(0o755)
        environ, warnings = {"NO_GCE_CHECK": "true", "PATH": f"{folder}:/usr/bin:/bin"}, []
        calls = (folder / "calls").read_text
        return Known(GkeSource(environ, warnings.append), GOOGLE, lambda: len(calls().split()), warnings)

    def clueless(self, folder):
        (folder / "gcloud").write_text("#!/bin/sh\nexit 1\n")
        (folder / "gcloud").chmod(0o755)
        environ = {"NO_GCE_CHECK": "true", "PATH": f"{folder}:/usr/bin:/bin"}
        return [Clueless(GkeSource(environ, print), GOOGLE, "gcloud has nothing")]


class TestEcr(SdkContract):
    def environ(self, folder, server):
        return {
            "AWS_ACCESS_KEY_ID": "AKIDTEST",
            "AWS_SECRET_ACCESS_KEY": "secret-key",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_ENDPOINT_URL_ECR": server.url,
            "HOME": str(folder),
        }

    def knowing(self, folder, login):
        ecr, warnings = Ecr(username=login.username, password=login.secret), []
        environ = self.environ(folder, self.serve(ecr))
        return Known(EcrSource(environ, warnings.append), AWS, lambda: len(ecr.calls), warnings)

    def clueless(self, folder):
        offline = {"AWS_EC2_METADATA_DISABLED": "true", "HOME": str(folder)}
        refusing = self.environ(folder, self.serve(Ecr(failing="not you")))
        return [
            Clueless(EcrSource(offline, print), ELSEWHERE, "another registry"),
            Clueless(EcrSource(offline, print), AWS, "no keys"),
            Clueless(EcrSource(refusing, print), AWS, "the API refuses"),
            Clueless(EcrSource(offline, print), Repository("public.ecr.aws", "a/b"), "public, without keys"),
        ]


class TestAks(SdkContract):
    usernames = ("",)

    @pytest.fixture(autouse=True)
    def internet_of_the_test(self, internet):
        self.internet = internet
        internet.host("login.microsoftonline.com", EntraId())

    def secret_of(self, credential):
        return credential.identity_token

    def source(self, warnings, secret="client-secret"):
        environ = {
            **self.internet.environ,
            "AZURE_TENANT_ID": "tenant-id",
            "AZURE_CLIENT_ID": "client-id",
            "AZURE_CLIENT_SECRET": secret,
        }
        pool = Pool(environ=environ, ca_cert_paths=[str(self.internet.ca_file)])
        return AksSource(environ, self.stack.enter_context(pool), warnings.append)

    def knowing(self, folder, login):
        registry, warnings = AzureRegistry(refresh_token=login.secret), []
        self.internet.host("team.azurecr.io", registry)
        return Known(self.source(warnings), AZURE, lambda: len(registry.calls), warnings)

    def clueless(self, folder):
        return [
            Clueless(self.source([]), ELSEWHERE, "another registry"),
            Clueless(self.source([], "wrong"), AZURE, "the authority refuses"),
        ]

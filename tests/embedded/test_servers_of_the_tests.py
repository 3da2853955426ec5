"""The servers that other tests rely on do what they are relied on for."""

from __future__ import annotations

import json
import ssl
import subprocess

import pytest
from tests.servers.client import ask, basic, bearer_token
from tests.servers.docker import RunningRegistry, docker_registry_process, token_section
from tests.servers.helpers import write_helper
from tests.servers.images import make_image, upload
from tests.servers.token_service import TokenService, User


class TestDockerRegistry:
    def test_open_to_all_takes_and_gives_an_image(self, docker_registry):
        image = make_image(index=[make_image(), make_image(labels={"a": "b"})])
        upload(image, docker_registry.address, "fixtures/open", "v1")
        assert ask(
            docker_registry.address, "GET", "/v2/fixtures/open/manifests/v1", accept=image.media_type
        ).body

    def test_with_htpasswd_asks_for_basic(self, docker_registry_htpasswd):
        server = docker_registry_htpasswd
        reply = ask(server.address, "GET", "/v2/")
        assert (reply.status, reply.code) == (401, "UNAUTHORIZED")
        assert reply.headers["www-authenticate"].startswith("Basic ")
        login = basic(server.username, server.password)
        assert ask(server.address, "GET", "/v2/", authorization=login).status == 200
        wrong = basic(server.username, server.password + "x")
        assert ask(server.address, "GET", "/v2/", authorization=wrong).status == 401
        upload(make_image(), server.address, "fixtures/login", "v1", authorization=login)

    def test_with_tls_is_known_to_its_authority_only(self, docker_registry_tls):
        server = docker_registry_tls
        context = ssl.create_default_context(cafile=server.ca_path)
        assert ask(server.address, "GET", "/v2/", context=context).status == 200
        with pytest.raises(ssl.SSLCertVerificationError):
            ask(server.address, "GET", "/v2/", context=ssl.create_default_context())


class TestDockerRegistryWithTokens:
    def test_takes_an_image_with_the_token_that_it_asks_for(self, docker_registry_token):
        server = docker_registry_token
        reply = ask(server.address, "POST", "/v2/fixtures/token/blobs/uploads/")
        assert reply.status == 401
        before = len(server.requests)
        login = basic(server.username, server.password)
        token = bearer_token(server.address, reply.headers["www-authenticate"], login)
        upload(make_image(), server.address, "fixtures/token", "v1", authorization=f"Bearer {token}")
        (request,) = server.requests[before:]
        (scope,) = set(request.scopes)
        assert scope in ("repository:fixtures/token:pull,push", "repository:fixtures/token:push,pull")
        assert request.authorization == login

    def test_refuses_a_token_of_another_repository(self, docker_registry_token):
        token = docker_registry_token.server.sign(docker_registry_token.username, ["repository:a/b:pull"])
        reply = ask(
            docker_registry_token.address, "GET", "/v2/c/d/manifests/v1", authorization=f"Bearer {token}"
        )
        assert reply.status == 401
        assert 'error="insufficient_scope"' in reply.headers["www-authenticate"]

    def test_gives_tokens_for_refresh_tokens_and_passwords(self, docker_registry_token):
        service = docker_registry_token.server
        refresh = service.issue_refresh_token(docker_registry_token.username)
        form = f"grant_type=refresh_token&refresh_token={refresh}&scope=repository:a/b:pull&service=x"
        assert ask(service.address, "POST", "/token", form).json["token"]
        assert ask(service.address, "POST", "/token", form.replace(refresh, "other")).status == 401
        assert (
            ask(service.address, "POST", "/token", "grant_type=password&username=x&password=y").status == 401
        )
        assert ask(service.address, "POST", "/token", "grant_type=code").status == 400
        assert ask(service.address, "GET", "/elsewhere").status == 404

    def test_gives_a_refresh_token_to_who_asks(self, docker_registry_token):
        service = docker_registry_token.server
        login = basic(docker_registry_token.username, docker_registry_token.password)
        reply = ask(service.address, "GET", "/token?offline_token=true", authorization=login)
        refresh = reply.json["refresh_token"]
        assert service.refreshed(refresh) == docker_registry_token.username

    def test_can_have_users_with_other_permissions_and_tokens_that_have_ended(self, tmp_path):
        users = {
            "reader": User("reader-password", {"team/*": "pull"}),
            "writer": User("writer-password", {"team/a": "pull,push", "team/b": "pull"}),
        }
        with TokenService(users, anonymous_pull=True, lifetime=-3600, offers_post=False) as service:
            auth = token_section(tmp_path, service)
            secrets = ("reader-password", "writer-password")
            with docker_registry_process(tmp_path, auth=auth, secrets=secrets) as address:
                server = RunningRegistry(address, server=service)
                self.check_permissions(server)
                ended = service.sign("reader", ["repository:team/a:pull"])
                service.lifetime = 300
                good = service.sign("reader", ["repository:team/a:pull"])
                path = "/v2/team/a/tags/list"
                assert ask(address, "GET", path, authorization=f"Bearer {ended}").status == 401
                assert ask(address, "GET", path, authorization=f"Bearer {good}").status == 404
                assert ask(service.address, "POST", "/token", "grant_type=password").status == 404

    def check_permissions(self, server):
        def granted(login, scope):
            reply = ask(server.server.address, "GET", f"/token?scope={scope}", authorization=login)
            payload = reply.json["token"].split(".")[1]
            import base64

            access = json.loads(base64.urlsafe_b64decode(payload + "=="))["access"]
            return [entry["actions"] for entry in access]

        assert granted(None, "repository:team/a:pull,push") == [["pull"]]
        assert granted(basic("reader", "reader-password"), "repository:team/b:pull,push") == [["pull"]]
        assert granted(basic("reader", "reader-password"), "repository:other:pull") == []
        assert granted(basic("writer", "writer-password"), "repository:team/a:pull,push") == [
            ["pull", "push"]
        ]


class TestTheReverseProxy:
    def test_passes_and_counts_every_request(self, docker_registry, reverse_proxy):
        proxy = reverse_proxy(docker_registry.address)
        upload(make_image(), proxy.address, "fixtures/proxied", "v1")
        assert [request.method for request in proxy.requests] == ["HEAD", "POST", "PUT"] * 2 + ["PUT"]
        assert proxy.connections == 1
        assert ask(proxy.address, "GET", "/v2/fixtures/proxied/tags/list").json["tags"] == ["v1"]

    def test_passes_bodies_in_chunks(self, embedded_registry, reverse_proxy):
        proxy = reverse_proxy(embedded_registry.address, latency=0.001)
        started = ask(proxy.address, "POST", "/v2/fixtures/chunks/blobs/uploads/")
        pieces = (b"x" * 300_000 for _ in range(3))
        reply = ask(proxy.address, "PATCH", started.headers["location"], pieces)
        assert (reply.status, reply.headers["range"]) == (202, "0-899999")


class TestTheCredentialHelper:
    def test_answers_and_keeps_a_log(self, tmp_path):
        helper = write_helper(tmp_path, "lab", {"host.example": ("me", "sécret\"'$")})
        known = self.run(helper, "host.example")
        assert json.loads(known.stdout)["Secret"] == "sécret\"'$"
        assert self.run(helper, "other.example").returncode == 1
        assert helper.calls == ((("get",), "host.example"), (("get",), "other.example"))

    def test_can_misbehave(self, tmp_path):
        helper = write_helper(tmp_path, "broken", output="no json", status=3)
        done = self.run(helper, "host.example")
        assert (done.stdout, done.returncode) == ("no json", 3)
        assert helper.path("/bin").startswith(str(tmp_path))

    def run(self, helper, server):
        program = helper.folder / f"docker-credential-{helper.name}"
        return subprocess.run(
            [program, "get"], input=server, capture_output=True, text=True, check=False, timeout=30
        )

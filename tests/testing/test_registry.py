"""The registry for other people's tests: what it has, what it tells, and how programs reach it."""

from __future__ import annotations

import json
import os
import ssl
import subprocess
import sys
import threading

import pytest
from tests.servers.client import ask, basic, bearer_token

import imgpkg
from imgpkg import testing
from imgpkg.testing import Account, Features, faults, make_image, make_index, serve

IMAGE = make_image({"etc/os-release": b"ID=example\n"})


def resolved(registry, name="team/app:v1", **options):
    with registry.session(**options) as session:
        return imgpkg.resolve(f"{registry.address}/{name}", session=session)


class TestTheNames:
    @pytest.mark.parametrize("name", testing.__all__)
    def test_are_there(self, name):
        assert getattr(testing, name) is not None
        assert name in dir(testing)

    def test_are_no_others(self):
        with pytest.raises(AttributeError, match="has no attribute 'nosuch'"):
            _ = testing.nosuch


class TestContent:
    def test_an_image_that_was_added_is_pulled(self, registry, tmp_path):
        reference = registry.add("team/app:v1", IMAGE)
        assert reference == f"{registry.address}/team/app@{IMAGE.digest}"
        with registry.session() as session:
            imgpkg.pull(tmp_path / "out", image=f"{registry.address}/team/app:v1", session=session)
        assert (tmp_path / "out/etc/os-release").read_bytes() == b"ID=example\n"

    def test_an_index_is_added_with_its_images(self, registry):
        index = make_index(IMAGE, make_image({"a": b"b"}, platform="linux/arm64/v8"))
        registry.add("team/app:v1", index)
        assert resolved(registry).digest == imgpkg.Digest.parse(index.digest)
        with registry.session() as session:
            named = imgpkg.Reference.parse(f"{registry.address}/team/app:v1")
            platforms = [each.platform for each in session.client.manifest(named).manifests]
        assert [str(each) for each in platforms] == ["linux/amd64", "linux/arm64/v8"]

    def test_an_image_without_a_tag_is_there_by_its_digest(self, registry):
        registry.add("team/app", IMAGE)
        assert registry.tags("team/app") == ()
        assert registry.manifest(f"team/app@{IMAGE.digest}") == IMAGE.manifest

    def test_a_name_may_begin_with_the_address(self, registry):
        registry.add(f"{registry.address}/team/app:v1", IMAGE)
        assert registry.tags(f"{registry.address}/team/app") == ("v1",)

    def test_what_a_program_has_pushed_can_be_looked_at(self, registry, tmp_path):
        (tmp_path / "config.yml").write_text("replicas: 1\n")
        with registry.session() as session:
            pushed = imgpkg.push(
                [tmp_path / "config.yml"], image=f"{registry.address}/a/b:v1", session=session
            )
        manifest = json.loads(registry.manifest("a/b:v1"))
        assert registry.manifest(str(pushed.reference)) == registry.manifest("a/b:v1")
        layer = manifest["layers"][0]
        assert len(registry.blob(f"a/b@{layer['digest']}")) == layer["size"]
        assert "v1" in registry.tags("a/b")

    def test_what_is_not_there_is_none(self, registry):
        assert registry.tags("a/b") == ()
        assert registry.manifest("a/b:v1") is None
        assert registry.blob(f"a/b@{IMAGE.digest}") is None

    @pytest.mark.parametrize(
        "name",
        ["", "A/b:v1", "a/b:", "a/b:-", f"a/b@{IMAGE.digest}", "a/b@sha256:0", "other.example:1/a/b:v1"],
    )
    def test_no_image_is_added_by_another_name(self, registry, name):
        with pytest.raises(imgpkg.errors.InvalidReference):
            registry.add(name, IMAGE)

    def test_its_repositories_are_those_with_manifests(self, registry):
        assert registry.repositories == ()
        registry.add_blob("no/manifest", b"blob")
        for name in ("team/b:v1", "team/a"):
            registry.add(name, IMAGE)
        assert registry.repositories == ("team/a", "team/b")

    def test_a_blob_may_be_there_before_its_image(self, registry):
        digest = registry.add_blob("team/app", b"blob")
        assert digest == str(imgpkg.Digest.of(b"blob"))
        assert registry.blob(f"team/app@{digest}") == b"blob"
        assert ask(registry.address, "HEAD", f"/v2/team/app/blobs/{digest}").status == 200

    @pytest.mark.parametrize("name", ["team/app:v1", f"team/app@{IMAGE.digest}"])
    def test_a_repository_is_named_without_tag_and_digest(self, registry, name):
        for look in (registry.tags, lambda name: registry.add_blob(name, b"blob")):
            with pytest.raises(imgpkg.errors.InvalidReference, match="neither tag nor digest"):
                look(name)

    def test_a_manifest_and_a_blob_are_named_whole(self, registry):
        with pytest.raises(imgpkg.errors.InvalidReference, match="a tag or a digest"):
            registry.manifest("a/b")
        with pytest.raises(imgpkg.errors.InvalidReference, match="a blob has a digest"):
            registry.blob("a/b:v1")

    def test_optional_parts_can_be_left_out(self, serve_registry):
        registry = serve_registry(features=Features(referrers=False))
        assert ask(registry.address, "GET", f"/v2/a/b/referrers/{IMAGE.digest}").status == 404


class TestTheLog:
    def test_has_each_request_with_the_kind_of_its_login(self, registry_with_tokens):
        registry_with_tokens.add("team/app:v1", IMAGE)
        resolved(registry_with_tokens)
        assert list(map(str, registry_with_tokens.requests)) == [
            "HEAD /v2/team/app/manifests/v1 401",
            "GET /token 200 basic",
            "HEAD /v2/team/app/manifests/v1 200 bearer",
        ]
        assert dict(registry_with_tokens.requests[1].query)["scope"] == "repository:team/app:pull"

    def test_has_no_secret(self, registry_with_login):
        registry_with_login.add("team/app:v1", IMAGE)
        resolved(registry_with_login)
        for request in registry_with_login.requests:
            assert registry_with_login.password not in repr(request) + str(request)
        secret = "an-unknown-scheme-that-may-be-a-secret"
        ask(registry_with_login.address, "GET", "/v2/", authorization=secret)
        assert registry_with_login.requests[-1].authorization == "other"

    def test_can_be_emptied(self, registry):
        ask(registry.address, "GET", "/v2/")
        registry.forget_requests()
        assert registry.requests == ()
        ask(registry.address, "GET", "/v2/a/b/tags/list?n=1")
        assert registry.requests == (
            testing.ReceivedRequest("GET", "/v2/a/b/tags/list", 404, "", (("n", "1"),)),
        )

    def test_can_be_waited_for(self, registry):
        registry.fail(faults.stalled(), path="/tags/")
        asking = threading.Thread(target=ask, args=(registry.address, "GET", "/v2/a/b/tags/list"))
        asking.start()
        registry.wait_for_request(method="GET", path="^/v2/a/b/tags/list$")
        assert registry.requests == ()
        registry.stop()
        asking.join(10)

    def test_is_not_waited_for_without_end(self, registry):
        ask(registry.address, "GET", "/v2/")
        registry.wait_for_request(timeout=0)
        with pytest.raises(AssertionError, match="received no request PUT /v2/ within 0 s"):
            registry.wait_for_request(method="PUT", path="/v2/", timeout=0)
        registry.forget_requests()
        with pytest.raises(AssertionError, match="no request at all within"):
            registry.wait_for_request(timeout=0.01)

    def test_and_the_registry_itself_show_no_password(self, registry_with_login):
        assert repr(registry_with_login) == f"<RegistryServer {registry_with_login.url}>"


class TestAccess:
    def test_with_a_login_there_is_none_without_it(self, registry_with_login):
        registry_with_login.add("team/app:v1", IMAGE)
        with imgpkg.Session() as session, pytest.raises(imgpkg.errors.Unauthorized):
            imgpkg.resolve(f"{registry_with_login.address}/team/app:v1", session=session)
        assert str(resolved(registry_with_login).digest) == IMAGE.digest

    def test_accounts_have_permissions_of_their_own(self, serve_registry):
        reader = Account("reader", "r", "public/*", frozenset({"pull"}))
        registry = serve_registry(login=("ci", "secret"), accounts=[reader])
        for name in ("public/app:v1", "private/app:v1"):
            registry.add(name, IMAGE)
        login = basic("reader", "r")
        path = "/v2/{}/app/manifests/v1"
        assert ask(registry.address, "GET", path.format("public"), authorization=login).status == 200
        assert ask(registry.address, "GET", path.format("private"), authorization=login).status == 403
        assert resolved(registry, "private/app:v1")

    def test_tokens_end(self, serve_registry):
        registry = serve_registry(login=("ci", "secret"), token_service=True, token_lifetime=-1)
        challenge = ask(registry.address, "GET", "/v2/").headers["www-authenticate"]
        token = bearer_token(registry.address, challenge, basic("ci", "secret"))
        assert ask(registry.address, "GET", "/v2/", authorization=f"Bearer {token}").status == 401

    @pytest.mark.parametrize("options", [{}, {"login": ("ci", "secret"), "anonymous_pull": True}])
    def test_a_token_service_may_let_everybody_pull(self, serve_registry, options):
        registry = serve_registry(token_service=True, **options)
        registry.add("team/app:v1", IMAGE)
        with imgpkg.Session() as session:
            assert imgpkg.resolve(f"{registry.address}/team/app:v1", session=session)
        assert [each.authorization for each in registry.requests] == ["", "", "bearer"]

    @pytest.mark.parametrize("name", ["", "a:b"])
    def test_no_user_has_a_name_that_cannot_be_sent(self, name):
        for options in ({"login": (name, "secret")}, {"accounts": [Account(name, "secret")]}):
            with pytest.raises(imgpkg.errors.UsageError, match="is not empty and has no colon"):
                serve(**options)

    def test_only_a_token_service_knows_anonymous_users(self):
        with pytest.raises(imgpkg.errors.UsageError, match="anonymous_pull needs token_service"):
            serve(login=("ci", "secret"), anonymous_pull=True)


class TestTheWayOfAProgram:
    def test_the_variables_of_several_registries_go_together(
        self, registry_with_login, registry_with_tokens, registry_over_tls, registry
    ):
        servers = (registry_with_login, registry_with_tokens, registry_over_tls, registry)
        environ = {name: value for each in servers for name, value in each.variables.items()}
        with imgpkg.Session(imgpkg.Settings(environ=environ)) as session:
            for each in servers:
                each.add("team/app:v1", IMAGE)
                assert imgpkg.resolve(f"{each.address}/team/app:v1", session=session)
        assert registry.variables == {}

    def test_options_of_a_session_are_those_of_the_settings(self, registry):
        registry.fail(faults.unavailable())
        with pytest.raises(imgpkg.errors.RegistryError):
            resolved(registry, retry_count=1)
        assert registry.settings(concurrency=2).concurrency == 2

    def test_dockers_configuration_has_the_login(self, registry_with_login, tmp_path):
        registry_with_login.add("team/app:v1", IMAGE)
        folder = tmp_path / "new" / "docker"
        path = registry_with_login.write_docker_config(folder)
        assert path == str(folder / "config.json")
        environ = {"DOCKER_CONFIG": str(folder)}
        with imgpkg.Session(imgpkg.Settings(environ=environ)) as session:
            assert imgpkg.resolve(f"{registry_with_login.address}/team/app:v1", session=session)

    def test_dockers_configuration_of_an_open_registry_has_none(self, registry, tmp_path):
        with open(registry.write_docker_config(tmp_path)) as file:
            assert json.load(file) == {"auths": {}}

    def test_over_tls_its_authority_is_needed_and_enough(self, registry_over_tls):
        registry_over_tls.add("team/app:v1", IMAGE)
        assert registry_over_tls.url.startswith("https://")
        assert resolved(registry_over_tls)
        with imgpkg.Session() as session, pytest.raises(imgpkg.errors.TransportError):
            imgpkg.resolve(f"{registry_over_tls.address}/team/app:v1", session=session)
        context = ssl.create_default_context(cafile=registry_over_tls.ca_file)
        assert ask(registry_over_tls.address, "GET", "/v2/", context=context).status == 200

    def test_a_stopped_registry_leaves_nothing(self):
        with serve(tls=True) as registry:
            registry.add("team/app:v1", IMAGE)
            folders = (os.path.dirname(registry.ca_file), registry._content.root)
            assert all(map(os.path.isdir, folders))
        registry.stop()
        assert not any(map(os.path.exists, folders))
        with pytest.raises(ConnectionRefusedError):
            ask(registry.address, "GET", "/v2/")

    def test_a_stopped_registry_has_its_requests_and_no_answer_about_its_content(self):
        with serve() as registry:
            ask(registry.address, "GET", "/v2/")
        assert len(registry.requests) == 1
        for look in (lambda: registry.tags("team/app"), lambda: registry.repositories):
            with pytest.raises(imgpkg.errors.UsageError, match="is stopped, and its content is removed"):
                look()

    def test_a_registry_that_nobody_stops_ends_with_its_process(self, tmp_path):
        program = "from imgpkg.testing import serve; serve(tls=True)"
        environ = {**os.environ, "TMPDIR": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)}
        subprocess.run([sys.executable, "-c", program], env=environ, check=True, timeout=60)
        assert os.listdir(tmp_path) == []

    @pytest.mark.parametrize("host", ["0.0.0.0", "127.0.0.1", "::1"])
    def test_its_address_can_be_reached_wherever_it_listens(self, host):
        with serve(host) as registry:
            registry.add("team/app:v1", IMAGE)
            assert resolved(registry)
            assert ask(registry.address, "GET", "/v2/").status == 200
            assert registry.url == f"http://{registry.address}"

    def test_a_port_in_use_is_an_error_and_leaves_nothing(self, registry, tmp_path, monkeypatch):
        monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
        with pytest.raises(imgpkg.errors.LocalIOError):
            serve(port=int(registry.address.rpartition(":")[2]), tls=True)
        assert os.listdir(tmp_path) == []

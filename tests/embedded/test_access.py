"""Logins and tokens of the embedded registry."""

from __future__ import annotations

import base64
import json
from urllib.parse import urlencode

import pytest
from tests.servers.client import ask, basic, bearer_token
from tests.servers.images import make_image, sha256, upload

from imgpkg.embedded.access import Account, LoginAccess, Permission
from imgpkg.embedded.server import serve
from imgpkg.embedded.tokens import TokenAccess
from imgpkg.errors import UsageError

READER = Account("reader", "read me", "team/*", frozenset({"pull"}))
WRITER = Account("writer", "wrîte:me", "team/*", frozenset({"pull", "push"}))
TAGS = "/v2/team/app/tags/list"


class TestALogin:
    def test_is_asked_for(self, embedded_login):
        reply = ask(embedded_login.address, "GET", "/v2/")
        assert (reply.status, reply.code) == (401, "UNAUTHORIZED")
        assert reply.headers["www-authenticate"] == 'Basic realm="imgpkg registry"'

    def test_opens_everything(self, embedded_login):
        login = basic(embedded_login.username, embedded_login.password)
        upload(make_image(), embedded_login.address, "access/login", "v1", authorization=login)
        for path in ("/v2/", "/v2/_catalog", "/v2/access/login/tags/list"):
            assert ask(embedded_login.address, "GET", path, authorization=login).status == 200

    @pytest.mark.parametrize(
        "authorization",
        [
            basic("testuser", "wrong"),
            basic("somebody", "pass"),
            basic("", ""),
            "Basic !!!",
            "Basic",
            "Bearer token",
            "Basic " + base64.b64encode(b"no colon").decode(),
            "Basic " + base64.b64encode(b"\xff\xfe:\xff").decode(),
        ],
    )
    def test_that_is_wrong_is_refused(self, embedded_login, authorization):
        for method, path in [("GET", "/v2/"), ("PUT", "/v2/a/manifests/x"), ("POST", "/v2/a/blobs/uploads/")]:
            reply = ask(embedded_login.address, method, path, b"", authorization=authorization)
            assert (reply.status, reply.code) == (401, "UNAUTHORIZED")

    def test_is_checked_before_anything_is_said_about_content(self, embedded_login):
        detail = ask(embedded_login.address, "GET", TAGS).json["errors"][0]["detail"]
        assert detail == [{"Type": "repository", "Class": "", "Name": "team/app", "Action": "pull"}]

    def test_opens_what_its_account_may(self):
        with serve(access=LoginAccess([READER, WRITER])) as server:
            reader, writer = basic("reader", "read me"), basic("writer", "wrîte:me")
            upload(make_image(), server.address, "team/app", "v1", authorization=writer)
            assert ask(server.address, "GET", TAGS, authorization=reader).status == 200
            for method, path, login in [
                ("POST", "/v2/team/app/blobs/uploads/", reader),
                ("GET", "/v2/other/app/tags/list", writer),
                ("GET", "/v2/_catalog", writer),
                ("DELETE", "/v2/team/app/manifests/v1", writer),
                ("POST", f"/v2/team/app/blobs/uploads/?mount={sha256(b'')}&from=other/app", writer),
            ]:
                reply = ask(server.address, method, path, authorization=login)
                assert (reply.status, reply.code) == (403, "DENIED")

    def test_shows_no_password_in_any_value(self):
        assert "read me" not in repr(READER)

    def test_and_a_choice_of_access_do_not_go_together(self):
        with pytest.raises(UsageError, match="access replaces"):
            serve(login=("a", "b"), access=LoginAccess([READER]))


class TestAToken:
    def test_is_asked_for_by_realm_service_and_scope(self, embedded_token):
        address = embedded_token.address
        ping = ask(address, "GET", "/v2/")
        assert (ping.status, ping.code) == (401, "UNAUTHORIZED")
        start = f'Bearer realm="http://{address}/token",service="imgpkg-registry"'
        assert ping.headers["www-authenticate"] == start
        push = ask(address, "POST", f"/v2/a/b/blobs/uploads/?mount={sha256(b'')}&from=c/d")
        scope = "repository:a/b:pull,push repository:c/d:pull"
        assert push.headers["www-authenticate"] == f'{start},scope="{scope}"'

    def test_opens_what_it_was_asked_for(self, embedded_token):
        server = embedded_token
        login = basic(server.username, server.password)
        reply = ask(server.address, "POST", "/v2/access/token/blobs/uploads/")
        token = bearer_token(server.address, reply.headers["www-authenticate"], login)
        upload(make_image(), server.address, "access/token", "v1", authorization=f"Bearer {token}")
        other = ask(server.address, "GET", "/v2/access/other/tags/list", authorization=f"Bearer {token}")
        assert (other.status, other.code) == (401, "UNAUTHORIZED")
        challenge = other.headers["www-authenticate"]
        assert challenge.endswith('scope="repository:access/other:pull",error="insufficient_scope"')
        assert ask(server.address, "GET", "/v2/", authorization=f"bearer {token}").status == 200

    def test_for_the_catalog_has_its_own_scope(self, embedded_token):
        server = embedded_token
        reply = ask(server.address, "GET", "/v2/_catalog")
        login = basic(server.username, server.password)
        token = bearer_token(server.address, reply.headers["www-authenticate"], login)
        assert ask(server.address, "GET", "/v2/_catalog", authorization=f"Bearer {token}").status == 200

    @pytest.mark.parametrize("token", ["", "x", "x.y", "é", "bm90.bm90", "...", "====.===="])
    def test_that_is_none_is_invalid(self, embedded_token, token):
        reply = ask(embedded_token.address, "GET", TAGS, authorization=f"Bearer {token}".encode())
        assert reply.status == 401
        assert 'error="invalid_token"' in reply.headers["www-authenticate"]

    def test_cannot_be_widened_by_its_holder(self):
        access = TokenAccess([WRITER])
        token = access.issue("writer", [Permission.parse("repository:team/a:pull")])
        payload, _, mac = token.partition(".")
        fields = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        fields[3] = ["repository:team/app:pull"]
        forged = base64.urlsafe_b64encode(json.dumps(fields).encode()).decode().rstrip("=")
        with serve(access=access) as server:
            reply = ask(server.address, "GET", TAGS, authorization=f"Bearer {forged}.{mac}")
            assert 'error="invalid_token"' in reply.headers["www-authenticate"]

    def test_ends(self):
        now = [1000.0]
        access = TokenAccess([WRITER], lifetime=60, clock=lambda: now[0])
        with serve(access=access) as server:
            reply = ask(server.address, "GET", "/token", authorization=basic("writer", "wrîte:me"))
            assert (reply.json["expires_in"], reply.json["issued_at"]) == (60, "1970-01-01T00:16:40Z")
            token = reply.json["token"]
            now[0] += 59
            assert ask(server.address, "GET", "/v2/", authorization=f"Bearer {token}").status == 200
            now[0] += 1
            ended = ask(server.address, "GET", "/v2/", authorization=f"Bearer {token}")
            assert 'error="invalid_token"' in ended.headers["www-authenticate"]

    def test_names_a_realm_that_no_header_can_break(self, embedded_token):
        reply = ask(embedded_token.address, "GET", "/v2/", Host='evil" service="x')
        assert 'realm="http://localhost/token"' in reply.headers["www-authenticate"]


class TestTheTokenService:
    @pytest.fixture
    def server(self):
        with serve(access=TokenAccess([READER, WRITER], anonymous_pull=True)) as running:
            yield running

    def get(self, server, query="", login=None):
        return ask(server.address, "GET", f"/token{query}", authorization=login)

    def post(self, server, **form):
        return ask(server.address, "POST", "/token", urlencode(form))

    def status(self, server, reply, path=TAGS, method="GET"):
        return ask(server.address, method, path, authorization=f"Bearer {reply.json['token']}").status

    def test_gives_the_permitted_part_of_what_is_asked(self, server):
        upload_path = "/v2/team/app/blobs/uploads/"
        query = "?service=x&account=reader&scope=repository:team/app:pull,push"
        reader = self.get(server, query, basic("reader", "read me"))
        writer = self.get(server, query, basic("writer", "wrîte:me"))
        assert (reader.status, reader.headers["cache-control"]) == (200, "no-store")
        assert self.status(server, reader) == self.status(server, writer) == 404
        assert self.status(server, reader, upload_path, "POST") == 401
        assert self.status(server, writer, upload_path, "POST") == 202

    def test_takes_several_scopes_in_one_parameter_or_many(self, server):
        for separator in ("&scope=", "+", "%20"):
            reply = self.get(server, f"?scope=repository:a:pull{separator}repository:b:pull")
            assert self.status(server, reply, "/v2/a/tags/list") == 404
            assert self.status(server, reply, "/v2/b/tags/list") == 404

    def test_lets_anonymous_clients_pull(self, server):
        scopes = "repository:any/where:pull,push+registry:catalog:*+nonsense"
        reply = self.get(server, f"?scope={scopes}")
        assert self.status(server, reply, "/v2/any/where/tags/list") == 404
        assert self.status(server, reply, "/v2/any/where/blobs/uploads/", "POST") == 401
        assert self.status(server, reply, "/v2/_catalog") == 401

    def test_gives_anonymous_clients_nothing_by_default(self, embedded_token):
        reply = self.get(embedded_token)
        assert (reply.status, reply.code) == (401, "UNAUTHORIZED")

    def test_refuses_a_wrong_password(self, server):
        assert self.get(server, "", basic("reader", "wrong")).status == 401
        wrong = self.post(server, grant_type="password", username="reader", password="wrong")
        assert (wrong.status, wrong.code) == (401, "UNAUTHORIZED")

    def test_takes_a_password_in_a_form(self, server):
        scope = "repository:team/app:pull"
        login = {"username": "writer", "password": "wrîte:me"}
        reply = self.post(server, grant_type="password", scope=scope, **login)
        assert self.status(server, reply) == 404
        assert "refresh_token" not in reply.json
        offline = self.post(server, grant_type="password", access_type="offline", **login)
        assert offline.json["refresh_token"]

    def test_takes_a_refresh_token_again_and_again(self, server):
        login = basic("writer", "wrîte:me")
        assert "refresh_token" not in self.get(server, "", login).json
        refresh = self.get(server, "?offline_token=true", login).json["refresh_token"]
        form = {"grant_type": "refresh_token", "refresh_token": refresh}
        for _ in range(2):
            reply = self.post(server, scope="repository:team/app:pull", **form)
            assert (reply.json["refresh_token"], self.status(server, reply)) == (refresh, 404)

    def test_takes_no_other_token_for_a_refresh_token(self, server):
        token = self.get(server, "", basic("writer", "wrîte:me")).json["token"]
        for other in (token, "", "x.y"):
            assert self.post(server, grant_type="refresh_token", refresh_token=other).status == 401
        refresh = self.get(server, "?offline_token=true", basic("writer", "wrîte:me")).json["refresh_token"]
        assert ask(server.address, "GET", "/v2/", authorization=f"Bearer {refresh}").status == 401

    def test_takes_no_refresh_token_of_a_removed_account(self):
        access = TokenAccess([READER])
        with serve(access=access) as server:
            gone = access.issue_refresh("nobody")
            assert self.post(server, grant_type="refresh_token", refresh_token=gone).status == 401

    def test_may_rotate_refresh_tokens_and_ends_the_family_of_one_used_twice(self):
        access = TokenAccess([READER], rotates=True)
        with serve(access=access) as server:
            first = access.issue_refresh("reader")
            second = self.post(server, grant_type="refresh_token", refresh_token=first).json["refresh_token"]
            third = self.post(server, grant_type="refresh_token", refresh_token=second).json["refresh_token"]
            assert len({first, second, third}) == 3
            for token in (first, third):
                assert self.post(server, grant_type="refresh_token", refresh_token=token).status == 401

    def test_knows_no_other_grant_and_no_other_method(self, server):
        reply = self.post(server, grant_type="authorization_code")
        assert (reply.status, reply.code) == (400, "UNSUPPORTED")
        assert ask(server.address, "PUT", "/token").status == 405
        assert ask(server.address, "POST", "/token", b"x" * 70_000).code == "SIZE_INVALID"

    def test_may_be_an_older_one_without_post(self):
        with serve(access=TokenAccess([READER], offers_post=False)) as server:
            assert self.post(server, grant_type="password").status == 405

    def test_without_a_login_serves_anonymous_pulls(self):
        with serve(token_service=True) as server:
            assert self.get(server, "?scope=repository:a:pull").status == 200


class TestAScope:
    def test_may_have_colons_in_its_name(self):
        scope = Permission.parse("repository:host:5000/a:pull,push")
        assert (scope.kind, scope.name, scope.actions) == ("repository", "host:5000/a", {"pull", "push"})
        assert str(scope) == "repository:host:5000/a:pull,push"

    @pytest.mark.parametrize("text", ["", "repository", "repository:a", "repository::pull", ":"])
    def test_that_is_none_is_none(self, text):
        assert Permission.parse(text) is None

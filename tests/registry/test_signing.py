"""Requests of other HTTP clients are signed with what the registry wants, and nothing is asked twice."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.registry.scripted import LOGIN, Bench, Said, Source, TokenRegistry, Wire, www

import imgpkg
from imgpkg.auth.keychain import Authorization, Credential
from imgpkg.errors import (
    ChallengeError,
    ConnectionFailed,
    Forbidden,
    Unauthorized,
    UsageError,
)
from imgpkg.oci.reference import Repository
from imgpkg.registry.auth.challenge import Access
from imgpkg.registry.auth.token import basic
from imgpkg.registry.signing import Reply, Signer, access_of, access_to

HOST = "registry.example.com"
APP = Repository(HOST, "team/app")
TAGS = f"https://{HOST}/v2/team/app/tags/list"


class LoginRegistry:
    """A handler that is a registry with Basic logins: `statuses` has the answer to each login."""

    def __init__(self, statuses):
        self.statuses = statuses

    def __call__(self, asked):
        status = self.statuses.get(asked.authorization, 401)
        return Said(status, b"", www('Basic realm="x"') if status == 401 else ())


def token_registry():
    """A registry with a token service, whose `GET /v2/` is part of it too."""

    def handle(asked):
        return registry.challenge(set()) if asked.path == "/v2/" else registry(asked)

    registry = TokenRegistry(f"https://{HOST}/token")
    registry.reply = {"expires_in": 300}
    return registry, Wire(handle)


def bench(handle, *credentials, retry_count=1):
    wire = handle if isinstance(handle, Wire) else Wire(handle)
    return Bench(wire, Source(*(credentials or (LOGIN,))), retry_count=retry_count)


def signer(made, access=None):
    return Signer(made.client.exchange, access or Access.read(APP))


def logins(made):
    return [asked.authorization for asked in made.transport.asked if asked.authorization]


class TestALogin:
    def test_is_shown_to_the_registry_once(self):
        made = bench(LoginRegistry({basic(LOGIN): 200}))
        for _ in range(3):
            assert signer(made).sign() == Authorization(f"https://{HOST}", basic(LOGIN))
        assert made.transport.lines == [f"GET https://{HOST}/v2/"] * 2
        made.transport.assert_all_closed()

    def test_that_is_refused_is_an_error_with_the_trail_each_time_and_sent_once(self):
        made = bench(LoginRegistry({}))
        for _ in range(3):
            with pytest.raises(Unauthorized, match="/v2/") as caught:
                signer(made).sign()
            assert "from flags: the test" in caught.value.hints[1]
        assert logins(made) == [basic(LOGIN)]
        made.transport.assert_all_closed()

    def test_that_is_refused_is_replaced_by_the_one_that_the_keychain_has_now(self):
        new = Credential("user", "new-word")
        made = bench(LoginRegistry({basic(new): 200}), LOGIN, new)
        assert signer(made).sign().header == basic(new)
        assert logins(made) == [basic(LOGIN), basic(new)]
        made.transport.assert_all_closed()

    def test_that_was_refused_before_is_replaced_without_being_sent_again(self):
        new = Credential("user", "new-word")
        made = bench(LoginRegistry({basic(new): 200}), LOGIN, LOGIN, new)
        with pytest.raises(Unauthorized):
            signer(made).sign()
        assert signer(made).sign().header == basic(new)
        assert logins(made) == [basic(LOGIN), basic(new)]

    def test_is_accepted_where_the_registry_forbids_its_own_address(self):
        made = bench(LoginRegistry({basic(LOGIN): 403}))
        assert signer(made).sign().header == basic(LOGIN)

    def test_is_tried_again_after_a_temporary_failure(self):
        answers = iter([401, 503, 200])

        def handle(asked):
            status = next(answers)
            return Said(status, b"", www('Basic realm="x"') if status == 401 else ())

        made = bench(handle, retry_count=2)
        assert signer(made).sign().header == basic(LOGIN)
        assert logins(made) == [basic(LOGIN)] * 2
        made.transport.assert_all_closed()

    def test_fails_with_a_registry_that_does(self):
        made = bench(lambda asked: ConnectionFailed)
        with pytest.raises(ConnectionFailed):
            signer(made).sign()

    def test_ends_when_its_credential_does(self):
        made = bench(LoginRegistry({basic(LOGIN): 200}), replace(LOGIN, expires_at=2e9))
        assert signer(made).sign().expires_at == 2e9

    def test_of_a_registry_token_is_shown_too(self):
        made = bench(LoginRegistry({"Bearer abc": 200}), Credential(registry_token="abc"))
        assert signer(made).sign().header == "Bearer abc"

    def test_is_not_sent_to_a_scheme_that_cannot_be_answered(self):
        made = bench(lambda asked: Said(401, b"", www("Negotiate")))
        assert signer(made).sign().header == ""
        one = signer(made)
        one.sign()
        with pytest.raises(ChallengeError, match="Negotiate"):
            one.sign_again(Reply("GET", TAGS, 401, ("Negotiate",)))


class TestAToken:
    def test_is_fetched_once_for_a_scope_and_says_when_it_ends(self):
        _, wire = token_registry()
        made = bench(wire)
        for _ in range(2):
            authorization = signer(made).sign()
            assert authorization == Authorization(f"https://{HOST}", "Bearer T1", made.clock() + 300)
        assert [asked.path for asked in wire.asked] == ["/v2/", "/token"]

    def test_is_fetched_again_shortly_before_it_ends(self):
        _, wire = token_registry()
        made = bench(wire)
        signer(made).sign()
        made.clock.now += 291
        assert signer(made).sign().header == "Bearer T2"

    def test_is_fetched_for_what_is_asked(self):
        _, wire = token_registry()
        signer(bench(wire), access_to(APP, ("push", "delete"))).sign()
        assert wire.asked[-1].query["scope"] == ["repository:team/app:delete,pull,push"]

    def test_is_replaced_once_after_a_401(self):
        _, wire = token_registry()
        made = bench(wire)
        signer(made).sign()
        first, second = signer(made), signer(made)
        first.sign()
        second.sign()
        for one in (first, second):
            assert one.sign_again(Reply("GET", TAGS, 401)).header == "Bearer T2"
        assert first.sign_again(Reply("GET", TAGS, 200)) is None

    def test_is_replaced_by_one_for_the_scopes_that_the_registry_names(self):
        registry, wire = token_registry()
        one = signer(bench(wire))
        one.sign()
        more = 'Bearer realm="x",scope="repository:team/app:delete",error="insufficient_scope"'
        assert one.sign_again(Reply("DELETE", TAGS, 403, (more,))).header == "Bearer T2"
        assert registry.tokens["T2"] == {("team/app", "pull"), ("team/app", "delete")}
        assert one.sign_again(Reply("DELETE", TAGS, 403, (more,))) is None

    def test_is_not_replaced_for_the_answer_of_another_origin(self):
        _, wire = token_registry()
        one = signer(bench(wire))
        one.sign()
        for url in (f"http://{HOST}/v2/", f"https://{HOST}:5000/v2/", "https://other.example.com/v2/"):
            assert one.sign_again(Reply("GET", url, 401)) is None
        assert len(wire.asked) == 2

    def test_that_the_service_may_not_give_is_an_error_with_the_trail(self):
        made = bench(lambda asked: Said(401, b"", www('Bearer realm="https://127.0.0.1/token"')))
        with pytest.raises(ChallengeError, match="refusing the realm") as caught:
            signer(made).sign()
        assert "from flags: the test" in caught.value.hints[1]

    def test_that_the_service_refuses_is_an_error(self):
        registry, wire = token_registry()
        registry.refuses = lambda asked: Said(403, b"{}")
        with pytest.raises(Forbidden):
            signer(bench(wire)).sign()


class TestNothing:
    def test_is_sent_where_nothing_is_found_and_nothing_asked(self):
        made = bench(lambda asked: Said(200), None)
        authorization = signer(made).sign()
        assert (authorization.header, dict(authorization.headers)) == ("", {})

    @pytest.mark.parametrize("status", [401, 403, 404])
    def test_is_what_an_answer_to_it_can_change(self, status):
        made = bench(LoginRegistry({}), None)
        one = signer(made)
        assert one.sign().header == ""
        assert one.sign_again(Reply("GET", TAGS, status, ('Basic realm="x"',))) is None

    def test_is_known_before_the_first_signature(self):
        assert signer(bench(LoginRegistry({}))).sign_again(Reply("GET", TAGS, 401)) is None


class TestTakingBack:
    def test_a_token_gets_another_one(self):
        _, wire = token_registry()
        made = bench(wire)
        old = signer(made).sign()
        one = signer(made)
        one.take_back(old)
        assert one.sign().header == "Bearer T2"
        # It is not kept any more: the newer one is good.
        one = signer(made)
        one.take_back(old)
        assert one.sign().header == "Bearer T2"

    def test_a_login_is_an_error_and_sent_nowhere(self):
        made = bench(LoginRegistry({basic(LOGIN): 200}))
        old = signer(made).sign()
        one = signer(made)
        one.take_back(old)
        with pytest.raises(Unauthorized, match="not sent again"):
            one.sign()
        assert logins(made) == [basic(LOGIN)]

    def test_what_another_registry_refused_changes_nothing(self):
        made = bench(LoginRegistry({basic(LOGIN): 200}))
        old = signer(made).sign()
        one = signer(made)
        one.take_back(replace(old, registry_url="https://other.example.com"))
        assert one.sign() == old

    def test_nothing_changes_nothing(self):
        made = bench(lambda asked: Said(200), None)
        one = signer(made)
        one.take_back(one.sign())
        assert one.sign().header == ""


class TestTheScheme:
    def test_must_be_that_of_the_registry(self):
        made = bench(LoginRegistry({basic(LOGIN): 200}))
        assert signer(made).sign_for(TAGS).header == basic(LOGIN)
        with pytest.raises(UsageError, match="no credential is sent to http://") as caught:
            signer(made).sign_for(f"http://{HOST}/v2/?secret=x")
        assert "secret=x" not in str(caught.value)


class TestARequest:
    @pytest.mark.parametrize(
        ("method", "path", "scopes"),
        [
            ("GET", "/v2/team/app/manifests/v1", "repository:team/app:pull"),
            ("HEAD", "/v2/team/app/blobs/sha256:0", "repository:team/app:pull"),
            ("GET", "/v2/team/app/tags/list?n=5", "repository:team/app:pull"),
            ("GET", "/v2/team/app/referrers/sha256:0", "repository:team/app:pull"),
            ("GET", "/v2/team/tags/tags/list", "repository:team/tags:pull"),
            ("GET", "/v2/blobs/uploads/manifests/v1", "repository:blobs/uploads:pull"),
            ("PUT", "/v2/team/app/manifests/v1", "repository:team/app:pull,push"),
            ("POST", "/v2/team/app/blobs/uploads/", "repository:team/app:pull,push"),
            ("POST", "/v2/team/app/blobs/uploads", "repository:team/app:pull,push"),
            ("PATCH", "/v2/team/app/blobs/uploads/a-b", "repository:team/app:pull,push"),
            ("DELETE", "/v2/team/app/manifests/v1", "repository:team/app:delete"),
            (
                "POST",
                "/v2/team/app/blobs/uploads/?mount=sha256:0&from=lib/base",
                "repository:lib/base:pull repository:team/app:pull,push",
            ),
            ("POST", "/v2/team/app/blobs/uploads/?mount=x&from=A%20B", "repository:team/app:pull,push"),
            ("GET", "/v2/_catalog?n=5", "registry:catalog:*"),
            ("GET", "/v2/", ""),
            ("GET", "/v2", ""),
        ],
    )
    def test_asks_for_what_its_method_and_path_need(self, method, path, scopes):
        access = access_of(HOST, method, f"https://{HOST}{path}")
        assert " ".join(map(str, access.scopes)) == scopes

    @pytest.mark.parametrize(
        "url",
        [
            f"https://{HOST}/",
            "/v2/team/app/tags/list",
            f"https://{HOST}:port/v2/team/app/tags/list",
            f"https://{HOST}/v1/team/app/tags/list",
            f"https://{HOST}/v2/team/app",
            f"https://{HOST}/v2/tags/list",
            f"https://{HOST}/v2/team/../app/tags/list",
            f"https://{HOST}/v2/team//app/tags/list",
            f"https://{HOST}/v2/team%2Fapp/tags/list",
            f"https://{HOST}/v2/TEAM/app/tags/list",
            f"https://{HOST}:5000/v2/team/app/tags/list",
            "https://registry.example.com.evil.example/v2/team/app/tags/list",
            f"https://evil.example/{HOST}/v2/team/app/tags/list",
        ],
    )
    def test_of_another_kind_or_to_another_origin_asks_for_nothing(self, url):
        assert access_of(HOST, "GET", url) is None

    def test_may_write_the_port_and_the_host_as_it_likes(self):
        assert access_of(HOST, "GET", "HTTPS://REGISTRY.example.com:443/v2/team/app/tags/list") is not None


class TestActions:
    @pytest.mark.parametrize(
        ("actions", "asked"),
        [
            ("pull", "pull"),
            (["push"], "pull,push"),
            ("pull,push", "pull,push"),
            (("delete",), "delete"),
            ({"*"}, "*"),
        ],
    )
    def test_are_words_or_one_text(self, actions, asked):
        assert str(access_to(APP, actions).scopes[0]) == f"repository:team/app:{asked}"

    @pytest.mark.parametrize("actions", ["", (), "write", ["pull", "pulls"]])
    def test_of_another_name_are_an_error(self, actions):
        with pytest.raises(UsageError, match=r"Expected the actions pull, push, delete or \*"):
            access_to(APP, actions)


def test_a_reply_has_no_body():
    with Reply("GET", TAGS, 401, ("Basic a", "Bearer b")) as reply:
        assert (reply.read(), reply.readinto(bytearray(1))) == (b"", 0)
        assert reply.header_list("www-authenticate") == ["Basic a", "Bearer b"]
        assert reply.headers["WWW-Authenticate"] == "Basic a, Bearer b"


class TestASession:
    def test_gives_the_header_of_a_real_registry(self, docker_registry_token, open_session):
        registry = docker_registry_token
        session = open_session(username=registry.username, password=registry.password)
        before = len(registry.requests)
        name = f"{registry.address}/signing/app"
        authorization = session.authorization(name)
        assert session.authorization(imgpkg.Repository.parse(name), "pull") == authorization
        assert (authorization.registry_url, len(registry.requests) - before) == (registry.url, 1)
        assert authorization.header.startswith("Bearer ")
        assert authorization.header not in repr(authorization)
        again = session.authorization(name, refused=authorization)
        assert again.header.startswith("Bearer ")
        assert again.header != authorization.header
        assert len(registry.requests) - before == 2

    def test_refuses_what_is_no_repository(self, session):
        with pytest.raises(imgpkg.errors.InvalidReference):
            session.authorization("A B")

    def test_that_is_closed_refuses(self):
        session = imgpkg.Session()
        session.close()
        with pytest.raises(UsageError, match="closed"):
            session.authorization(f"{HOST}/team/app")

    def test_reports_a_registry_that_fails(self, open_session):
        with pytest.raises(imgpkg.errors.ConnectionFailed):
            open_session(retry_count=1).authorization("127.0.0.1:1/team/app")

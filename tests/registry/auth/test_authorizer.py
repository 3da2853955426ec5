"""The 401 flow, driven over a scripted transport."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from tests.registry.scripted import (
    LOGIN,
    Bench,
    Said,
    Server,
    Source,
    TokenRegistry,
    Wire,
    drive,
    wait_for_waiting,
    www,
)

from imgpkg.auth.keychain import ANONYMOUS, Credential
from imgpkg.errors import (
    ChallengeError,
    ConnectionFailed,
    ConnectionTimedOut,
    CredentialError,
    RefusalKind,
    RegistryError,
    Unauthorized,
)
from imgpkg.oci.reference import Repository
from imgpkg.registry.auth.authorizer import Authorizer, session_id
from imgpkg.registry.auth.challenge import Access
from imgpkg.transport.message import Request, bytes_body
from imgpkg.transport.pool import Pool

A, B = Repository.parse("r.example/a/b"), Repository.parse("r.example/c/d")
GET = Request("GET", "/v2/a/b/manifests/v1")
BASIC = www('Basic realm="r"')
REGISTRY = "https://r.example"
BASIC_LOGIN = "Basic dXNlcjpwYXNzLXdvcmQ="


def bench(handle, *credentials, **options):
    return Bench(Wire(handle), Source(*(credentials or (None,))), **options)


def send(bench, request=GET, access=None):
    answer = bench.exchange.send(request, access or Access.read(A))
    answer.response.close()
    return answer.response.status


def at_once(count, act):
    """Do it in so many threads; return what each returned."""
    with ThreadPoolExecutor(count) as workers:
        return list(workers.map(act, range(count), timeout=20))


def seen(bench):
    return [(asked.method, asked.path, asked.authorization) for asked in bench.transport.asked]


class TestOpenRegistries:
    def test_are_asked_without_a_ping(self):
        made = bench(lambda asked: Said(200))
        assert send(made) == 200
        assert seen(made) == [("GET", "/v2/a/b/manifests/v1", "")]

    def test_receive_a_user_agent_but_no_credential(self):
        made = bench(lambda asked: Said(200), LOGIN)
        send(made)
        (asked,) = made.transport.asked
        assert asked.headers["User-Agent"].startswith("imgpkg-py/")
        assert asked.headers["Imgpkg-Session-Id"] == session_id()
        assert 0 <= int(session_id()) < 2**31
        assert asked.authorization == ""

    @pytest.mark.parametrize("status", [403, 404])
    def test_that_hide_what_is_private_are_shown_the_login_after_one_ping(self, status):
        def handle(asked):
            if asked.path == "/v2/":
                return Said(200, headers=www('Bearer realm="https://evil.example/"'))
            return Said(200 if asked.authorization == BASIC_LOGIN else status)

        made = bench(handle, LOGIN)
        assert send(made) == 200
        assert send(made, access=Access.read(B)) == 200
        assert [path for _, path, _ in seen(made)] == [GET.url, "/v2/", GET.url, GET.url]
        made.transport.assert_all_closed()

    def test_whose_ping_shows_a_challenge_are_answered(self):
        def handle(asked):
            if asked.path == "/v2/":
                return Said(401, headers=BASIC)
            return Said(200 if asked.authorization else 404)

        assert send(bench(handle, LOGIN)) == 200

    def test_whose_ping_shows_a_token_service_are_answered(self):
        registry = TokenRegistry()

        def handle(asked):
            said = registry(asked)
            return Said(404) if said.status == 401 and asked.path != "/v2/" else said

        made = bench(handle, LOGIN)
        assert send(made) == 200
        assert seen(made)[2][1] == "/token"

    @pytest.mark.parametrize("credential", [None, ANONYMOUS])
    def test_are_not_probed_without_a_credential(self, credential):
        made = bench(lambda asked: Said(404), credential)
        assert send(made) == 404
        assert len(made.transport.asked) == 1

    @pytest.mark.parametrize(
        ("ping", "credential"),
        [
            (Said(404), Credential(identity_token="i")),
            (Said(401), Credential(identity_token="i")),
            (Said(200), Credential(identity_token="i")),
            (Said(401, headers=www("Negotiate")), LOGIN),
            (Said(401, headers=www("Bearer")), LOGIN),
        ],
    )
    def test_keep_their_first_answer_when_the_ping_does_not_help(self, ping, credential):
        made = bench(lambda asked: ping if asked.path == "/v2/" else Said(404), credential)
        assert send(made) == 404
        assert send(made) == 404
        assert [path for _, path, _ in seen(made)].count("/v2/") == 1

    @pytest.mark.parametrize("status", [429, 500, 503])
    def test_are_pinged_again_when_the_ping_was_answered_for_the_moment_only(self, status):
        pings = iter([Said(status), Said(401, headers=BASIC)])

        def handle(asked):
            if asked.path == "/v2/":
                return next(pings)
            return Said(200 if asked.authorization else 404)

        made = bench(handle, LOGIN)
        assert [send(made), send(made), send(made)] == [404, 200, 200]
        assert [path for _, path, _ in seen(made)].count("/v2/") == 2
        made.transport.assert_all_closed()

    def test_that_hide_are_pinged_by_one_of_many_and_all_are_shown_the_login(self):
        both = threading.Barrier(2)

        def handle(asked):
            if asked.path == "/v2/":
                return Said(200)
            if asked.path != "/public" and not asked.authorization:
                both.wait(10)
            return Said(200 if asked.path == "/public" or asked.authorization else 404)

        made = bench(handle, LOGIN)
        send(made, Request("GET", "/public"))
        assert at_once(2, lambda _: send(made)) == [200, 200]
        assert [path for _, path, _ in seen(made)].count("/v2/") == 1

    def test_a_ping_that_gets_no_answer_leaves_no_response_open(self):
        made = bench(lambda asked: ConnectionFailed if asked.path == "/v2/" else Said(404), LOGIN)
        with pytest.raises(ConnectionFailed):
            send(made)
        made.transport.assert_all_closed()


class TestBasic:
    @staticmethod
    def handle(asked):
        return Said(200) if asked.authorization == BASIC_LOGIN else Said(401, headers=BASIC)

    def test_is_learnt_once_and_then_sent_with_every_request(self):
        made = bench(self.handle, LOGIN)
        assert [send(made), send(made), send(made, access=Access.read(B))] == [200, 200, 200]
        assert [shown for _, _, shown in seen(made)] == ["", BASIC_LOGIN, BASIC_LOGIN, BASIC_LOGIN]

    def test_that_is_refused_is_final(self):
        made = bench(lambda asked: Said(401, headers=BASIC), LOGIN)
        assert send(made) == 401
        assert len(made.transport.asked) == 2
        made.transport.assert_all_closed()

    def test_that_is_refused_is_repeated_with_a_credential_that_is_new(self):
        made = bench(self.handle, Credential("user", "old"), LOGIN)
        assert send(made) == 200
        assert made.source.count == 2

    def test_with_nothing_to_show_is_final(self):
        made = bench(self.handle)
        assert send(made) == 401
        assert len(made.transport.asked) == 1

    def test_with_an_identity_token_only_is_a_clear_error(self):
        made = bench(self.handle, Credential(identity_token="i"))
        with pytest.raises(ChallengeError, match="only an identity token"):
            send(made)
        made.transport.assert_all_closed()

    @pytest.mark.parametrize("realm", ["https://auth.example/token", "/token"])
    def test_turns_into_bearer_when_the_registry_says_so(self, realm):
        registry = TokenRegistry(realm)
        made = bench(
            lambda asked: Said(401, headers=BASIC) if not asked.authorization else registry(asked), LOGIN
        )
        assert send(made) == 200
        assert seen(made)[-1][2] == "Bearer T1"


class TestRegistryTokens:
    TOKEN = Credential(registry_token="RTOK")

    def test_are_sent_at_once_to_any_kind_of_registry(self):
        made = bench(lambda asked: Said(200), self.TOKEN)
        assert send(made) == 200
        assert seen(made) == [("GET", GET.url, "Bearer RTOK")]

    @pytest.mark.parametrize("headers", [BASIC, www('Bearer realm="https://auth.example/"'), ()])
    def test_are_never_sent_again_after_a_401(self, headers):
        made = bench(lambda asked: Said(401, headers=headers), self.TOKEN)
        assert send(made) == 401
        assert len(made.transport.asked) == 1

    @pytest.mark.parametrize("token", ["hunter2\n", "a\r\nb: hunter2", "hunter2€", "hunter2\udcff"])
    def test_that_no_header_can_hold_are_refused_with_their_source(self, token):
        made = bench(lambda asked: Said(200), Credential(registry_token=token))
        with pytest.raises(ChallengeError, match="holds a newline or another character") as caught:
            send(made)
        assert caught.value.hints[1] == "credential for r.example/a/b from flags: the test"
        assert caught.value.refusal.kind is RefusalKind.UNUSABLE
        assert "hunter2" not in f"{caught.value}{caught.value.hints}"
        assert made.transport.asked == []

    def test_that_were_renewed_are_sent(self):
        made = bench(
            lambda asked: Said(200 if asked.authorization == "Bearer new" else 401),
            self.TOKEN,
            Credential(registry_token="new"),
        )
        assert send(made) == 200


class TestTokens:
    def test_are_fetched_for_the_scopes_of_the_request(self):
        made = bench(TokenRegistry(), LOGIN)
        assert send(made) == 200
        assert seen(made) == [
            ("GET", GET.url, ""),
            ("GET", "/token", BASIC_LOGIN),
            ("GET", GET.url, "Bearer T1"),
        ]
        assert made.transport.asked[1].query == {
            "account": ["user"],
            "scope": ["repository:a/b:pull"],
            "service": ["the service"],
        }
        assert made.transport.asked[1].headers["Imgpkg-Session-Id"] == session_id()
        made.transport.assert_all_closed()

    def test_are_fetched_without_a_credential_too(self):
        made = bench(TokenRegistry())
        assert send(made) == 200
        assert seen(made)[1] == ("GET", "/token", "")

    def test_are_used_for_what_they_cover_until_they_end(self):
        made = bench(TokenRegistry(), LOGIN)
        send(made, access=Access.write(A))
        send(made)
        assert [path for _, path, _ in seen(made)].count("/token") == 1
        made.clock.now += 51
        send(made)
        assert [path for _, path, _ in seen(made)] == [GET.url, "/token", GET.url, GET.url, "/token", GET.url]

    def test_of_one_repository_are_not_shown_for_another(self):
        made = bench(TokenRegistry(), LOGIN)
        send(made)
        send(made, Request("GET", "/v2/c/d/manifests/v1"), Access.read(B))
        assert [asked.query["scope"] for asked in made.transport.asked if asked.path == "/token"] == [
            ["repository:a/b:pull"],
            ["repository:c/d:pull"],
        ]

    def test_of_one_credential_are_not_used_for_another(self):
        by_path = {"a/b": Credential("one", "1"), "c/d": Credential("two", "2")}
        made = bench(TokenRegistry(), lambda repository: by_path[repository.path])
        send(made, access=Access.read(A))
        send(made, access=Access(B, Access.read(A).scopes))
        assert [path for _, path, _ in seen(made)].count("/token") == 2

    def test_that_lack_a_scope_are_replaced_by_one_for_all(self):
        registry = TokenRegistry()
        made = bench(registry, LOGIN)
        assert send(made, Request("PUT", GET.url, body=bytes_body(b"m"))) == 200
        tokens = [asked.query["scope"] for asked in made.transport.asked if asked.path == "/token"]
        assert tokens == [["repository:a/b:pull,push"]]
        assert send(made, Request("POST", "/v2/a/b/blobs/uploads/?mount=x&from=s")) == 200
        tokens = [asked.query["scope"] for asked in made.transport.asked if asked.path == "/token"]
        assert tokens[1:] == [["repository:a/b:pull,push", "repository:s:pull"]]

    def test_for_too_little_are_replaced_after_403_too(self):
        registry = TokenRegistry()

        def handle(asked):
            said = registry(asked)
            return (
                Said(403, said.body, said.headers.pairs)
                if said.status == 401 and asked.authorization
                else said
            )

        made = bench(handle, LOGIN)
        send(made)
        assert send(made, Request("PUT", GET.url, body=bytes_body(b"m"))) == 200
        assert made.transport.asked[-1].body == b"m"

    @pytest.mark.parametrize("error", ["invalid_token", "insufficient_scope"])
    def test_that_are_refused_with_403_are_not_fetched_again_for_the_same(self, error):
        registry = TokenRegistry(
            content=lambda asked: Said(403, headers=www(f'Bearer realm="x",error="{error}"'))
        )
        made = bench(registry, LOGIN)
        assert send(made) == 403
        assert len(made.transport.asked) == 3

    def test_that_are_new_and_refused_are_final(self):
        registry = TokenRegistry()
        registry.content = lambda asked: registry.challenge(registry.wanted(asked))
        made = bench(registry, LOGIN)
        assert send(made) == 401
        assert [path for _, path, _ in seen(made)] == [GET.url, "/token", GET.url, "/token", GET.url]
        made.transport.assert_all_closed()

    @pytest.mark.parametrize("error", ["", ',error="invalid_token"'])
    def test_that_are_new_and_refused_once_are_fetched_once_more(self, error):
        registry = TokenRegistry()
        refusals = iter([Said(401, headers=www(f'Bearer realm="{registry.realm}"{error}'))])
        registry.content = lambda asked: next(refusals, None) or Said(200)
        made = bench(registry, LOGIN)
        assert send(made) == 200
        assert [shown for _, _, shown in seen(made)] == [
            "",
            BASIC_LOGIN,
            "Bearer T1",
            BASIC_LOGIN,
            "Bearer T2",
        ]
        made.transport.assert_all_closed()

    def test_for_more_that_are_refused_once_are_fetched_once_more(self):
        registry = TokenRegistry()
        wants = iter([{("a/b", "pull"), ("s", "pull")}, {("a/b", "pull")}])

        def content(asked):
            wanted = next(wants, None)
            return Said(200) if wanted is None else registry.challenge(wanted)

        registry.content = content
        made = bench(registry, LOGIN)
        assert send(made) == 200
        tokens = [asked.query["scope"] for asked in made.transport.asked if asked.path == "/token"]
        assert tokens == [["repository:a/b:pull"]] + [["repository:a/b:pull", "repository:s:pull"]] * 2

    def test_that_did_not_help_twice_are_fetched_once_for_the_next_request(self):
        registry = TokenRegistry()
        registry.content = lambda asked: registry.challenge(registry.wanted(asked))
        made = bench(registry, LOGIN)
        assert [send(made), send(made)] == [401, 401]
        assert [path for _, path, _ in seen(made)].count("/token") == 3
        registry.content = lambda asked: Said(200)
        assert send(made) == 200
        made.clock.now += 100
        refusals = iter([registry.challenge({("a/b", "pull")})])
        registry.content = lambda asked: next(refusals, None) or Said(200)
        assert send(made) == 200

    def test_that_were_revoked_are_fetched_once_more(self):
        registry = TokenRegistry()
        made = bench(registry, LOGIN)
        send(made)
        registry.tokens = {"spare": set()}
        assert send(made) == 200
        assert [shown for _, _, shown in seen(made)][3:] == ["Bearer T1", BASIC_LOGIN, "Bearer T2"]

    def test_that_ended_while_they_were_shown_are_fetched_once_more(self):
        registry = TokenRegistry()
        made = bench(registry, LOGIN)

        def late(asked):
            registry.content = lambda asked: Said(200)
            made.clock.now += 100
            return registry.challenge(registry.wanted(asked))

        registry.content = late
        assert send(made) == 200
        assert [path for _, path, _ in seen(made)].count("/token") == 2

    def test_are_not_fetched_for_ever(self):
        registry = TokenRegistry()
        names = iter(range(100))
        registry.content = lambda asked: registry.challenge({(f"x{next(names)}", "pull")})
        made = bench(registry, LOGIN)
        assert send(made) == 401
        assert [path for _, path, _ in seen(made)].count("/token") == 2

    def test_follow_the_newest_challenge(self):
        registry = TokenRegistry()
        made = bench(registry, LOGIN)
        send(made)
        registry.realm, registry.tokens = "https://new.example/token", {"spare": set(), "old": set()}
        send(made)
        send(made)
        made.clock.now += 100
        send(made)
        assert made.transport.asked[-2].host == "new.example"

    def test_stay_with_the_known_challenge_when_a_401_names_none(self):
        registry = TokenRegistry()
        made = bench(registry, LOGIN)
        send(made)
        registry.tokens = {}
        handle = made.transport.handle
        said = iter([Said(401)])
        made.transport.handle = lambda asked: next(said, None) or handle(asked)
        assert send(made) == 200

    @pytest.mark.parametrize("line", ['Bearer error="invalid_token"', "Negotiate"])
    def test_stay_with_the_known_challenge_when_a_401_names_none_to_answer(self, line):
        registry = TokenRegistry()
        made = bench(registry, LOGIN)
        send(made)
        registry.tokens = {"spare": set()}
        handle, said = made.transport.handle, iter([Said(401, headers=www(line))])
        made.transport.handle = lambda asked: next(said, None) or handle(asked)
        assert send(made) == 200
        assert seen(made)[-1][2] == "Bearer T2"

    def test_are_not_fetched_for_a_403_to_a_login(self):
        challenge = www('Bearer realm="https://auth.example/",error="insufficient_scope"')

        def handle(asked):
            return Said(403, headers=challenge) if asked.authorization else Said(401, headers=BASIC)

        made = bench(handle, LOGIN)
        assert send(made) == 403
        assert len(made.transport.asked) == 2

    def test_are_asked_for_at_a_relative_realm(self):
        made = bench(TokenRegistry("/token"), LOGIN)
        assert send(made) == 200
        assert made.transport.asked[1].url.startswith(f"{REGISTRY}/token?")

    def test_are_not_fetched_where_the_realm_must_not_be_asked(self):
        made = bench(TokenRegistry("http://auth.example/token"), LOGIN)
        with pytest.raises(ChallengeError, match="must be too") as caught:
            send(made)
        assert str(caught.value).startswith("Requesting a token for r.example: refusing the realm ")
        assert caught.value.refusal is None
        assert [path for _, path, _ in seen(made)] == [GET.url]
        made.transport.assert_all_closed()

    def test_that_are_refused_tell_which_credential_was_shown(self):
        registry = TokenRegistry()
        registry.refuses = lambda asked: Said(401, b'{"errors":[{"code":"UNAUTHORIZED","message":"wrong"}]}')
        with pytest.raises(Unauthorized) as caught:
            send(bench(registry, LOGIN))
        assert str(caught.value).startswith(
            "the token service auth.example refused user 'user', whose password is from the test: "
            "Requesting a token for r.example: GET https://auth.example/token?account=REDACTED&scope="
        )
        assert str(caught.value).endswith("UNAUTHORIZED: wrong")
        assert "credential for r.example/a/b from flags: the test (user 'user')" in caught.value.hints

    @pytest.mark.parametrize(("credential", "is_given"), [(LOGIN, True), (ANONYMOUS, False)])
    def test_that_are_refused_come_with_a_word_about_sets_when_flags_go_to_several(
        self, credential, is_given
    ):
        made, error = bench(TokenRegistry(), credential), ChallengeError("no")
        for registries, is_told in (("r.example",), False), (("r.example", "s.example"), is_given):
            for registry in registries:
                made.authorizer.endpoint(registry)
            error.hints = ()
            made.authorizer.explain.again(error, Access.read(A))
            shown = any("Credentials given by flags go to every registry" in hint for hint in error.hints)
            assert shown == is_told

    def test_unsupported_schemes_are_named_and_shown_nothing(self):
        made = bench(lambda asked: Said(401, headers=www("Negotiate")), LOGIN)
        with pytest.raises(ChallengeError, match="unsupported challenge Negotiate") as caught:
            send(made)
        assert caught.value.hints[0] == "credential for r.example/a/b from flags: the test (user 'user')"
        assert [shown for _, _, shown in seen(made)] == ["", ""]


class TestA401ThatNamesNothingToAnswer:
    """Many registries and proxies send their challenge only at `/v2/`."""

    IDENTITY = Credential(identity_token="R0")

    @staticmethod
    def mute(registry, *lines):
        """Hide the challenges of a registry, but those at `/v2/`."""

        def handle(asked):
            said = registry(asked)
            is_shown = said.status != 401 or asked.path in ("/v2/", "/token")
            return said if is_shown else Said(401, headers=www(*lines))

        return handle

    @pytest.mark.parametrize("lines", [(), ("Negotiate",), ('Bearer error="invalid_token"',)])
    @pytest.mark.parametrize("credential", [LOGIN, IDENTITY, None], ids=["login", "identity", "nobody"])
    def test_is_answered_as_the_ping_wants_it(self, lines, credential):
        made = bench(self.mute(TokenRegistry(), *lines), credential)
        assert [send(made), send(made, Request("GET", "/v2/c/d/manifests/v1"), Access.read(B))] == [200, 200]
        shown = [(path, shown) for _, path, shown in seen(made)]
        login = BASIC_LOGIN if credential == LOGIN else ""
        assert shown == [
            (GET.url, ""),
            ("/v2/", ""),
            ("/token", login),
            (GET.url, "Bearer T1"),
            ("/token", login),
            ("/v2/c/d/manifests/v1", "Bearer T2"),
        ]
        made.transport.assert_all_closed()

    @pytest.mark.parametrize("ping", [Said(401), Said(200), Said(404)])
    def test_is_answered_with_the_login_when_the_ping_says_nothing_either(self, ping):
        def handle(asked):
            return ping if asked.path == "/v2/" else Said(200 if asked.authorization else 401)

        made = bench(handle, LOGIN)
        assert [send(made), send(made)] == [200, 200]
        assert [(path, shown) for _, path, shown in seen(made)] == [
            (GET.url, ""),
            ("/v2/", ""),
            (GET.url, BASIC_LOGIN),
            (GET.url, BASIC_LOGIN),
        ]

    def test_is_answered_with_the_login_when_the_ping_wants_it(self):
        def handle(asked):
            if asked.path == "/v2/":
                return Said(401, headers=BASIC)
            return Said(200 if asked.authorization else 401)

        assert send(bench(handle, LOGIN)) == 200

    def test_is_no_reason_to_show_a_login_while_the_ping_is_out_of_order(self):
        pings = iter([Said(503, headers=[("Retry-After", "7")])])
        handle = self.mute(TokenRegistry())
        made = bench(lambda asked: (asked.path == "/v2/" and next(pings, None)) or handle(asked), LOGIN)
        with pytest.raises(
            RegistryError, match=r"^GET https://r\.example/v2/: unexpected status code 503"
        ) as caught:
            send(made)
        assert caught.value.retry_after == 7.0
        assert {shown for _, _, shown in seen(made)} == {""}
        assert send(made) == 200
        made.transport.assert_all_closed()

    def test_makes_all_share_the_silence_of_the_ping(self):
        both, silence = threading.Barrier(5), threading.Event()

        def handle(asked):
            if asked.path == "/public":
                return Said(200)
            if asked.path == "/v2/":
                silence.wait(10)
                return ConnectionTimedOut
            both.wait(10)
            return Said(401)

        made = bench(handle, LOGIN)
        send(made, Request("GET", "/public"))

        def fail(_):
            with pytest.raises(ConnectionTimedOut) as caught:
                send(made)
            return caught.value

        with ThreadPoolExecutor(5) as workers:
            futures = [workers.submit(fail, number) for number in range(5)]
            wait_for_waiting(4)
            silence.set()
            assert len({id(future.result(10)) for future in futures}) == 5
        assert [path for _, path, _ in seen(made)].count("/v2/") == 1
        made.transport.assert_all_closed()

    def test_asks_once_however_many_come_at_once(self):
        both, handle = threading.Barrier(5), self.mute(TokenRegistry(content=lambda asked: Said(200)))

        def slow(asked):
            if asked.path == "/public":
                return Said(200)
            if asked.path not in ("/v2/", "/token") and not asked.authorization:
                both.wait(10)
            return handle(asked)

        made = bench(slow, LOGIN)
        send(made, Request("GET", "/public"))
        assert at_once(5, lambda _: send(made)) == [200] * 5
        assert [path for _, path, _ in seen(made)].count("/v2/") == 1

    def test_is_final_for_a_registry_token(self):
        made = bench(lambda asked: Said(401), Credential(registry_token="RTOK"))
        assert send(made) == 401
        assert len(made.transport.asked) == 1


class TestRefreshTokens:
    IDENTITY = Credential(identity_token="R0")

    @staticmethod
    def shown(made):
        return [asked.form["refresh_token"] for asked in made.transport.asked if asked.method == "POST"]

    def test_are_posted(self):
        made = bench(TokenRegistry(), self.IDENTITY)
        assert send(made) == 200
        assert self.shown(made) == ["R0"]

    def test_that_rotate_are_used_once_each(self):
        """A service that rotates revokes the whole family when it sees an old one again."""
        registry, valid = TokenRegistry(), ["R0"]

        def refuses(asked):
            if asked.form["refresh_token"] != valid[-1]:
                return Said(400)
            valid.append(f"R{len(valid)}")
            registry.reply = {"refresh_token": valid[-1]}
            return None

        registry.refuses = refuses
        made = bench(registry, self.IDENTITY)
        for _ in range(3):
            assert send(made) == 200
            made.clock.now += 100
        assert self.shown(made) == ["R0", "R1", "R2"]

    def test_stay_when_the_service_gives_no_new_one(self):
        made = bench(TokenRegistry(), self.IDENTITY)
        send(made)
        made.clock.now += 100
        send(made)
        assert self.shown(made) == ["R0", "R0"]

    def test_that_come_with_a_login_are_used_next_time(self):
        registry = TokenRegistry()
        registry.reply = {"refresh_token": "R9"}
        made = bench(registry, LOGIN)
        send(made)
        made.clock.now += 100
        send(made)
        assert self.shown(made) == ["R9"]

    def test_that_were_refused_give_way_to_the_login_for_good(self):
        registry = TokenRegistry()
        registry.refuses = lambda asked: Said(401) if asked.method == "POST" else None
        made = bench(registry, Credential("user", "pass-word", identity_token="R0"))
        for _ in range(2):
            assert send(made) == 200
            made.clock.now += 100
        tokens = [asked.method for asked in made.transport.asked if asked.path == "/token"]
        assert tokens == ["POST", "GET", "GET"]


class TestCredentials:
    def test_are_resolved_once_per_repository(self):
        made = bench(lambda asked: Said(200), LOGIN)
        for access in (Access.read(A), Access.write(A), Access.read(B)):
            send(made, access=access)
        assert made.source.count == 2

    def test_that_end_are_resolved_again(self):
        made = bench(TestBasic.handle, Credential("user", "old", expires_at=1_000_050.0), LOGIN)
        made.transport.handle = lambda asked: Said(200) if asked.authorization else Said(401, headers=BASIC)
        send(made)
        made.clock.now += 49
        send(made)
        made.clock.now += 1
        send(made)
        shown = [shown for _, _, shown in seen(made)][1:]
        assert shown[0] == shown[1] != shown[2] == BASIC_LOGIN

    def test_that_cannot_be_found_out_stop_everything(self):
        class Broken:
            name = "broken"

            def lookup(self, repository):
                raise CredentialError("bad file")

        made = Bench(Wire(lambda asked: Said(200)), Broken())
        with pytest.raises(CredentialError, match=r"^Unable retrieve credentials for registry: bad file$"):
            send(made)
        assert made.transport.asked == []

    def test_are_known_as_secrets_with_every_token(self):
        made = bench(TokenRegistry(), LOGIN)
        send(made)
        made.exchange.send(GET, Access.read(A)).response.close()
        assert made.authorizer.secrets(A) == ("pass-word", BASIC_LOGIN.removeprefix("Basic "), "T1")

    def test_decisions_can_be_asked_for(self):
        made = bench(TokenRegistry(), LOGIN)
        assert made.authorizer.decision(A).credential == LOGIN
        assert made.client.decision(A).credential == LOGIN


class TestOtherHosts:
    URL = "https://cdn.example/blob?sig=1"

    def test_get_nothing_of_the_registry_s(self):
        made = bench(lambda asked: Said(200), Credential(registry_token="RTOK"))
        assert send(made, Request("GET", self.URL, {"Range": "bytes=1-"})) == 200
        (asked,) = made.transport.asked
        assert dict(asked.headers) == {"Range": "bytes=1-"}

    @pytest.mark.parametrize(
        "url", ["http://r.example/v2/x", "https://r.example:444/v2/x", "https://sub.r.example/v2/x"]
    )
    def test_are_all_other_origins(self, url):
        made = bench(lambda asked: Said(200), Credential(registry_token="RTOK"))
        send(made, Request("GET", url))
        assert made.transport.asked[0].authorization == ""

    def test_are_not_those_who_spell_the_registry_otherwise(self):
        made = bench(lambda asked: Said(200), Credential(registry_token="RTOK"))
        send(made, Request("GET", "https://R.example:443/v2/x"))
        assert made.transport.asked[0].authorization == "Bearer RTOK"
        assert made.transport.asked[0].url == "https://r.example/v2/x"

    def test_are_answered_with_an_anonymous_token_of_their_own(self):
        registry = TokenRegistry("https://auth.cdn.example/token")
        made = bench(registry, LOGIN)
        assert send(made, Request("GET", "https://cdn.example/v2/x/blobs/y")) == 200
        assert [asked.authorization for asked in made.transport.asked] == ["", "", "Bearer T1"]
        assert made.transport.asked[1].query["scope"] == ["repository:x:pull"]
        assert "Imgpkg-Session-Id" not in made.transport.asked[1].headers
        made.transport.assert_all_closed()

    @pytest.mark.parametrize(
        "headers",
        [(), BASIC, www("Bearer"), www('Bearer realm="http://cdn.example/"'), www('Bearer realm="/broken"')],
    )
    def test_that_want_more_are_left_with_their_401(self, headers):
        made = bench(lambda asked: Said(500 if asked.path == "/broken" else 401, headers=headers), LOGIN)
        assert send(made, Request("GET", self.URL)) == 401
        assert all(asked.authorization == "" for asked in made.transport.asked)

    def test_that_want_a_token_for_writing_are_left_with_their_401(self):
        made = bench(TokenRegistry(), LOGIN)
        assert send(made, Request("PUT", self.URL, body=bytes_body(b"x"))) == 401
        assert len(made.transport.asked) == 1

    def test_leave_no_response_open_when_work_is_stopped(self):
        said = Said(401, headers=www('Bearer realm="https://auth.example/"'))
        authorizer = Authorizer(bench(None).authorizer.keychain)
        with pytest.raises(KeyboardInterrupt):
            drive(authorizer.flow(Request("GET", self.URL), Access.read(A)), said, KeyboardInterrupt())
        assert said.closed


class TestOverSockets:
    """What is above over a wire of its own, with the transport of the product."""

    @staticmethod
    def ask(handle, credential):
        with Server(handle) as server, Pool() as pool:
            made = Bench(pool, Source(credential))
            there = Repository.parse(f"{server.address}/a/b")
            status = send(made, Request("GET", "/v2/a/b/manifests/v1"), Access.read(there))
            return status, [(asked.path, asked.authorization) for asked in server.asked]

    @pytest.mark.parametrize(
        "credential", [LOGIN, Credential(identity_token="R0")], ids=["login", "identity"]
    )
    def test_a_401_that_names_nothing_is_answered_as_the_ping_wants_it(self, credential):
        handle = TestA401ThatNamesNothingToAnswer.mute(TokenRegistry("/token"))
        login = BASIC_LOGIN if credential == LOGIN else ""
        assert self.ask(handle, credential) == (
            200,
            [(GET.url, ""), ("/v2/", ""), ("/token", login), (GET.url, "Bearer T1")],
        )

    @pytest.mark.parametrize(("refusals", "status", "tokens"), [(1, 200, 2), (9, 401, 2)])
    def test_a_fresh_token_that_is_refused_is_fetched_once_more(self, refusals, status, tokens):
        registry = TokenRegistry("/token")
        left = iter(range(refusals))

        def content(asked):
            refused = next(left, None) is not None
            return registry.challenge({("a/b", "pull")}) if refused else Said(200)

        registry.content = content
        seen_status, asked = self.ask(registry, LOGIN)
        assert (seen_status, [path for path, _ in asked].count("/token")) == (status, tokens)

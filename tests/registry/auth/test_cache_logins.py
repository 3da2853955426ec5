"""How often a login is sent: by one at a time until it is accepted, and not again where it was refused."""

from __future__ import annotations

import threading
from collections import Counter
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
    wait_for_waiting,
    www,
)

from imgpkg.auth.keychain import Credential
from imgpkg.errors import (
    ConnectionFailed,
    ConnectionTimedOut,
    Forbidden,
    ImgpkgError,
    RegistryError,
    Unauthorized,
)
from imgpkg.oci.reference import Repository
from imgpkg.registry.auth.cache import REMEMBERED, LoginAttempt
from imgpkg.registry.auth.challenge import Access
from imgpkg.transport.message import Origin, Request
from imgpkg.transport.pool import Pool

BASIC = www('Basic realm="r"')
BASIC_LOGIN = "Basic dXNlcjpwYXNzLXdvcmQ="
TOKEN = Credential(registry_token="RTOK")
IDENTITY = Credential(identity_token="R0")
MANY = 12


def repository(name, registry="r.example"):
    return Repository.parse(f"{registry}/app/{name}")


def ask(made, name, registry="r.example", *, write=False):
    """Send one request about a repository; return its status, or the error that came instead."""
    access = (Access.write if write else Access.read)(repository(name, registry))
    request = Request("POST" if write else "GET", f"/v2/app/{name}/manifests/v1")
    try:
        answer = made.exchange.send(request, access)
    except ImgpkgError as error:
        return error
    answer.response.close()
    return answer.response.status


def all_at_once(made, count=MANY):
    """Ask about so many repositories at the same time."""
    with ThreadPoolExecutor(count) as workers:
        return list(workers.map(lambda number: ask(made, f"image{number}"), range(count), timeout=30))


def bench(handle, *credentials, **options):
    return Bench(Wire(handle), Source(*credentials), **options)


def shown(made):
    """Count the Authorization headers and refresh tokens that arrived."""
    return Counter(
        asked.form["refresh_token"]
        if asked.method == "POST" and asked.path == "/token"
        else asked.authorization
        for asked in made.transport.asked
    )


def public_first(handle):
    """Have a repository that everybody may read, so that the first request does not go alone."""
    return lambda asked: Said(200) if "/public/" in asked.path else handle(asked)


def refusing_basic(asked):
    return Said(401, b'{"errors":[{"code":"UNAUTHORIZED","message":"wrong"}]}', BASIC)


def refusing_tokens(status=401, **options):
    registry = TokenRegistry(**options)
    registry.refuses = lambda asked: Said(status, b'{"errors":[{"code":"DENIED","message":"wrong"}]}')
    return registry


class TestARefusedLogin:
    @pytest.mark.parametrize("credential", [LOGIN, TOKEN], ids=["login", "registry token"])
    def test_is_sent_to_a_registry_once_by_many_at_once(self, credential):
        made = bench(public_first(refusing_basic), credential)
        if credential == LOGIN:
            assert ask(made, "public") == 200
        assert all_at_once(made) == [401] * MANY
        assert ask(made, "later", write=True) == 401
        header = BASIC_LOGIN if credential == LOGIN else "Bearer RTOK"
        assert shown(made)[header] == 1
        made.transport.assert_all_closed()

    @pytest.mark.parametrize(("credential", "secret"), [(LOGIN, BASIC_LOGIN), (IDENTITY, "R0")])
    def test_is_sent_to_a_token_service_once_by_many_at_once(self, credential, secret):
        made = bench(public_first(refusing_tokens()), credential)
        assert ask(made, "public") == 200
        errors = all_at_once(made)
        assert {type(error) for error in errors} == {Unauthorized}
        assert shown(made)[secret] == 1
        made.transport.assert_all_closed()

    def test_is_reported_with_the_text_and_hints_of_each_repository_in_errors_of_their_own(self):
        made = bench(refusing_tokens(), LOGIN)
        errors = all_at_once(made)
        assert len({id(error) for error in errors}) == MANY
        for number, error in enumerate(errors):
            assert str(error) == (
                "the token service auth.example refused user 'user', whose password is from the test: "
                "Requesting a token for r.example: GET https://auth.example/token?account=REDACTED&scope=repository%3Aapp%2Fimage"
                f"{number}%3Apull&service=the+service: DENIED: wrong"
            )
            assert error.url in str(error)
            assert error.hints[1].startswith(f"credential for r.example/app/image{number} from flags")
            assert "pass-word" not in f"{error}{error.hints}{error!r}"
        assert sum("auth.example refused this credential" in str(error.hints) for error in errors) == MANY - 1

    def test_at_a_registry_gives_every_request_the_words_of_the_registry(self):
        made = bench(refusing_basic, LOGIN)
        for name in ("a", "b"):
            access = Access.read(repository(name))
            with pytest.raises(
                Unauthorized, match=rf"/v2/app/{name}/tags/list: UNAUTHORIZED: wrong$"
            ) as caught:
                made.exchange.call(Request("GET", f"/v2/app/{name}/tags/list"), access, (200,))
            assert caught.value.hints[1].startswith(f"credential for r.example/app/{name} from flags")
            assert caught.value.hints[-1].startswith("r.example refused this credential")
        assert shown(made)[BASIC_LOGIN] == 1

    @pytest.mark.parametrize("retry_count", [1, 5])
    def test_is_not_sent_again_by_retries(self, retry_count):
        """The code UNKNOWN is one that is retried."""
        registry = refusing_tokens()
        registry.refuses = lambda asked: Said(400, {"errors": [{"code": "UNKNOWN", "message": "wrong"}]})
        made = bench(registry, IDENTITY, retry_count=retry_count)
        with pytest.raises(RegistryError):
            made.exchange.repeat(
                lambda: made.exchange.call(
                    Request("GET", "/v2/app/x/tags/list"), Access.read(repository("x")), (200,)
                )
            )
        assert shown(made)["R0"] == 1

    def test_for_two_ends_of_one_registry_is_sent_once(self):
        made = bench(refusing_basic, LOGIN)
        assert [ask(made, "source"), ask(made, "destination", write=True)] == [401, 401]
        assert shown(made)[BASIC_LOGIN] == 1

    def test_for_two_registries_with_one_realm_is_sent_once(self):
        made = bench(refusing_tokens(), LOGIN)
        errors = [ask(made, "a", "one.example"), ask(made, "a", "two.example")]
        assert {type(error) for error in errors} == {Unauthorized}
        assert [error.hints[1][:33] for error in errors] == [
            "credential for one.example/app/a ",
            "credential for two.example/app/a ",
        ]
        assert shown(made)[BASIC_LOGIN] == 1

    def test_at_one_registry_is_sent_to_another(self):
        made = bench(
            lambda asked: (
                Said(200) if asked.host == "two.example" and asked.authorization else Said(401, headers=BASIC)
            ),
            LOGIN,
        )
        assert [ask(made, "a", "one.example"), ask(made, "a", "two.example")] == [401, 200]

    def test_does_not_keep_a_registry_from_showing_what_is_public(self):
        made = bench(public_first(refusing_basic), LOGIN)
        assert [ask(made, "private"), ask(made, "public")] == [401, 200]

    @pytest.mark.parametrize("status", [403, 404])
    def test_is_reported_where_a_registry_hides_what_is_private(self, status):
        def handle(asked):
            if asked.path == "/v2/":
                return Said(200)
            return Said(401 if asked.authorization else status)

        made = bench(handle, LOGIN)
        assert ask(made, "a") == 401
        error = ask(made, "b")
        assert isinstance(error, Unauthorized)
        assert str(error) == (
            "the registry r.example refused user 'user', whose password is from the test: "
            "GET https://r.example/v2/app/b/manifests/v1: the credential was refused before, with 401 "
            "Unauthorized, and is not sent again"
        )
        assert error.hints[1].startswith("credential for r.example/app/b from flags")
        assert shown(made)[BASIC_LOGIN] == 1
        made.transport.assert_all_closed()

    def test_is_sent_again_after_ten_minutes(self):
        for handle in (refusing_basic, refusing_tokens()):
            made = bench(handle, LOGIN)
            for _ in range(3):
                ask(made, "a")
                made.clock.now += REMEMBERED - 1
                ask(made, "a")
                made.clock.now += 1
            assert shown(made)[BASIC_LOGIN] == 3

    def test_gives_way_to_another_one_of_the_keychain(self):
        def handle(asked):
            return Said(200) if asked.authorization == BASIC_LOGIN else refusing_basic(asked)

        old = Credential("user", "old")
        made = bench(handle, old, old, LOGIN)
        assert [ask(made, "a"), ask(made, "b"), ask(made, "a")] == [401, 200, 200]
        assert sum(header not in ("", BASIC_LOGIN) for header in shown(made).elements()) == 1

    def test_gives_way_to_another_one_of_the_keychain_at_a_token_service_too(self):
        registry = TokenRegistry()
        registry.refuses = lambda asked: None if asked.authorization == BASIC_LOGIN else Said(401)
        made = bench(registry, Credential("user", "old"), LOGIN)
        assert [ask(made, "a"), ask(made, "b")] == [200, 200]
        assert made.source.count == 3

    def test_that_is_given_again_with_a_later_end_is_the_same_one(self):
        ends = iter(range(10**6 + 100, 10**6 + 200))
        made = bench(refusing_basic, lambda _: Credential("user", "pass-word", expires_at=float(next(ends))))
        assert [ask(made, "a"), ask(made, "b")] == [401, 401]
        assert shown(made)[BASIC_LOGIN] == 1

    def test_is_not_taken_for_one_when_a_refresh_token_beside_it_was(self):
        registry = TokenRegistry()
        registry.refuses = lambda asked: Said(401) if asked.method == "POST" else None
        made = bench(registry, Credential("user", "pass-word", identity_token="R0"))
        assert all_at_once(made) == [200] * MANY
        assert shown(made)["R0"] == 1

    def test_beside_a_refused_refresh_token_is_sent_once_as_well(self):
        made = bench(refusing_tokens(), Credential("user", "pass-word", identity_token="R0"))
        assert {type(error) for error in all_at_once(made)} == {Unauthorized}
        assert (shown(made)["R0"], shown(made)[BASIC_LOGIN]) == (1, 1)

    @pytest.mark.parametrize("status", [400, 403])
    def test_that_may_only_lack_rights_is_sent_once_more_for_other_scopes(self, status):
        made = bench(refusing_tokens(status), LOGIN)
        errors = all_at_once(made)
        assert {error.status for error in errors} == {status}
        assert shown(made)[BASIC_LOGIN] == 2

    def test_for_one_repository_does_not_hinder_another_where_it_is_good(self):
        registry = TokenRegistry()
        registry.refuses = lambda asked: Said(403) if "app/closed" in asked.query["scope"][0] else None
        made = bench(registry, LOGIN)
        assert isinstance(ask(made, "closed"), Forbidden)
        assert [ask(made, "a"), ask(made, "b")] == [200, 200]

    def test_is_not_one_because_its_tokens_are(self):
        registry = TokenRegistry()
        registry.content = lambda asked: registry.challenge({(registry.wanted(asked).pop()[0], "pull")})
        made = bench(registry, LOGIN)
        assert [ask(made, "a"), ask(made, "b")] == [401, 401]
        registry.content = lambda asked: Said(200)
        assert [ask(made, "a"), ask(made, "b")] == [200, 200]


class TestAnAcceptedLogin:
    @staticmethod
    def handle(asked):
        if not asked.authorization or "/closed/" in asked.path:
            return Said(401, headers=BASIC)
        return Said(404 if "/absent/" in asked.path else 200)

    @pytest.mark.parametrize("first", ["a", "absent"])
    def test_stays_so_when_another_repository_refuses_it(self, first):
        made = bench(self.handle, LOGIN)
        statuses = [ask(made, name) for name in (first, "closed", "b", "closed", "c")]
        assert statuses == [404 if first == "absent" else 200, 401, 200, 401, 200]

    def test_is_not_sent_again_to_the_repository_that_refused_it(self):
        made = bench(self.handle, LOGIN)
        for name in ("a", "closed", "closed", "closed"):
            ask(made, name)
        signed = [asked.path for asked in made.transport.asked if asked.authorization]
        assert signed == ["/v2/app/a/manifests/v1", "/v2/app/closed/manifests/v1"]

    def test_that_may_not_write_may_still_read(self):
        made = bench(
            lambda asked: Said(401, headers=BASIC) if asked.method == "POST" else self.handle(asked), LOGIN
        )
        assert [ask(made, "a"), ask(made, "a", write=True), ask(made, "a")] == [200, 401, 200]

    def test_of_a_token_service_stays_so_when_it_is_refused_for_another_repository(self):
        registry = TokenRegistry()
        registry.refuses = lambda asked: Said(401) if "app/closed" in asked.query["scope"][0] else None
        made = bench(registry, LOGIN)
        answers = [ask(made, name) for name in ("a", "closed", "b", "closed", "c")]
        assert [getattr(answer, "status", answer) for answer in answers] == [200, 401, 200, 401, 200]
        closed = [asked for asked in made.transport.asked if "app/closed" in str(asked.query.get("scope"))]
        assert len(closed) == 1

    def test_may_be_a_registry_token_that_is_good_for_too_little(self):
        headers = www('Bearer realm="https://auth.example/",error="insufficient_scope"')
        made = bench(
            lambda asked: Said(401, headers=headers) if "/closed/" in asked.path else Said(200), TOKEN
        )
        assert [ask(made, name) for name in ("closed", "a", "closed", "b")] == [401, 200, 401, 200]
        assert [asked.authorization for asked in made.transport.asked] == ["Bearer RTOK"] * 2 + [
            "",
            "Bearer RTOK",
        ]

    def test_is_shown_by_all_at_once(self):
        """None of them is answered before all have asked."""
        together = threading.Barrier(MANY)

        def handle(asked):
            if asked.authorization and "/first/" not in asked.path:
                together.wait(10)
            return self.handle(asked)

        made = bench(handle, LOGIN)
        assert ask(made, "first") == 200
        assert all_at_once(made) == [200] * MANY


class TestALoginWithoutAnAnswerYet:
    """One request shows it at a time; whatever ends that one, the others go on."""

    class Gated:
        """Answers the first request with a login when it is told to, and says how."""

        def __init__(self, *answers):
            self.answers, self.lock = list(answers), threading.Lock()
            self.arrived, self.may_answer, self.in_flight, self.most = (
                threading.Event(),
                threading.Event(),
                0,
                0,
            )

        def __call__(self, asked):
            if "/public/" in asked.path:
                return Said(200)
            if not asked.authorization:
                return Said(401, headers=BASIC)
            with self.lock:
                self.in_flight += 1
                self.most = max(self.most, self.in_flight)
                answer = self.answers.pop(0) if self.answers else Said(200)
            self.arrived.set()
            assert self.may_answer.wait(10)
            with self.lock:
                self.in_flight -= 1
            return answer

    @staticmethod
    def started(made, gate, count):
        """Start the one that goes first and `count` others; return what they will return."""
        ask(made, "public")
        workers = ThreadPoolExecutor(count + 1)
        first = workers.submit(ask, made, "first")
        assert gate.arrived.wait(10)
        others = [workers.submit(ask, made, f"other{number}") for number in range(count)]
        wait_for_waiting(count)
        workers.shutdown(wait=False)
        return first, others

    def test_is_shown_by_one_while_the_others_wait(self):
        gate = self.Gated(Said(401, headers=BASIC))
        made = bench(gate, LOGIN)
        first, others = self.started(made, gate, 5)
        assert shown(made)[BASIC_LOGIN] == 1
        gate.may_answer.set()
        assert [future.result(10) for future in (first, *others)] == [401] * 6
        assert shown(made)[BASIC_LOGIN] == 1

    @pytest.mark.parametrize("status", [429, 500, 503])
    def test_is_neither_accepted_nor_refused_by_a_temporary_answer(self, status):
        gate = self.Gated(Said(status, headers=[("Retry-After", "3")]))
        made = bench(gate, LOGIN)
        first, others = self.started(made, gate, 4)
        gate.may_answer.set()
        assert first.result(10) == status
        errors = [future.result(10) for future in others]
        assert {(error.status, error.retry_after) for error in errors} == {(status, 3.0)}
        assert {str(error).split()[1] for error in errors} == {
            f"https://r.example/v2/app/other{number}/manifests/v1:" for number in range(4)
        }
        assert ask(made, "again") == 200

    @pytest.mark.parametrize("kind", [ConnectionFailed, ConnectionTimedOut])
    def test_makes_those_who_waited_share_a_failure_instead_of_waiting_for_it_too(self, kind):
        gate = self.Gated(kind)
        made = bench(gate, LOGIN)
        first, others = self.started(made, gate, 4)
        gate.may_answer.set()
        errors = [future.result(10) for future in (first, *others)]
        assert {type(error) for error in errors} == {kind}
        assert len({id(error) for error in errors}) == 5
        assert [error.url for error in errors[1:]] == [
            f"https://r.example/v2/app/other{number}/manifests/v1" for number in range(4)
        ]
        assert all(str(error) == f'Get "{error.url}": scripted' for error in errors)
        assert shown(made)[BASIC_LOGIN] == 1

    @pytest.mark.parametrize("failure", [KeyboardInterrupt, RuntimeError])
    def test_is_shown_by_the_next_when_the_first_is_stopped(self, failure):
        gate = self.Gated(failure())
        made = bench(gate, LOGIN)
        first, others = self.started(made, gate, 4)
        gate.may_answer.set()
        assert isinstance(first.exception(10), failure)
        assert [future.result(10) for future in others] == [200] * 4

    def test_is_shown_by_the_next_when_the_conversation_of_the_first_is_closed(self):
        made = bench(self.Gated(), LOGIN)
        made.transport.handle.may_answer.set()
        ask(made, "public")
        flow = made.authorizer.flow(Request("GET", "/v2/app/x/manifests/v1"), Access.read(repository("x")))
        next(flow)
        assert flow.send(Said(401, headers=BASIC)).headers["Authorization"] == BASIC_LOGIN
        with ThreadPoolExecutor(1) as workers:
            other = workers.submit(ask, made, "other")
            wait_for_waiting(1)
            assert not other.done()
            flow.close()
            assert other.result(10) == 200

    def test_holds_up_no_other_registry_and_no_other_login(self):
        gate = self.Gated()
        by_name = {"r.example/app/else": Credential("else", "p")}
        made = bench(gate, lambda repository: by_name.get(str(repository), LOGIN))
        first, others = self.started(made, gate, 2)
        made.transport.handle = lambda asked: Said(200 if asked.authorization else 401, headers=BASIC)
        assert [ask(made, "a", "two.example"), ask(made, "else")] == [200, 200]
        assert not any(future.done() for future in (first, *others))
        gate.may_answer.set()
        assert [future.result(10) for future in (first, *others)] == [200] * 3

    def test_is_shown_to_a_silent_token_service_by_one_of_many(self):
        """All share the time-out of one: none waits for the same time-out after another."""
        silence = threading.Event()

        def service(asked):
            silence.wait(10)
            return ConnectionTimedOut

        registry = TokenRegistry()
        registry.refuses = service
        made = bench(public_first(registry), LOGIN)
        ask(made, "public")
        with ThreadPoolExecutor(MANY) as workers:
            futures = [workers.submit(ask, made, f"image{number % 3}") for number in range(MANY)]
            wait_for_waiting(MANY - 1)
            silence.set()
            errors = [future.result(10) for future in futures]
        assert {type(error) for error in errors} == {ConnectionTimedOut}
        assert all(error.context[0].startswith("Requesting a token for r.") for error in errors)
        assert len({id(error) for error in errors}) == MANY
        assert shown(made)[BASIC_LOGIN] == 1


class TestOverSockets:
    @pytest.mark.parametrize("kind", ["basic", "token service"])
    def test_a_wrong_password_arrives_once(self, kind):
        registry = TokenRegistry("/token")
        registry.refuses = lambda asked: Said(401)
        handle = public_first(refusing_basic if kind == "basic" else registry)
        with Server(handle) as server, Pool() as pool:
            made = Bench(pool, Source(LOGIN), retry_count=3)
            with ThreadPoolExecutor(MANY) as workers:
                assert ask(made, "public", server.address) == 200
                answers = list(workers.map(lambda n: ask(made, f"i{n}", server.address), range(MANY)))
            assert {getattr(answer, "status", answer) for answer in answers} == {401}
            assert sum(asked.authorization == BASIC_LOGIN for asked in server.asked) == 1


def test_a_login_shows_no_secret():
    login = LoginAttempt(BASIC_LOGIN, Origin("https", "r.example", 443), ())
    assert "dXNl" not in f"{login!r}{login}"


def test_a_proxy_that_wants_a_login_of_its_own_says_nothing_about_this_one():
    made = bench(lambda asked: Said(407 if asked.authorization else 401, headers=BASIC), LOGIN)
    assert [ask(made, "a"), ask(made, "b")] == [407, 407]
    made.transport.handle = refusing_basic
    assert [ask(made, name) for name in "abc"] == [401] * 3
    assert shown(made)[BASIC_LOGIN] == 3

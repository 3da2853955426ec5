"""Checks of access by programs: what is checked, which requests are sent, and what a report contains."""

from __future__ import annotations

import time

import jwt
import pytest
from tests.operations.making import make_image
from tests.servers.faults import always, any_of, refusing
from tests.servers.raw import RawServer

from imgpkg.auth.keychain import ANONYMOUS, Credential, CredentialSource, Decision, Finding, Outcome
from imgpkg.embedded.server import serve
from imgpkg.errors import Cancelled, InvalidReference, InvalidSettings
from imgpkg.oci.reference import Reference, Repository, WholeRegistry
from imgpkg.operations.check import CheckTarget, Mark, check_access, known_steps
from imgpkg.registry.probe import Surroundings
from imgpkg.session import Session
from imgpkg.settings import Login, Settings

LOGIN = Login("user", "pass-word")
APP = Repository("registry.example.com", "team/app")


class Giving(CredentialSource):
    """A source with one credential for everything."""

    name = "vault"

    def __init__(self, credential):
        self.credential = credential

    def lookup(self, repository):
        return Finding("vault", Outcome.MATCHED, "it has one", "secret/ci", self.credential)


def opened(credential=None, **options):
    sources = [] if credential is None else [Giving(credential)]
    return Session(Settings(retry_count=1, **options), sources=sources)


def steps(report):
    return {step.name: step.mark.value for step in report.steps}


def text(report, name):
    (found,) = [step.text for step in report.steps if step.name == name]
    return found


def asked(server):
    return [(record.method, record.status) for record in server.requests]


class TestWhatIsChecked:
    @pytest.mark.parametrize("prefix", ["", "https://", "HTTP://"])
    @pytest.mark.parametrize(
        ("given", "target"),
        [
            ("registry.example.com", CheckTarget(WholeRegistry("registry.example.com"))),
            ("registry.example.com:5000/", CheckTarget(WholeRegistry("registry.example.com:5000"))),
            ("registry.example.com/team/app", CheckTarget(APP)),
            ("registry.example.com/team/app:v1", CheckTarget(APP, APP.tag("v1"))),
            (
                f"registry.example.com/team/app@sha256:{'0' * 64}",
                CheckTarget(APP, Reference.parse(f"{APP}@sha256:{'0' * 64}")),
            ),
            (
                "registry.example.com:443/team/app",
                CheckTarget(Repository("registry.example.com:443", "team/app")),
            ),
        ],
    )
    def test_is_an_image_a_repository_or_a_registry(self, prefix, given, target):
        assert CheckTarget.parse(prefix + given) == target

    def test_of_an_address_of_the_api_is_the_repository(self):
        text = f"https://registry.example.com/v2/team/app/manifests/sha256:{'0' * 64}"
        assert CheckTarget.parse(text) == CheckTarget(APP)

    def test_is_no_text_that_names_nothing(self, session):
        with pytest.raises(InvalidReference):
            check_access("UPPER/x", session=session)


class TestRequests:
    def test_without_a_login_are_one_for_an_image_that_is_there(self, session):
        with serve() as server:
            make_image(session, f"{server.address}/team/app", ["x"], tag="v1")
            before = len(server.requests)
            report = check_access(f"{server.address}/team/app:v1", session=opened())
            assert asked(server)[before:] == [("HEAD", 200)]
        assert report.is_ok

    def test_with_a_token_service_are_three_and_three_more_to_push(self):
        with serve(login=("user", "pass-word"), token_service=True) as server:
            session = Session(Settings(login=LOGIN))
            report = check_access(f"{server.address}/team/app", session=session, push=True)
            assert asked(server) == [
                ("GET", 401),
                ("GET", 200),
                ("GET", 404),
                ("GET", 200),
                ("POST", 202),
                ("DELETE", 204),
            ]
        assert report.is_ok
        assert [grant.asked for grant in report.grants] == [
            ("repository:team/app:pull",),
            ("repository:team/app:pull,push",),
        ]

    def test_of_the_next_check_use_the_token_of_the_first(self):
        with serve(login=("user", "pass-word"), token_service=True) as server:
            session = Session(Settings(login=LOGIN))
            for _ in range(2):
                assert check_access(f"{server.address}/team/app", session=session).grants
            assert [record.path for record in server.requests].count("/token") == 1

    def test_of_a_whole_registry_push_nothing(self):
        with serve() as server:
            report = check_access(server.address, session=opened(), push=True)
            assert asked(server) == [("GET", 200)]
        assert (report.is_registry, report.push) == (True, False)

    def test_end_with_a_session_that_is_stopped(self, session):
        session.stop()
        with serve() as server, pytest.raises(Cancelled):
            check_access(server.address, session=session)

    def test_are_none_through_an_unsupported_proxy(self):
        session = opened(environ={"HTTPS_PROXY": "socks5://proxy.example.com"})
        with pytest.raises(InvalidSettings):
            check_access("registry.example.com/team/app", session=session)


class TestSteps:
    @pytest.mark.parametrize(
        ("url", "mark"),
        [
            ("http://127.0.0.1:5000", Mark.OK),
            ("http://localhost", Mark.OK),
            ("http://10.1.2.3:5000", Mark.NOTE),
            ("https://registry.example.com", Mark.OK),
        ],
    )
    def test_note_a_connection_on_which_others_can_read(self, url, mark):
        decision = Decision(APP, ANONYMOUS)
        steps = {step.name: step for step in known_steps(decision, Surroundings(url), 0.0)}
        assert steps["connection"].mark is mark

    def test_of_a_writer_that_may_not_read_go_on(self):
        denied = any_of(
            always(refusing(403, "DENIED"), method="GET"), always(refusing(403, "DENIED"), method="HEAD")
        )
        with serve(login=("user", "pass-word"), faults=denied) as server:
            report = check_access(
                f"{server.address}/team/app", session=Session(Settings(login=LOGIN)), push=True
            )
        assert not report.is_ok

    def test_of_a_refused_push_fail(self):
        with serve(faults=always(refusing(405, "UNSUPPORTED"), method="POST")) as server:
            report = check_access(f"{server.address}/team/app", session=opened(), push=True)
        assert steps(report)["write"] == "failed"
        assert text(report, "write") == "the registry takes no uploads (405: UNSUPPORTED: injected)"

    def test_of_a_missing_project_fail(self):
        with serve(faults=always(refusing(404, "NAME_UNKNOWN"), method="POST")) as server:
            report = check_access(f"{server.address}/team/app", session=opened(), push=True)
        (failed,) = [step for step in report.steps if step.mark is Mark.FAILED]
        assert failed.remedy == f"Create team/app at {server.address} first, or ask for access to it."

    def test_of_an_internal_error_of_the_registry_name_no_credential(self):
        with serve(faults=always(refusing(503))) as server:
            report = check_access(f"{server.address}/team/app", session=opened())
        assert text(report, "read") == "the registry has a problem of its own (503: UNAVAILABLE: injected)"

    def test_of_a_realm_that_is_refused_fail_at_the_challenge(self):
        challenge = [("WWW-Authenticate", 'Bearer realm="http://169.254.169.254/token"')]
        with serve(faults=always(refusing(401, "UNAUTHORIZED", "no", challenge))) as server:
            report = check_access(f"{server.address}/team/app", session=opened())
        assert steps(report)["challenge"] == "failed"
        assert "no business with that address" in text(report, "challenge")

    def test_of_an_identity_token_where_a_login_is_wanted_fail_at_the_challenge(self):
        with serve(login=("user", "pass-word")) as server:
            session = opened(Credential(identity_token="identity"))
            report = check_access(f"{server.address}/team/app", session=session)
        assert "needs a token service" in text(report, "challenge")

    def test_name_a_token_of_the_registry_that_has_ended(self):
        ended = jwt.encode({"exp": 1_000_000_000}, "k" * 32)
        with serve(login=("user", "pass-word")) as server:
            session = opened(Credential(registry_token=ended))
            report = check_access(f"{server.address}/team/app", session=session)
        assert (
            text(report, "read") == "the registry token from secret/ci ended at 2001-09-09 01:46:40 UTC "
            "(401: UNAUTHORIZED: authentication required)"
        )
        assert ended not in repr(report)

    def test_name_a_token_where_a_login_is_needed(self):
        with serve(login=("user", "pass-word")) as server:
            report = check_access(f"{server.address}/a/b", session=opened(Credential(registry_token="odd")))
        assert text(report, "read").startswith(
            f"the registry token from secret/ci cannot be used at the registry {server.address}, "
        )

    def test_name_the_source_that_asks_for_anonymous_access(self):
        with serve(login=("user", "pass-word")) as server:
            report = check_access(f"{server.address}/a/b", session=opened(ANONYMOUS))
        assert text(report, "credential") == "vault: secret/ci, which asks for anonymous access"
        (remedy,) = [step.remedy for step in report.steps if step.remedy]
        assert remedy.startswith("Complete or remove this entry. To log in: ")

    @pytest.mark.parametrize(("seconds", "words"), [(120, "left"), (-120, "ago")])
    def test_include_when_a_credential_ends(self, seconds, words):
        now = time.time()
        with serve() as server:
            session = opened(Credential("user", "pass-word", expires_at=now + seconds))
            report = check_access(f"{server.address}/a/b", session=session, clock=lambda: now)
        assert text(report, "credential").endswith(f" (0:02:00 {words})")

    def test_of_a_token_without_claims_of_access_note_it(self):
        token = jwt.encode({"sub": "x"}, "k" * 32)

        def talk(conversation):
            while (received := conversation.receive()) is not None:
                if received.target.startswith("/token"):
                    conversation.respond(f'{{"token":"{token}"}}'.encode())
                elif received.header("Authorization"):
                    conversation.respond(b'{"tags":null}')
                else:
                    realm = f'Bearer realm="http://{received.header("Host")}/token"'
                    conversation.respond(status="401 No", headers=[("WWW-Authenticate", realm)])

        with RawServer(talk) as server:
            report = check_access(f"{server.address}/a/b", session=opened())
        assert "; granted a token that does not say for what, until " in text(report, "token")
        assert text(report, "read") == "its tags can be listed; it has none"

    def test_of_an_absent_image_after_a_login_are_a_note(self):
        with serve(login=("user", "pass-word")) as server:
            report = check_access(f"{server.address}/a/b", session=Session(Settings(login=LOGIN)))
        assert report.is_ok
        assert text(report, "read") == "login accepted; it is not there, or hidden from this user (404)"

"""The first sentence of a 401 or 403: what became of the credential, and what to do next."""

from __future__ import annotations

import jwt
import pytest

from imgpkg.auth.keychain import ANONYMOUS, Credential, Decision, Finding, NearMiss, Outcome
from imgpkg.errors import RefusalKind
from imgpkg.oci.reference import Repository
from imgpkg.registry.auth.challenge import Access, parse_challenges
from imgpkg.registry.auth.refusal import Case, Evidence, date_of, granted_actions, refusal_of, unusable_here
from imgpkg.registry.auth.token import header_of
from imgpkg.registry.endpoint import Endpoint

SECRET = "hunter2-hunter2-hunter2-hunter2!"
LOGIN = Credential("ci", SECRET)
IDENTITY, TOKEN = Credential(identity_token=SECRET), Credential(registry_token=SECRET)
NOW = 1_800_000_000.0
BASIC, BEARER = parse_challenges(['Basic realm="r"']), parse_challenges(['Bearer realm="/t"'])
INSUFFICIENT = parse_challenges(['Bearer realm="/t",error="insufficient_scope"'])
INVALID = parse_challenges(['Bearer realm="/t",error="invalid_token"'])


def case(
    credential,
    *,
    source="environment",
    origin="SET",
    kept_in="$SECRET",
    push=False,
    host="r.example",
    misses=(),
):
    repository = Repository.parse(f"{host}/team/app")
    finding = Finding(source, Outcome.MATCHED, "why", origin, credential, kept_in=kept_in)
    if credential is None:
        finding = Finding(source, Outcome.NO_MATCH, "why not")
    access = Access.write(repository) if push else Access.read(repository)
    decision = Decision(repository, credential or ANONYMOUS, (finding,))
    return Case(decision, access.scopes, Endpoint(host), NOW, tuple(misses))


def signed(**claims):
    return jwt.encode(claims, SECRET, algorithm="HS256")


def told(made, status=401, secret=None, **options):
    """Return kind, sentence and remedy of the refusal, in which no secret is."""
    header = header_of(made.credential) if secret is None else secret
    found = refusal_of(made, Evidence(status, header, **options))
    assert SECRET not in f"{found}"
    return found.kind, found.sentence, found.remedy


class TestRefused:
    def test_names_the_user_and_where_the_password_is_from(self):
        assert told(case(LOGIN), challenges=BASIC) == (
            RefusalKind.REFUSED,
            "the registry r.example refused user 'ci', whose password is from $SECRET",
            "Check the username and the password: put a valid one into $SECRET.",
        )

    @pytest.mark.parametrize(
        ("service", "place"),
        [("auth.example", "the token service auth.example"), ("r.example", "the token service of r.example")],
    )
    @pytest.mark.parametrize("status", [400, 401, 403])
    def test_names_the_token_service(self, service, place, status):
        kind, sentence, _ = told(case(IDENTITY), status, f"Refresh {SECRET}", service=service)
        assert (kind, sentence) == (RefusalKind.REFUSED, f"{place} refused the identity token from $SECRET")

    def test_of_a_login_beside_an_identity_token_is_about_the_login(self):
        both = Credential("ci", SECRET, identity_token=SECRET)
        sentence = told(case(both), 401, header_of(LOGIN), service="s")[1]
        assert sentence == "the token service s refused user 'ci', whose password is from $SECRET"

    def test_of_a_registry_token_where_tokens_are_wanted(self):
        kind, sentence, remedy = told(case(TOKEN), challenges=BEARER)
        assert kind is RefusalKind.REFUSED
        assert sentence == "the registry r.example refused the registry token from $SECRET"
        assert remedy == "Check the registry token: put a valid one into $SECRET."

    def test_of_the_token_that_the_registry_s_own_service_has_issued(self):
        kind, sentence, remedy = told(case(LOGIN), secret="Bearer T", challenges=INVALID)
        assert kind is RefusalKind.REFUSED
        assert sentence == (
            "the registry r.example refused the token that its own token service had issued for user 'ci', "
            "whose password is from $SECRET"
        )
        assert remedy.startswith("Check the clocks of this machine and of r.example")

    def test_of_a_keychain_asks_for_its_identity(self):
        made = case(LOGIN, source="ecr", origin="AWS (env)", kept_in="")
        _, sentence, remedy = told(made)
        assert sentence.endswith("whose password is from keychain ecr: AWS (env)")
        assert remedy == (
            "Check the username and the password: see which identity the keychain uses, AWS (env), "
            "and whether it may use this registry."
        )

    def test_of_the_docker_config_asks_for_a_new_login(self):
        made = case(LOGIN, source="docker config", origin='FILE: auths "r"', kept_in="")
        assert told(made)[2].endswith(
            'log in again (imgpkg auth login r.example), which replaces FILE: auths "r".'
        )

    @pytest.mark.parametrize(
        ("password", "said"),
        [(f"{SECRET}\n", "ends in a newline"), (f" {SECRET}", "begins or ends with a blank")],
    )
    def test_says_what_is_wrong_around_the_secret(self, password, said):
        made = case(Credential("ci", password))
        _, sentence, remedy = told(made)
        assert sentence.endswith(f"is from $SECRET and {said}")
        assert remedy.startswith("Store it without blanks")

    def test_shows_no_line_break_of_a_user_name(self):
        assert "\n" not in told(case(Credential("a\nb", SECRET), kept_in="$A\nB"))[1]


class TestNotEnough:
    @pytest.mark.parametrize(
        ("granted", "said"),
        [
            ([{"type": "repository", "name": "team/app", "actions": ["pull"]}], "grants pull only"),
            ([], "grants nothing"),
            ([{"type": "repository", "name": "other", "actions": ["push"]}, "odd"], "grants nothing"),
            ([{"type": "repository", "name": "team/app", "actions": "pull"}], "grants nothing"),
            (None, "is not enough"),
        ],
    )
    def test_says_what_the_token_of_an_accepted_login_grants(self, granted, said):
        token = signed(access=granted) if granted is not None else "opaque"
        made = case(LOGIN, push=True)
        assert told(made, secret=f"Bearer {token}", challenges=INSUFFICIENT) == (
            RefusalKind.NOT_ENOUGH,
            (
                "user 'ci', whose password is from $SECRET, may not push to r.example/team/app: "
                f"the login was accepted, but the token that it got {said}"
            ),
            (
                "Ask for the permission to push to r.example/team/app, or use a credential that has it; "
                "check the spelling of the repository, too."
            ),
        )

    def test_is_what_a_token_without_an_error_code_means(self):
        assert told(case(LOGIN), secret="Bearer T", challenges=BEARER)[0] is RefusalKind.NOT_ENOUGH

    def test_of_a_login_is_a_403(self):
        kind, sentence, _ = told(case(LOGIN), 403)
        assert kind is RefusalKind.NOT_ENOUGH
        assert sentence == "user 'ci', whose password is from $SECRET, may not pull from r.example/team/app"

    def test_of_a_token_has_no_comma(self):
        assert told(case(TOKEN), 403)[1] == (
            "the registry token from $SECRET may not pull from r.example/team/app"
        )


class TestAnonymous:
    def test_says_that_nothing_was_found_and_how_to_log_in(self):
        assert told(case(None)) == (
            RefusalKind.ANONYMOUS,
            "no credential was sent to the registry r.example: none was found for r.example/team/app",
            (
                "To log in: imgpkg auth login r.example, or set IMGPKG_REGISTRY_HOSTNAME_0=r.example with "
                "IMGPKG_REGISTRY_USERNAME_0 and IMGPKG_REGISTRY_PASSWORD_0."
            ),
        )

    def test_prefers_what_almost_matched(self):
        misses = [NearMiss("x", "no remedy"), NearMiss("y", "almost", "TYPE=this")]
        assert told(case(None, misses=misses))[2] == "almost: TYPE=this"

    def test_says_what_the_active_keychain_of_the_registry_lacks(self):
        made = case(None, source="github", host="ghcr.io")
        assert told(made)[2] == "The keychain 'github' is active and gave nothing: why not"

    def test_is_a_token_for_nobody_too(self):
        assert told(case(None), secret="Bearer T", challenges=INSUFFICIENT)[0] is RefusalKind.ANONYMOUS

    @pytest.mark.parametrize(
        ("credential", "why"),
        [
            (ANONYMOUS, "SET asks for anonymous access"),
            (Credential("ci"), "SET has a username and no password"),
            (Credential(password=SECRET), "SET has a password and no username"),
        ],
    )
    def test_says_who_asked_for_it(self, credential, why):
        made = case(credential)
        assert told(made)[1] == f"no credential was sent to the registry r.example: {why}"

    @pytest.mark.parametrize(
        ("source", "kept_in", "remedy"),
        [
            ("flags", "", "Leave out SET. To log in: "),
            ("environment", "$SECRET", "Set $SECRET, which is missing or empty."),
            ("environment", "", "Set SET and SET as well, or remove this set"),
            ("docker config", "", "Complete or remove this entry. To log in: "),
        ],
    )
    def test_says_what_to_change(self, source, kept_in, remedy):
        assert told(case(ANONYMOUS, source=source, kept_in=kept_in))[2].startswith(remedy)

    def test_is_a_credential_that_was_not_requested(self):
        kind, sentence, remedy = told(case(LOGIN), 403, "")
        assert kind is RefusalKind.ANONYMOUS
        assert sentence == (
            "no credential was sent to the registry r.example, which asked for none; the login from $SECRET "
            "was not used"
        )
        assert remedy.startswith("Check the address: r.example ")

    def test_may_be_why_something_is_not_found(self):
        assert told(case(None), 404)[0] is RefusalKind.ANONYMOUS
        assert refusal_of(case(LOGIN), Evidence(404, header_of(LOGIN))) is None


class TestEnded:
    ENDED = signed(iss="https://id.example", exp=NOW - 1)

    def test_names_the_end_and_the_issuer(self):
        kind, sentence, remedy = told(case(Credential(registry_token=self.ENDED)))
        assert kind is RefusalKind.ENDED
        assert sentence == (
            "the registry token from $SECRET, issued by https://id.example, ended at 2027-01-15 07:59:59 UTC"
        )
        assert remedy == "Put a valid one into $SECRET."

    def test_is_found_in_a_password_and_in_an_identity_token(self):
        sentence = told(case(Credential("ci", self.ENDED)))[1]
        assert sentence.startswith(
            "the password of user 'ci' from $SECRET, issued by https://id.example, ended"
        )
        made = case(Credential(identity_token=self.ENDED))
        sentence = told(made, 401, f"Refresh {self.ENDED}", service="s")[1]
        assert sentence.startswith("the identity token from $SECRET, issued by https://id.example, ended at ")

    def test_may_be_what_the_registry_says(self):
        text = "GET https://r.example/v2/: DENIED: Your Authorization Token has expired."
        assert told(case(LOGIN), 403, text=text)[:2] == (
            RefusalKind.ENDED,
            "the password of user 'ci' from $SECRET has ended, says the registry r.example",
        )

    def test_is_not_what_a_fresh_token_means(self):
        text = "UNAUTHORIZED: token has expired"
        kind = told(case(LOGIN), secret=f"Bearer {self.ENDED}", text=text, challenges=INVALID)[0]
        assert kind is RefusalKind.REFUSED

    @pytest.mark.parametrize("seconds", [None, 1e300, float("nan")])
    def test_has_no_date_where_no_calendar_has_it(self, seconds):
        assert date_of(seconds) == ""


class TestUnusable:
    def test_is_a_registry_token_where_only_a_login_is_asked_for(self):
        assert told(case(TOKEN), challenges=BASIC) == (
            RefusalKind.UNUSABLE,
            (
                "the registry token from $SECRET cannot be used at the registry r.example, which asks for a "
                "login (Basic)"
            ),
            "Give a username and a password for r.example in place of it.",
        )

    def test_is_a_token_that_no_header_can_hold(self):
        found = unusable_here(case(Credential(registry_token=f"{SECRET}\n")))
        assert found.remedy.startswith("Store it without blanks")


@pytest.mark.parametrize("status", [200, 404, 500])
def test_other_statuses_of_a_token_service_are_not_about_a_credential(status):
    assert refusal_of(case(LOGIN), Evidence(status, service="s")) is None


def test_a_400_of_a_registry_is_not_about_a_credential():
    assert refusal_of(case(LOGIN), Evidence(400, header_of(LOGIN))) is None


@pytest.mark.parametrize("token", ["opaque", signed(sub="x"), signed(access={"pull": True})])
def test_a_token_that_does_not_say_what_it_grants_grants_something_unknown(token):
    assert granted_actions(token, "team/app") is None


def test_evidence_and_case_show_no_secret():
    assert SECRET not in repr(Evidence(401, f"Bearer {SECRET}"))
    assert SECRET not in repr(case(LOGIN))

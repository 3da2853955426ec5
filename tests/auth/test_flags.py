"""Flags and the variables that replace them: what wins, what is refused."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest

from imgpkg.auth.flags import ExplicitSource, validate, variables_of
from imgpkg.auth.keychain import ANONYMOUS, Credential, Decision, Finding, Outcome
from imgpkg.errors import CredentialError, UsageError
from imgpkg.oci.reference import Repository
from imgpkg.settings import Login, Side

USER, PASSWORD, TOKEN, ANON = (f"IMGPKG_{name}" for name in ("USERNAME", "PASSWORD", "TOKEN", "ANON"))


def look_up(login, **environ):
    return ExplicitSource(login, environ).lookup(Repository.parse("gcr.io/p/i"))


@pytest.mark.parametrize(
    ("login", "environ", "credential", "origin"),
    [
        (Login("u", "p"), {}, Credential("u", "p"), "--registry-username, --registry-password"),
        (Login("u"), {PASSWORD: "p"}, Credential("u", "p"), "--registry-username, $IMGPKG_PASSWORD"),
        (
            Login("u", "p", password_origin="--registry-password-stdin"),
            {},
            Credential("u", "p"),
            "--registry-username, --registry-password-stdin",
        ),
        (
            Login("u", password_origin="--registry-password-stdin"),
            {PASSWORD: "p"},
            Credential("u", "p"),
            "--registry-username, $IMGPKG_PASSWORD",
        ),
        (Login(password="p"), {USER: "u"}, Credential("u", "p"), "$IMGPKG_USERNAME, --registry-password"),
        (
            Login("u"),
            {USER: "x", PASSWORD: "p"},
            Credential("u", "p"),
            "--registry-username, $IMGPKG_PASSWORD",
        ),
        (Login(), {USER: "u", PASSWORD: "p"}, Credential("u", "p"), "$IMGPKG_USERNAME, $IMGPKG_PASSWORD"),
        (Login(token="t"), {}, Credential(registry_token="t"), "--registry-token"),
        (Login(), {TOKEN: "t"}, Credential(registry_token="t"), "$IMGPKG_TOKEN"),
        (Login(token="t"), {USER: "u", PASSWORD: "p"}, Credential(registry_token="t"), "--registry-token"),
        (Login(token="t"), {USER: "u"}, Credential(registry_token="t"), "--registry-token"),
        (Login("u", "p"), {TOKEN: "t"}, Credential("u", "p"), "--registry-username, --registry-password"),
        (
            Login(),
            {TOKEN: "t", USER: "u", PASSWORD: "p"},
            Credential("u", "p"),
            "$IMGPKG_USERNAME, $IMGPKG_PASSWORD",
        ),
        (Login(username=""), {USER: "u", TOKEN: "t"}, Credential(registry_token="t"), "$IMGPKG_TOKEN"),
        (Login(token="t"), {ANON: "true"}, Credential(registry_token="t"), "--registry-token"),
        (Login("ü", "p:ö = \n"), {}, Credential("ü", "p:ö = \n"), "--registry-username, --registry-password"),
        (Login(anonymous=True), {}, ANONYMOUS, "--registry-anon"),
        (Login(anonymous=True), {USER: "u", PASSWORD: "p", TOKEN: "t"}, ANONYMOUS, "--registry-anon"),
        (Login(anonymous=True), {USER: "u"}, ANONYMOUS, "--registry-anon"),
        (
            Login(anonymous=False),
            {USER: "u", PASSWORD: "p"},
            Credential("u", "p"),
            "$IMGPKG_USERNAME, $IMGPKG_PASSWORD",
        ),
        (Login(username="", anonymous=True), {}, ANONYMOUS, "--registry-anon"),
        (Login(password="p"), {ANON: "1"}, ANONYMOUS, "$IMGPKG_ANON"),
        (Login(), {TOKEN: "t", ANON: "true"}, Credential(registry_token="t"), "$IMGPKG_TOKEN"),
        (
            Login(),
            {USER: "u", PASSWORD: "p", ANON: "true"},
            Credential("u", "p"),
            "$IMGPKG_USERNAME, $IMGPKG_PASSWORD",
        ),
        (Login("u", "p"), {ANON: "true"}, Credential("u", "p"), "--registry-username, --registry-password"),
    ],
)
def test_a_combination_of_the_table_gives_its_credential(login, environ, credential, origin):
    finding = look_up(login, **environ)
    assert finding.outcome is Outcome.MATCHED
    assert (finding.credential, finding.origin) == (credential, origin)
    assert "docker config is not consulted" in finding.detail


@pytest.mark.parametrize(
    ("login", "environ", "detail"),
    [
        (Login(), {}, "neither a username nor a token is given, nor anonymous access asked for"),
        (Login(username=""), {USER: "u", PASSWORD: "p"}, "$IMGPKG_PASSWORD counts only with a username"),
        (Login(token=""), {TOKEN: "t"}, "neither"),
        (Login(password="p"), {}, "--registry-password counts only with a username"),
        (Login(anonymous=False), {ANON: "true"}, "neither"),
        (Login(), {ANON: "yes"}, "$IMGPKG_ANON is no boolean and counts for nothing"),
        (Login(), {ANON: " true"}, "$IMGPKG_ANON is no boolean"),
    ],
)
def test_where_nothing_usable_is_given_the_docker_config_is_next(login, environ, detail):
    finding = look_up(login, **environ)
    assert finding.outcome is Outcome.NOT_APPLICABLE
    assert finding.credential is None
    assert detail in finding.detail


@pytest.mark.parametrize(
    ("login", "environ", "message"),
    [
        (Login("u"), {}, "password missing: --registry-username is given"),
        (Login(), {USER: "u"}, "password missing: $IMGPKG_USERNAME is given"),
        (Login("u", ""), {PASSWORD: "p"}, "password missing"),
        (Login(), {USER: "u", TOKEN: "t"}, "password missing"),
        (Login("u", "p", "t"), {}, "--registry-username and --registry-token exclude each other"),
        (Login("u:v", "p"), {}, "--registry-username must not contain a colon"),
        (Login(), {USER: "u:v", PASSWORD: "p"}, "$IMGPKG_USERNAME must not contain a colon"),
        (Login("u", "p", anonymous=True), {}, "--registry-anon and --registry-username exclude each other"),
        (Login(token="t", anonymous=True), {}, "--registry-anon and --registry-token exclude each other"),
    ],
)
def test_options_that_do_not_go_together_are_refused_at_the_start(login, environ, message):
    for attempt in (validate, ExplicitSource):
        with pytest.raises(UsageError) as caught:
            attempt(login, environ)
        assert message in str(caught.value)


def test_options_that_go_together_pass():
    assert validate(Login("u", "p"), {}) is None


@pytest.mark.parametrize("text", ["1", "t", "T", "true", "TRUE", "True", "tRuE"])
def test_anon_is_asked_for_by_every_true_of_go(text):
    assert look_up(Login(), IMGPKG_ANON=text).credential == ANONYMOUS


@pytest.mark.parametrize("text", ["", "0", "f", "F", "false", "FALSE", "False"])
def test_anon_is_not_asked_for_by_any_false_of_go(text):
    finding = look_up(Login(), IMGPKG_ANON=text)
    assert finding.credential is None
    assert "boolean" not in finding.detail


FROM_USER, FROM_PASSWORD, FROM_TOKEN, FROM_ANON = (
    f"IMGPKG_FROM_{name}" for name in ("USERNAME", "PASSWORD", "TOKEN", "ANON")
)
PLAIN_LOGIN = Login("plain", "p")
PLAIN_VARIABLES = {USER: "plain-variable", PASSWORD: "p"}


def look_up_side(side_login, login=None, side=Side.FROM, **environ):
    source = ExplicitSource(login or Login(), environ, side=side, side_login=side_login)
    return source.lookup(Repository.parse("gcr.io/p/i"))


@pytest.mark.parametrize(
    ("side_login", "login", "environ", "credential", "origin"),
    [
        # Each of the four places, and what is below it.
        (
            Login("flag", "f"),
            PLAIN_LOGIN,
            {FROM_USER: "variable", FROM_PASSWORD: "v", **PLAIN_VARIABLES},
            Credential("flag", "f"),
            "--from-registry-username, --from-registry-password",
        ),
        (
            Login(),
            PLAIN_LOGIN,
            {FROM_USER: "variable", FROM_PASSWORD: "v", **PLAIN_VARIABLES},
            Credential("variable", "v"),
            "$IMGPKG_FROM_USERNAME, $IMGPKG_FROM_PASSWORD",
        ),
        (
            Login(),
            PLAIN_LOGIN,
            PLAIN_VARIABLES,
            Credential("plain", "p"),
            "--registry-username, --registry-password",
        ),
        (
            Login(),
            Login(),
            PLAIN_VARIABLES,
            Credential("plain-variable", "p"),
            "$IMGPKG_USERNAME, $IMGPKG_PASSWORD",
        ),
        # The kind of the credential does not matter: the side decides first.
        (Login(token="t"), PLAIN_LOGIN, {}, Credential(registry_token="t"), "--from-registry-token"),
        (Login(), PLAIN_LOGIN, {FROM_TOKEN: "t"}, Credential(registry_token="t"), "$IMGPKG_FROM_TOKEN"),
        (Login(), Login(token="p"), {FROM_ANON: "1"}, ANONYMOUS, "$IMGPKG_FROM_ANON"),
        (Login(anonymous=True), PLAIN_LOGIN, {FROM_TOKEN: "t"}, ANONYMOUS, "--from-registry-anon"),
        (
            Login("flag"),
            Login(),
            {FROM_PASSWORD: "v", FROM_TOKEN: "t"},
            Credential("flag", "v"),
            "--from-registry-username, $IMGPKG_FROM_PASSWORD",
        ),
        # An empty flag clears the variable of its side, and the plain login is next.
        (
            Login(username=""),
            PLAIN_LOGIN,
            {FROM_USER: "variable", FROM_PASSWORD: "v"},
            Credential("plain", "p"),
            "--registry-username, --registry-password",
        ),
        (
            Login(anonymous=False),
            PLAIN_LOGIN,
            {FROM_ANON: "true"},
            Credential("plain", "p"),
            "--registry-username, --registry-password",
        ),
        # Half a plain login is no mistake where it is not used; and never completes the login of a side.
        (Login("flag", "f"), Login("plain"), {}, Credential("flag", "f"), "--from-registry-username, "),
        (Login(), PLAIN_LOGIN, {FROM_PASSWORD: "v"}, Credential("plain", "p"), "--registry-username, "),
    ],
)
def test_a_side_takes_precedence_over_the_plain_login(side_login, login, environ, credential, origin):
    finding = look_up_side(side_login, login, **environ)
    assert finding.credential == credential
    assert finding.origin.startswith(origin)


def test_the_trail_says_which_side_a_login_is_for():
    given = {"IMGPKG_TO_USERNAME": "u", "IMGPKG_TO_PASSWORD": "p"}
    assert "to every registry that the copy reads from" in look_up_side(Login("u", "p")).detail
    assert "to the registry that the copy writes to" in look_up_side(Login(), side=Side.TO, **given).detail
    assert look_up_side(Login(), side=Side.FROM, **given).outcome is Outcome.NOT_APPLICABLE
    assert look_up(Login(), **given).outcome is Outcome.NOT_APPLICABLE


def test_values_of_a_side_that_count_for_nothing_are_named():
    finding = look_up_side(Login(), **{FROM_PASSWORD: "v", FROM_ANON: "yes", PASSWORD: "p"})
    assert finding.outcome is Outcome.NOT_APPLICABLE
    assert finding.detail.split("; ")[1:] == [
        "$IMGPKG_FROM_PASSWORD counts only with a username",
        "$IMGPKG_FROM_ANON is no boolean and counts for nothing",
        "$IMGPKG_PASSWORD counts only with a username",
    ]


@pytest.mark.parametrize(
    ("side_login", "login", "environ", "message"),
    [
        (Login("u"), PLAIN_LOGIN, {}, "password missing: --from-registry-username is given without one"),
        (Login(), PLAIN_LOGIN, {FROM_USER: "u"}, "$IMGPKG_FROM_PASSWORD as well"),
        (Login(password="p"), PLAIN_LOGIN, {}, "username missing: --from-registry-password is given"),
        (Login("u", "p", "t"), Login(), {}, "--from-registry-username and --from-registry-token exclude"),
        (Login("u", "p", anonymous=True), Login(), {}, "--from-registry-anon and --from-registry-username"),
        (Login("u:v", "p"), Login(), {}, "--from-registry-username must not contain a colon"),
        (Login("u", "p"), Login("u", "p", "t"), {}, "--registry-username and --registry-token exclude"),
    ],
)
def test_options_of_a_side_that_do_not_go_together_are_refused(side_login, login, environ, message):
    for attempt in (validate, ExplicitSource):
        with pytest.raises(UsageError) as caught:
            attempt(login, environ, side=Side.FROM, side_login=side_login)
        assert message in str(caught.value)


class TestFiles:
    @pytest.fixture
    def path(self, tmp_path):
        path = tmp_path / "secret"
        path.write_text("in-file\n")
        return path

    @pytest.mark.parametrize(
        ("login", "environ", "credential", "origin"),
        [
            (
                {"username": "u", "password_file": "FILE"},
                {PASSWORD: "p", f"{PASSWORD}_FILE": "/no"},
                Credential("u", "in-file"),
                "--registry-username, --registry-password-file=FILE",
            ),
            (
                {},
                {USER: "u", f"{PASSWORD}_FILE": "FILE"},
                Credential("u", "in-file"),
                "$IMGPKG_USERNAME, $IMGPKG_PASSWORD_FILE=FILE",
            ),
            (
                {"username": "u", "password": "p"},
                {f"{PASSWORD}_FILE": "/no"},
                Credential("u", "p"),
                "--registry-username, --registry-password",
            ),
            (
                {"username": "u", "password": "p", "password_file": ""},
                {},
                Credential("u", "p"),
                "--registry-username, --registry-password",
            ),
            (
                {"token_file": "FILE"},
                {USER: "u", PASSWORD: "p"},
                Credential(registry_token="in-file"),
                "--registry-token-file=FILE",
            ),
            (
                {},
                {f"{TOKEN}_FILE": "FILE"},
                Credential(registry_token="in-file"),
                "$IMGPKG_TOKEN_FILE=FILE",
            ),
            (
                {},
                {f"{TOKEN}_FILE": "/no", USER: "u", PASSWORD: "p"},
                Credential("u", "p"),
                "$IMGPKG_USERNAME, $IMGPKG_PASSWORD",
            ),
        ],
    )
    def test_of_flags_come_before_files_and_values_of_variables(
        self, path, login, environ, credential, origin
    ):
        login = {name: path if value == "FILE" else value for name, value in login.items()}
        environ = {name: str(path) if value == "FILE" else value for name, value in environ.items()}
        finding = look_up(Login(**login), **environ)
        assert replace(finding.credential, expires_at=None) == credential
        assert finding.origin == origin.replace("FILE=FILE", f"FILE={path}").replace("=FILE", f"={path}")
        assert "to every registry; the docker config is not consulted" in finding.detail

    def test_of_one_side_come_before_the_plain_login(self, path):
        side = Login("u", password_file=path)
        source = ExplicitSource(Login(), {TOKEN: "t"}, side=Side.TO, side_login=side)
        finding = source.lookup(Repository.parse("gcr.io/p/i"))
        assert finding.origin == f"--to-registry-username, --to-registry-password-file={path}"
        assert "IMGPKG_TO_PASSWORD_FILE" in variables_of(Side.TO)

    def test_are_cleared_by_an_empty_flag_for_either(self):
        environ = {USER: "u", f"{PASSWORD}_FILE": "/no", f"{TOKEN}_FILE": "/no"}
        for login in (Login(password="", token=""), Login(password_file="", token_file="")):
            with pytest.raises(UsageError, match="password missing"):
                look_up(login, **environ)

    @pytest.mark.parametrize(
        ("login", "environ", "message"),
        [
            (
                Login("u", "p", password_file="f"),
                {},
                "--registry-password and --registry-password-file exclude",
            ),
            (Login(token="t", token_file="f"), {}, "--registry-token and --registry-token-file exclude"),
            (
                Login("u"),
                {PASSWORD: "p", f"{PASSWORD}_FILE": "f"},
                "$IMGPKG_PASSWORD and $IMGPKG_PASSWORD_FILE exclude each other: give one of them",
            ),
            (Login("u", token_file="t"), {}, "--registry-username and --registry-token-file exclude"),
            (Login(token_file="t", anonymous=True), {}, "--registry-anon and --registry-token-file exclude"),
        ],
    )
    def test_and_what_excludes_them_are_refused_at_the_start(self, login, environ, message):
        with pytest.raises(UsageError) as caught:
            ExplicitSource(login, environ)
        assert message in str(caught.value)

    def test_that_cannot_be_used_end_the_search(self, path):
        path.unlink()
        source = ExplicitSource(Login("u", password_file=path), {})
        with pytest.raises(CredentialError) as caught:
            source.lookup(Repository.parse("gcr.io/p/i"))
        assert str(caught.value) == f"--registry-password-file names {path}, which is not there"

    def test_count_only_with_a_username(self, path):
        assert "$IMGPKG_PASSWORD_FILE counts only with a username" in (
            look_up(Login(), **{f"{PASSWORD}_FILE": str(path)}).detail
        )

    def test_that_changed_are_read_again(self, path):
        source = ExplicitSource(Login("u", password_file=path), {})
        for password in ("first", "again!"):
            path.write_text(password)
            assert source.lookup(Repository.parse("gcr.io/p/i")).credential.password == password
        path.write_text("")
        finding = source.lookup(Repository.parse("gcr.io/p/i"))
        assert finding.credential.password == "again!"
        assert "--registry-password-file cannot be read again" in finding.detail

    def test_that_are_overruled_are_reported_and_not_read(self, tmp_path):
        os.mkfifo(tmp_path / "pipe")
        repository = Repository.parse("gcr.io/p/i")
        won = Finding("environment", Outcome.MATCHED, "has it", "IMGPKG_REGISTRY_HOSTNAME=gcr.io", ANONYMOUS)
        source = ExplicitSource(Login("u", password_file=tmp_path / "pipe"), {})
        (miss,) = source.near_misses(Decision(repository, ANONYMOUS, (won,)))
        assert miss.text.startswith("--registry-username, --registry-password-file=")
        assert miss.credential is None

    def test_that_are_not_given_change_no_near_miss(self):
        repository = Repository.parse("gcr.io/p/i")
        won = Finding("environment", Outcome.MATCHED, "has it", "IMGPKG_REGISTRY_HOSTNAME=gcr.io", ANONYMOUS)
        (miss,) = ExplicitSource(Login("u", "p"), {}).near_misses(Decision(repository, ANONYMOUS, (won,)))
        assert miss.credential == Credential("u", "p")

    def test_are_named_by_their_path_before_they_are_read(self, path):
        stated = ExplicitSource(Login("u", password_file=path), {}).stated
        assert (stated.credential.username, stated.credential.password) == ("u", str(path))

"""No password and no token in anything that is printed, whatever succeeds or fails."""

from __future__ import annotations

import base64
import json

import pytest

from imgpkg.embedded.server import serve

pytestmark = pytest.mark.unmeasured

LOGIN = ("someone", "pa55word-of-the-tests")
TOKEN = "t0ken-of-the-tests"


def forms(*secrets):
    """A secret as it is, and in each form in which it travels."""
    for secret in secrets:
        yield secret
        yield base64.b64encode(secret.encode()).decode().rstrip("=")
    yield base64.b64encode(":".join(LOGIN).encode()).decode().rstrip("=")


@pytest.fixture(scope="module")
def with_login():
    with serve(login=LOGIN) as server:
        yield server


@pytest.fixture(scope="module")
def with_tokens():
    with serve(login=LOGIN, token_service=True) as server:
        yield server


@pytest.fixture
def quiet(run):
    """Run, and look for secrets in both streams."""

    def ran(*words, secrets=(), **options):
        done = run(*words, **options)
        printed = done.out + done.err
        assert not [form for form in forms(LOGIN[1], TOKEN, *secrets) if form in printed]
        return done

    return ran


FLAGS = ("--registry-username", LOGIN[0], "--registry-password", LOGIN[1])
WAYS = ("flags", "file", "stdin", "variables", "set", "files of a set", "docker config")


def write(path, text):
    path.write_text(f"{text}\n")
    return str(path)


@pytest.fixture(params=WAYS)
def give_login(request, monkeypatch, tmp_path):
    """Give the login for an address in each way; return the words and what goes to standard input."""

    def given(address):
        match request.param:
            case "flags":
                return FLAGS, ""
            case "file":
                path = write(tmp_path / "password", LOGIN[1])
                return (*FLAGS[:2], "--registry-password-file", path), ""
            case "files of a set":
                monkeypatch.setenv("IMGPKG_REGISTRY_HOSTNAME_0", address)
                for kind, text in zip(("USERNAME", "PASSWORD"), LOGIN, strict=True):
                    monkeypatch.setenv(f"IMGPKG_REGISTRY_{kind}_FILE_0", write(tmp_path / kind, text))
            case "stdin":
                return (*FLAGS[:2], "--registry-password-stdin"), f"{LOGIN[1]}\n"
            case "variables":
                monkeypatch.setenv("IMGPKG_USERNAME", LOGIN[0])
                monkeypatch.setenv("IMGPKG_PASSWORD", LOGIN[1])
            case "set":
                monkeypatch.setenv("IMGPKG_REGISTRY_HOSTNAME_0", address)
                monkeypatch.setenv("IMGPKG_REGISTRY_USERNAME_0", LOGIN[0])
                monkeypatch.setenv("IMGPKG_REGISTRY_PASSWORD_0", LOGIN[1])
            case "docker config":
                entry = {"username": LOGIN[0], "password": LOGIN[1]}
                monkeypatch.setenv("DOCKER_AUTH_CONFIG", json.dumps({"auths": {address: entry}}))
        return (), ""

    return given


@pytest.mark.parametrize("kind", ["with_login", "with_tokens"])
@pytest.mark.parametrize("shown", ["--debug", "--tty", "--json"])
def test_in_runs_that_succeed(quiet, request, folder, tmp_path, give_login, kind, shown):
    address = request.getfixturevalue(kind).address
    words, stdin = give_login(address)
    image = f"{address}/secret/app"
    pushed = quiet("push", "-i", image, "-f", folder, *words, shown, stdin=stdin)
    assert pushed.code == 0
    commands = (
        ["pull", "-i", image, "-o", tmp_path / "out"],
        ["copy", "-i", image, "--to-repo", f"{image}-copy"],
        ["copy", "-i", image, "--to-repo", f"{image}-copy", "--dry-run"],
        ["tag", "list", "-i", image, "--digests"],
        ["tag", "resolve", "-i", image],
        ["auth", "explain", image],
    )
    for command in commands:
        assert quiet(*command, *words, shown, stdin=stdin).code == 0


def test_debugging_shows_requests_and_no_authorization(quiet, with_tokens, folder):
    done = quiet("push", "-i", f"{with_tokens.address}/secret/debug", "-f", folder, *FLAGS, "--debug")
    assert done.code == 0
    assert "--> PUT" in done.err
    assert "<redacted>" in done.err
    given = [request.authorization.partition(" ")[2] for request in with_tokens.requests]
    assert [secret for secret in given if secret]
    assert not [secret for secret in given if secret and secret in done.out + done.err]


@pytest.mark.parametrize("kind", ["with_login", "with_tokens"])
@pytest.mark.parametrize("shown", ["--debug", "--json", "--tty"])
def test_in_runs_with_a_wrong_password(quiet, request, kind, shown):
    address = request.getfixturevalue(kind).address
    wrong = "wr0ng-password"
    words = ["--registry-username", LOGIN[0], "--registry-password", wrong]
    done = quiet("tag", "list", "-i", f"{address}/secret/app", *words, shown, secrets=[wrong])
    assert done.code == 4
    assert "flags" in done.err


@pytest.mark.parametrize("shown", ["--debug", "--json", "--tty"])
def test_in_runs_with_a_token_that_is_not_accepted(quiet, with_login, shown):
    words = ["-i", f"{with_login.address}/secret/app", "--registry-token", TOKEN]
    assert quiet("tag", "list", *words, shown).code == 4


@pytest.mark.parametrize(
    "words",
    [
        ["--registry-username", "a", "--registry-password", LOGIN[1], "--registry-token", TOKEN],
        ["--registry-anon", "--registry-token", TOKEN],
        ["--registry-username", "a:b", "--registry-password", LOGIN[1]],
        ["--registry-password", LOGIN[1], "--registry-password-stdin"],
        ["--registry-password", LOGIN[1], "--bogus"],
        [f"--registry-passwort={LOGIN[1]}"],
    ],
)
def test_in_refusals_of_flags(quiet, words):
    assert quiet("tag", "list", "-i", "registry.example.com/app", *words, "--debug").code == 2


def test_in_what_cannot_be_reached(quiet):
    words = ["-i", "127.0.0.1:1/secret/app", "--registry-retry-count=1"]
    done = quiet("tag", "list", *words, *FLAGS, "--debug")
    assert done.code == 5
    assert "connection refused" in done.err


class TestThePasswordOnStandardInput:
    @pytest.mark.parametrize("end", ["", "\n", "\r\n"])
    def test_is_read_without_the_end_of_its_line(self, quiet, with_login, folder, end):
        image = f"{with_login.address}/secret/stdin"
        words = ["--registry-username", LOGIN[0], "--registry-password-stdin"]
        assert quiet("push", "-i", image, "-f", folder, *words, stdin=LOGIN[1] + end).code == 0

    def test_keeps_its_other_newlines(self, quiet, with_login):
        words = ["--registry-username", LOGIN[0], "--registry-password-stdin"]
        done = quiet(
            "tag", "list", "-i", f"{with_login.address}/secret/stdin", *words, stdin=f"{LOGIN[1]}\n\n"
        )
        assert done.code == 4

    @pytest.mark.parametrize("flag", ["--registry-password", "--registry-password-file"])
    def test_excludes_the_flag(self, refused, flag):
        words = ["-i", "r.example.com/a", f"{flag}=x", "--registry-password-stdin"]
        text = refused("tag", "list", *words, stdin="y")
        assert text == f"Expected only one of {flag} and --registry-password-stdin"

    @pytest.mark.parametrize(("flags", "user"), [([], ""), (["--registry-username="], "me")])
    def test_needs_a_user_name(self, refused, monkeypatch, flags, user):
        monkeypatch.setenv("IMGPKG_USERNAME", user)
        text = refused("tag", "list", "-i", "r.example.com/a", *flags, "--registry-password-stdin", stdin="y")
        assert text.startswith("--registry-password-stdin is given without a user name: ")

    def test_goes_with_a_user_of_the_variable(self, quiet, with_login, monkeypatch):
        monkeypatch.setenv("IMGPKG_USERNAME", LOGIN[0])
        words = [f"{with_login.address}/secret/stdin", "--registry-password-stdin"]
        assert quiet("auth", "explain", *words, stdin=LOGIN[1]).code == 0

    def test_beats_the_variable(self, quiet, with_login, monkeypatch):
        monkeypatch.setenv("IMGPKG_PASSWORD", "wr0ng-password")
        words = ["--registry-username", LOGIN[0], "--registry-password-stdin"]
        done = quiet("auth", "explain", f"{with_login.address}/secret/stdin", *words, stdin=LOGIN[1])
        assert done.code == 0
        assert "$IMGPKG_PASSWORD" not in done.out


@pytest.mark.parametrize(
    "words",
    [
        ["tag", "list", "-i", "REF"],
        ["tag", "resolve", "-i", "REF:v1"],
        ["pull", "-b", f"REF@sha256:{'0' * 64}", "-o", "out"],
        ["push", "-i", "REF", "-f", "."],
        ["copy", "-i", "a.example/ab", "--to-repo", "REF"],
        ["copy", "-i", "REF", "--to-tar", "x.tar"],
        ["describe", "-b", "REF"],
        ["auth", "explain", "REF"],
    ],
)
@pytest.mark.parametrize("start", ["https://me:", "http://", "me:", "//me:"])
def test_in_references_that_hold_a_login(quiet, words, start):
    reference = f"{start}{LOGIN[1]}@registry.example/team/app"
    done = quiet(*(word.replace("REF", reference) for word in words), "--debug")
    assert done.code == 2
    assert "no scheme and no login" in done.err


def test_in_an_address_that_is_a_word_too_many(quiet):
    done = quiet("version", f"https://me:{LOGIN[1]}@registry.example/team/app")
    assert "extra arguments 'registry.example/team/app'" in done.err


def test_in_a_lock_whose_references_hold_a_login(quiet, tmp_path):
    image = f"https://me:{LOGIN[1]}@registry.example/app@sha256:{'0' * 64}"
    lock = {"apiVersion": "imgpkg.carvel.dev/v1alpha1", "kind": "ImagesLock", "images": [{"image": image}]}
    (tmp_path / "lock.yml").write_text(json.dumps(lock))
    done = quiet("copy", "--lock", tmp_path / "lock.yml", "--to-tar", tmp_path / "x.tar")
    assert "no scheme and no login" in done.err

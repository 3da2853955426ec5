"""`auth check` as people and programs read it: what holds, what fails, and what to do then."""

from __future__ import annotations

import datetime as dt
import json
import re
import ssl
import time
from email.utils import formatdate

import pytest
import trustme
from tests.operations.making import make_image
from tests.servers.docker import docker_registry_process, token_section
from tests.servers.faults import always, refusing
from tests.servers.fixtures import PASSWORD, USERNAME
from tests.servers.raw import RawServer
from tests.servers.token_service import TokenService, User

from imgpkg.embedded.server import serve
from imgpkg.embedded.storage import Storage
from imgpkg.session import Session
from imgpkg.settings import Login, Settings

DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
TIME = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC \([^)]*\)")


@pytest.fixture
def login(monkeypatch):
    """Set an environment set for a registry."""

    def given(address, username=USERNAME, password=PASSWORD):
        monkeypatch.setenv("IMGPKG_REGISTRY_HOSTNAME_0", address)
        monkeypatch.setenv("IMGPKG_REGISTRY_USERNAME_0", username)
        monkeypatch.setenv("IMGPKG_REGISTRY_PASSWORD_0", password)

    return given


@pytest.fixture
def pull_only(tmp_path):
    """docker-registry with a token service that grants the user with the password pull, and never push."""
    with (
        TokenService({USERNAME: User(PASSWORD, {"*": "pull"})}) as service,
        docker_registry_process(tmp_path, auth=token_section(tmp_path, service)) as address,
    ):
        yield address, service


def told(text, **names):
    """Return a text with the words that differ from run to run replaced; `HOST=address`."""
    for name, word in names.items():
        text = text.replace(word, name)
    return TIME.sub("TIME", DIGEST.sub("DIGEST", text))


SET = "IMGPKG_REGISTRY_HOSTNAME_0=HOST"
SECRET = "$IMGPKG_REGISTRY_PASSWORD_0"
CREDENTIAL = f"  ok      credential   login from environment: {SET} (user 'testuser')\n"
BELOW = " " * 23 + "-> "


def talking(handle):
    """Return a `talk` that answers each request with `handle(received)`, (status, headers, body)."""

    def talk(conversation):
        while (received := conversation.receive()) is not None:
            status, headers, body = handle(received)
            conversation.respond(body, status=f"{status} Said", headers=headers)

    return talk


class TestWhatHolds:
    def test_is_reported_step_by_step(self, run, login, docker_registry_token):
        address = docker_registry_token.address
        login(address)
        settings = Settings(login=Login(USERNAME, PASSWORD))
        with Session(settings) as session:
            make_image(session, f"{address}/check/well", ["layer"], tag="v1")
        done = run("auth", "check", f"{address}/check/well:v1", "--push")
        service = docker_registry_token.server.realm
        assert told(done.out, HOST=address, SERVICE=service) == (
            "HOST/check/well:v1\n"
            f"{CREDENTIAL}"
            "  ok      connection   http://HOST, not encrypted\n"
            "  ok      clock        agrees with the registry's\n"
            "  ok      challenge    Bearer, token service SERVICE\n"
            "  ok      token        asked for repository:check/well:pull,push; granted "
            "repository:check/well:pull,push, until TIME\n"
            "  ok      read         v1 is there: application/vnd.docker.distribution.manifest.v2+json, "
            "DIGEST\n"
            "  ok      write        an upload was opened and cancelled; nothing was written\n"
        )
        assert (done.code, done.err) == (0, "")

    def test_is_a_document_for_programs(self, run, embedded_token, login):
        login(embedded_token.address)
        done = run("auth", "check", f"{embedded_token.address}/check/json", "--push", "--json")
        document = json.loads(done.out)
        (check,) = document["checks"]
        assert (document["ok"], check["ok"], done.code) == (True, True, 0)
        assert (check["registry"], check["push"]) == (embedded_token.address, True)
        assert [step["name"] for step in check["steps"]] == [
            "credential",
            "connection",
            "clock",
            "challenge",
            "token",
            "read",
            "write",
        ]
        assert set(check["steps"][0]) == {"name", "result", "text", "remedy"}
        assert check["credential"]["source"] == "environment"
        assert (check["url"], check["tls"]) == (embedded_token.url, None)
        assert (check["challenges"], check["tokenService"]) == (["bearer"], f"{embedded_token.url}/token")
        assert [token["asked"] for token in check["tokens"]] == [
            ["repository:check/json:pull"],
            ["repository:check/json:pull,push"],
        ]
        assert check["tokens"][0]["opaque"] is True
        assert PASSWORD not in done.out

    def test_of_a_registry_is_its_login(self, run, embedded_login, login):
        login(embedded_login.address)
        done = run("auth", "check", embedded_login.url)
        assert done.code == 0
        assert done.out.endswith(
            "  ok      login        /v2/ answers; that proves no access to any repository\n"
        )
        assert (
            json.loads(run("auth", "check", embedded_login.url, "--json").out)["checks"][0]["repository"]
            is None
        )

    def test_of_several_references_are_parts(self, run, repository):
        done = run("auth", "check", "--push", f"{repository}/a", "-i", f"{repository}/b:v1")
        assert [line for line in done.out.splitlines() if not line.startswith("  ")] == [
            f"{repository}/a",
            "",
            f"{repository}/b:v1",
        ]


class TestWhatFails:
    def test_of_a_wrong_password_is_refused_and_sent_once(self, run, login):
        with serve(login=(USERNAME, "another")) as server:
            login(server.address)
            done = run("auth", "check", server.address, f"{server.address}/check/a:v1", "--push")
        assert told(done.out, HOST=server.address).split("\n\n")[1] == (
            "HOST/check/a:v1\n"
            f"{CREDENTIAL}"
            "  ok      connection   http://HOST, not encrypted\n"
            "  ok      clock        agrees with the registry's\n"
            "  ok      challenge    Basic\n"
            f"  FAILED  read         the registry HOST refused user 'testuser', whose password is from "
            f"{SECRET} (401: UNAUTHORIZED: authentication required)\n"
            f"{BELOW}Check the username and the password: put a valid one into {SECRET}.\n"
            "  -       write        not tried"
        )
        assert done.code == 4
        assert done.err.startswith("imgpkg: Error: 2 of 2 checks failed: ")
        assert len([record for record in server.requests if record.authorization]) == 1

    def test_at_a_token_service_is_its_own(self, run, login):
        with serve(login=(USERNAME, "another"), token_service=True) as server:
            login(server.address)
            words = [f"{server.address}/check/a", f"{server.address}/check/b"]
            done = run("auth", "check", *words, "--push", "--json")
        document = json.loads(done.out)
        assert (document["ok"], done.code) == (False, 4)
        for check in document["checks"]:
            (failed,) = [step for step in check["steps"] if step["result"] == "failed"]
            assert failed["name"] == "token"
            assert failed["text"].startswith(
                f"the token service of {server.address} refused user 'testuser', whose password is from "
                f"{SECRET} (401: "
            )
            assert failed["remedy"] == f"Check the username and the password: put a valid one into {SECRET}."
        assert len([record for record in server.requests if record.authorization]) == 1

    def test_of_too_little_names_what_the_token_grants(self, run, login, pull_only, tmp_path):
        address, service = pull_only
        login(address)
        done = run("auth", "check", f"{address}/check/a:v1", "--push")
        assert told(done.out, HOST=address, SERVICE=service.realm) == (
            "HOST/check/a:v1\n"
            f"{CREDENTIAL}"
            "  ok      connection   http://HOST, not encrypted\n"
            "  ok      clock        agrees with the registry's\n"
            "  ok      challenge    Bearer, token service SERVICE\n"
            "  note    token        asked for repository:check/a:pull,push; granted repository:check/a:pull, "
            "until TIME\n"
            "  note    read         may be read; v1 is not there (404)\n"
            f"  FAILED  write        user 'testuser', whose password is from {SECRET}, may not push to "
            "HOST/check/a: the login was accepted, but the token that it got grants pull only (401: "
            "UNAUTHORIZED: authentication required)\n"
            f"{BELOW}Ask for the permission to push to HOST/check/a, or use a credential that has it; check "
            "the spelling of the repository, too.\n"
            "\n"
        )
        assert done.code == 4
        assert run("auth", "check", f"{address}/check/a:v1").code == 0

    def test_of_an_anonymous_user_may_be_hidden(self, run, repository):
        done = run("auth", "check", f"{repository}:v1", "--json")
        read = json.loads(done.out)["checks"][0]["steps"][-1]
        host = repository.partition("/")[0]
        assert read == {
            "name": "read",
            "result": "failed",
            "text": "it does not exist, or is hidden from users who are not logged in "
            "(404: MANIFEST_UNKNOWN: manifest unknown)",
            "remedy": f"Check the name; if it is private, log in. To log in: imgpkg auth login {host}, or "
            f"set IMGPKG_REGISTRY_HOSTNAME_0={host} with IMGPKG_REGISTRY_USERNAME_0 and "
            "IMGPKG_REGISTRY_PASSWORD_0.",
        }
        assert done.code == 3

    def test_without_a_credential_has_the_command_to_log_in(self, run, embedded_login):
        done = run("auth", "check", f"{embedded_login.address}/check/a")
        place = f"{embedded_login.address}/check/a"
        assert (
            f"no credential was sent to the registry {embedded_login.address}: none was found for {place} "
        ) in done.out
        assert f"-> To log in: imgpkg auth login {embedded_login.address}, or set" in done.out
        assert done.code == 4

    def test_of_a_password_in_a_file_says_no_end(self, run, embedded_login, monkeypatch, tmp_path):
        (tmp_path / "password").write_text("wr0ng-one")
        monkeypatch.setenv("IMGPKG_USERNAME", "nobody")
        monkeypatch.setenv("IMGPKG_PASSWORD_FILE", str(tmp_path / "password"))
        done = run("auth", "check", f"{embedded_login.address}/check/a")
        (line,) = [line for line in done.out.splitlines() if " credential " in line]
        assert line.endswith("(user 'nobody')")

    def test_of_a_near_miss_begins_with_it(self, run, embedded_login, monkeypatch):
        host, port = embedded_login.address.split(":")
        monkeypatch.setenv("IMGPKG_REGISTRY_HOSTNAME_0", f"{host}:1")
        monkeypatch.setenv("IMGPKG_REGISTRY_REGISTRY_TOKEN_0", "t0ken-of-set")
        done = run("auth", "check", f"{embedded_login.address}/check/a")
        assert (
            f"-> IMGPKG_REGISTRY_HOSTNAME_0={host}:1: its port is 1, not {port}: "
            f"IMGPKG_REGISTRY_HOSTNAME_0={host}:{port}\n"
        ) in done.out

    def test_of_a_credential_that_was_sent_ends_with_a_near_miss(self, run, embedded_login, monkeypatch):
        host, port = embedded_login.address.split(":")
        monkeypatch.setenv("IMGPKG_REGISTRY_HOSTNAME_0", f"{host}:1")
        monkeypatch.setenv("IMGPKG_REGISTRY_REGISTRY_TOKEN_0", "t0ken-of-set")
        monkeypatch.setenv("IMGPKG_USERNAME", "nobody")
        monkeypatch.setenv("IMGPKG_PASSWORD", "wr0ng-one")
        done = run("auth", "check", f"{embedded_login.address}/check/a")
        assert (
            "-> Check the username and the password: put a valid one into $IMGPKG_PASSWORD. "
            f"Or another credential was meant: IMGPKG_REGISTRY_HOSTNAME_0={host}:1: its port is 1, not {port}"
        ) in done.out

    def test_of_an_unknown_host_has_a_remedy(self, run):
        done = run("auth", "check", "no-such-host.invalid/team/app", "--registry-retry-count", "1")
        assert done.out == (
            "no-such-host.invalid/team/app\n"
            "  note    credential   none found; requests are anonymous\n"
            "  FAILED  connection   the registry: dial tcp: lookup no-such-host.invalid: no such host\n"
            "                       -> There is no host no-such-host.invalid: check its spelling, the DNS of "
            "this machine, and HTTPS_PROXY.\n"
            "  -       read         not tried\n"
            "\n"
        )
        assert done.code == 5

    def test_of_a_closed_port_has_a_remedy(self, run):
        done = run("auth", "check", "127.0.0.1:1/team/app", "--registry-retry-count", "1")
        assert "-> Nothing listens at 127.0.0.1:1: check the port, and that the registry runs.\n" in done.out

    def test_of_a_token_service_that_is_a_web_page(self, run, login):
        def handle(received):
            if received.target.startswith("/token"):
                return 200, [("Content-Type", "text/html; charset=utf-8")], b"<html>Sign in</html>"
            return 401, [("WWW-Authenticate", f'Bearer realm="http://{received.header("Host")}/token"')], b""

        with RawServer(talking(handle)) as server:
            login(server.address)
            done = run("auth", "check", f"{server.address}/check/a:v1")
        assert told(done.out, HOST=server.address) == (
            "HOST/check/a:v1\n"
            f"{CREDENTIAL}"
            "  ok      connection   http://HOST, not encrypted\n"
            "  ok      challenge    Bearer, token service http://HOST/token\n"
            "  FAILED  token        the token service http://HOST/token answered with a web page in place of "
            "JSON: http://HOST/token\n"
            f"{BELOW}Open http://HOST/token in a browser: a proxy, a sign-in page or a wrong realm of the "
            "registry answers in place of its token service.\n"
            "  -       read         not tried\n"
            "\n"
        )

    def test_of_a_web_server_that_is_no_registry(self, run):
        page = (200, [("Content-Type", "text/html")], b"<html>Welcome</html>")
        with RawServer(talking(lambda received: page)) as server:
            for place, step in ((server.address, "login"), (f"{server.address}/check/a:v1", "read")):
                done = run("auth", "check", place)
                assert (
                    f"  FAILED  {step:<11}  the registry answered with a web page in place of JSON"
                    in done.out
                )
                assert "a web server, a proxy or a sign-in page answers there, and no registry." in done.out

    def test_of_a_credential_file_ends_before_any_request(self, run, embedded_registry, empty_environment):
        folder = empty_environment / ".docker"
        folder.mkdir()
        (folder / "config.json").write_text("{")
        before = len(embedded_registry.requests)
        done = run("auth", "check", f"{embedded_registry.address}/check/a")
        assert "  FAILED  credential   " in done.out
        assert "config.json" in done.out
        assert (done.code, len(embedded_registry.requests)) == (4, before)

    def test_in_a_reference_ends_before_any_request(self, refused, repository, embedded_registry):
        before = len(embedded_registry.requests)
        assert "could not parse reference" in refused("auth", "check", f"{repository}/a", "UPPER/x")
        assert len(embedded_registry.requests) == before


def test_a_token_that_ends_after_all_calendars_has_no_end_for_programs(run):
    def handle(received):
        if received.target.startswith("/token"):
            return 200, [], b'{"token":"abc","expires_in":1e300}'
        if received.header("Authorization"):
            return 200, [], b'{"tags":[]}'
        return 401, [("WWW-Authenticate", f'Bearer realm="http://{received.header("Host")}/token"')], b""

    with RawServer(talking(handle)) as server:
        done = run("auth", "check", f"{server.address}/check/a", "--json")
    # A life of more than ten years is taken for ten.
    (token,) = json.loads(done.out)["checks"][0]["tokens"]
    assert token["expiresAt"].startswith("203")


class TestTheClock:
    @pytest.mark.parametrize(("ahead", "words"), [(3600, "behind"), (-3600, "ahead of")])
    def test_that_differs_by_an_hour_is_noted(self, run, ahead, words):
        date = ("Date", formatdate(time.time() + ahead, usegmt=True))
        with RawServer(talking(lambda received: (200, [date], b'{"tags":[]}'))) as server:
            done = run("auth", "check", f"{server.address}/check/a")
        (line,) = [line for line in done.out.splitlines() if " clock " in line]
        assert re.fullmatch(
            rf"  note    clock        this machine's is (1:00:0\d|0:59:5\d) {words} the registry's", line
        )
        assert done.code == 0

    def test_is_corrected_before_a_token(self, run, login):
        date = ("Date", formatdate(time.time() + 3600, usegmt=True))

        def handle(received):
            if received.target.startswith("/token"):
                return 200, [date], b'{"token":"abc"}'
            realm = f'Bearer realm="http://{received.header("Host")}/token"'
            return 401, [date, ("WWW-Authenticate", realm)], b""

        with RawServer(talking(handle)) as server:
            login(server.address)
            done = run("auth", "check", f"{server.address}/check/a")
        assert (
            "-> Set the clock of this machine first: with it, tokens are not valid. Ask for the" in done.out
        )


class TestACertificate:
    AUTHORITY = trustme.CA()

    @pytest.fixture
    def tls(self, tmp_path):
        """Run a registry on https with one tag; `names` and `options` are those of its certificate."""
        self.AUTHORITY.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
        servers = []

        def started(*names, **options):
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.AUTHORITY.issue_cert(*(names or ("127.0.0.1",)), **options).configure_cert(context)
            talk = talking(lambda received: (200, [], b'{"tags":["v1"]}'))
            servers.append(RawServer(talk, context=context).__enter__())
            return servers[-1], str(tmp_path / "ca.pem")

        yield started
        for server in servers:
            server.__exit__(None, None, None)

    def line(self, done):
        (line,) = [line for line in done.out.splitlines() if line[10:22] == "certificate "]
        return re.sub(r"issued by .*?, until", "issued by CA, until", told(line))

    def test_of_an_authority_that_was_added(self, run, tls):
        server, path = tls()
        done = run("auth", "check", f"{server.address}/check/a", "--registry-ca-cert-path", path)
        assert "  ok      connection   https://127.0.0.1" in done.out
        assert self.line(done) == (
            "  ok      certificate  for 127.0.0.1, issued by CA, until TIME, trusted through "
            "--registry-ca-cert-path"
        )
        assert done.code == 0
        document = json.loads(
            run("auth", "check", f"{server.address}/check/a", "--registry-ca-cert-path", path, "--json").out
        )
        shown = document["checks"][0]["tls"]
        assert (shown["version"], shown["trust"]) == ("TLSv1.3", "an added authority")
        assert shown["certificate"]["names"] == ["127.0.0.1"]

    def test_that_ends_soon_is_noted(self, run, tls):
        soon = dt.datetime.now(dt.timezone.utc) + dt.timedelta(days=3, hours=1)
        server, path = tls(not_after=soon)
        done = run("auth", "check", f"{server.address}/check/a", "--registry-ca-cert-path", path)
        assert self.line(done).startswith("  note    certificate")
        assert "(3 days left)" in done.out
        assert done.code == 0

    def test_that_has_ended(self, run, tls):
        past = dt.datetime.now(dt.timezone.utc) - dt.timedelta(days=2)
        server, path = tls(not_before=past - dt.timedelta(days=9), not_after=past)
        words = ["auth", "check", f"{server.address}/check/a", "--registry-ca-cert-path", path]
        done = run(*words)
        assert self.line(done).endswith(
            "certificate has expired or is not yet valid: certificate has expired; for 127.0.0.1, issued "
            "by CA, until TIME, not trusted"
        )
        assert "(ended 2 days ago)" in done.out
        assert (
            "Check this machine's clock; if it is right, the registry needs a new certificate.\n" in done.out
        )
        assert (done.code, server.requests) == (5, [])
        check = json.loads(run(*words, "--json").out)["checks"][0]
        assert check["tls"]["trust"] == "rejected"
        assert [step["result"] for step in check["steps"]] == ["note", "failed", "skipped"]

    def test_of_an_unknown_authority(self, run, tls):
        server, _ = tls()
        done = run("auth", "check", f"{server.address}/check/a")
        assert "  FAILED  certificate  " in done.out
        assert " If you trust who signed it, add that certificate: --registry-ca-cert-path FILE" in done.out

    def test_of_another_host(self, run, tls):
        server, path = tls("registry.example.com")
        done = run("auth", "check", f"{server.address}/check/a", "--registry-ca-cert-path", path)
        assert "for registry.example.com, issued by" in done.out
        assert (
            "Use the name that the certificate was issued for, or have it reissued for this one.\n"
            in done.out
        )

    def test_that_is_not_verified(self, run, tls):
        server, _ = tls("registry.example.com")
        done = run("auth", "check", f"{server.address}/check/a", "--registry-verify-certs=false")
        assert self.line(done).startswith("  note    certificate  for registry.example.com, ")
        assert self.line(done).endswith(", not verified")
        assert done.code == 0


class TestWhatStays:
    def test_in_a_registry_after_a_push_was_checked_is_nothing(self, run, tmp_path):
        with docker_registry_process(tmp_path) as address:
            assert run("auth", "check", f"{address}/check/a", "--push").code == 0
        data = tmp_path / "data"
        left = {path.relative_to(data).parts[-3] for path in data.rglob("*") if path.is_file()}
        # docker-registry forgets the state of an empty hash, of some bytes, when it removes an upload.
        assert left <= {"hashstates"}

    def test_in_the_embedded_registry_is_nothing(self, run, tmp_path):
        storage = Storage(str(tmp_path / "storage"))
        with serve(storage=storage) as server:
            assert run("auth", "check", f"{server.address}/check/a", "--push").code == 0
            assert [record.status for record in server.requests][-2:] == [202, 204]
        assert [path for path in (tmp_path / "storage").rglob("*") if path.is_file()] == []

    def test_of_an_upload_that_cannot_be_cancelled_is_reported(self, run):
        with serve(faults=always(refusing(405, "UNSUPPORTED"), method="DELETE")) as server:
            done = run("auth", "check", f"{server.address}/check/a", "--push")
        assert (
            "  ok      write        an upload was opened, and not cancelled: the registry answered 405 to "
            "DELETE; the registry will remove it\n"
        ) in done.out
        assert done.code == 0


class TestACopy:
    @pytest.fixture
    def source(self, repository):
        with Session() as session:
            make_image(session, repository, ["layer"], tag="v1")
        return f"{repository}:v1"

    def test_is_checked_at_both_ends_before_it_is_previewed(self, run, source, another_registry):
        to = f"{another_registry.address}/check/copied"
        done = run("copy", "-i", source, "--to-repo", to, "--dry-run", "--check")
        preview, _, access = done.out.partition("\nAccess:\n\n")
        assert preview.startswith(f"Would copy 1 image to {to}, 2 blobs with ")
        assert [line for line in access.splitlines() if not line.startswith("  ")] == [source, "", to]
        assert access.count("  ok      read         ") == 1
        assert access.endswith(
            "  ok      write        an upload was opened and cancelled; nothing was written\n"
        )
        assert (done.code, done.err) == (0, "")

    def test_has_one_document_with_the_preview_and_the_checks(self, run, source, another_registry):
        to = f"{another_registry.address}/check/copied"
        document = json.loads(
            run("copy", "-i", source, "--to-repo", to, "--dry-run", "--check", "--json").out
        )
        assert (document["ok"], document["blobs"]) == (True, 2)
        assert [check["reference"] for check in document["checks"]] == [source, to]
        assert [check["push"] for check in document["checks"]] == [False, True]

    @pytest.mark.parametrize("words", [["--dry-run"], []])
    def test_that_may_not_be_written_stops_before_anything_is_moved(self, run, source, words):
        with serve(login=(USERNAME, PASSWORD)) as server:
            to = f"{server.address}/check/copied"
            done = run("copy", "-i", source, "--to-repo", to, "--check", "--json", *words)
            assert {record.method for record in server.requests} == {"GET"}
        document = json.loads(done.out)
        assert (document["ok"], [check["ok"] for check in document["checks"]]) == (False, [True, False])
        assert (done.code, "blobs" in document) == (4, False)
        assert done.err == f"imgpkg: Error: 1 of 2 checks failed: {to}\n"

    def test_that_is_checked_is_made(self, run, source, another_registry):
        to = f"{another_registry.address}/check/copied"
        done = run("copy", "-i", source, "--to-repo", to, "--check")
        assert (done.code, done.out, done.err) == (0, "", "")
        assert run("auth", "check", f"{to}:v1").code == 0

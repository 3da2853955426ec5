"""Which helper is asked, with what, and what its replies mean; with real programs."""

from __future__ import annotations

import json
import os
import threading
import time

import pytest
from tests.auth.programs import NOT_FOUND, answering, write_helper

from imgpkg.auth.docker import DockerConfigSource
from imgpkg.auth.helper import Helpers
from imgpkg.auth.keychain import Credential, Keychain, Outcome
from imgpkg.auth.program import Programs
from imgpkg.cancellation import Cancellation
from imgpkg.errors import Cancelled, CredentialError
from imgpkg.oci.reference import Repository

HUB = "https://index.docker.io/v1/"


class Clock:
    """A clock that stands still, and a sleep that is only counted."""

    def __init__(self):
        self.now = 1000.0
        self.pauses = []

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "bin"


def helpers_of(program, clock, **options):
    return Helpers(program.environ, clock=clock, sleep=clock.pauses.append, **options)


def look_up(folder, config, repository="host.io/p/i", **environ):
    environ = {"PATH": f"{folder}:/usr/bin:/bin", "DOCKER_AUTH_CONFIG": json.dumps(config), **environ}
    source = DockerConfigSource(environ, print, helpers=Helpers(environ, sleep=lambda _: None))
    return source.lookup(Repository.parse(repository))


@pytest.mark.parametrize(
    ("config", "repository", "call"),
    [
        ({"credHelpers": {"host.io": "a"}}, "host.io/p/i", "get host.io"),
        ({"credHelpers": {"https://host.io/v2/": "a"}}, "host.io/p/i", "get host.io"),
        ({"credHelpers": {"HOST.io:443": "a"}}, "host.io/p/i", "get host.io"),
        ({"credHelpers": {"host.io/p/i": "a"}}, "host.io/p/i", "get host.io/p/i"),
        ({"credHelpers": {"host.io/p": "a"}}, "host.io/p/i", "get host.io/p"),
        ({"credHelpers": {"docker.io": "a"}}, "ubuntu", f"get {HUB}"),
        ({"credHelpers": {"index.docker.io": "a"}}, "ubuntu", f"get {HUB}"),
        ({"credHelpers": {HUB: "a"}}, "registry-1.docker.io/library/ubuntu", f"get {HUB}"),
        ({"credHelpers": {"localhost:5000": "a"}}, "localhost:5000/p/i", "get localhost:5000"),
        ({"CREDHELPERS": {"host.io": "a"}}, "host.io/p/i", "get host.io"),
        ({"credsStore": "a"}, "host.io/p/i", "get host.io"),
        ({"credsStore": "a"}, "localhost:5000/p/i", "get localhost:5000"),
        ({"credsStore": "a"}, "ubuntu", f"get {HUB}"),
        ({"credsStore": "a", "auths": {"host.io": {"auth": "dTpw"}}}, "host.io/p/i", "get host.io"),
        ({"credsStore": "b", "credHelpers": {"host.io": "a"}}, "host.io/p/i", "get host.io"),
        ({"credHelpers": {"host.io/p": "a", "host.io": "b"}}, "host.io/p/i", "get host.io/p"),
    ],
)
def test_a_helper_is_asked_once_with_the_server_of_the_table(folder, config, repository, call):
    program = answering(folder, "a", "helped", "secret")
    other = answering(folder, "b", "wrong", "secret")
    finding = look_up(folder, config, repository)
    assert (finding.credential.username, finding.credential.password) == ("helped", "secret")
    assert "docker-credential-a" in finding.origin
    assert (program.calls, other.calls) == ([call], [])


@pytest.mark.parametrize(
    ("config", "username", "calls"),
    [
        ({"auths": {"host.io/p": {"auth": "dTpw"}}, "credsStore": "a"}, "u", []),
        ({"auths": {"host.io/p": {}}, "credsStore": "a"}, None, ["get host.io"]),
        ({"auths": {"host.io": {"auth": "dTpw"}}, "credsStore": "a"}, "u", ["get host.io"]),
        ({"auths": {"host.io": {"auth": "dTpw"}}, "credHelpers": {"host.io": "a"}}, "u", ["get host.io"]),
        (
            {"auths": {"host.io": {"auth": "dTpw"}}, "credHelpers": {"host.io": ""}, "credsStore": "a"},
            "u",
            [],
        ),
        ({"credHelpers": {"host.io": ""}, "credsStore": "a"}, None, []),
        ({"credHelpers": {"host.io": None}, "credsStore": "a"}, None, []),
        ({"credHelpers": {"other.io": ""}, "credsStore": "a"}, None, ["get host.io"]),
        ({"credHelpers": {"host.io/p": "a", "host.io": "a"}}, None, ["get host.io/p", "get host.io"]),
        ({"credHelpers": {"host.io": "a"}, "credsStore": "a"}, None, ["get host.io"]),
        ({"credHelpers": {"host.io/p": "", "host.io": "a"}}, None, []),
    ],
)
def test_a_helper_that_knows_nothing_is_followed_by_the_next_step(folder, config, username, calls):
    program = write_helper(folder, "a", NOT_FOUND)
    finding = look_up(folder, config)
    assert (finding.credential.username if finding.credential else None) == username
    assert program.calls == calls
    assert ("docker-credential-a has nothing for host.io" in finding.detail) == ("get host.io" in calls)


@pytest.mark.parametrize(
    ("config", "note"),
    [
        (
            {"credHelpers": {"host.io": ""}, "credsStore": "a"},
            'credHelpers "host.io" is empty, so no helper is asked',
        ),
        ({"credHelpers": {"host.io:5000": "a"}}, 'credHelpers "host.io:5000": its port is 5000, not 443'),
        ({"credHelpers": {"host.io/q": "a"}}, """credHelpers "host.io/q": 'p/i' is not below 'q'"""),
        ({"credHelpers": {"other.io": "a"}}, "no entry for this registry"),
    ],
)
def test_a_helper_that_is_not_asked_is_named_with_the_reason(folder, config, note):
    program = answering(folder, "a", "helped", "secret")
    finding = look_up(folder, config)
    assert (finding.credential, finding.detail) == (None, f"$DOCKER_AUTH_CONFIG: {note}")
    assert program.calls == []


def test_a_second_file_is_asked_after_a_helper_of_the_first_knows_nothing(folder, tmp_path):
    write_helper(folder, "a", NOT_FOUND)
    (tmp_path / "config.json").write_text(json.dumps({"auths": {"host.io": {"auth": "dTpw"}}}))
    finding = look_up(folder, {"credsStore": "a"}, DOCKER_CONFIG=str(tmp_path))
    assert finding.credential.username == "u"


@pytest.mark.parametrize(
    ("body", "credential"),
    [
        ("""echo '{"ServerURL":"x","Username":"u","Secret":"p"}'""", Credential("u", "p", expires_at=4600.0)),
        ("""echo '{"USERNAME":"u","secret":"p"} and more'""", Credential("u", "p", expires_at=4600.0)),
        ("""echo '{"Username":"<token>","Secret":"I"}'""", Credential(identity_token="I", expires_at=4600.0)),
        ("""echo '{"Username":"u","Secret":""}'""", Credential("u", expires_at=4600.0)),
        ("""echo '{"Username":"<token>","Secret":""}'""", None),
        ("""echo '{"Username":"","Secret":""}'""", None),
        ("echo '{}'", None),
        (NOT_FOUND, None),
        ("echo '  credentials not found in native keychain  '; exit 7", None),
        ("echo 'error: credentials not found in native keychain (x)'; exit 1", None),
        ("echo 'credentials not found in native keychain'", None),
    ],
)
def test_an_answer_is_understood_at_the_first_try(folder, clock, body, credential):
    program = write_helper(folder, "a", body)
    assert helpers_of(program, clock).get("a", "host.io") == credential
    assert program.calls == ["get host.io"]
    assert clock.pauses == []


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ("echo 'no credentials server URL'; exit 1", "err: exit status 1, out: `no credentials server URL`"),
        ("echo 'no credentials username'; exit 2", "err: exit status 2, out: `no credentials username`"),
    ],
)
def test_an_answer_that_another_try_cannot_change_fails_at_once(folder, clock, body, text):
    program = write_helper(folder, "a", body)
    with pytest.raises(CredentialError) as caught:
        helpers_of(program, clock).get("a", "host.io")
    assert str(caught.value) == f"error getting credentials - {text}"
    assert (len(program.calls), clock.pauses) == (1, [])


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ("echo 'database is locked'; exit 3", "err: exit status 3, out: `database is locked`"),
        ("kill -9 $$", "err: signal 9, out: ``"),
        (
            r"""printf '\033[2Jlocked\r\nby \302\233me'; exit 1""",
            r"err: exit status 1, out: `\x1b[2Jlocked\r\nby \x9bme`",
        ),
        (
            """echo '{"Username":"u","Secret" : "hunter2"}'; exit 1""",
            "err: exit status 1, out: `(not shown: it has a secret in it)`",
        ),
        ("true", "err: the helper printed no credential: EOF, out: ``"),
        ("echo hunter2", "err: the helper printed no credential: line 1 column 1: Expecting value, out: ``"),
        ("echo '[]'", "err: the helper printed no credential: the answer must be an object, out: ``"),
        (r"""printf '{"Username":"\377hunter2"}' """, "line 1 column 14: this is not UTF-8, out: ``"),
        (
            r"""echo '{"Secret": 5}'""",
            "err: the helper printed no credential: Secret must be a string, out: ``",
        ),
    ],
)
def test_an_execution_that_fails_is_tried_five_times_with_pauses_between(folder, clock, body, text):
    program = write_helper(folder, "a", body)
    with pytest.raises(CredentialError) as caught:
        helpers_of(program, clock).get("a", "host.io")
    assert str(caught.value).startswith("Retried 5 times: error getting credentials - err: ")
    assert text in str(caught.value)
    assert "hunter2" not in str(caught.value)
    assert (len(program.calls), clock.pauses) == (5, [2.0] * 4)


def test_a_flaky_helper_that_answers_at_the_third_try_is_good_enough(folder, clock):
    program = write_helper(folder, "a", """[ "$n" -ge 3 ] || exit 1; echo '{"Username":"u","Secret":"p"}'""")
    assert helpers_of(program, clock).get("a", "host.io").username == "u"
    assert (len(program.calls), clock.pauses) == (3, [2.0] * 2)


def test_a_program_that_is_not_there_fails_at_once_with_advice(folder, clock):
    program = answering(folder, "a", "u", "p")
    with pytest.raises(CredentialError) as caught:
        helpers_of(program, clock).get("missing", "host.io")
    assert str(caught.value) == (
        'error getting credentials - err: exec: "docker-credential-missing": '
        "executable file not found in $PATH, out: ``"
    )
    assert "Install docker-credential-missing" in caught.value.hints[0]
    assert clock.pauses == []


def test_no_path_means_no_helper(clock):
    with pytest.raises(CredentialError, match="executable file not found"):
        Helpers({}, clock=clock).get("a", "host.io")


def test_a_helper_in_the_current_folder_is_never_run(folder, clock, monkeypatch):
    program = answering(folder, "a", "u", "p")
    monkeypatch.chdir(folder)
    for path in (".", "", ":", "../bin"):
        with pytest.raises(CredentialError, match="executable file not found"):
            Helpers({"PATH": path}, clock=clock).get("a", "host.io")
    assert program.calls == []


def test_a_program_that_cannot_be_executed_fails_at_once(folder, clock):
    program = write_helper(folder, "a", "")
    (folder / "docker-credential-a").write_text("#!/no/such/interpreter\n")
    with pytest.raises(CredentialError, match=r"fork/exec .*docker-credential-a: no such file or directory"):
        helpers_of(program, clock).get("a", "host.io")
    assert clock.pauses == []


@pytest.mark.parametrize("name", ["../a", "a/b", "a b", "", "a\n", "ä", "a;b"])
def test_a_name_that_could_be_anything_else_is_refused(folder, clock, name):
    program = answering(folder, "a", "u", "p")
    with pytest.raises(CredentialError, match="is no name of a credential helper"):
        helpers_of(program, clock).get(name, "host.io")
    assert program.calls == []


def test_a_helper_that_hangs_is_ended_with_all_its_children(folder, clock):
    program = write_helper(folder, "a", f'sleep 300 & echo $! > "{folder}/child"; wait')
    with pytest.raises(CredentialError) as caught:
        helpers_of(program, clock, timeout=1.0).get("a", "host.io")
    assert "docker-credential-a gave no answer in 1 s" in str(caught.value)
    assert caught.value.__context__ is None
    assert clock.pauses == []
    child = int((folder / "child").read_text())
    assert is_gone(child)


def is_gone(pid):
    for _ in range(200):
        try:
            with open(f"/proc/{pid}/stat") as stat:
                if stat.read().rpartition(")")[2].split()[0] == "Z":
                    return True
        except (FileNotFoundError, ProcessLookupError):
            return True
        time.sleep(0.01)
    return False


def test_a_lookup_that_is_interrupted_ends_the_helper(folder, clock):
    """Ctrl-C reaches us and not the helper, which is in a process group of its own."""
    import signal

    marker = folder / "pid"
    program = write_helper(
        folder, "a", f'echo $$ > "{marker}.new"; mv "{marker}.new" "{marker}"; exec sleep 300'
    )
    helpers = helpers_of(program, clock)

    def interrupt():
        for _ in range(1000):
            if marker.exists():
                break
            time.sleep(0.01)
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        helpers.get("a", "host.io")
    thread.join()
    assert is_gone(int(marker.read_text()))
    program = answering(folder, "a", "again", "p")
    assert helpers.get("a", "host.io").username == "again"


def test_threads_that_wait_for_helpers_are_let_go_when_the_work_is_stopped(folder, clock):
    program = write_helper(
        folder, "a", f'sleep 300 & echo $! > "{folder}/new"; mv "{folder}/new" "{folder}/child"; wait'
    )
    write_helper(folder, "b", "echo '{}'")
    cancellation = Cancellation()
    programs = Programs(cancellation)
    helpers = helpers_of(program, clock, programs=programs)
    cancelled = []

    def ask(server):
        with pytest.raises(Cancelled, match="the work was stopped"):
            helpers.get("a", server)
        cancelled.append(server)

    threads = [threading.Thread(target=ask, args=(server,)) for server in ("host.io", "host.io", "other.io")]
    for thread in threads:
        thread.start()
    while not (folder / "child").exists() and threads[0].is_alive():
        time.sleep(0.01)
    cancellation.cancel()
    for thread in threads:
        thread.join(60)
    assert sorted(cancelled) == ["host.io", "host.io", "other.io"]
    assert is_gone(int((folder / "child").read_text()))
    assert len(program.calls) == 1
    assert clock.pauses == []
    with pytest.raises(Cancelled):
        helpers.get("b", "host.io")


def test_the_server_comes_without_newline_and_the_environment_is_the_given_one(folder, clock):
    program = write_helper(folder, "a", f'env > "{folder}/env"; echo "{{}}"')
    (folder / "docker-credential-a").write_text(
        f'#!/bin/sh\ncat > "{folder}/stdin"\nenv > "{folder}/env"\n'
        f'echo "$#:$1" > "{folder}/arguments"\necho "{{}}"\n'
    )
    os.environ["ELSEWHERE"] = "1"
    Helpers({**program.environ, "MINE": "ü"}, clock=clock).get("a", "https://host.io/ü")
    assert (folder / "stdin").read_bytes() == "https://host.io/ü".encode()
    assert (folder / "arguments").read_text() == "1:get\n"
    variables = (folder / "env").read_text()
    assert "MINE=ü" in variables
    assert "ELSEWHERE" not in variables


def test_what_a_helper_says_on_stderr_reaches_the_user(folder, clock, capfd):
    program = write_helper(folder, "a", "echo 'touch your key' >&2; echo '{}'")
    helpers_of(program, clock).get("a", "host.io")
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("", "touch your key\n")


def test_an_answer_is_asked_for_again_after_an_hour(folder, clock):
    program = write_helper(folder, "a", """echo "{\\"Username\\":\\"u$n\\",\\"Secret\\":\\"p\\"}\"""")
    helpers = helpers_of(program, clock)
    assert helpers.get("a", "host.io") == Credential("u1", "p", expires_at=4600.0)
    clock.now = 4599.9
    assert helpers.get("a", "host.io").username == "u1"
    clock.now = 4600.0
    assert helpers.get("a", "host.io") == Credential("u2", "p", expires_at=8200.0)


def test_not_found_is_remembered_for_an_hour_as_well(folder, clock):
    program = write_helper(folder, "a", NOT_FOUND)
    helpers = helpers_of(program, clock)
    for _ in range(5):
        assert helpers.get("a", "host.io") is None
    assert len(program.calls) == 1
    clock.now += 3600
    assert helpers.get("a", "host.io") is None
    assert len(program.calls) == 2


def test_a_failure_is_not_remembered(folder, clock):
    program = write_helper(folder, "a", """[ "$n" -gt 5 ] || exit 1; echo '{"Username":"u","Secret":"p"}'""")
    helpers = helpers_of(program, clock)
    with pytest.raises(CredentialError, match="Retried 5 times"):
        helpers.get("a", "host.io")
    assert helpers.get("a", "host.io").username == "u"


def test_a_source_gives_the_credential_of_an_expired_answer_again(folder, clock):
    program = write_helper(folder, "a", """echo "{\\"Username\\":\\"u$n\\",\\"Secret\\":\\"p\\"}\"""")
    environ = {**program.environ, "DOCKER_AUTH_CONFIG": '{"credsStore": "a"}'}
    chain = Keychain([DockerConfigSource(environ, print, helpers=helpers_of(program, clock))])
    repository = Repository.parse("host.io/p/i")
    first = chain.resolve(repository).credential
    assert (first.username, first.expires_at) == ("u1", 4600.0)
    assert chain.resolve(repository).credential == first
    clock.now = first.expires_at
    assert chain.resolve(repository).credential.username == "u2"


def in_threads(count, work):
    results = []
    threads = [threading.Thread(target=lambda i=i: results.append(work(i))) for i in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def test_a_hundred_repositories_of_one_registry_cost_one_process(folder):
    """One copy used to run a helper more than 700 times."""
    program = answering(folder, "a", "u", "p")
    source = DockerConfigSource({**program.environ, "DOCKER_AUTH_CONFIG": '{"credsStore": "a"}'}, print)
    found = in_threads(
        20, lambda i: [source.lookup(Repository.parse(f"host.io/p/i{i}-{j}")) for j in range(5)]
    )
    assert {finding.credential.username for findings in found for finding in findings} == {"u"}
    assert program.calls == ["get host.io"]


def test_threads_that_wait_for_a_failing_helper_share_its_failure(folder, clock):
    started = threading.Barrier(8)
    program = write_helper(folder, "a", "sleep 0.3; echo locked; exit 1")
    helpers = helpers_of(program, clock)

    def ask(_):
        started.wait()
        with pytest.raises(CredentialError) as caught:
            helpers.get("a", "host.io")
        return str(caught.value)

    assert set(in_threads(8, ask)) == {
        "Retried 5 times: error getting credentials - err: exit status 1, out: `locked`"
    }
    assert len(program.calls) == 5


def test_a_helper_runs_one_process_at_a_time(folder, clock):
    program = write_helper(
        folder,
        "a",
        f"""mkdir "{folder}/busy" || {{ echo "no credentials username: two at a time"; exit 1; }}
sleep 0.05; rmdir "{folder}/busy"; echo '{{"Username":"u","Secret":"p"}}'""",
    )
    helpers = helpers_of(program, clock)
    answers = in_threads(6, lambda i: helpers.get("a", f"host{i}.io"))
    assert [answer.username for answer in answers] == ["u"] * 6


def test_a_failing_helper_ends_the_search_and_names_its_caller(folder):
    write_helper(folder, "a", "echo 'no credentials username'; exit 1")
    environ = {"PATH": f"{folder}:/usr/bin:/bin"}
    environ["DOCKER_AUTH_CONFIG"] = '{"credsStore": "a", "auths": {"host.io": {"auth": "dTpw"}}}'
    with pytest.raises(CredentialError) as caught:
        Keychain([DockerConfigSource(environ, print)]).resolve(Repository.parse("host.io/p/i"))
    assert str(caught.value) == (
        "Unable retrieve credentials for registry: error getting credentials - err: exit status 1, "
        "out: `no credentials username`"
    )
    assert caught.value.hints == (
        "credsStore in $DOCKER_AUTH_CONFIG says to ask docker-credential-a for host.io: mend or remove it.",
    )


def test_a_helper_that_is_configured_for_another_registry_is_not_asked(folder):
    program = answering(folder, "a", "u", "p")
    assert look_up(folder, {"credHelpers": {"other.io": "a"}}).outcome is Outcome.NO_MATCH
    assert program.calls == []


def test_no_secret_of_a_helper_is_in_any_representation(folder, clock):
    program = answering(folder, "a", "u", "hunter2")
    helpers = helpers_of(program, clock)
    assert "hunter2" not in repr(helpers.get("a", "host.io"))
    assert "hunter2" not in repr(list(helpers._results.values()))
    assert "hunter2" not in repr(helpers._results["a", "host.io"].peek())


def descriptors():
    return len(os.listdir("/proc/self/fd"))


def still_runs(pid):
    with open(f"/proc/{pid}/stat") as stat:
        return stat.read().rpartition(")")[2].split()[0] != "Z"


def test_the_end_of_a_helper_is_the_end_of_its_answer_whoever_holds_its_output(folder, clock):
    """A helper may start an agent that lives on; nobody waits for it, and nobody ends it."""
    answer = """echo '{"Username":"u","Secret":"p"}'"""
    program = write_helper(folder, "a", f'sleep 300 & echo $! > "{folder}/agent"; {answer}')
    before, threads = descriptors(), threading.active_count()
    start = time.monotonic()
    credential = helpers_of(program, clock, timeout=20.0).get("a", "host.io")
    seconds = time.monotonic() - start
    agent = int((folder / "agent").read_text())
    try:
        assert (credential.username, credential.password) == ("u", "p")
        assert seconds < 10
        assert still_runs(agent)
        assert (descriptors(), threading.active_count()) == (before, threads)
    finally:
        os.kill(agent, 9)


def test_what_a_helper_printed_last_is_read_although_another_holds_its_output(folder, clock):
    (folder / "x").mkdir(parents=True)
    (folder / "secret").write_text(json.dumps({"Username": "u", "Secret": "s" * 50_000}))
    program = write_helper(folder, "a", f'sleep 300 & echo $! > "{folder}/agent"; cat "{folder}/secret"')
    try:
        assert helpers_of(program, clock, timeout=20.0).get("a", "host.io").password == "s" * 50_000
    finally:
        os.kill(int((folder / "agent").read_text()), 9)


def test_a_helper_that_closes_its_output_and_goes_on_has_not_ended(folder, clock):
    answer = """echo '{"Username":"u","Secret":"p"}'"""
    program = write_helper(folder, "a", f"{answer}; exec >&-; sleep 0.3; exit 4")
    with pytest.raises(CredentialError, match="exit status 4"):
        helpers_of(program, clock).get("a", "host.io")
    program = write_helper(folder, "b", "exec >&-; sleep 300")
    with pytest.raises(CredentialError, match=r"gave no answer in 0\.5 s"):
        helpers_of(program, clock, timeout=0.5).get("b", "host.io")


def test_a_helper_need_not_read_its_input(folder, clock):
    folder.mkdir()
    for name, body in (
        ("a", "echo '{}'"),
        ("b", "exec <&-; sleep 0.2; echo '{}'"),
        ("c", "cat >/dev/null; echo '{}'"),
    ):
        (folder / f"docker-credential-{name}").write_text(f"#!/bin/sh\n{body}\n")
        (folder / f"docker-credential-{name}").chmod(0o755)
        helpers = Helpers({"PATH": f"{folder}:/usr/bin:/bin"}, clock=clock)
        assert helpers.get(name, "host.io/" + "x" * 2_000_000) is None


def test_a_helper_that_does_not_stop_printing_is_ended(folder, clock):
    program = write_helper(folder, "a", f'echo $$ > "{folder}/pid"; exec yes')
    with pytest.raises(CredentialError, match="more than 1048576 bytes were printed"):
        helpers_of(program, clock).get("a", "host.io")
    assert is_gone(int((folder / "pid").read_text()))


@pytest.mark.parametrize("odd", [{"MINE": "a\0b"}, {"A=B": "c"}])
def test_an_environment_that_no_program_can_have_is_an_error(odd, folder, clock):
    program = answering(folder, "a", "u", "p")
    with pytest.raises(CredentialError, match=r"fork/exec .*docker-credential-a: invalid argument"):
        Helpers({**program.environ, **odd}, clock=clock).get("a", "host.io")


def test_a_pause_between_two_tries_ends_when_the_work_is_stopped(folder):
    program = write_helper(folder, "a", "exit 1")
    cancellation = Cancellation()
    programs = Programs(cancellation)
    helpers = Helpers(program.environ, programs=programs)
    raised = []

    def ask():
        with pytest.raises(Cancelled):
            helpers.get("a", "host.io")
        raised.append(time.monotonic())

    thread = threading.Thread(target=ask)
    thread.start()
    while not program.calls:
        time.sleep(0.01)
    time.sleep(0.3)
    stopped = time.monotonic()
    cancellation.cancel()
    thread.join()
    assert raised[0] - stopped < 1
    assert len(program.calls) == 1


@pytest.mark.parametrize(("name", "shown"), [("", "sleep"), ("keychain ecr", "keychain ecr")])
def test_a_program_that_is_slow_to_answer_is_announced_once(name, shown):
    said = []
    programs = Programs(announce=said.append, quiet_time=0.1)
    ended = programs.run(["sleep", "0.4"], os.environ, 7.0, name=name)
    assert (ended.code, said) == (0, [f"{shown}: no answer for 0 s, waiting for up to 7 s"])


class TestWhatIsStored:
    """`store`, `erase` and `list`, which docker-credential-helpers has besides `get`."""

    def test_gets_the_login_as_json(self, folder, clock):
        program = write_helper(folder, "a", "")
        helpers_of(program, clock).store("a", "host.io", Credential("me", "pä:ss"))
        (call,) = program.calls
        assert call.startswith("store ")
        expected = {"ServerURL": "host.io", "Username": "me", "Secret": "pä:ss"}
        assert json.loads(call.removeprefix("store ")) == expected

    def test_gets_an_identity_token_under_its_user_name(self, folder, clock):
        program = write_helper(folder, "a", "")
        helpers_of(program, clock).store("a", "host.io", Credential("me", identity_token="token"))
        (call,) = program.calls
        assert json.loads(call.removeprefix("store "))["Username"] == "<token>"

    def test_is_asked_for_again_afterwards(self, folder, clock):
        program = write_helper(folder, "a", f'test "$1" = get || exit 0; {NOT_FOUND}')
        helpers = helpers_of(program, clock)
        assert helpers.get("a", "host.io") is None
        helpers.store("a", "host.io", Credential("me", "password"))
        helpers.get("a", "host.io")
        assert [call.split()[0] for call in program.calls] == ["get", "store", "get"]

    def test_must_be_text(self, folder, clock):
        program = write_helper(folder, "a", "")
        with pytest.raises(CredentialError) as caught:
            helpers_of(program, clock).store("a", "host.io", Credential("me", "hunter2\udcfc"))
        assert str(caught.value) == "the credential is not UTF-8, which docker-credential-a cannot store"
        assert caught.value.__cause__ is None
        assert caught.value.__context__ is None
        assert program.calls == []

    def test_is_in_no_error(self, folder, clock):
        program = write_helper(folder, "a", 'echo "no room for hunter2"; exit 2')
        with pytest.raises(CredentialError) as caught:
            helpers_of(program, clock).store("a", "host.io", Credential("me", "hunter2"))
        assert str(caught.value) == (
            "error storing credentials - err: exit status 2, out: `(not shown: it has a secret in it)`"
        )

    @pytest.mark.parametrize("body", ["", NOT_FOUND])
    def test_is_erased_whether_it_was_there_or_not(self, folder, clock, body):
        program = write_helper(folder, "a", body)
        helpers_of(program, clock).erase("a", "host.io")
        assert program.calls == ["erase host.io"]

    def test_cannot_be_erased_by_a_helper_that_fails(self, folder, clock):
        program = write_helper(folder, "a", "echo locked; kill -9 $$")
        with pytest.raises(CredentialError, match="error erasing credentials - err: signal 9, out: `locked`"):
            helpers_of(program, clock).erase("a", "host.io")

    def test_needs_the_program(self, folder, clock):
        program = write_helper(folder, "a", "")
        with pytest.raises(CredentialError, match="error storing credentials - err: exec: "):
            helpers_of(program, clock).store("b", "host.io", Credential("me", "password"))

    def test_is_listed(self, folder, clock):
        program = write_helper(folder, "a", """echo '{"host.io": "me"}'""")
        assert helpers_of(program, clock).logins("a") == {"host.io": "me"}

"""`registry serve`: prints its address, serves, and stops at a signal."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import time

import pytest
from tests.servers.client import ask

from imgpkg.testing.certificate import issue_certificate

pytestmark = pytest.mark.measured

_SECONDS = 60
SAYING = re.compile(r"Serving a registry for demonstrations and tests at (https?)://(\S+)\n")


@pytest.fixture
def serving(started):
    """Start it on a free port; return the process, the scheme and the address."""

    def serves(*words, stdin=b"", said=SAYING):
        process = started("registry", "serve", "--address", "127.0.0.1:0", *words)
        process.stdin.write(stdin)
        process.stdin.close()
        process.stdin = None
        return process, *said.fullmatch(process.stdout.readline().decode()).groups()

    return serves


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_serves_until_it_is_stopped(serving, number):
    process, scheme, address = serving()
    assert scheme == "http"
    assert ask(address, "GET", "/v2/").status == 200
    process.send_signal(number)
    assert process.communicate(timeout=_SECONDS) == (b"", b"")
    assert process.returncode == 0
    with pytest.raises(ConnectionRefusedError):
        ask(address, "GET", "/v2/")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_may_be_stopped_as_soon_as_it_has_printed_its_address(serving, number):
    for _ in range(5):
        process, _, _ = serving()
        process.send_signal(number)
        assert process.communicate(timeout=_SECONDS) == (b"", b"")
        assert process.returncode == 0


@pytest.mark.parametrize("pause", [0, 0.002])
def test_a_second_signal_does_not_break_off_the_end(serving, pause):
    for _ in range(3):
        process, _, address = serving()
        assert ask(address, "GET", "/v2/").status == 200
        process.send_signal(signal.SIGINT)
        time.sleep(pause)
        process.send_signal(signal.SIGTERM)
        assert process.communicate(timeout=_SECONDS) == (b"", b"")
        # The second one may come when all is done and the process about to end.
        assert process.returncode in (0, -signal.SIGTERM)


def test_programs_get_the_address_while_it_serves(started):
    process = started("registry", "serve", "--address", "127.0.0.1:0", "--json")
    text = b"".join(process.stdout.readline() for _ in range(4))
    document = json.loads(text)
    assert document["url"] == f"http://{document['address']}"
    assert ask(document["address"], "GET", "/v2/").status == 200
    process.terminate()
    assert process.communicate(timeout=_SECONDS) == (b"", b"")
    assert process.returncode == 0


def test_images_are_kept_in_a_folder(serving, run, folder, tmp_path):
    kept = tmp_path / "kept"
    process, _, address = serving("--storage", kept)
    assert run("push", "-i", f"{address}/kept/app", "-f", folder).code == 0
    process.terminate()
    process.communicate(timeout=_SECONDS)
    _, _, again = serving("--storage", kept)
    assert run("tag", "list", "-i", f"{again}/kept/app").out == "latest\t\n"


@pytest.mark.parametrize("words", [[], ["--token-service"]])
def test_a_login_is_asked_for(serving, run, folder, words):
    _, _, address = serving("--username", "me", "--password-stdin", *words, stdin=b"pa55word\n")
    push = ["push", "-i", f"{address}/login/app", "-f", folder]
    assert run(*push).code == 4
    done = run(*push, "--registry-username", "me", "--registry-password", "pa55word")
    assert (done.code, done.err) == (0, "")


def test_it_serves_https(serving, run, folder, tmp_path):
    files = issue_certificate(str(tmp_path), ["127.0.0.1"])
    _, scheme, address = serving("--tls-cert", files.certificate, "--tls-key", files.key)
    assert scheme == "https"
    words = ["--registry-ca-cert-path", files.authority]
    assert run("push", "-i", f"{address}/tls/app", "-f", folder, *words).code == 0


@pytest.mark.parametrize(
    "text", ["localhost", "127.0.0.1:http", ":-1", "127.0.0.1:65536", f"a:{'1' * 5000}", "", "[::1]"]
)
def test_an_address_needs_a_port(refused, text):
    assert refused("registry", "serve", "--address", text) == (
        f"Expected --address to be HOST:PORT, but was {text}"
    )


@pytest.mark.parametrize("words", [["--username", "me"], ["--password-stdin"]])
def test_a_login_has_two_halves(refused, words):
    text = refused("registry", "serve", "--address", ":0", *words, stdin="x")
    assert text == "Expected --username and --password-stdin together"


@pytest.mark.parametrize("words", [["--tls-cert", "x"], ["--tls-key", "x"]])
def test_tls_has_two_halves(refused, words):
    assert refused("registry", "serve", "--address", ":0", *words) == (
        "Expected --tls-cert and --tls-key together"
    )


def test_a_port_that_is_taken_is_reported(reason):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        assert reason("registry", "serve", "--address", address).endswith("address already in use")


class TestServingFiles:
    @pytest.fixture
    def tar(self, run, folder, tmp_path):
        """A tar file that was written without any registry."""

        def made(name, reference):
            path = tmp_path / name
            assert run("push", "-i", reference, "-f", folder, "--to-tar", path).code == 0
            return path

        return made

    def test_a_tar_file_is_read_as_a_registry(self, serving, run, tar, tmp_path):
        _, _, address = serving("--tar", tar("a.tar", "registry.example.com/team/app:v1"))
        assert run("tag", "list", "-i", f"{address}/team/app").out == "v1\t\n"
        assert run("pull", "-i", f"{address}/team/app:v1", "-o", tmp_path / "out").code == 0

    def test_a_foreign_client_copies_from_it(self, serving, tar, tmp_path):
        _, _, address = serving("--tar", tar("a.tar", "registry.example.com/team/app:v1"))
        command = ["skopeo", "--insecure-policy", "--tmpdir", tmp_path, "copy", "--src-tls-verify=false"]
        environment = {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin", "XDG_RUNTIME_DIR": str(tmp_path)}
        subprocess.run(
            [*command, f"docker://{address}/team/app:v1", f"dir:{tmp_path}/copied"],
            check=True,
            capture_output=True,
            env=environment,
            timeout=_SECONDS,
        )
        assert (tmp_path / "copied" / "manifest.json").exists()

    def test_a_layout_and_a_tar_file_are_served_together(self, serving, run, folder, tar, tmp_path):
        reference = "registry.example.com/team/other:v1"
        assert run("push", "-i", reference, "-f", folder, "--to-oci-layout", tmp_path / "layout").code == 0
        first = tar("a.tar", "registry.example.com/team/app:v1")
        _, _, address = serving("--tar", first, "--from-oci-layout", tmp_path / "layout")
        for name in ("app", "other"):
            assert run("tag", "resolve", "-i", f"{address}/team/{name}:v1").code == 0

    def test_of_two_images_with_one_tag_the_first_has_it(self, serving, run, folder, tar):
        first = tar("a.tar", "registry.example.com/team/app:v1")
        expected = run("tag", "list", "--tar", first, "--digests").out.split()[1]
        (folder / "more").write_text("more")
        second = tar("b.tar", "other.example.com/team/app:v1")
        process, _, address = serving("--tar", first, "--tar", second)
        assert run("tag", "resolve", "-i", f"{address}/team/app:v1").out.endswith(expected)
        process.terminate()
        assert b"other.example.com/team/app:v1 is served by its digest" in process.communicate()[1]

    def test_nothing_is_accepted(self, serving, run, folder, tar):
        _, _, address = serving("--tar", tar("a.tar", "registry.example.com/team/app:v1"))
        done = run("push", "-i", f"{address}/team/app:v2", "-f", folder)
        assert (done.code, "this registry serves given images and can only be read" in done.err) == (1, True)

    def test_a_storage_is_something_else(self, refused, tmp_path):
        text = refused("registry", "serve", "--address", ":0", "--storage", tmp_path, "--tar", "a.tar")
        assert text == "Expected only one of --storage and --tar or --from-oci-layout"

    def test_a_file_that_is_not_there_is_reported_at_once(self, reason):
        text = reason("registry", "serve", "--address", ":0", "--tar", "a.tar")
        assert text == "open a.tar: no such file or directory"

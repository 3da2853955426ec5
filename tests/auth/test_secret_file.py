"""Secrets in files: what is read, what is refused, and when a file is read again."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import socket
import threading
import time

import pytest
from tests.auth.mounts import Mount

from imgpkg.auth import secret_file
from imgpkg.auth.keychain import ANONYMOUS
from imgpkg.auth.secret_file import LOOK_AGAIN, MAX_SIZE, Reread, SecretFile, completed
from imgpkg.errors import CredentialError

NAME, INSTEAD = "IMGPKG_REGISTRY_PASSWORD_FILE_0", "IMGPKG_REGISTRY_PASSWORD_0"
NOW = 1_800_000_000.0


def secret_in(path, *, is_password=True, clock=lambda: NOW):
    return SecretFile(str(path), NAME, INSTEAD, is_password=is_password, clock=clock)


def token(ends_at):
    """A JSON web token that ends then, as the kubelet writes them."""
    claims = base64.urlsafe_b64encode(json.dumps({"exp": ends_at}).encode()).decode().rstrip("=")
    return f"e30.{claims}.c2ln"


def put(path, text):
    """Let another file take the place of the old one in one step, as the kubelet does."""
    new = path.with_name("new")
    new.write_text(text)
    new.replace(path)


@pytest.mark.parametrize(
    ("content", "secret"),
    [
        (b"s3cret", "s3cret"),
        (b"s3cret\n", "s3cret"),
        (b"s3cret\r\n", "s3cret"),
        (b" s3cret \n", " s3cret "),
        (b"\xef\xbb\xbfs3cret\n", "s3cret"),
        ("sécret".encode("latin-1"), "s\udce9cret"),
        (b'{\r\n\t"type": "service_account"\n}\n', '{\r\n\t"type": "service_account"\n}'),
        (b"x" * MAX_SIZE, "x" * MAX_SIZE),
    ],
)
def test_is_the_content_without_one_line_end(tmp_path, content, secret):
    path = tmp_path / "password"
    path.write_bytes(content)
    assert secret_in(path).read().value == secret


MISSING = f"Write or mount the file, or give the secret itself with {INSTEAD}."
LINES = "Write only the secret into it, in one line."
PLAIN = "Save it as plain text in UTF-8; in UTF-16 there are NUL characters."


@pytest.mark.parametrize(
    ("content", "reason", "hint"),
    [
        (None, "which is not there", MISSING),
        (b"", "which is empty", f"Write the secret into it, or give the secret itself with {INSTEAD}."),
        (b" \n", "which is empty", f"Write the secret into it, or give the secret itself with {INSTEAD}."),
        (b"hunter2\n\n", "which has more than one line", LINES),
        (b"hunter2\rhunter3", "which has more than one line", LINES),
        (b"hunter2\r", "which has more than one line", LINES),
        (b"hunter2\0", "which holds the control character U+0000", PLAIN),
        ("hunter2\n".encode("utf-16-le"), "which holds the control character U+0000", PLAIN),
        (b"{hunter2\x1b}", "which holds the control character U+001B", PLAIN),
        (b"hunter\t2", "which holds the control character U+0009", PLAIN),
        (
            b"x" * (MAX_SIZE + 1),
            "which holds more than 64 KiB",
            "Name a file that holds nothing but the secret.",
        ),
    ],
)
def test_that_cannot_be_used_is_an_error_with_a_remedy(tmp_path, content, reason, hint):
    path = tmp_path / "password"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CredentialError) as caught:
        secret_in(path).read()
    assert str(caught.value) == f"{NAME} names {path}, {reason}"
    assert caught.value.hints == (hint,)


def test_of_many_lines_is_only_ever_a_password(tmp_path):
    (tmp_path / "token").write_text('{\n"a": 1}')
    with pytest.raises(CredentialError, match="more than one line"):
        secret_in(tmp_path / "token", is_password=False).read()


@pytest.mark.parametrize(
    ("path", "reason", "hint"),
    [
        ("{}", "which is a folder", "Name the file in it that holds the secret, such as {}/password."),
        (
            "/dev/zero",
            "which is a device",
            f"Name a file or a pipe, or give the secret itself with {INSTEAD}.",
        ),
        (
            "/dev/null",
            "which is a device",
            f"Name a file or a pipe, or give the secret itself with {INSTEAD}.",
        ),
        ("{}/a/b", "which is not there", MISSING),
        ("{}/file/b", "which is not there", MISSING),
        ("~/b", "which is not there", MISSING),
        (
            "{}/loop",
            "which cannot be read: too many levels of symbolic links",
            f"Name a file, or give the secret itself with {INSTEAD}.",
        ),
        (
            "{}/socket",
            "which cannot be read: no such device or address",
            f"Name a file, or give the secret itself with {INSTEAD}.",
        ),
        ("{}/\x1b", "which is not there", MISSING),
    ],
)
def test_that_is_no_file_is_an_error_with_a_remedy(tmp_path, path, reason, hint, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("x")
    (tmp_path / "loop").symlink_to("loop")
    with listening("socket"):
        path = path.replace("{}", str(tmp_path))
        with pytest.raises(CredentialError) as caught:
            secret_in(path).read()
    assert str(caught.value) == f"{NAME} names {path}, {reason}".replace("\x1b", "\\x1b")
    assert caught.value.hints == (hint.replace("{}", str(tmp_path)),)


@contextlib.contextmanager
def listening(name):
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(name)
        yield


@pytest.mark.parametrize("value", ["hunter2", "hunter2/x/y", "hunter2" * 1000, "hunter2\0"])
def test_that_somebody_wrote_into_the_variable_itself_is_not_shown(value):
    with pytest.raises(CredentialError) as caught:
        secret_in(value).read()
    assert str(caught.value) == (
        f"{NAME} names no file that is there; its value is not shown, because it may be the secret itself"
    )
    assert caught.value.hints == (f"Give the path of a file, or give the secret itself with {INSTEAD}.",)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_that_may_not_be_read_is_an_error_with_the_number_of_the_user(tmp_path):
    path = tmp_path / "password"
    path.write_text("s3cret")
    path.chmod(0)
    with pytest.raises(CredentialError) as caught:
        secret_in(path).read()
    assert str(caught.value) == f"{NAME} names {path}, which this user may not read"
    assert f"Let user {os.geteuid()} read it" in caught.value.hints[0]


def test_that_everybody_may_read_is_read(tmp_path):
    path = tmp_path / "password"
    path.write_text("s3cret")
    path.chmod(0o644)
    assert secret_in(path).read().value == "s3cret"


class TestPipe:
    def test_is_read_once_though_it_is_written_in_pieces(self, tmp_path):
        path = tmp_path / "pipe"
        os.mkfifo(path)

        def write():
            with open(path, "wb", buffering=0) as file:
                file.write(b"s3c")
                time.sleep(0.05)
                file.write(b"ret\n")

        writer = threading.Thread(target=write)
        writer.start()
        file = secret_in(path)
        assert [file.read().value for _ in range(3)] == ["s3cret"] * 3
        writer.join()

    def test_of_a_process_substitution_is_read(self):
        reader, writer = os.pipe()
        os.write(writer, b"s3cret\n")
        os.close(writer)
        try:
            assert secret_in(f"/dev/fd/{reader}").read().value == "s3cret"
        finally:
            os.close(reader)

    def test_with_more_than_a_secret_is_refused(self, tmp_path):
        path = tmp_path / "pipe"
        os.mkfifo(path)
        writer = threading.Thread(target=pour, args=(path,))
        writer.start()
        with pytest.raises(CredentialError, match="more than 64 KiB"):
            secret_in(path).read()
        writer.join()

    def test_that_is_closed_without_a_word_is_empty(self, tmp_path):
        path = tmp_path / "pipe"
        os.mkfifo(path)
        writer = threading.Thread(target=path.write_bytes, args=(b"",))
        writer.start()
        with pytest.raises(CredentialError, match="which is empty"):
            secret_in(path).read()
        writer.join()

    def test_without_a_writer_is_waited_for_with_a_limit(self, tmp_path, monkeypatch):
        monkeypatch.setattr(secret_file, "PIPE_SECONDS", 0.05)
        os.mkfifo(tmp_path / "pipe")
        file = secret_in(tmp_path / "pipe")
        with pytest.raises(CredentialError) as caught:
            file.read()
        text = f"{NAME} names {tmp_path}/pipe, a pipe into which nothing was written in 30 s"
        assert str(caught.value) == text


def pour(path):
    with contextlib.suppress(BrokenPipeError), open(path, "wb", buffering=0) as file:
        file.writelines(b"x" * (MAX_SIZE // 2) for _ in range(4))


class TestChange:
    def test_is_seen_at_the_next_read(self, tmp_path):
        path = tmp_path / "password"
        path.write_text("first")
        file = secret_in(path)
        assert file.read().value == "first"
        put(path, "again")
        assert file.read().value == "again"

    def test_is_seen_through_the_links_of_the_kubelet(self, tmp_path):
        mount = Mount(tmp_path, password="first")
        file = secret_in(tmp_path / "password")
        assert file.read().value == "first"
        mount.update(password="again")
        assert file.read().value == "again"

    @pytest.mark.parametrize("content", [None, "", "two\nlines"])
    def test_to_what_cannot_be_used_leaves_the_secret_as_it_was(self, tmp_path, content):
        path = tmp_path / "password"
        path.write_text("first")
        file = secret_in(path)
        file.read()
        path.unlink()
        if content is not None:
            path.write_text(content)
        secret = file.read()
        assert secret.value == "first"
        assert bool(secret.problem) is (content is not None)
        put(path, "again")
        assert (file.read().value, file.read().problem) == ("again", "")

    def test_of_a_file_that_was_refused_gives_it_another_chance(self, tmp_path):
        path = tmp_path / "password"
        file = secret_in(path)
        for _ in range(2):
            with pytest.raises(CredentialError, match="not there"):
                file.read()
        put(path, "s3cret")
        assert file.read().value == "s3cret"

    def test_that_failed_is_reported_in_the_trail(self, tmp_path):
        path = tmp_path / "password"
        path.write_text("first")
        file = secret_in(path)
        file.read()
        path.write_text("")
        credential, notes = completed(ANONYMOUS, {"password": file})
        assert credential.password == "first"
        assert notes == (
            f"{NAME} cannot be read again, its last content is used: {NAME} names {path}, which is empty",
        )


class TestNextLook:
    @pytest.mark.parametrize(
        ("content", "seconds"),
        [
            ("s3cret", LOOK_AGAIN),
            (token(NOW + 7), 7),
            (token(NOW + 3600), LOOK_AGAIN),
            (token(NOW - 1), LOOK_AGAIN),
        ],
    )
    def test_is_soon_and_before_a_token_ends(self, tmp_path, content, seconds):
        (tmp_path / "token").write_text(content)
        credential, _ = completed(ANONYMOUS, {"registry_token": secret_in(tmp_path / "token")})
        assert credential.expires_at == NOW + seconds

    def test_is_the_same_for_all_until_it_is_due(self, tmp_path):
        (tmp_path / "password").write_text("s3cret")
        times = iter([NOW, NOW + 59, NOW + 60])
        file = secret_in(tmp_path / "password", clock=lambda: next(times))
        assert [file.read().look_again_at - NOW for _ in range(3)] == [60, 60, 120]

    def test_is_that_of_the_first_file_that_is_due(self, tmp_path):
        (tmp_path / "password").write_text(token(NOW + 7))
        (tmp_path / "username").write_text("me")
        files = {name: secret_in(tmp_path / name) for name in ("username", "password")}
        credential, notes = completed(ANONYMOUS, files)
        assert (credential.username, credential.expires_at, notes) == ("me", NOW + 7, ())


def test_a_value_is_made_once_for_a_file_that_stays(tmp_path):
    (tmp_path / "file").write_text("x")
    made = []
    value = Reread(str(tmp_path / "file"), lambda: made.append(1) or len(made))
    assert [value(), value()] == [1, 1]
    put(tmp_path / "file", "y")
    assert [value(), value()] == [2, 2]

"""Which file a login is stored in, under which key, and how the file is replaced."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import resource
import stat
import subprocess
import sys
import threading

import pytest

from imgpkg.auth import configfile
from imgpkg.auth.configfile import ConfigFile, Form
from imgpkg.auth.keychain import Credential
from imgpkg.auth.pattern import Address
from imgpkg.deadline import limits
from imgpkg.errors import CredentialError, LocalIOError, TimedOut, UsageError

ENTRY = {"auth": "bmV3"}
HOST = Address.read("host.example")


@pytest.fixture
def file(tmp_path):
    return ConfigFile(str(tmp_path / "config.json"), Form.DOCKER)


def written(file):
    with open(file.path, "rb") as opened:
        return opened.read()


@pytest.mark.parametrize(
    ("environ", "authfile", "path", "form"),
    [
        ({"HOME": "/h"}, "", "/h/.docker/config.json", Form.DOCKER),
        ({"USERPROFILE": "/h"}, "", "/h/.docker/config.json", Form.DOCKER),
        ({"HOME": "/h", "DOCKER_CONFIG": "/d"}, "", "/d/config.json", Form.DOCKER),
        ({"HOME": "/h", "REGISTRY_AUTH_FILE": "/p.json"}, "", "/p.json", Form.PODMAN),
        (
            {"HOME": "/h", "REGISTRY_AUTH_FILE": "/p.json", "DOCKER_CONFIG": "/d"},
            "",
            "/d/config.json",
            Form.DOCKER,
        ),
        ({"HOME": "/h", "REGISTRY_AUTH_FILE": "/p.json"}, "a.json", "a.json", Form.PODMAN),
        ({}, "a.json", "a.json", Form.PODMAN),
        ({"HOME": "/h"}, "/h/.docker/../.docker/config.json", "/h/.docker/config.json", Form.DOCKER),
    ],
)
def test_the_file_is_the_one_that_is_named(environ, authfile, path, form):
    assert ConfigFile.choose(environ, authfile) == ConfigFile(path, form)


def test_without_a_home_a_file_must_be_named():
    with pytest.raises(UsageError, match="give --authfile"):
        ConfigFile.choose({})


@pytest.mark.parametrize(
    ("place", "docker", "podman"),
    [
        ("host.example", "host.example", "host.example"),
        ("https://HOST.example:443/v2/", "host.example", "host.example"),
        ("host.example:5000/team", "host.example:5000/team", "host.example:5000/team"),
        ("[::1]:5000", "[::1]:5000", "[::1]:5000"),
        ("docker.io", "https://index.docker.io/v1/", "docker.io"),
        ("index.docker.io/team", "docker.io/team", "docker.io/team"),
    ],
)
def test_the_key_is_the_one_that_the_tool_of_the_file_uses(place, docker, podman):
    address = Address.read(place)
    assert ConfigFile("", Form.DOCKER).key_of(address) == docker
    assert ConfigFile("", Form.PODMAN).key_of(address) == podman


@pytest.mark.parametrize(
    ("credential", "entry", "login"),
    [
        (Credential("me", "pä:ss"), {}, "me:pä:ss"),
        (Credential("me", identity_token="t"), {"identitytoken": "t"}, "me:"),
        (Credential(identity_token="t"), {"identitytoken": "t"}, "<token>:"),
    ],
)
def test_an_entry_is_that_of_docker(credential, entry, login):
    made = configfile.entry_of(credential)
    assert made == {"auth": base64.b64encode(login.encode()).decode(), **entry}


@pytest.mark.parametrize(
    ("credential", "why"),
    [
        (Credential("a:b", "c"), "must not contain a colon"),
        (Credential("me", ""), "are needed"),
        (Credential("", "secret"), "are needed"),
        (Credential(registry_token="t"), "are needed"),
    ],
)
def test_half_a_login_is_refused(credential, why):
    with pytest.raises((UsageError, CredentialError), match=why):
        configfile.check(credential)


def test_a_new_file_and_its_folder_are_for_the_owner_alone(tmp_path):
    file = ConfigFile(str(tmp_path / "new" / "config.json"), Form.DOCKER)
    file.store(HOST, ENTRY)
    assert stat.S_IMODE(os.stat(file.path).st_mode) == 0o600
    assert stat.S_IMODE(os.stat(tmp_path / "new").st_mode) == 0o700
    assert not file.is_readable_for_others
    assert os.listdir(tmp_path / "new") == ["config.json"]


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o444])
def test_the_mode_of_a_file_is_kept(file, mode):
    with open(file.path, "w") as opened:
        opened.write("{}")
    os.chmod(file.path, mode)
    file.store(HOST, ENTRY)
    assert stat.S_IMODE(os.stat(file.path).st_mode) == mode
    assert file.is_readable_for_others == (mode != 0o600)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give files away")
def test_the_owner_of_a_file_is_kept(file):
    with open(file.path, "w") as opened:
        opened.write("{}")
    os.chown(file.path, 1234, 4321)
    file.store(HOST, ENTRY)
    assert (os.stat(file.path).st_uid, os.stat(file.path).st_gid) == (1234, 4321)


@pytest.mark.parametrize("is_there", [True, False])
def test_a_link_stays_one(tmp_path, is_there):
    target, link = tmp_path / "dotfiles" / "docker.json", tmp_path / "config.json"
    if is_there:
        target.parent.mkdir()
        target.write_text('{"x": 1}')
    link.symlink_to(target)
    ConfigFile(str(link), Form.DOCKER).store(HOST, ENTRY)
    assert link.is_symlink()
    assert json.loads(target.read_text())["auths"] == {"host.example": ENTRY}


def test_a_pipe_or_device_is_never_replaced(tmp_path):
    """A link to /dev/null keeps logins off a machine; a file in its place would break all of that."""
    os.mkfifo(tmp_path / "device")
    link = tmp_path / "config.json"
    link.symlink_to(tmp_path / "device")
    with pytest.raises(LocalIOError, match=r"config\.json: not a regular file") as raised:
        ConfigFile(str(link), Form.DOCKER).store(HOST, ENTRY)
    assert "--authfile" in raised.value.hints[0]
    assert (tmp_path / "device").is_fifo()
    assert sorted(os.listdir(tmp_path)) == ["config.json", "device"]


def test_a_file_that_needs_no_change_is_not_written(file):
    file.store(HOST, ENTRY)
    before = os.stat(file.path).st_ino
    file.store(HOST, ENTRY)
    file.erase(Address.read("other.example"))
    assert os.stat(file.path).st_ino == before


def test_a_logout_without_a_file_makes_none(file):
    file.erase(HOST)
    assert not os.path.exists(file.path)


def test_a_broken_file_is_an_error_with_its_place_and_stays(file):
    with open(file.path, "w") as opened:
        opened.write('{"auths": {\n"host.example": {"auth": "c2VjcmV0"\n}')
    before = written(file)
    for change in (lambda: file.store(HOST, ENTRY), lambda: file.erase(HOST), file.read):
        with pytest.raises(CredentialError) as caught:
            change()
        assert f"loading config file: {file.path}: line 3 column 2" in str(caught.value)
        assert "c2VjcmV0" not in str(caught.value)
    assert written(file) == before


def test_every_spelling_of_a_key_is_erased_and_parts_stay(file):
    hub = ["https://index.docker.io/v1/", "docker.io", "https://registry-1.docker.io"]
    keys = [*hub, "docker.io/team", "other"]
    with open(file.path, "w") as opened:
        json.dump({"auths": dict.fromkeys(keys, ENTRY), "x": 1}, opened)
    place = Address.read("index.docker.io")
    assert [key.written for key in file.keys_of(place)] == hub
    assert [key.written for key in file.keys_below(place)] == ["docker.io/team"]
    file.erase(place)
    assert json.loads(written(file)) == {"auths": dict.fromkeys(keys[3:], ENTRY), "x": 1}


@pytest.mark.parametrize(
    ("config", "place", "found"),
    [
        ({}, "host.example", None),
        ({"credsStore": "s"}, "host.example", ("s", "host.example")),
        ({"credsStore": "s"}, "host.example/team", None),
        ({"credsStore": "s"}, "localhost:5000", ("s", "localhost:5000")),
        ({"credsStore": "s"}, "docker.io", ("s", "https://index.docker.io/v1/")),
        ({"credsStore": "s", "credHelpers": {"host.example": "h"}}, "host.example", ("h", "host.example")),
        ({"credsStore": "s", "credHelpers": {"host.example": ""}}, "host.example", None),
        (
            {"credsStore": "s", "credHelpers": {"host.example/team": "h"}},
            "host.example",
            ("s", "host.example"),
        ),
        ({"credHelpers": {"host.example/team": "h"}}, "host.example/team", ("h", "host.example/team")),
        ({"credHelpers": {"host.example": "h"}}, "host.example/team", None),
    ],
)
def test_the_helper_is_the_one_of_the_registry(file, config, place, found):
    with open(file.path, "w") as opened:
        json.dump(config, opened)
    assert file.helper_for(Address.read(place)) == found


def test_writers_at_the_same_time_lose_nothing(file):
    program = (
        "import sys\n"
        "from imgpkg.auth.configfile import ConfigFile, Form\n"
        "from imgpkg.auth.pattern import Address\n"
        "file = ConfigFile(sys.argv[1], Form.DOCKER)\n"
        "for number in range(25):\n"
        "    file.store(Address.read(f'{sys.argv[2]}{number}.example'), {'auth': 'eDp5'})\n"
    )
    writers = [subprocess.Popen([sys.executable, "-c", program, file.path, name]) for name in "abc"]
    assert [writer.wait(60) for writer in writers] == [0, 0, 0]
    names = {f"{name}{number}.example" for name in "abc" for number in range(25)}
    assert json.loads(written(file))["auths"].keys() == names
    assert os.listdir(os.path.dirname(file.path)) == ["config.json"]


def test_what_cannot_be_replaced_is_an_error_and_leaves_nothing(file):
    os.makedirs(os.path.join(file.path, "inside"))
    with pytest.raises(LocalIOError, match="is a directory"):
        file.store(HOST, ENTRY)
    assert os.listdir(os.path.dirname(file.path)) == ["config.json"]
    below = ConfigFile(os.path.join(sys.executable, "config.json"), Form.DOCKER)
    with pytest.raises(LocalIOError, match=r"not a directory|file exists"):
        below.store(HOST, ENTRY)


def test_a_file_that_is_not_there_is_readable_for_nobody(file):
    assert not file.is_readable_for_others


def test_a_full_disk_leaves_the_file_as_it_was(file):
    with open(file.path, "w") as opened:
        opened.write("{}")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8, limits[1]))
    try:
        with pytest.raises(LocalIOError, match="file too large"):
            file.store(HOST, ENTRY)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert written(file) == b"{}"
    assert os.listdir(os.path.dirname(file.path)) == ["config.json"]


READ_ONLY = """
import os, sys, tempfile
from imgpkg.auth.configfile import ConfigFile, Form
from imgpkg.auth.pattern import Address
from imgpkg.errors import LocalIOError
import imgpkg.errors.system
b"{}".decode("utf-8-sig")
# Nothing is imported after this: the modules may be in a folder that others may not enter.
if not os.getuid():
    os.setuid(54321)
try:
    ConfigFile(sys.argv[1], Form.DOCKER).store(Address.read("host.example"), {"auth": "eDp5"})
except LocalIOError as error:
    print(error)
"""


def test_a_folder_that_is_read_only_is_an_error_with_the_file(tmp_path):
    (tmp_path / "config.json").write_text('{"x": 1}')
    for folder in (tmp_path, *tmp_path.parents):
        if str(folder).startswith("/tmp/"):
            folder.chmod(0o755)
    tmp_path.chmod(0o555)
    path = str(tmp_path / "config.json")
    done = subprocess.run(
        [sys.executable, "-c", READ_ONLY, path], capture_output=True, text=True, check=False
    )
    assert done.stdout == f"write {path}: permission denied\n", done.stderr
    assert (tmp_path / "config.json").read_text() == '{"x": 1}'
    tmp_path.chmod(0o755)


def test_without_locks_of_the_file_system_the_file_is_written(file, monkeypatch):
    # What NFS answers for a folder; no test machine has one.
    def refuse(*_):
        raise OSError(9, "Bad file descriptor")

    monkeypatch.setattr("fcntl.flock", refuse)
    file.store(HOST, ENTRY)
    assert json.loads(written(file)) == {"auths": {"host.example": ENTRY}}


def test_another_failure_of_the_lock_is_an_error(file, monkeypatch):
    def refuse(*_):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("fcntl.flock", refuse)
    with pytest.raises(LocalIOError, match="input/output error"):
        file.store(HOST, ENTRY)


def test_a_lock_of_another_process_is_waited_for_within_the_time_limit(file):
    place = Address.read("r.example")
    holder = os.open(os.path.dirname(file.path), os.O_RDONLY)
    fcntl.flock(holder, fcntl.LOCK_EX)
    with pytest.raises(TimedOut), limits(timeout=0.2):
        file.store(place, {"auth": "eDp5"})
    assert not os.path.exists(file.path)
    threading.Timer(0.2, os.close, (holder,)).start()
    file.store(place, {"auth": "eDp5"})
    assert b"r.example" in written(file)

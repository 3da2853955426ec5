"""Fingerprints: the same for equal secrets on one machine, and different everywhere else."""

from __future__ import annotations

import os
import re
from concurrent.futures import ThreadPoolExecutor

import pytest

from imgpkg.auth.diagnosis.fingerprint import FingerprintKey
from imgpkg.auth.keychain import ANONYMOUS, Credential

LOGIN = Credential("ci", "s3cret")


def place(home):
    return home / ".local/state/imgpkg/fingerprint.key"


@pytest.fixture
def environ(tmp_path):
    return {"HOME": str(tmp_path)}


def test_equal_secrets_have_one_fingerprint_whatever_their_kind_and_user(environ):
    same = {
        credential.fingerprint(environ)
        for credential in (LOGIN, Credential("bob", "s3cret"), Credential(registry_token="s3cret"))
    }
    assert len(same) == 1
    assert re.fullmatch(r"[a-z2-7]{8}", *same)
    assert Credential("ci", "s3cret\n").fingerprint(environ) not in same


@pytest.mark.parametrize("credential", [ANONYMOUS, Credential("ci", ""), Credential("", "s3cret")])
def test_what_is_not_sent_has_none(environ, credential):
    assert credential.fingerprint(environ) == ""


def test_a_secret_of_any_bytes_has_one(environ):
    assert Credential("ci", "\udcff\ud800é").fingerprint(environ)


def test_the_key_is_made_once_and_readable_for_its_owner_only(environ, tmp_path):
    first = FingerprintKey.of_machine(environ)
    assert FingerprintKey.of_machine(environ) == first
    assert (len(first.value), first.note) == (32, "")
    assert place(tmp_path).stat().st_mode & 0o777 == 0o600
    assert os.listdir(place(tmp_path).parent) == ["fingerprint.key"]
    assert repr(first) == "FingerprintKey(note='')"


def test_another_machine_gives_another_fingerprint(tmp_path):
    one, other = {"XDG_STATE_HOME": str(tmp_path / "a")}, {"XDG_STATE_HOME": str(tmp_path / "b")}
    assert LOGIN.fingerprint(one) != LOGIN.fingerprint(other)
    assert (tmp_path / "a/imgpkg/fingerprint.key").exists()


def test_many_at_once_use_the_key_of_the_first(environ):
    with ThreadPoolExecutor(16) as pool:
        keys = set(pool.map(lambda _: FingerprintKey.of_machine(environ), range(64)))
    assert len(keys) == 1


@pytest.mark.parametrize("environ", [{}, {"HOME": ""}, {"XDG_STATE_HOME": "relative", "HOME": "x"}])
def test_without_a_folder_the_key_is_for_one_run_which_its_note_says(environ):
    key = FingerprintKey.of_machine(environ)
    assert key.note == "fingerprints are for this run only: the environment names no folder for its key"
    assert key.fingerprint(LOGIN) != FingerprintKey.of_machine(environ).fingerprint(LOGIN)


def test_a_folder_that_cannot_be_written_gives_a_key_for_one_run(environ, tmp_path):
    (tmp_path / ".local").write_text("no folder")
    key = FingerprintKey.of_machine(environ)
    assert key.note == f"fingerprints are for this run only: {place(tmp_path)}: not a directory"
    assert key.fingerprint(LOGIN)


@pytest.mark.parametrize("content", [b"", b"short", b"x" * 33])
def test_a_file_that_is_no_key_is_not_used_and_not_replaced(environ, tmp_path, content):
    place(tmp_path).parent.mkdir(parents=True)
    place(tmp_path).write_bytes(content)
    assert FingerprintKey.of_machine(environ).note.endswith(": invalid argument")
    assert place(tmp_path).read_bytes() == content

"""Files of client certificates: each mistake in them has a text of its own, and none of them a prompt."""

from __future__ import annotations

import datetime as dt
import os
import ssl
import subprocess

import pytest

from imgpkg.errors import InvalidSettings
from imgpkg.transport.pem import (
    TLSFiles,
    check_client_certificate,
    described,
    expiry,
    load_client_certificate,
    warnings_about,
)

ORIGIN = "--registry-client-cert"


@pytest.fixture
def pair(authority, tmp_path, monkeypatch):
    """A certificate and its key as `client.cert` and `client.key` in the working directory."""
    monkeypatch.chdir(tmp_path)
    authority.client(tmp_path)
    return tmp_path / "client.cert", tmp_path / "client.key"


def failure(certificate="client.cert", key="client.key"):
    with pytest.raises(InvalidSettings) as caught:
        load_client_certificate(
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), TLSFiles((), certificate, key, ORIGIN)
        )
    assert "BEGIN" not in str(caught.value)
    return str(caught.value).removeprefix(f"Client certificate from {ORIGIN}: "), *caught.value.hints


def encrypt(key, *options):
    text = subprocess.run(
        ["openssl", *options, "-in", key, "-passout", "pass:w0rd"], capture_output=True, check=True
    ).stdout
    key.write_bytes(text)


def test_one_file_may_have_both(pair):
    both = pair[1].read_bytes() + pair[0].read_bytes()
    pair[0].write_bytes(both)
    check_client_certificate(TLSFiles((), "client.cert", "", ORIGIN))


def test_a_missing_certificate(pair):
    pair[0].unlink()
    assert failure() == ("reading the client certificate: open client.cert: no such file or directory",)


def test_a_missing_key(pair):
    pair[1].unlink()
    assert failure() == (
        "reading the key of the client certificate: open client.key: no such file or directory",
    )


def test_a_key_that_was_not_named(pair):
    assert failure(key="") == (
        "there is no key: 'client.cert' has only a certificate",
        "Name the file of the key as well: --registry-client-key.",
    )


@pytest.mark.parametrize("text", ["", "key: value\n"])
def test_a_file_without_a_certificate(pair, text):
    pair[0].write_text(text)
    assert failure() == (
        "'client.cert' has no certificate in PEM form",
        "The file must have the certificate of the client first, then those of intermediate authorities.",
    )


def test_a_certificate_and_key_in_each_other_s_place(pair):
    assert failure("client.key", "client.cert")[0] == "'client.key' has a private key and no certificate"


def test_a_certificate_in_place_of_the_key(pair):
    assert failure(key="client.cert") == ("'client.cert' has a certificate and no private key",)


def test_a_key_file_of_other_text(pair):
    pair[1].write_text("ssh-ed25519 AAAA\n")
    assert failure() == ("'client.key' has no private key in PEM form",)


def test_a_key_of_another_certificate(pair, authority, tmp_path):
    authority.client(tmp_path, "other")
    assert failure(key="other.key") == (
        "the key 'other.key' belongs to another certificate than 'client.cert'",
        "Name the key with which the certificate was requested.",
    )


@pytest.mark.parametrize(
    "options",
    [("pkcs8", "-topk8"), ("ec", "-aes256"), ("pkey", "-aes256")],
    ids=["PKCS 8", "the old form", "pkey"],
)
def test_an_encrypted_key_asks_for_no_pass_phrase(pair, options):
    encrypt(pair[1], *options)
    assert failure() == (
        "the private key 'client.key' is encrypted, and imgpkg asks for no pass phrase",
        "Write it without one into a file of mode 0600: openssl pkey -in client.key -out KEY",
    )


def test_a_key_whose_encryption_only_openssl_notices_asks_for_none_either(pair):
    encrypt(pair[1], "pkcs8", "-topk8")
    # An unencrypted block comes first for whoever looks for one; the certificate of the same file is read.
    pair[1].write_text(pair[1].read_text().replace("\nProc", "\n Proc").replace("ENCRYPTED ", "ENCRYPTED  "))
    assert failure()[0].startswith("'client.key' has no private key")


def test_damaged_base64(pair):
    pair[0].write_text("-----BEGIN CERTIFICATE-----\nTm90aGluZw==\n-----END CERTIFICATE-----\n")
    text, *_ = failure()
    assert text.startswith("'client.cert' and 'client.key' cannot be used: ")


def test_a_folder(pair, tmp_path):
    (tmp_path / "folder").mkdir()
    assert failure("folder") == ("reading the client certificate: open folder: is a directory",)


def test_a_file_without_end(pair):
    assert failure("/dev/zero") == ("'/dev/zero' is larger than 64 MiB",)


def test_the_time_of_the_end_is_that_of_the_first_certificate(authority, tmp_path):
    end = dt.datetime(2051, 2, 3, 4, 5, 6, tzinfo=dt.timezone.utc)
    for name, moment in (("late", end), ("early", end.replace(year=2031))):
        certificate, _ = authority.client(tmp_path, name, not_after=moment)
        assert expiry(certificate) == moment.timestamp()


@pytest.mark.parametrize("data", [b"", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
def test_no_time_is_read_from_other_bytes(tmp_path, data):
    (tmp_path / "x").write_bytes(data)
    assert expiry(str(tmp_path / "x")) is None
    assert expiry(str(tmp_path / "absent")) is None


def test_years_of_the_last_century_are_read(tmp_path):
    der = b"\x17\x0d500102030405Z\x17\x0d991231235959Z"
    (tmp_path / "x").write_text(ssl.DER_cert_to_PEM_cert(der))
    assert (
        expiry(str(tmp_path / "x"))
        == dt.datetime(1999, 12, 31, 23, 59, 59, tzinfo=dt.timezone.utc).timestamp()
    )


def test_a_key_for_everybody_and_an_expired_certificate_are_doubted(authority, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    authority.client(tmp_path, not_after=dt.datetime(2020, 1, 2, 3, 4, 5, tzinfo=dt.timezone.utc))
    os.chmod("client.key", 0o644)
    files = TLSFiles((), "client.cert", "client.key", ORIGIN)
    assert list(warnings_about(files, 2e9)) == [
        "the private key 'client.key' can be read by every user of this machine: chmod 600 client.key",
        f"the client certificate 'client.cert' ({ORIGIN}) expired at 2020-01-02 03:04:05 UTC",
    ]
    assert described(files, 2e9) == f"'client.cert' (from {ORIGIN}, expired at 2020-01-02 03:04:05 UTC)"
    assert described(files, 0) == f"'client.cert' (from {ORIGIN})"


def test_a_key_of_root_in_a_folder_of_the_machine_is_not_doubted(pair):
    if os.getuid():
        pytest.skip("only root owns files of root")
    pair[1].chmod(0o644)
    assert not list(warnings_about(TLSFiles((), "client.cert", "client.key", ORIGIN, is_guarded=True), 0))


def test_a_private_key_is_not_doubted(pair):
    assert not list(warnings_about(TLSFiles((), "client.cert", "client.key", ORIGIN), 0))


def test_a_key_that_vanished_is_no_reason_to_warn(pair):
    pair[1].unlink()
    assert not list(warnings_about(TLSFiles((), "client.cert", "client.key", ORIGIN), 0))

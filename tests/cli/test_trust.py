"""The flags of signatures: which fit each other, and what the command says when an image is refused."""

from __future__ import annotations

import json

import pytest
from tests.operations.making import make_image
from tests.servers import signatures as made
from tests.servers.sigstore_service import Sigstore

KEY, OTHER = made.MAKERS["p256"](), made.MAKERS["p256"]()
ISSUER = "https://login.example.com"
PASSWORD = "hunter2 of the key"


@pytest.fixture
def keys(tmp_path):
    (tmp_path / "release.key").write_bytes(made.private_pem(KEY))
    (tmp_path / "locked.key").write_bytes(made.private_pem(KEY, PASSWORD.encode()))
    (tmp_path / "release.pub").write_bytes(made.public_pem(KEY))
    (tmp_path / "other.pub").write_bytes(made.public_pem(OTHER))
    return tmp_path


@pytest.fixture
def signed(run, repository, folder, keys):
    """The reference of an image that was pushed and signed."""
    assert run("push", "-i", f"{repository}:v1", "-f", folder, "--sign-key", keys / "release.key").code == 0
    return f"{repository}:v1"


def test_a_signed_image_is_copied_and_pulled(run, signed, keys, tmp_path):
    tar, to = str(tmp_path / "x.tar"), f"{signed.rpartition(':')[0]}-inside"
    verify = ("--verify-key", keys / "other.pub", "--verify-key", keys / "release.pub")
    for words in (
        ("copy", "-i", signed, "--to-tar", tar, "--cosign-signatures"),
        ("copy", "--tar", tar, "--to-repo", to, "--cosign-signatures"),
        ("pull", "-i", f"{to}:v1", "-o", tmp_path / "out"),
        ("copy", "-i", f"{to}:v1", "--to-repo", f"{to}-further", "--dry-run"),
    ):
        done = run(*words, *verify)
        assert (done.code, done.err) == (0, ""), words


def test_a_preview_says_who_has_signed(run, signed, keys):
    to = f"{signed.rpartition(':')[0]}-inside"
    preview = ("copy", "-i", signed, "--to-repo", to, "--dry-run", "--verify-key", keys / "release.pub")
    assert f"\nSigned:\n  {signed.rpartition(':')[0]}@sha256:" in run(*preview).out
    (verified,) = json.loads(run(*preview, "--json").out)["verified"]
    assert verified["signers"] == [str(keys / "release.pub")]
    assert verified["predicateTypes"] == []


def test_a_log_says_who_has_signed(run, signed, keys):
    to = f"{signed.rpartition(':')[0]}-inside"
    done = run("copy", "-i", signed, "--to-repo", to, "--verify-key", keys / "release.pub", "--tty")
    assert "copy | verified " in done.out
    assert f": signed by {keys / 'release.pub'}" in done.out
    assert "signatures are not copied (hint: --attachments" in done.out


@pytest.mark.parametrize("command", ["copy", "pull"])
def test_another_image_is_refused(run, signed, keys, tmp_path, command):
    to = ("--to-tar", tmp_path / "x.tar") if command == "copy" else ("-o", tmp_path / "x")
    done = run(command, "-i", signed, *to, "--verify-key", keys / "other.pub")
    assert done.code == 6
    text = " ".join(done.err.split())
    assert "Not trusted:" in text
    assert f"no signature by {keys / 'other.pub'}: 1 is by another key" in text
    assert not (tmp_path / "x").exists()
    assert not (tmp_path / "x.tar").exists()


def test_a_key_may_be_in_a_variable(run, signed, keys, tmp_path, monkeypatch):
    monkeypatch.setenv("RELEASE", made.public_pem(KEY).decode())
    assert run("pull", "-i", signed, "-o", tmp_path / "out", "--verify-key", "env://RELEASE").code == 0
    monkeypatch.delenv("RELEASE")
    done = run("pull", "-i", signed, "-o", tmp_path / "out", "--verify-key", "env://RELEASE")
    assert "env://RELEASE: the variable is not set" in done.err


def test_a_policy_may_be_in_a_file(run, signed, keys, tmp_path):
    policy = tmp_path / "policy.yml"
    policy.write_text(
        "apiVersion: imgpkg.carvel.dev/v1alpha1\nkind: VerificationPolicy\nrules:\n"
        "- repositories: ['**']\n  require:\n  - signature:\n      keys: [release.pub]\n"
    )
    pull = ("pull", "-i", signed, "-o", tmp_path / "out", "--verify-policy", policy)
    assert run(*pull).code == 0
    policy.write_text(policy.read_text().replace("release", "other"))
    assert "Not trusted" in run(*pull).err
    policy.write_text(policy.read_text().replace("keys", "key"))
    done = run(*pull)
    assert "rules[0].require[0].signature.key: unknown field" in " ".join(done.err.split())
    assert f"Look at line 7, column 7 of {policy}." in done.err


@pytest.mark.parametrize("form", ["exact", "expressions"])
def test_an_identity_is_verified(run, repository, session, tmp_path, form):
    pytest.importorskip("sigstore")
    image = make_image(session, repository)
    service = Sigstore()
    (tmp_path / "root.json").write_text(service.trusted_root())
    bundle = service.bundle(made.statement(image.digest, made.SIGN), "me@example.com", ISSUER)
    made.put_referrer(session, image, json.dumps(bundle).encode())
    flags = (
        ("--verify-identity", "me@example.com", "--verify-issuer", ISSUER)
        if form == "exact"
        else ("--verify-identity-regexp", r".*@example\.com", "--verify-issuer-regexp", "https://.*")
    )
    copy = (
        "copy",
        "-i",
        str(image),
        "--to-tar",
        tmp_path / "x.tar",
        "--trusted-root",
        tmp_path / "root.json",
    )
    assert run(*copy, *flags, "--referrers").code == 0
    to = f"{repository}-inside"
    from_tar = (
        "copy",
        "--tar",
        tmp_path / "x.tar",
        "--to-repo",
        to,
        "--trusted-root",
        tmp_path / "root.json",
    )
    assert run(*from_tar, *flags).code == 0
    other = ("--verify-identity", "you@example.com", "--verify-issuer", ISSUER)
    done = run(*from_tar, *other)
    assert f"it is signed by me@example.com of {ISSUER}" in " ".join(done.err.split())


@pytest.mark.parametrize(
    ("flags", "why"),
    [
        (["--verify-key="], "--verify-key is empty"),
        (["--verify-key=a.pub", "--verify-key="], "--verify-key is empty"),
        (["--verify-policy="], "--verify-policy is empty"),
        (["--verify-policy=p", "--verify-key=a.pub"], "Expected either --verify-policy or --verify-key"),
        (["--verify-policy=p", "--trusted-root=r"], "Expected either --verify-policy or --trusted-root"),
        (["--verify-identity=a"], "Expected --verify-identity, --verify-issuer and --trusted-root together"),
        (["--trusted-root=a"], "Expected --verify-identity, --verify-issuer and --trusted-root together"),
        (
            ["--verify-identity=a", "--verify-identity-regexp=a", "--verify-issuer=b", "--trusted-root=r"],
            "Expected either --verify-identity or --verify-identity-regexp",
        ),
        (
            ["--verify-identity-regexp=(", "--verify-issuer=b", "--trusted-root=r"],
            "the identity '(' is no regular expression",
        ),
    ],
)
@pytest.mark.parametrize("command", [("copy", "--to-tar=x.tar"), ("pull", "-o=x")])
def test_flags_that_do_not_fit_are_refused(refused, command, flags, why):
    assert why in refused(command[0], "-i", "127.0.0.1:1/a/b", *command[1:], *flags)


class TestSigning:
    def test_says_where_the_signature_is(self, run, repository, folder, keys):
        push = ("push", "-i", f"{repository}:v1", "-f", folder, "--tty", "--sign-key", keys / "release.key")
        done = run(*push)
        assert done.code == 0
        assert f"\nSigned with '{keys / 'release.key'}': '{repository}@sha256:" in done.out
        assert run(*push, "--sign-format", "bundle").out != done.out

    @pytest.mark.parametrize("source", ["variable", "file"])
    def test_takes_the_password_from_a_variable_or_file(
        self, run, repository, folder, keys, monkeypatch, source
    ):
        push = ["push", "-i", f"{repository}:v1", "-f", folder, "--sign-key", keys / "locked.key"]
        done = run(*push)
        assert "is encrypted, and there is no password for it" in done.err
        assert "IMGPKG_SIGN_PASSWORD" in done.err
        if source == "variable":
            monkeypatch.setenv("IMGPKG_SIGN_PASSWORD", PASSWORD)
        else:
            (keys / "password").write_text(f"{PASSWORD}\n")
            push += ["--sign-password-file", keys / "password"]
        done = run(*push, "--debug")
        assert done.code == 0
        assert PASSWORD not in done.out + done.err

    def test_with_a_wrong_password_fails_without_showing_it(self, run, repository, folder, keys, monkeypatch):
        monkeypatch.setenv("IMGPKG_SIGN_PASSWORD", "wrong" + PASSWORD)
        done = run("push", "-i", repository, "-f", folder, "--sign-key", keys / "locked.key", "--debug")
        assert "the password is wrong" in done.err
        assert PASSWORD not in done.out + done.err

    @pytest.mark.parametrize(
        ("flags", "why"),
        [
            (["--sign-format=bundle"], "Expected --sign-key with a private key"),
            (["--sign-key="], "Expected --sign-key with a private key"),
            (["--sign-key=x", "--sign-format=y"], "--sign-format can only have the following values"),
            (["--sign-key=/nosuch.key"], "open /nosuch.key: no such file"),
        ],
    )
    def test_flags_that_do_not_fit_are_refused(self, refused, folder, flags, why):
        assert why in refused("push", "-i", "127.0.0.1:1/a/b", "-f", folder, *flags)

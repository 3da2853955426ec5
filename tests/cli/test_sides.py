"""Flags for one side of a copy that do not fit: refused before anything is read or sent."""

from __future__ import annotations

import io
import subprocess

import pytest

from imgpkg.cli.arguments import Parser, ValueType
from imgpkg.cli.commands import COPY as COPY_COMMAND
from imgpkg.cli.commands import REGISTRY
from imgpkg.cli.context import Context
from imgpkg.settings import Side

COPY = ("copy", "-i", "127.0.0.1:1/a/b", "--to-repo", "127.0.0.1:1/c/d")
TO_TAR = ("copy", "-i", "127.0.0.1:1/a/b", "--to-tar", "out.tar")
FROM_TAR = ("copy", "--tar", "in.tar", "--to-repo", "127.0.0.1:1/c/d")
STDIN = "registry-password-stdin"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            (*FROM_TAR, "--from-registry-username", "u"),
            (
                "Cannot use --from-registry-username with --tar: the flag is for a registry to copy from, "
                "and --tar names a file"
            ),
        ),
        (
            ("copy", "--from-oci-layout", "l", "--to-repo", "h/a/b", "--from-registry-anon"),
            "Cannot use --from-registry-anon with --from-oci-layout",
        ),
        (
            (*TO_TAR, "--to-registry-ca-cert-path", "ca.pem"),
            "Cannot use --to-registry-ca-cert-path with --to-tar: the flag is for a registry to copy to",
        ),
        (
            ("copy", "-i", "h/a/b", "--to-oci-layout", "l", "--to-registry-insecure"),
            "Cannot use --to-registry-insecure with --to-oci-layout",
        ),
        (
            (
                *COPY,
                f"--from-{STDIN}",
                f"--to-{STDIN}",
                "--from-registry-username=u",
                "--to-registry-username=u",
            ),
            (
                f"Expected only one of --from-{STDIN} and --to-{STDIN}, because standard input can "
                "be read only once (hint: give the other password in $IMGPKG_FROM_PASSWORD or "
                "$IMGPKG_TO_PASSWORD)"
            ),
        ),
        (
            (*COPY, f"--{STDIN}", f"--to-{STDIN}", "--registry-username=u", "--to-registry-username=u"),
            f"Expected only one of --{STDIN} and --to-{STDIN}",
        ),
        (
            (*COPY, f"--from-{STDIN}"),
            (
                f"--from-{STDIN} is given without a user name: give --from-registry-username or "
                "$IMGPKG_FROM_USERNAME as well"
            ),
        ),
        (
            (*COPY, f"--to-{STDIN}", "--to-registry-username="),
            f"--to-{STDIN} is given without a user name",
        ),
        (
            (*COPY, f"--to-{STDIN}", "--to-registry-username=u", "--to-registry-password=p"),
            f"Expected only one of --to-registry-password and --to-{STDIN}",
        ),
        (
            (*COPY, "--to-registry-username=u", "--to-registry-token=t"),
            "--to-registry-username and --to-registry-token exclude each other",
        ),
        (
            (*COPY, "--from-registry-anon", "--from-registry-token=t"),
            "--from-registry-anon and --from-registry-token exclude each other",
        ),
        (
            (*COPY, "--from-registry-password=p"),
            "username missing: --from-registry-password is given without",
        ),
        (
            (*COPY, "--from-registry-username=u"),
            "password missing: --from-registry-username is given without",
        ),
    ],
)
def test_flags_of_a_side_that_do_not_fit_are_refused(refused, words, message):
    assert refused(*words).startswith(message)


def test_a_refusal_does_not_wait_for_standard_input(started):
    process = started(*COPY, f"--from-{STDIN}", stdin=subprocess.PIPE)
    # Its standard input stays open: only a command that does not read it ends.
    assert process.wait(30) == 2


@pytest.mark.parametrize("side", Side)
@pytest.mark.parametrize("flag", REGISTRY, ids=lambda flag: flag.name)
def test_a_flag_of_a_side_decides_for_that_side_and_no_other(flag, side, tmp_path, monkeypatch):
    """The flags of the sides are made from the plain ones, and so from those that are added later."""
    name = f"{side.value}-{flag.name}"
    if name not in {known.name for known in COPY_COMMAND.flags}:
        assert flag.name in (
            "registries-conf",
            "registry-idle-timeout",
            "registry-response-header-timeout",
            "registry-retry-count",
            "timeout",
        )
        return
    value = tmp_path / "value"
    value.write_text("from a file")
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"from standard input")))

    def settings(of, *words):
        flags = Parser(COPY_COMMAND.all_flags).parse(words)
        return all_of(Context(flags, None).settings(of))

    given = f"--{name}={str(not flag.initial).lower() if flag.value_type is ValueType.BOOL else value}"
    # A password on standard input needs a user name.
    monkeypatch.setenv(f"IMGPKG_{side.value.upper()}_USERNAME", "somebody")
    other = Side.TO if side is Side.FROM else Side.FROM
    assert settings(side, given) != settings(side)
    assert settings(other, given) == settings(other)
    assert settings(None, given) == settings(None)


def all_of(settings):
    """Return all fields, also the secrets, which are in no `repr` and no comparison."""
    logins = (settings.login, settings.side_login)
    return settings, [(login.password, login.token) for login in logins]


@pytest.mark.parametrize("command", ["pull", "push", "describe", "tag list"])
def test_only_a_copy_has_sides(reason, command):
    text = reason(*command.split(), "--from-registry-username", "u")
    assert text == "unknown flag: --from-registry-username"


def test_completion_offers_the_flags_of_both_sides(run):
    done = run("__completeNoDesc", "copy", "--to-registry-p")
    forms = ("", "-file", "-stdin")
    assert done.out == "".join(f"--to-registry-password{form}\n" for form in forms) + ":4\n"

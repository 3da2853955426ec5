"""The flags of copies with a cluster: what does not fit is refused before a password is read."""

from __future__ import annotations

import io

import pytest
from tests.cli.running import command_line
from tests.operations.making import make_image

from imgpkg.cli.cluster import print_shares
from imgpkg.cli.output import TextOutput
from imgpkg.events import Transfer
from imgpkg.operations.transfer.shares import WorkerShare

COPY = ("copy", "-i", "127.0.0.1:1/app/image", "--to-repo", "127.0.0.1:1/to/image")


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("--dask", "local:x"), "'local:x' is no address of a Dask cluster: expected a number of processes"),
        (("--dask", "http://h:1"), "'http://h:1' is no address of a Dask cluster: expected tls://"),
        (("--dask", ""), "--dask is empty"),
        (("--dask", "", "--dask-timeout", "3s"), "--dask is empty"),
        (("--dask-timeout", "3s"), "--dask-timeout is only for copies with --dask"),
        (("--dask-send-credentials",), "--dask-send-credentials is only for copies with --dask"),
        (
            ("--dask", "tcp://h:1", "--dask-send-credentials"),
            "--dask-send-credentials: others could read the secrets on their way to tcp://h:1",
        ),
        (("--dask", "tls://h:1", "--dask-timeout", "soon"), "soon"),
        (("--dask", "tls://h:1", "--dask-timeout", "0"), "--dask-timeout: expected more than 0"),
    ],
)
def test_a_mistake_is_told_before_the_password_is_read(words, text):
    done = command_line(*COPY, *words, "--registry-username", "user", "--registry-password-stdin")
    assert (done.code, done.out) == (2, "")
    assert text in done.err


@pytest.mark.parametrize(
    ("words", "flag"),
    [
        (("copy", "-i", "127.0.0.1:1/app/image", "--to-tar", "x.tar"), "--to-tar"),
        (("copy", "-i", "127.0.0.1:1/app/image", "--to-oci-layout", "x"), "--to-oci-layout"),
        (("copy", "--tar", "x.tar", "--to-repo", "127.0.0.1:1/to/image"), "--tar"),
        (("copy", "--from-oci-layout", "x", "--to-repo", "127.0.0.1:1/to/image"), "--from-oci-layout"),
    ],
)
def test_a_file_is_for_one_machine(words, flag, tmp_path):
    done = command_line(*words, "--dask", "local:2", cwd=tmp_path)
    assert (done.code, f"Cannot use --dask with {flag}" in done.err) == (2, True)
    assert "A tar file or layout is read and written by one machine" in done.err


def test_a_preview_asks_no_cluster(embedded_registry, session):
    image = make_image(session, f"{embedded_registry.address}/preview/app")
    done = command_line(
        *("copy", "-i", str(image), "--to-repo", f"{embedded_registry.address}/preview/to"),
        *("--dask", "tcp://127.0.0.1:9", "--dry-run"),
    )
    assert (done.code, done.err) == (0, "")


def test_a_cluster_that_is_not_there_fails_the_command_and_prints_nothing_else(embedded_registry):
    done = command_line(*COPY, "--dask", "tcp://127.0.0.1:9", "--dask-timeout", "100ms")
    assert done.code == 1
    lines = done.err.splitlines()
    assert lines[0].startswith("imgpkg: Error: the Dask scheduler at tcp://127.0.0.1:9 does not answer:")
    # The reason may be on a line of its own.
    assert len(lines) <= 4
    assert [line[:6] for line in lines[-2:]] == ["hint: "] * 2


def printed(shares, *, terminal=True):
    out = io.StringIO()
    print_shares(TextOutput(out, io.StringIO(), terminal=terminal, color=False, columns=()), shares)
    return out.getvalue()


def test_a_terminal_shows_what_each_worker_did():
    shares = (
        WorkerShare("worker 0", Transfer(moved=12, moved_size=3_400_000), 2.04),
        WorkerShare("\x1b[2J", Transfer(1, 1, 3, 50, 2, 60), 75.0),
    )
    assert printed(shares) == (
        "worker 0: 12 blobs, 3.4 MB in 2.0 s\n"
        "\\x1b[2J: 1 blob, 1 byte in 1 min 15 s, 3 mounted, 2 there already\n"
    )
    assert printed(shares, terminal=False) == ""


def test_a_terminal_shows_some_of_many_workers():
    lines = printed([WorkerShare(f"worker {n}", Transfer(), 1.0) for n in range(25)]).splitlines()
    assert (len(lines), lines[-1]) == (21, "and 5 more workers")

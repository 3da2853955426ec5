"""Use an installation as a user would: `python tools/smoke.py [FOLDER]`, with the commands of the folder.

FOLDER is `bin` of an environment; by default that of the running interpreter. A registry with a password is
started; a bundle is pushed, described, copied into a file and into another repository, and pulled;
credentials are explained, and the SDK of each keychain is imported. Each step has a line; the first failure
ends it.
"""

from __future__ import annotations

import contextlib
import filecmp
import json
import os
import re
import secrets
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

# What a keychain imports in the process of its SDK.
KEYCHAINS = {
    "ecr": "import botocore.session; botocore.session.get_session().get_service_model('ecr')",
    "gke": "import google.auth, google.auth.transport.requests",
    "aks": "import azure.identity",
    "github": "import imgpkg.auth.cloud.github",
}
ZSTD = """'zstd'
import io
from imgpkg.content.inflate import decompressed
frame = bytes.fromhex("28b52ffd200b5900007a73746420776f726b730a")
assert decompressed(io.BytesIO(frame)).read() == b"zstd works\\n"
"""
SECONDS = 60


def clean_environment(home: Path, **variables: str) -> dict[str, str]:
    """Return an environment in which no other login and no other installation is found."""
    return {"PATH": os.defpath, "HOME": str(home), "LC_ALL": "C.UTF-8", **variables}


@contextlib.contextmanager
def registry(imgpkg: str, home: Path, password: str) -> Iterator[str]:
    """Run the small registry with an account, and give its address."""
    process = subprocess.Popen(
        [imgpkg, "registry", "serve", "--address", "127.0.0.1:0", "--username", "smoke", "--password-stdin"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=clean_environment(home),
    )
    try:
        process.stdin.write(password + "\n")
        process.stdin.close()
        yield next(found[0] for line in process.stdout if (found := re.search(r"127\.0\.0\.1:\d+", line)))
    finally:
        process.terminate()
        process.wait(SECONDS)
        process.stdout.close()


class Commands:
    """Runs commands of one installation, and prints what was run."""

    def __init__(self, folder: str, environment: dict[str, str], work: Path) -> None:
        self._folder = folder
        self._environment = environment
        self._work = work

    def __call__(self, *words: str, given: str = "") -> str:
        """Run one command; return what it printed on standard output."""
        done = subprocess.run(
            [os.path.join(self._folder, words[0]), *words[1:]],
            input=given,
            capture_output=True,
            text=True,
            cwd=self._work,
            env=self._environment,
            timeout=SECONDS,
            check=False,
        )
        shown = [words[2].splitlines()[0].strip("'")] if words[0] == "python" else words[1:4]
        print(
            "ok  " if done.returncode == 0 else "FAIL", words[0], *(word[:60] for word in shown), flush=True
        )
        if done.returncode:
            sys.exit(f"{done.stdout}{done.stderr}")
        return done.stdout


def make_bundle(folder: Path, image: str) -> None:
    """Write a bundle that names one image."""
    (folder / ".imgpkg").mkdir(parents=True)
    (folder / "config.yml").write_text("kind: ConfigMap\n" * 5000)
    lock = f"apiVersion: imgpkg.carvel.dev/v1alpha1\nkind: ImagesLock\nimages:\n- image: {image}\n"
    (folder / ".imgpkg/images.yml").write_text(lock)


def journey(run: Commands, address: str, work: Path) -> None:
    """Push, describe, copy and pull."""
    (work / "content").mkdir()
    (work / "content/app.txt").write_text("the application\n")
    run("imgpkg", "push", "-i", f"{address}/smoke/app:v1", "-f", "content")
    digest = run("imgpkg", "tag", "resolve", "-i", f"{address}/smoke/app:v1", "--tty").split()[0]
    make_bundle(work / "bundle", digest)
    run("imgpkg", "push", "-b", f"{address}/smoke/bundle:v1", "-f", "bundle")
    described = json.loads(run("imgpkg", "describe", "-b", f"{address}/smoke/bundle:v1", "-o", "json"))
    if not described:
        sys.exit("describe printed nothing")
    run("imgpkg", "copy", "-b", f"{address}/smoke/bundle:v1", "--to-tar", "bundle.tar")
    run("imgpkg", "copy", "--tar", "bundle.tar", "--to-repo", f"{address}/smoke/inside")
    run("imgpkg", "pull", "-b", f"{address}/smoke/inside:v1", "-o", "pulled")
    if not filecmp.cmp(work / "bundle/config.yml", work / "pulled/config.yml", shallow=False):
        sys.exit("the pulled file differs")
    if f"{address}/smoke/inside@sha256:" not in (work / "pulled/.imgpkg/images.yml").read_text():
        sys.exit("the pulled lock does not name the copied image")
    explained = run("imgpkg", "auth", "explain", f"{address}/smoke/app:v1", "--tty")
    if "IMGPKG_REGISTRY_" not in explained:
        sys.exit(f"auth explain does not name the credential: {explained}")


def smoke(folder: str) -> None:
    """Do all of it with the commands in `folder`."""
    password = secrets.token_urlsafe(12)
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        with registry(os.path.join(folder, "imgpkg"), work, password) as address:
            login = {
                "IMGPKG_REGISTRY_HOSTNAME_0": address,
                "IMGPKG_REGISTRY_USERNAME_0": "smoke",
                "IMGPKG_REGISTRY_PASSWORD_0": password,
            }
            run = Commands(folder, clean_environment(work, **login), work)
            print(run("imgpkg", "version", "--verbose", "--tty").strip())
            journey(run, address, work)
            run("docker-credential-imgpkg", "get", given=address)
            for name, program in KEYCHAINS.items():
                run("python", "-c", f"'''keychain {name}'''\n{program}")
            run("python", "-c", ZSTD)


if __name__ == "__main__":
    smoke(sys.argv[1] if len(sys.argv) > 1 else os.path.dirname(sys.executable))

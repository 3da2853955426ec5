"""How many files of the package one call enters, from a reference to the bytes of an image.

Counted are the files of which a function runs in the client, with an open session and a registry that is
reached for the first time: over https, with a challenge, a credential of the environment, and a token.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from tests.servers.fixtures import PASSWORD, USERNAME

import imgpkg
from imgpkg.testing import serve

# What is reached; lower is better.
FILES_OF_A_HEAD = 19
FILES_OF_A_PULL = 31
# In the place of `dataclasses`, `re` and `http.client`, which take longer to load.
AS_IN_THE_STANDARD_LIBRARY = {"dataclass.py", "expression.py", "transport/head.py"}

CALL = """
import json, sys, threading
from pathlib import Path
import imgpkg
from imgpkg.oci.reference import Reference

call, image, authority, output = sys.argv[1:]
package, entered = Path(imgpkg.__file__).parent, set()

def enter(frame, event, argument):
    code = frame.f_code
    # Bodies of modules and classes, which run when a module is imported, are not optimized.
    if event == "call" and code.co_flags & 1 and Path(code.co_filename).is_relative_to(package):
        entered.add(str(Path(code.co_filename).relative_to(package)))

with imgpkg.Session(imgpkg.Settings.from_environment(ca_cert_paths=authority)) as session:
    client, reference, pull = session.client, Reference.parse(image), imgpkg.pull
    threading.setprofile(enter)
    sys.setprofile(enter)
    if call == "head":
        client.resolve(reference)
    else:
        pull(output, image=image, session=session)
    sys.setprofile(None)
print(json.dumps(sorted(entered)))
"""


@pytest.fixture(scope="module")
def registry():
    """A registry on https with a token service, and the file of its authority."""
    with serve(login=(USERNAME, PASSWORD), token_service=True, tls=True) as server:
        yield server, server.ca_file


@pytest.fixture
def entered(registry, tmp_path):
    """Run a call in a process of its own and list the files that it entered."""
    server, authority = registry
    image = f"{server.address}/team/app:v1"
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "file").write_text("x")
    login = imgpkg.Login(username=USERNAME, password=PASSWORD)
    with imgpkg.Session(imgpkg.Settings(login=login, ca_cert_paths=authority)) as session:
        imgpkg.push([tmp_path / "in"], image=image, session=session)

    def run(call):
        before = len(server.requests)
        done = subprocess.run(
            [sys.executable, "-c", CALL, call, image, authority, str(tmp_path / "out")],
            env={
                "HOME": str(tmp_path),
                "IMGPKG_REGISTRY_HOSTNAME_0": server.address,
                "IMGPKG_REGISTRY_USERNAME_0": USERNAME,
                "IMGPKG_REGISTRY_PASSWORD_0": PASSWORD,
            },
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        assert [request.status for request in server.requests[before:]][:3] == [401, 200, 200]
        return json.loads(done.stdout)

    return run


def test_of_a_head_is_short(entered):
    files = [name for name in entered("head") if name not in AS_IN_THE_STANDARD_LIBRARY]
    assert len(files) <= FILES_OF_A_HEAD, "\n".join(files)


def test_of_a_pull_is_short(entered):
    files = [name for name in entered("pull") if name not in AS_IN_THE_STANDARD_LIBRARY]
    assert len(files) <= FILES_OF_A_PULL, "\n".join(files)


@pytest.mark.parametrize("call", ["head", "pull"])
def test_is_on_the_architecture_page(entered, call):
    page = (Path(__file__).parents[2] / "docs" / "architecture.md").read_text()
    assert [file for file in entered(call) if file not in page] == []

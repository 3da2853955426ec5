"""What the README shows for each kind of registry works as it stands there."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from tests.end_to_end.conftest import IMGPKG
from tests.operations.conftest import read_tree

ROOT = Path(__file__).parents[2]


@pytest.fixture
def typed(tmp_path):
    """Type blocks of the README's section about registries, by number, into a shell for this registry."""
    section = (ROOT / "README.md").read_text().partition("## Talking to a registry")[2].partition("\n## ")[0]
    blocks = re.findall(r"```console\n(.*?)```", section, re.DOTALL)
    assert len(blocks) == 3
    shutil.copytree(ROOT / "examples/hello", tmp_path / "config")

    def type_(registry, *numbers, **variables):
        (tmp_path / "password.txt").write_text(f"{registry.password}\n")
        text = "".join(blocks[number] for number in numbers).replace("$ ", "")
        text = text.replace("registry.example.com", registry.address)
        text = re.sub(r"(_0=|username )ci\b", rf"\g<1>{registry.username}", text)
        path = f"{Path(IMGPKG).parent}:{os.environ['PATH']}"
        done = subprocess.run(
            ["sh", "-eu", "-c", text],
            cwd=tmp_path,
            env={**os.environ, "PATH": path, **variables},
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")

    return type_


def pulled(tmp_path):
    return read_tree(tmp_path / "out") == read_tree(tmp_path / "config")


def test_a_registry_with_a_password_file(typed, docker_registry_htpasswd, tmp_path):
    typed(docker_registry_htpasswd, 0, 1)
    assert pulled(tmp_path)


def test_a_registry_with_a_token_service(typed, docker_registry_token, tmp_path):
    typed(docker_registry_token, 0, 1)
    assert pulled(tmp_path)


def test_a_registry_behind_a_private_authority(typed, docker_registry_tls, tmp_path):
    shutil.copy(docker_registry_tls.ca_path, tmp_path / "ca.pem")
    typed(docker_registry_tls, 0, SSL_CERT_FILE="ca.pem")
    typed(docker_registry_tls, 2)
    assert pulled(tmp_path)

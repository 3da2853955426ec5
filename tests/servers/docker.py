"""Processes of docker-registry, each on a port of its own with a configuration of its own."""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

from tests.servers.token_service import ISSUER, SERVICE

_START_SECONDS = 20
_ATTEMPTS = 3


@dataclass(frozen=True)
class RunningRegistry:
    """A registry that answers at `address`; fields that do not apply are empty."""

    address: str
    username: str = ""
    password: str = field(default="", repr=False)
    ca_path: str = ""
    server: object = field(default=None, repr=False)

    @property
    def url(self):
        return f"{'https' if self.ca_path else 'http'}://{self.address}"

    @property
    def requests(self):
        """What the embedded registry, or the token service beside a docker-registry, has received."""
        return self.server.requests


@contextlib.contextmanager
def docker_registry_process(folder, *, port=0, auth=None, tls=None, secrets=(), deletes=True):
    """Run docker-registry with its data below `folder` and yield its `host:port`.

    `port` is any free one by default. `auth` is the section of its configuration, `tls` the paths of
    certificate and key, and of the authority of its clients if they need a certificate. What it printed must
    have none of `secrets` in it. With `deletes` manifests and blobs can be deleted, by their digest only.
    """
    program = shutil.which("docker-registry")
    if program is None:
        raise RuntimeError("docker-registry is not installed: the tests need Debian's package of that name")
    folder = Path(folder)
    output = folder / "output.txt"
    process, address = _started(program, folder, output, port, auth=auth, tls=tls, deletes=deletes)
    try:
        yield address
    finally:
        _end(process)
    printed = output.read_text(errors="replace")
    assert not [secret for secret in secrets if secret in printed], "docker-registry printed a secret"


def write_htpasswd(folder, username, password):
    """Write the password file of a registry and return the section of its configuration."""
    program = shutil.which("htpasswd")
    if program is None:
        raise RuntimeError("htpasswd is not installed: the tests need Debian's package apache2-utils")
    path = Path(folder) / "htpasswd"
    done = subprocess.run(
        [program, "-inB", "-C", "4", username], input=password, capture_output=True, text=True, check=True
    )
    path.write_text(done.stdout)
    return {"htpasswd": {"realm": "test", "path": str(path)}}


def token_section(folder, service):
    """Write the certificate of a token service and return the section that trusts it."""
    path = Path(folder) / "token.pem"
    path.write_bytes(service.certificate())
    options = {"realm": service.realm, "service": SERVICE, "issuer": ISSUER, "rootcertbundle": str(path)}
    return {"token": options}


def _started(program, folder, output, wanted, *, auth, tls, deletes):
    for _ in range(_ATTEMPTS):
        port = wanted or _free_port()
        config = folder / "config.json"
        config.write_text(json.dumps(_configuration(folder, port, auth, tls, deletes)))
        with output.open("ab") as log:
            process = subprocess.Popen(
                [program, "serve", str(config)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=folder,
                env={"HOME": str(folder), "OTEL_TRACES_EXPORTER": "none"},
            )
        if _answers(process, port):
            return process, f"127.0.0.1:{port}"
        _end(process)
    raise RuntimeError(f"docker-registry did not start:\n{output.read_text(errors='replace')[-4000:]}")


def _configuration(folder, port, auth, tls, deletes):
    listening = {"addr": f"127.0.0.1:{port}", "secret": "shared between nobody"}
    if tls is not None:
        listening["tls"] = {"certificate": str(tls[0]), "key": str(tls[1])}
        if tls[2:]:
            listening["tls"]["clientcas"] = [str(path) for path in tls[2:]]
    storage = {"filesystem": {"rootdirectory": str(folder / "data")}, "delete": {"enabled": deletes}}
    configuration = {"version": "0.1", "log": {"level": "warn"}, "storage": storage, "http": listening}
    return configuration if auth is None else {**configuration, "auth": auth}


def _answers(process, port):
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        if _accepts(port):
            # Somebody else may have taken the port between its choice and its use.
            time.sleep(0.05)
            return process.poll() is None
        time.sleep(0.02)
    return False


def _accepts(port):
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def _end(process):
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(10)


def _free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]

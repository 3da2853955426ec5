"""The registries, servers and files that commands meet in `cases`, under the names that users would see.

Every registry has a name below example.com. A proxy, which HTTPS_PROXY names, leads each name to a server on
loopback with a certificate for it, so that texts and rules are those of a real host. What differs from run to
run (ports, folders, digests of certificates) is written in the golden file as a name.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import io
import os
import re
import shlex
import shutil
import socket
import ssl
from pathlib import Path
from unittest import mock

import trustme
from tests.cli.running import Done
from tests.operations.making import make_index
from tests.servers.faults import refusing
from tests.servers.raw import RawServer, answering, proxying

import imgpkg
from imgpkg.cli.main import main
from imgpkg.embedded.message import Fault, ServerResponse
from imgpkg.embedded.routes import Features
from imgpkg.embedded.server import serve
from imgpkg.settings import Settings

USERNAME, PASSWORD = "ci", "right-one"
# What differs from run to run and from user to user.
_DIFFERENT = {
    r"/uploads/[0-9a-f]{32}": "/uploads/0123",
    r"/run/containers/[0-9]+/": "/run/containers/1000/",
    r"(clock says) [0-9-]{10}": r"\1 2026-01-31",
}
PAGE = b"<!doctype html><html><head><title>Sign in</title></head><body>Guest network</body></html>"
BUSY_PAGE = b"<html><head><title>503 Service Temporarily Unavailable</title></head></html>"


def _html(status, body=PAGE, headers=()):
    return Fault(answer=ServerResponse(status, (("Content-Type", "text/html"), *headers), body))


# What the registry of each name answers in place of what it would answer; others are whole registries.
FAULTS = {
    "quota": ("POST|PUT|PATCH", "", refusing(403, "DENIED", "quota exceeded")),
    "busy": (
        "GET|HEAD",
        "manifests",
        refusing(429, "TOOMANYREQUESTS", "you have reached your pull rate limit", [("Retry-After", "1800")]),
    ),
    "overloaded": ("", "", _html(503, BUSY_PAGE)),
    "portal": ("", "", _html(200)),
    "readonly": ("POST|PUT|PATCH", "", refusing(405, "UNSUPPORTED", "The operation is unsupported.")),
    "behind-nginx": ("PATCH|PUT", "uploads", _html(413, b"<html>413 Request Entity Too Large</html>")),
    "old": ("PUT", "manifests", refusing(415, "MANIFEST_INVALID", "media type is not supported")),
    "hidden": ("", "", refusing(403, "DENIED", "requested access to the resource is denied")),
    "broken": ("", "", refusing(500, "UNKNOWN", "unknown error")),
    "index": ("", "", refusing(401, "UNAUTHORIZED", "authentication required")),
    "slow": ("", "", Fault(delay=2.0)),
    "hanging-up": ("", "", Fault(hang_up=True)),
}


def _faults(request):
    name = request.headers.get("host", "").partition(".")[0]
    methods, path, fault = FAULTS.get(name, ("-", "", None))
    if methods and request.method not in methods.split("|"):
        return None
    return fault if re.search(path, request.path) else None


class Surroundings:
    """The running servers and a folder with files; a context manager.

    `run` runs a command of `cases` in this process and returns what a user sees.
    """

    def __init__(self, root):
        self.root = Path(root)
        self.home = self.root / "home"
        self.work = self.root / "work"
        self._stack = contextlib.ExitStack()
        self._authority = trustme.CA(organization_name="Example Trust")
        self._addresses = {}

    def __enter__(self):
        self.home.mkdir(parents=True)
        self._authority.cert_pem.write_to_path(str(self.root / "ca.pem"))
        self._start_registries()
        self._start_certificates()
        self.proxy = self._started(RawServer(proxying(names=self._addresses)))
        self.guarded_proxy = self._started(RawServer(proxying(login="Basic none")))
        self._placeholders = {
            "127.0.0.1:3128": self.guarded_proxy.address,
            "127.0.0.1:3129": f"127.0.0.1:{_closed_port()}",
            "127.0.0.1:5000": f"127.0.0.1:{_closed_port()}",
        }
        self._fill()
        return self

    def __exit__(self, *exception):
        self._stack.close()

    def _started(self, server):
        return self._stack.enter_context(server)

    def _start_registries(self):
        files = self._issued("registry", "*.example.com", "localhost", "index.docker.io")
        login = (USERNAME, PASSWORD)
        self.open = self._started(serve(tls=files, faults=_faults))
        self._lead_to(self.open.port, "registry", "index.docker.io", *FAULTS)
        self._lead_to(self._started(serve(tls=files, login=login)).port, "private")
        self._lead_to(self._started(serve(tls=files, login=login, token_service=True)).port, "tokens")
        keeping = Features(delete=False, delete_tags=False)
        self.keeping = self._started(serve(tls=files, features=keeping))
        self._lead_to(self.keeping.port, "keeping")
        self._lead_to(self._started(serve()).port, "plain")
        self._lead_to(_closed_port(), "down", "registry..example.com")

    def _start_certificates(self):
        day = dt.datetime
        self._certified("expired", not_before=day(2024, 1, 1), not_after=day(2024, 4, 1))
        self._certified("tomorrow", not_before=day(2099, 1, 1), not_after=day(2099, 4, 1))
        self._certified("renamed", names=("registry.other.example", "mirror.other.example"))
        self._certified("strange", authority=trustme.CA(organization_name="Somebody Else"))

    def _certified(self, name, *, names=(), authority=None, **times):
        files = self._issued(name, *(names or (f"{name}.example.com",)), authority=authority, **times)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*files)
        server = self._started(RawServer(answering(b"{}"), context=context))
        self._lead_to(server.port, name)

    def _issued(self, name, *names, authority=None, **times):
        issued = (authority or self._authority).issue_cert(*names, **times)
        paths = str(self.root / f"{name}.pem"), str(self.root / f"{name}.key")
        issued.cert_chain_pems[0].write_to_path(paths[0])
        issued.private_key_pem.write_to_path(paths[1])
        return paths

    def _lead_to(self, port, *names):
        self._addresses |= {
            f"{name}:443" if "." in name else f"{name}.example.com:443": ("127.0.0.1", port) for name in names
        }

    def _fill(self):
        """Push what the cases name: an image with some tags, a bundle of it, and a part of another."""
        with mock.patch.dict(os.environ, {"HOME": str(self.home)}, clear=True):
            self._fresh_folder({"in/.imgpkg/images.yml": ""})
            settings = Settings(ca_cert_paths=str(self.root / "ca.pem"))
            with imgpkg.Session(settings) as session:
                self._push(session)

    def _push(self, session):
        host = self.open.address.replace("127.0.0.1", "localhost")
        for tag in ("v1", "v1.1", "v2", "main", "1.2.0", "1.2.1"):
            pushed = imgpkg.push([self.work / "config"], image=f"{host}/team/app:{tag}", session=session)
        platforms = {"linux/amd64": pushed.reference, "linux/arm64": pushed.reference}
        make_index(session, f"{host}/team/app", platforms, tag="multi")
        kept = self.keeping.address.replace("127.0.0.1", "localhost")
        imgpkg.push([self.work / "config"], image=f"{kept}/team/app:v1", session=session)
        lock = self.work / "in" / ".imgpkg" / "images.yml"
        lock.write_text(
            "apiVersion: imgpkg.carvel.dev/v1alpha1\nkind: ImagesLock\nimages:\n"
            f"- image: registry.example.com/team/app@{pushed.reference.digest}\n"
        )
        imgpkg.push([self.work / "in"], bundle=f"{host}/team/bundle:v1", session=session)
        report, kind = f"{host}/team/report:v1", "application/vnd.example.report"
        imgpkg.push_artifact({"report.json": b"{}"}, image=report, artifact_type=kind, session=session)

    def run(self, case):
        """Run the command of a mistake in a fresh folder, in this process."""
        self._fresh_folder(case.files)
        environ = {
            "HOME": str(self.home),
            "PATH": os.environ["PATH"],
            "HTTPS_PROXY": f"http://{self.proxy.address}",
            "SSL_CERT_FILE": str(self.root / "ca.pem"),
            **{name: self._placed(value) for name, value in case.variables.items()},
        }
        out, err = io.StringIO(), io.StringIO()
        stdin = io.TextIOWrapper(io.BytesIO(case.stdin.encode()))
        with (
            mock.patch.dict(os.environ, environ, clear=True),
            mock.patch("sys.stdin", stdin),
            _in_folder(self.work),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            code = main([self._placed(word) for word in shlex.split(case.typed)])
        return Done(code, self._published(out.getvalue()), self._published(err.getvalue()))

    def _placed(self, text):
        for name, address in self._placeholders.items():
            text = text.replace(name, address)
        return text

    def _published(self, text):
        """Return a text with names in place of what is different in each run."""
        text = text.replace(str(self.work), "/work").replace(str(self.home), "/home/me")
        for name, address in {**self._placeholders, "proxy.example.com:3128": self.proxy.address}.items():
            text = text.replace(address, name)
        for pattern, name in _DIFFERENT.items():
            text = re.sub(pattern, name, text)
        return text

    def _fresh_folder(self, files):
        shutil.rmtree(self.work, ignore_errors=True)
        shutil.rmtree(self.home, ignore_errors=True)
        self.home.mkdir()
        (self.work / "config").mkdir(parents=True)
        (self.work / "config" / "app.yml").write_text("replicas: 3\n")
        for name, text in files.items():
            path = (self.home if name.startswith("~/") else self.work) / name.removeprefix("~/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(self._placed(text))


def _closed_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


@contextlib.contextmanager
def _in_folder(path):
    before = Path.cwd()
    os.chdir(path)
    try:
        yield
    finally:
        os.chdir(before)

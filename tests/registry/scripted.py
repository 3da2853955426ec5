"""A scripted server: one handler that answers in memory (`Wire`) or on a real socket (`Server`)."""

from __future__ import annotations

import io
import json
import socket
import sys
import threading
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from urllib.parse import parse_qs, urlsplit

from tests.servers.raw import RawServer

from imgpkg.auth.keychain import Credential, Finding, Keychain, Outcome
from imgpkg.errors import ConnectionFailed
from imgpkg.registry.auth.authorizer import Authorizer
from imgpkg.registry.client import RegistryClient
from imgpkg.registry.exchange import Exchange, Retry
from imgpkg.transport.message import read_blocks

LOGIN = Credential("user", "pass-word")


class Headers(Mapping):
    """Header lines, looked up without regard to case, joined by a comma."""

    def __init__(self, pairs=()):
        self.pairs = [(str(name), str(value)) for name, value in pairs]

    def lines(self, name):
        return [value for key, value in self.pairs if key.lower() == name.lower()]

    def __getitem__(self, name):
        lines = self.lines(name)
        if not lines:
            raise KeyError(name)
        return ", ".join(lines)

    def __iter__(self):
        return iter(dict.fromkeys(name for name, _ in self.pairs))

    def __len__(self):
        return len(list(iter(self)))


@dataclass(frozen=True)
class Asked:
    """A request as it arrived."""

    method: str
    url: str
    headers: Headers
    body: bytes = b""

    @property
    def path(self):
        return urlsplit(self.url).path

    @property
    def target(self):
        return self.url.partition("://")[2].partition("/")[2].join(("/", ""))

    @property
    def host(self):
        return urlsplit(self.url).netloc

    @property
    def query(self):
        return parse_qs(urlsplit(self.url).query, keep_blank_values=True)

    @property
    def form(self):
        return {key: values[0] for key, values in parse_qs(self.body.decode()).items()}

    @property
    def authorization(self):
        return self.headers.get("Authorization", "")

    @property
    def line(self):
        return f"{self.method} {self.url}"


class Said:
    """A response; `cut` ends the body with a broken connection after that many bytes."""

    def __init__(self, status=200, body=b"", headers=(), *, cut=None):
        if isinstance(body, (dict, list)):
            body = json.dumps(body).encode()
        pairs = headers.items() if isinstance(headers, dict) else headers
        self.status, self.body, self.cut = status, body, cut
        self.headers = Headers(pairs)
        self.closed = 0
        self._stream = io.BytesIO(body if cut is None else body[:cut])
        self._url = ""

    def header_list(self, name):
        return self.headers.lines(name)

    def read(self, size=-1, /):
        data = self._stream.read(size)
        if not data and self.cut is not None and size:
            raise ConnectionFailed("GET", "scripted", "unexpected EOF")
        return data

    def readinto(self, buffer, /):
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def close(self):
        self.closed += 1

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()


class Wire:
    """A transport without sockets: `handle(asked)` returns a Said, or an error class or error to raise."""

    def __init__(self, handle):
        self.handle = handle
        self.asked = []
        self.requests = []
        self.said = []
        self._lock = threading.Lock()

    def send(self, request):
        body = b""
        if request.body is not None:
            with request.body.open() as source:
                body = b"".join(data.tobytes() for data, _ in read_blocks(source, request.body.length))
        asked = Asked(request.method, request.url, Headers(request.headers.items()), body)
        with self._lock:
            self.asked.append(asked)
            self.requests.append(request)
        answer = self.handle(asked)
        if isinstance(answer, type) and issubclass(answer, Exception):
            answer = answer(request.method, request.url, "scripted")
        if isinstance(answer, BaseException):
            raise answer
        if request.method == "HEAD":
            answer = Said(answer.status, b"", answer.headers.pairs)
        self.said.append(answer)
        return answer

    @property
    def lines(self):
        return [asked.line for asked in self.asked]

    def assert_all_closed(self):
        """Every response was given back."""
        assert all(answer.closed for answer in self.said), [a.status for a in self.said if not a.closed]


class Server:
    """The same handler on a loopback socket; a context manager."""

    def __init__(self, handle, *, context=None):
        self.handle = handle
        self.asked = []
        self.raw = RawServer(self._talk, context=context)
        self.address, self.url = self.raw.address, self.raw.url

    def __enter__(self):
        self.raw.__enter__()
        return self

    def __exit__(self, *exception):
        self.raw.__exit__(*exception)

    def _talk(self, conversation):
        if self.raw.context is None and conversation.sock.recv(1, socket.MSG_PEEK) == b"\x16":
            # A TLS handshake: answer in HTTP, as real servers do.
            conversation.send(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
            return
        while True:
            received = conversation.receive()
            if received is None:
                return
            asked = Asked(
                received.method, f"{self.url}{received.target}", Headers(received.header_lines), received.body
            )
            self.asked.append(asked)
            if not self._respond(conversation, self.handle(asked), asked.method):
                return

    def _respond(self, conversation, said, method):
        phrase = HTTPStatus(said.status).phrase
        names = [name.lower() for name in said.headers]
        lines = [f"HTTP/1.1 {said.status} {phrase}", *(f"{k}: {v}" for k, v in said.headers.pairs)]
        if "content-length" not in names:
            lines.append(f"Content-Length: {len(said.body)}")
        conversation.send("\r\n".join([*lines, "", ""]).encode("latin-1"))
        if method == "HEAD":
            return True
        conversation.send(said.body if said.cut is None else said.body[: said.cut])
        return said.cut is None

    @property
    def lines(self):
        return [asked.line for asked in self.asked]


class Source:
    """A credential source that returns given credentials, and counts its lookups."""

    def __init__(self, *credentials, name="flags"):
        self.name = name
        self.credentials = list(credentials)
        self.count = 0

    def lookup(self, repository):
        self.count += 1
        credential = self.credentials.pop(0) if len(self.credentials) > 1 else self.credentials[0]
        if callable(credential):
            credential = credential(repository)
        if credential is None:
            return Finding(self.name, Outcome.NO_MATCH, "knows nothing")
        return Finding(self.name, Outcome.MATCHED, "was told so", "the test", credential)


class Clock:
    """A clock that a test turns on."""

    def __init__(self, now=1_000_000.0):
        self.now = now
        self.slept = []

    def __call__(self):
        return self.now

    def sleep(self, seconds):
        self.slept.append(seconds)
        self.now += seconds


@dataclass
class Bench:
    """A client and its parts over a transport, with a clock of its own."""

    transport: object
    source: object = field(default_factory=lambda: Source(None))
    insecure: bool = False
    retry_count: int = 1
    warnings: list = field(default_factory=list)

    def __post_init__(self):
        self.clock = Clock()
        keychain = Keychain([self.source])
        self.client = RegistryClient(
            self.transport,
            keychain,
            insecure=self.insecure,
            retry_count=self.retry_count,
            clock=self.clock,
            sleep=self.clock.sleep,
            random=lambda: 0.0,
            warn=self.warnings.append,
        )
        self.authorizer = Authorizer(keychain, insecure=self.insecure, clock=self.clock)
        retry = Retry(self.retry_count, self.clock.sleep, lambda: 0.0)
        self.exchange = Exchange(self.transport, self.authorizer, retry, clock=self.clock)


class TokenRegistry:
    """A handler that is a registry with a token service on `/token`, of whatever host it is asked at.

    `grants` are the actions of each login; tokens are `T1`, `T2`, … and hold what they were asked for.
    """

    def __init__(self, realm="https://auth.example/token", *, service="the service", content=None):
        self.realm = realm
        self.service = service
        self.content = content or (lambda asked: Said(200, b"content"))
        self.tokens = {}
        self.reply = {}
        self.refuses = None
        self.lock = threading.Lock()

    def __call__(self, asked):
        if asked.path == "/token":
            return self.token(asked)
        wanted = self.wanted(asked)
        held = self.tokens.get(asked.authorization.removeprefix("Bearer "))
        if held is None or not wanted <= held:
            return self.challenge(wanted, error=held is not None and "insufficient_scope")
        return self.content(asked)

    def wanted(self, asked):
        name = asked.path.removeprefix("/v2/").split("/manifests/")[0].split("/blobs/")[0]
        name = name.removesuffix("/tags/list")
        actions = ("pull",) if asked.method in ("GET", "HEAD") else ("pull", "push")
        wanted = {(name, action) for action in actions}
        if "mount" in asked.query:
            wanted.add((asked.query["from"][0], "pull"))
        return wanted

    def challenge(self, wanted, *, error=""):
        by_name = {}
        for name, action in sorted(wanted):
            by_name.setdefault(name, []).append(action)
        scope = " ".join(f"repository:{name}:{','.join(actions)}" for name, actions in by_name.items())
        header = f'Bearer realm="{self.realm}",service="{self.service}",scope="{scope}"'
        if error:
            header += f',error="{error}"'
        body = {"errors": [{"code": "UNAUTHORIZED", "message": "authentication required", "detail": None}]}
        return Said(401, body, [("WWW-Authenticate", header)])

    def token(self, asked):
        refusal = self.refuses(asked) if self.refuses is not None else None
        if refusal is not None:
            return refusal
        text = " ".join(asked.query.get("scope", ())) if asked.method == "GET" else asked.form["scope"]
        held = set()
        for scope in text.split():
            _, name, actions = scope.split(":")
            held |= {(name, action) for action in actions.split(",")}
        with self.lock:
            token = f"T{len(self.tokens) + 1}"
            self.tokens[token] = held
        return Said(200, {"token": token, **self.reply})


def www(*lines):
    """Return WWW-Authenticate header lines."""
    return [("WWW-Authenticate", line) for line in lines]


def drive(flow, *answers):
    """Run a generator with prepared answers; return (requests that it yielded, what it returned)."""
    requests, waiting = [], list(answers)
    try:
        request = next(flow)
        while True:
            requests.append(request)
            answer = waiting.pop(0)
            request = flow.throw(answer) if isinstance(answer, BaseException) else flow.send(answer)
    except StopIteration as stop:
        assert not waiting, f"answers left: {waiting}"
        return requests, stop.value
    finally:
        flow.close()


def wait_for_waiting(count):
    """Return when so many threads wait for their turn."""
    deadline = time.monotonic() + 20
    while sum(map(_is_waiting, sys._current_frames().values())) < count:
        assert time.monotonic() < deadline
        time.sleep(0.005)


def _is_waiting(frame):
    names = {each.f_code.co_name for each, _ in traceback.walk_stack(frame)}
    return "taken" in names

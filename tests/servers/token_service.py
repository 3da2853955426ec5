"""A token service for docker-registry: signed tokens (RS256) that the registry itself checks and enforces."""

from __future__ import annotations

import base64
import hashlib
import http.server
import json
import secrets
import threading
import time
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from fnmatch import fnmatchcase
from urllib.parse import parse_qs, urlsplit

import jwt
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

ISSUER = "test-issuer"
SERVICE = "test-service"


@dataclass(frozen=True)
class User:
    """Somebody with a password, and {pattern of repositories: actions}."""

    password: str = field(repr=False)
    permissions: dict[str, str] = field(default_factory=lambda: {"*": "pull,push,delete,*"})


@dataclass(frozen=True)
class TokenRequest:
    """A request as it came, and how it was answered; it has secrets."""

    method: str
    query: dict[str, list[str]]
    form: dict[str, list[str]] = field(repr=False)
    authorization: str | None = field(repr=False)
    status: int

    @property
    def scopes(self):
        """Every scope that was asked for."""
        return tuple(" ".join([*self.query.get("scope", []), *self.form.get("scope", [])]).split())


class TokenService:
    """Gives tokens on 127.0.0.1; a context manager.

    `lifetime` in seconds is the truth, `announced` what the answer says about it. The registry forgives 60 s.
    """

    def __init__(
        self, users, *, anonymous_pull=False, lifetime=300, announced=None, offers_post=True, refresh=True
    ):
        self.users = dict(users)
        self.anonymous_pull = anonymous_pull
        self.lifetime = lifetime
        self.announced = lifetime if announced is None else announced
        self.offers_post = offers_post
        self.refresh = refresh
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self._refresh_tokens = {}
        self._requests = []
        self._lock = threading.Lock()

    def __enter__(self):
        handler = type("Handler", (_Handler,), {"service": self})
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self.address = f"127.0.0.1:{self._server.server_port}"
        self.realm = f"http://{self.address}/token"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *exception):
        self._server.shutdown()
        self._thread.join(10)
        self._server.server_close()

    @property
    def requests(self):
        with self._lock:
            return tuple(self._requests)

    def record(self, request):
        with self._lock:
            self._requests.append(request)

    def certificate(self):
        """Return the PEM certificate of the signing key, the registry's rootcertbundle."""
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, ISSUER)])
        now = datetime.now(timezone.utc)
        built = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(self._key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
            .sign(self._key, hashes.SHA256())
        )
        return built.public_bytes(serialization.Encoding.PEM)

    def issue_refresh_token(self, username):
        """Return a refresh token, docker's identity token, of this user."""
        token = secrets.token_urlsafe(24)
        with self._lock:
            self._refresh_tokens[token] = username
        return token

    def refreshed(self, token):
        """Return the user of a refresh token, None for an unknown one."""
        with self._lock:
            return self._refresh_tokens.get(token)

    def login(self, username, password):
        user = self.users.get(username)
        return username if user is not None and user.password == password else None

    def sign(self, username, scopes):
        """Return a token for the permitted part of these scopes."""
        now = int(time.time())
        claims = {
            "iss": ISSUER,
            "sub": username or "",
            "aud": SERVICE,
            "iat": now,
            "nbf": now - 10,
            "exp": now + self.lifetime,
            "jti": secrets.token_hex(8),
            "access": [access for scope in scopes if (access := self._granted(username, scope)) is not None],
        }
        return jwt.encode(claims, self._key, algorithm="RS256", headers={"kid": self._key_id()})

    def _granted(self, username, scope):
        kind, _, rest = scope.partition(":")
        name, _, actions = rest.rpartition(":")
        permitted = set(self._permitted(username, kind, name).split(","))
        granted = [action for action in actions.split(",") if action in permitted]
        return {"type": kind, "name": name, "actions": granted} if granted else None

    def _permitted(self, username, kind, name):
        if username is None:
            return "pull" if self.anonymous_pull and kind == "repository" else ""
        patterns = self.users[username].permissions.items()
        return ",".join(actions for pattern, actions in patterns if fnmatchcase(name, pattern))

    def _key_id(self):
        # libtrust's form: 240 bits of the public key's SHA-256 in base32, in groups of four.
        der = self._key.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        text = base64.b32encode(hashlib.sha256(der).digest()[:30]).decode()
        return ":".join(text[start : start + 4] for start in range(0, len(text), 4))


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    timeout = 30
    service: TokenService

    def do_GET(self):
        self._handle({})

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self._handle(parse_qs(body.decode(), keep_blank_values=True))

    def log_message(self, *arguments):
        pass

    def _handle(self, form):
        split = urlsplit(self.path)
        query = parse_qs(split.query, keep_blank_values=True)
        login = self.headers.get("Authorization")
        status, document = self._answer(split.path, query, form, login)
        self.service.record(TokenRequest(self.command, query, form, login, status))
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()

    def _answer(self, path, query, form, login):
        if path != "/token":
            return 404, _error("NOT_FOUND", "no such endpoint")
        if self.command == "GET":
            return self._get(query, login)
        if not self.service.offers_post:
            return 404, _error("NOT_FOUND", "no such endpoint")
        return self._post(form)

    def _get(self, query, login):
        scopes = " ".join(query.get("scope", [])).split()
        if login is None:
            if not self.service.anonymous_pull:
                return 401, _error("UNAUTHORIZED", "authentication required")
            return 200, self._token(None, scopes)
        scheme, _, encoded = login.partition(" ")
        username, _, password = base64.b64decode(encoded).decode().partition(":")
        if scheme.lower() != "basic" or self.service.login(username, password) is None:
            return 401, _error("UNAUTHORIZED", "incorrect username or password")
        wants_refresh = query.get("offline_token") == ["true"] and self.service.refresh
        refresh = {"refresh_token": self.service.issue_refresh_token(username)} if wants_refresh else {}
        return 200, {**self._token(username, scopes), **refresh}

    def _post(self, form):
        first = {name: values[0] for name, values in form.items()}
        scopes = first.get("scope", "").split()
        if first.get("grant_type") == "refresh_token":
            username = self.service.refreshed(first.get("refresh_token"))
        elif first.get("grant_type") == "password":
            username = self.service.login(first.get("username"), first.get("password"))
        else:
            return 400, _error("UNSUPPORTED", "unknown grant_type")
        if username is None:
            return 401, _error("UNAUTHORIZED", "incorrect username or password")
        return 200, self._token(username, scopes)

    def _token(self, username, scopes):
        token = self.service.sign(username, scopes)
        now = datetime.now(timezone.utc).isoformat(timespec="seconds")
        return {
            "token": token,
            "access_token": token,
            "expires_in": self.service.announced,
            "issued_at": now.replace("+00:00", "Z"),
        }


def _error(code, message):
    return {"errors": [{"code": code, "message": message}]}

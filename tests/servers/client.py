"""A bare HTTP client, so that servers are tested with nothing of ours on the other side."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Reply:
    """A response: header names in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes = field(repr=False)

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def code(self):
        """The registry's code of the one error in the body."""
        (error,) = self.json["errors"]
        return error["code"]


def ask(address, method, path, body=None, *, context=None, **headers):
    """Send one request on a connection of its own; `content_type="x"` is the header Content-Type."""
    with connection(address, context=context) as connected:
        return ask_on(connected, method, path, body, **headers)


def ask_on(connected, method, path, body=None, **headers):
    """Send one request on an open connection; a body that is an iterator is sent in chunks."""
    named = {name.replace("_", "-"): value for name, value in headers.items() if value is not None}
    connected.request(method, path, body=body, headers=named)
    response = connected.getresponse()
    return Reply(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())


@contextlib.contextmanager
def connection(address, *, context=None):
    """Open a connection to `host:port`; `context` for TLS."""
    kind = http.client.HTTPConnection if context is None else http.client.HTTPSConnection
    options = {} if context is None else {"context": context}
    connected = kind(address, timeout=30, **options)
    try:
        yield connected
    finally:
        connected.close()


def basic(username, password):
    """Return the value of an Authorization header with this login."""
    return "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode()


def bearer_token(address, challenge, login=None):
    """Fetch the token that a `Bearer` challenge asks for, with the whole scope that it names."""
    fields = dict(part.split("=", 1) for part in challenge.removeprefix("Bearer ").split('",'))
    fields = {name.strip(): value.strip('"') for name, value in fields.items()}
    realm, _, _ = fields["realm"].partition("?")
    host, _, path = realm.removeprefix("http://").partition("/")
    query = f"service={fields['service']}&scope={fields.get('scope', '').replace(' ', '%20')}"
    reply = ask(host, "GET", f"/{path}?{query}", authorization=login)
    assert reply.status == 200, reply.body
    return reply.json["token"]

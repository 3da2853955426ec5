"""The embedded registry as Azure's: it exchanges Azure's tokens for its own."""

from __future__ import annotations

import time

import jwt
from tests.servers.raw import Received

from imgpkg.embedded.access import Account
from imgpkg.embedded.message import ServerResponse
from imgpkg.embedded.tokens import TokenAccess

KEY = "k" * 32


class AcrAccess(TokenAccess):
    """Tokens as an Azure registry gives them: the exchange gives refresh tokens, these give access tokens.

    Its refresh tokens are JSON web tokens that say when they end, as Azure's are.
    """

    def __init__(self, exchange, *, refresh_lifetime=3 * 3600, accounts=(), **options):
        super().__init__([Account("acr", "nobody knows it"), *accounts], **options)
        self.exchange = exchange
        self.refresh_lifetime = refresh_lifetime

    def endpoint(self, request):
        if request.path == "/oauth2/exchange":
            lines = tuple(request.headers.items())
            received = Received(request.method, request.path, lines, request.read_all(1 << 16))
            self.exchange.refresh_token = self.issue_refresh("acr")
            said = self.exchange(received)
            return ServerResponse(said.status, (("Content-Type", "application/json"),), said.body)
        return super().endpoint(request)

    def issue_refresh(self, username):
        claims = {"exp": time.time() + self.refresh_lifetime, "inner": super().issue_refresh(username)}
        return jwt.encode(claims, KEY)

    def _read(self, kind, token):
        if kind != "refresh":
            return super()._read(kind, token)
        try:
            claims = jwt.decode(token, KEY, algorithms=["HS256"])
        except jwt.InvalidTokenError:
            return None
        return super()._read(kind, claims["inner"])

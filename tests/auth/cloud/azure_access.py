"""The embedded registry as Azure's: it exchanges Azure's tokens for its own."""

from __future__ import annotations

from tests.servers.raw import Received

from imgpkg.embedded.access import Account
from imgpkg.embedded.message import Response
from imgpkg.embedded.tokens import TokenAccess


class AcrAccess(TokenAccess):
    """Tokens as an Azure registry gives them: the exchange gives refresh tokens, these give access tokens."""

    def __init__(self, exchange, **options):
        super().__init__([Account("acr", "nobody knows it")], **options)
        self.exchange = exchange

    def endpoint(self, request):
        if request.path == "/oauth2/exchange":
            lines = tuple(request.headers.items())
            received = Received(request.method, request.path, lines, request.read_all(1 << 16))
            self.exchange.refresh_token = self.issue_refresh("acr")
            said = self.exchange(received)
            return Response(said.status, (("Content-Type", "application/json"),), said.body)
        return super().endpoint(request)

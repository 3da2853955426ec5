"""The three clients behind one face: `send` one request, or many `together`."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import httpx
import pytest
import requests

import imgpkg.adaptors.httpx
import imgpkg.adaptors.requests


@dataclass(frozen=True)
class Got:
    """A response, and how many came before it."""

    status: int
    body: bytes
    earlier: int


class Requests:
    """requests."""

    auth = imgpkg.adaptors.requests.RegistryAuth

    def send(self, auth, method, url, content=None):
        with requests.Session() as client:
            client.trust_env = False
            response = client.request(method, url, data=content, auth=auth, timeout=30)
            return Got(response.status_code, response.content, len(response.history))

    def together(self, auth, urls):
        with ThreadPoolExecutor(len(urls)) as threads:
            return list(threads.map(lambda url: self.send(auth, "GET", url), urls))


class Httpx:
    """The sync client of httpx."""

    auth = imgpkg.adaptors.httpx.RegistryAuth

    def send(self, auth, method, url, content=None):
        with httpx.Client(trust_env=False, verify=False, follow_redirects=True, timeout=30) as client:
            response = client.request(method, url, content=content, auth=auth)
            return Got(response.status_code, response.content, len(response.history))

    def together(self, auth, urls):
        with ThreadPoolExecutor(len(urls)) as threads:
            return list(threads.map(lambda url: self.send(auth, "GET", url), urls))


class AsyncHttpx:
    """The async client of httpx."""

    auth = imgpkg.adaptors.httpx.RegistryAuth

    def send(self, auth, method, url, content=None):
        return asyncio.run(self._send(auth, [(method, url, content)]))[0]

    def together(self, auth, urls):
        return asyncio.run(self._send(auth, [("GET", url, None) for url in urls]))

    async def _send(self, auth, wanted):
        async with httpx.AsyncClient(
            trust_env=False, verify=False, follow_redirects=True, timeout=30
        ) as client:
            sent = [client.request(method, url, content=body, auth=auth) for method, url, body in wanted]
            return [
                Got(response.status_code, response.content, len(response.history))
                for response in await asyncio.gather(*sent)
            ]


@pytest.fixture(params=[Requests, Httpx, AsyncHttpx], ids=lambda kind: kind.__name__)
def client(request):
    """Each of the clients."""
    return request.param()

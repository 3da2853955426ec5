"""A registry that falls silent: a proxy in front of a real one that stops in the middle of an exchange."""

from __future__ import annotations

import http.client
import re
import socket
import threading

from tests.servers.raw import RawServer

# What it does with a request that it stalls.
HEADERS, BODY, UPLOAD, PAUSE = "headers", "body", "upload", "pause"


# The first byte of TLS, which clients try first.
_HANDSHAKE = b"\x16"


class StallingProxy(RawServer):
    """Forwards each request to `upstream`, but stalls those of `method` whose target matches `path`.

    `stage` says where: HEADERS sends nothing at all, BODY the first half of the body, UPLOAD stops reading
    the request, PAUSE answers 503 and asks for 50 seconds. `stalled` is set as soon as a request hangs.
    `refuse` is a pattern of targets that are answered with 403 while one hangs.
    """

    def __init__(self, upstream, stage, *, method="GET", path="", refuse=None):
        super().__init__(self._talk)
        self.stage = stage
        self.stalled = threading.Event()
        self.is_over = False
        self._upstream = upstream
        self._method = method
        self._path = re.compile(path)
        self._refuse = refuse and re.compile(refuse)

    def _talk(self, conversation):
        if conversation.sock.recv(1, socket.MSG_PEEK) == _HANDSHAKE:
            conversation.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            return
        while (head := conversation.receive_head()) is not None:
            if self._hangs(head):
                if self.stage == UPLOAD:
                    self._hang(conversation)
                body = conversation._file.read(int(head.header("Content-Length") or 0))
                self._stall(conversation, head, body)
                continue
            body = conversation._file.read(int(head.header("Content-Length") or 0))
            if self._refuse and self._refuse.search(head.target):
                self.stalled.wait(20)
                conversation.respond(b"{}", status="403 Forbidden")
                continue
            status, headers, answer = self._forward(head, body)
            conversation.respond(answer if head.method != "HEAD" else b"", status=status, headers=headers)

    def _hangs(self, head):
        return not self.is_over and head.method == self._method and bool(self._path.search(head.target))

    def _stall(self, conversation, head, body):
        if self.stage == PAUSE:
            conversation.respond(b"{}", status="503 Busy", headers=[("Retry-After", "50")])
            self.stalled.set()
            return
        if self.stage == BODY:
            status, headers, answer = self._forward(head, body)
            conversation.respond(
                answer[: len(answer) // 2], status=status, headers=headers, length=len(answer)
            )
        self._hang(conversation)

    def _hang(self, conversation):
        self.stalled.set()
        conversation.pause()
        raise ConnectionAbortedError

    def _forward(self, head, body):
        """Have the registry answer; addresses of its own become addresses of the proxy."""
        connection = http.client.HTTPConnection(self._upstream, timeout=20)
        headers = {name: value for name, value in head.header_lines if name != "Host"}
        connection.request(head.method, head.target, body, headers)
        answer = connection.getresponse()
        data = answer.read()
        dropped = ("content-length", "connection", "transfer-encoding", "server", "date")
        headers = [
            (name, value.replace(self._upstream, self.address))
            for name, value in answer.getheaders()
            if name.lower() not in dropped
        ]
        connection.close()
        return f"{answer.status} {answer.reason}", headers, data

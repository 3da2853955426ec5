"""A reverse proxy that counts what passes to any registry, and can make every round trip longer."""

from __future__ import annotations

import http.client
import http.server
import threading
import time
from dataclasses import dataclass, field

_HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "te", "trailer", "upgrade", "expect"}
_PIECE = 1 << 18


@dataclass(frozen=True)
class Passed:
    """One request that passed, and the status it got."""

    method: str
    path: str
    status: int
    headers: dict[str, str] = field(repr=False)


class LoggingProxy:
    """Passes requests on to `upstream`, a `host:port` that speaks plain HTTP; a context manager.

    `latency` in seconds is added before each request. The Host header passes unchanged, so that what the
    registry says about itself leads back to the proxy. A request with a body of more than `limit` bytes is
    answered with 413, and the connection closed, as nginx does.
    """

    def __init__(self, upstream, *, latency=0.0, limit=None):
        self.upstream = upstream
        self.limit = limit
        self.latency = latency
        self.connections = 0
        self._requests = []
        self._lock = threading.Lock()

    def __enter__(self):
        handler = type("Handler", (_Handler,), {"proxy": self})
        self._server = _Server(("127.0.0.1", 0), handler)
        self.address = f"127.0.0.1:{self._server.server_port}"
        self.url = f"http://{self.address}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *exception):
        self._server.shutdown()
        self._thread.join(10)
        self._server.server_close()

    @property
    def requests(self):
        """Every request so far; each is here before its answer is sent."""
        with self._lock:
            return tuple(self._requests)

    def connected(self):
        with self._lock:
            self.connections += 1

    def record(self, passed):
        with self._lock:
            self._requests.append(passed)


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request, client_address):
        pass


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = 1 << 18
    timeout = 60
    proxy: LoggingProxy

    def setup(self):
        super().setup()
        self.proxy.connected()
        self._upstream = http.client.HTTPConnection(self.proxy.upstream, timeout=60)

    def finish(self):
        self._upstream.close()
        super().finish()

    def log_message(self, *arguments):
        pass

    def do_GET(self):
        time.sleep(self.proxy.latency)
        if self.proxy.limit is not None and int(self.headers.get("Content-Length") or 0) > self.proxy.limit:
            self._refuse()
            return
        self._pass_request()
        response = self._upstream.getresponse()
        headers = dict(self.headers.items())
        self.proxy.record(Passed(self.command, self.path, response.status, headers))
        self._pass_response(response)

    do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_GET  # noqa: N815 - named by http.server

    def _pass_request(self):
        self._upstream.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():
            if name.lower() not in _HOP_BY_HOP:
                self._upstream.putheader(name, value)
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            self._upstream.endheaders()
            self._pass_bytes(int(self.headers.get("Content-Length") or 0))
            return
        self._upstream.putheader("Transfer-Encoding", "chunked")
        self._upstream.endheaders()
        while piece := self._chunk():
            self._upstream.send(b"%x\r\n%s\r\n" % (len(piece), piece))
        self._upstream.send(b"0\r\n\r\n")

    def _refuse(self):
        self.proxy.record(Passed(self.command, self.path, 413, dict(self.headers.items())))
        self.send_response_only(413)
        self.send_header("Content-Length", "0")
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True

    def _pass_bytes(self, left):
        while left and (piece := self.rfile.read(min(left, _PIECE))):
            self._upstream.send(piece)
            left -= len(piece)

    def _chunk(self):
        size = int(self.rfile.readline().split(b";")[0], 16)
        piece = self.rfile.read(size)
        self.rfile.readline()
        return piece

    def _pass_response(self, response):
        self.send_response_only(response.status, response.reason)
        for name, value in response.getheaders():
            if name.lower() not in _HOP_BY_HOP:
                self.send_header(name, value)
        has_body = self.command != "HEAD" and response.status not in (204, 304)
        is_chunked = has_body and response.getheader("Content-Length") is None
        if is_chunked:
            self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        while piece := response.read(_PIECE):
            self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece) if is_chunked else piece)
        if is_chunked:
            self.wfile.write(b"0\r\n\r\n")
        self.wfile.flush()

"""The embedded registry as a server: its address, its records, its faults, TLS, and how it ends."""

from __future__ import annotations

import http.client
import signal
import socket
import ssl
import subprocess
import sys
import threading

import pytest
from tests.servers.client import ask, ask_on, basic, connection
from tests.servers.faults import always, any_of, first, insufficient_scope, refusing
from tests.servers.images import make_image, sha256, upload

from imgpkg.embedded.message import Fault
from imgpkg.embedded.server import serve
from imgpkg.embedded.storage import Storage
from imgpkg.errors import InvalidSettings, LocalIOError, UsageError
from imgpkg.testing.certificate import issue_certificate

DATA = b"0123456789" * 50_000
BLOB = f"/v2/team/app/blobs/{sha256(DATA)}"
WHOLE = f"/v2/team/app/blobs/uploads/?digest={sha256(DATA)}"


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tls")
    issue_certificate(str(folder), ["127.0.0.1"])
    return folder


class TestAnAddress:
    def test_has_a_free_port_and_a_url(self):
        with serve() as server:
            assert server.address == f"127.0.0.1:{server.port}"
            assert server.url == f"http://{server.address}"

    def test_may_be_of_the_other_family(self):
        with serve("::1") as server:
            assert server.address == f"[::1]:{server.port}"
            assert ask(server.address, "GET", "/v2/").status == 200

    def test_that_is_taken_is_an_error(self):
        with serve() as server, pytest.raises(LocalIOError, match="address already in use"):
            serve(port=server.port)

    @pytest.mark.parametrize(("host", "port"), [("127.0.0.1", 70_000), ("no host", 0)])
    def test_that_is_none_is_an_error(self, host, port):
        with pytest.raises(UsageError, match="cannot listen on"):
            serve(host, port)


class TestRecords:
    def test_report_what_was_asked_and_answered_before_the_answer_arrives(self):
        seen = []
        with serve(on_request=seen.append) as server:
            ask(server.address, "GET", "/v2/a%2Fb/tags/list?n=1&last=x+y", authorization="Basic eDp5")
            (record,) = server.requests
        assert (record.method, record.path, record.status) == ("GET", "/v2/a/b/tags/list", 404)
        assert record.query == (("n", "1"), ("last", "x y"))
        assert record.authorization == "Basic eDp5"
        assert "eDp5" not in repr(record)
        assert seen == [record]

    def test_are_kept_up_to_a_number(self):
        with serve(keep_requests=2) as server:
            for path in ("/1", "/2", "/3"):
                ask(server.address, "GET", path)
            assert [record.path for record in server.requests] == ["/2", "/3"]

    def test_report_failures_in_the_registry_itself(self, tmp_path):
        with serve(storage=Storage(tmp_path)) as server:
            (tmp_path / "uploads").rmdir()
            reply = ask(server.address, "POST", WHOLE, DATA)
            assert (reply.status, reply.code) == (500, "UNKNOWN")
            assert str(tmp_path) not in reply.body.decode()
            assert "FileNotFoundError" in server.requests[-1].error


class TestFaults:
    def test_can_be_an_answer_for_some_requests(self):
        with serve(faults=first(2, refusing(503), method="GET", path="tags")) as server:
            replies = [ask(server.address, "GET", "/v2/a/tags/list").status for _ in range(3)]
            assert replies == [503, 503, 404]

    def test_can_be_any_status_and_scope(self):
        faults = any_of(always(refusing(599), path="a$"), always(insufficient_scope("repository:x:pull")))
        with serve(faults=faults) as server:
            assert ask(server.address, "GET", "/a").status == 599
            reply = ask(server.address, "GET", "/b")
            challenge = reply.headers["www-authenticate"]
            assert challenge.endswith('scope="repository:x:pull",error="insufficient_scope"')

    def test_can_break_a_response(self):
        faults = first(2, Fault(cut_response_after=1000), method="GET")
        with serve(faults=faults) as server:
            ask(server.address, "POST", WHOLE, DATA)
            with pytest.raises(http.client.IncompleteRead) as caught:
                ask(server.address, "GET", BLOB)
            assert len(caught.value.partial) == 1000
            assert ask(server.address, "GET", "/v2/").status == 200
            assert ask(server.address, "GET", BLOB).body == DATA

    def test_can_break_a_request(self):
        with serve(faults=first(1, Fault(cut_request_after=1000), method="PATCH")) as server:
            location = ask(server.address, "POST", "/v2/team/app/blobs/uploads/").headers["location"]
            with pytest.raises((http.client.RemoteDisconnected, ConnectionError)):
                ask(server.address, "PATCH", location, DATA)
            assert ask(server.address, "GET", location).headers["range"] == "0-999"
            assert server.requests[1].status == 0

    def test_can_hang_up_and_wait(self):
        faults = any_of(first(1, Fault(hang_up=True)), always(Fault(delay=0.001)))
        with serve(faults=faults) as server:
            with pytest.raises((http.client.RemoteDisconnected, ConnectionError)):
                ask(server.address, "GET", "/v2/")
            assert ask(server.address, "GET", "/v2/").status == 200


class TestTLS:
    def test_carries_everything(self, authority):
        tls = (str(authority / "cert.pem"), str(authority / "key.pem"))
        context = ssl.create_default_context(cafile=str(authority / "ca.pem"))
        with serve(tls=tls, login=("me", "secret"), token_service=True) as server:
            assert server.url.startswith("https://")
            with connection(server.address, context=context) as connected:
                challenge = ask_on(connected, "GET", "/v2/").headers["www-authenticate"]
                assert f'realm="{server.url}/token"' in challenge
                scope = "repository:team/app:pull,push"
                login = basic("me", "secret")
                token = ask_on(connected, "GET", f"/token?scope={scope}", authorization=login).json["token"]
            options = {"authorization": f"Bearer {token}", "context": context}
            assert ask(server.address, "POST", WHOLE, DATA, **options).status == 201
            assert ask(server.address, "GET", BLOB, **options).body == DATA
            refused = ask(server.address, "PUT", "/v2/a/manifests/x", b"x" * (2 << 20), context=context)
            assert refused.status == 401

    def test_lets_no_client_wait_for_the_handshake_of_another(self, authority):
        tls = (str(authority / "cert.pem"), str(authority / "key.pem"))
        context = ssl.create_default_context(cafile=str(authority / "ca.pem"))
        with serve(tls=tls) as server, socket.create_connection(("127.0.0.1", server.port)) as silent:
            assert ask(server.address, "GET", "/v2/", context=context).status == 200
            silent.setblocking(False)
            with pytest.raises(BlockingIOError):
                silent.recv(1)

    def test_ends_who_does_not_speak_it(self, authority):
        with serve(tls=(str(authority / "cert.pem"), str(authority / "key.pem"))) as server:
            with pytest.raises((http.client.HTTPException, OSError)):
                ask(server.address, "GET", "/v2/")
            assert server.requests == ()

    def test_needs_a_certificate_and_its_key(self, authority, tmp_path):
        with pytest.raises(LocalIOError, match="no such file"):
            serve(tls=(str(tmp_path / "missing"), str(authority / "key.pem")))
        with pytest.raises(InvalidSettings, match="no certificate and its key"):
            serve(tls=(str(authority / "key.pem"), str(authority / "cert.pem")))


class TestTheEnd:
    def test_comes_with_connections_open(self):
        with serve() as server, connection(server.address) as connected:
            assert ask_on(connected, "GET", "/v2/").status == 200
            server.stop()
            server.stop()
            with pytest.raises((http.client.HTTPException, OSError)):
                ask_on(connected, "GET", "/v2/")
        with pytest.raises(ConnectionRefusedError):
            ask(server.address, "GET", "/v2/")
        assert not [thread for thread in threading.enumerate() if server.address in thread.name]

    def test_lets_an_answer_arrive(self):
        entered = threading.Event()

        def faults(request):
            entered.set()
            return Fault(delay=60)

        with serve(faults=faults) as server:
            replies = []

            def work():
                replies.append(ask(server.address, "GET", "/v2/").status)

            thread = threading.Thread(target=work)
            thread.start()
            assert entered.wait(30)
            server.stop()
            thread.join(30)
        assert replies == [200]

    def test_does_not_wait_for_who_never_finishes(self):
        with serve() as server, socket.create_connection(("127.0.0.1", server.port)) as sock:
            sock.sendall(b"PUT /v2/a/manifests/x HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n12")
        assert not [thread for thread in threading.enumerate() if server.address in thread.name]

    def test_of_one_connection_comes_at_once_when_there_are_too_many_threads(self):
        with serve() as server:
            threading.stack_size(1 << 46)
            try:
                with pytest.raises((http.client.RemoteDisconnected, ConnectionError)):
                    ask(server.address, "GET", "/v2/")
            finally:
                threading.stack_size(0)
            assert ask(server.address, "GET", "/v2/").status == 200

    def test_can_be_waited_for_in_another_thread(self):
        with serve() as server:
            thread = threading.Thread(target=server.wait)
            thread.start()
            server.stop()
            thread.join(30)
            assert not thread.is_alive()

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_comes_with_a_signal(self, number):
        program = (
            "import signal, threading, time\n"
            "from imgpkg.embedded.server import serve\n"
            "before = signal.getsignal(signal.SIGTERM)\n"
            "server = serve()\n"
            "def tell():\n"
            "    while signal.getsignal(signal.SIGTERM) is before:\n"
            "        time.sleep(0.01)\n"
            "    print(server.address, flush=True)\n"
            "threading.Thread(target=tell).start()\n"
            "server.wait()\n"
            "assert signal.getsignal(signal.SIGTERM) is before\n"
            "print('ended', flush=True)\n"
        )
        command = [sys.executable, "-c", program]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            address = process.stdout.readline().strip()
            assert ask(address, "GET", "/v2/").status == 200
            process.send_signal(number)
            assert process.communicate(timeout=30)[0] == "ended\n"
            assert process.returncode == 0


def test_no_library_of_others_is_loaded_for_a_registry():
    program = "import sys, imgpkg.embedded.server\nprint(sorted({'urllib3', 'yaml'} & set(sys.modules)))\n"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_an_image_and_its_index_go_in_and_come_out():
    index = make_image(index=[make_image(), make_image(labels={"a": "b"})])
    with serve() as server:
        upload(index, server.address, "team/app", "v1")
        for image in index.images:
            assert ask(server.address, "GET", f"/v2/team/app/manifests/{image.digest}").body == image.manifest

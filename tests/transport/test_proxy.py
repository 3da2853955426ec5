"""Which proxy a URL goes through, and the requests to it."""

from __future__ import annotations

from base64 import b64encode

import pytest
from tests.servers.raw import RawServer, answering, proxying

from imgpkg.errors import ConnectionFailed, InvalidSettings
from imgpkg.transport.message import Request
from imgpkg.transport.pool import Pool
from imgpkg.transport.proxy import Proxy, is_bypassed, proxy_for
from imgpkg.transport.trace import TextTracer

PROXY = "http://proxy.example:3128"
LOGIN = "Basic " + b64encode(b"us er:hunter:2").decode()


class TestWhichProxy:
    @pytest.mark.parametrize(
        ("url", "environ", "expected"),
        [
            ("https://r.example/", {}, None),
            ("https://r.example/", {"HTTPS_PROXY": PROXY}, PROXY),
            ("https://r.example/", {"https_proxy": PROXY}, PROXY),
            ("https://r.example/", {"HTTPS_PROXY": PROXY, "https_proxy": "http://lower"}, PROXY),
            ("https://r.example/", {"HTTPS_PROXY": "", "https_proxy": PROXY}, PROXY),
            ("https://r.example/", {"HTTP_PROXY": PROXY}, None),
            ("http://r.example/", {"HTTP_PROXY": PROXY}, PROXY),
            ("http://r.example/", {"HTTPS_PROXY": PROXY}, None),
            ("http://r.example/", {"HTTP_PROXY": "proxy.example:3128"}, PROXY),
            ("https://r.example/", {"HTTPS_PROXY": PROXY, "NO_PROXY": "r.example"}, None),
            ("https://r.example/", {"HTTPS_PROXY": PROXY, "no_proxy": "r.example"}, None),
            ("https://r.example/", {"HTTPS_PROXY": PROXY, "NO_PROXY": "x", "no_proxy": "r.example"}, PROXY),
            ("ftp://r.example/", {"HTTPS_PROXY": PROXY, "HTTP_PROXY": PROXY}, None),
        ],
    )
    def test_the_variables_are_read_as_go_reads_them(self, url, environ, expected):
        assert proxy_for(url, environ) == expected

    def test_a_cgi_program_ignores_http_proxy_which_a_client_can_set(self):
        environ = {"HTTP_PROXY": PROXY, "HTTPS_PROXY": PROXY, "REQUEST_METHOD": "GET"}
        assert proxy_for("http://r.example/", environ) is None
        assert proxy_for("https://r.example/", environ) == PROXY

    @pytest.mark.parametrize(
        "host",
        [
            "localhost",
            "LocalHost:5000",
            "a.localhost",
            "127.0.0.1:5000",
            "127.9.9.9",
            "[::1]:80",
            "[::ffff:127.0.0.1]",
        ],
    )
    def test_this_machine_is_never_asked_for_through_a_proxy(self, host):
        assert proxy_for(f"https://{host}/", {"HTTPS_PROXY": PROXY}) is None

    def test_a_url_without_host_has_no_answer(self):
        with pytest.raises(ValueError, match="no host"):
            proxy_for("/v2/", {"HTTPS_PROXY": PROXY})


class TestNoProxy:
    @pytest.mark.parametrize(
        ("no_proxy", "host", "port", "expected"),
        [
            ("", "r.example", 443, False),
            ("*", "r.example", 443, True),
            ("r.example", "r.example", 443, True),
            ("R.Example", "r.eXample", 443, True),
            ("r.example", "sub.r.example", 443, True),
            ("r.example", "notr.example", 443, False),
            ("r.example", "r.example.org", 443, False),
            (".r.example", "sub.r.example", 443, True),
            (".r.example", "r.example", 443, False),
            ("*.r.example", "sub.r.example", 443, True),
            ("*.r.example", "r.example", 443, False),
            ("r.example:443", "r.example", 443, True),
            ("r.example:443", "r.example", 80, False),
            (".r.example:80", "sub.r.example", 80, True),
            (":443", "r.example", 443, False),
            ("other, r.example ,,", "r.example", 443, True),
            ("10.0.0.0/8", "10.1.2.3", 443, True),
            ("10.1.2.3/8", "10.9.9.9", 443, True),
            ("10.0.0.0/8", "11.1.2.3", 443, False),
            ("10.0.0.0/8", "ten.example", 443, False),
            ("10.0.0.0/99", "10.1.2.3", 443, False),
            ("10.1.2.3", "10.1.2.3", 443, True),
            ("10.1.2.3:443", "10.1.2.3", 443, True),
            ("10.1.2.3:443", "10.1.2.3", 80, False),
            ("10.1.2.3", "110.1.2.3", 443, False),
            ("2.3", "10.1.2.3", 443, True),
            ("2001:db8::/32", "2001:db8::7", 443, True),
            ("2001:db8:0::7", "2001:db8::7", 443, True),
            ("[2001:db8::7]:443", "2001:db8::7", 443, True),
            ("[2001:db8::7]:443", "2001:db8::7", 80, False),
            ("::ffff:10.1.2.3", "10.1.2.3", 443, True),
            ("bücher.example", "xn--bcher-kva.example", 443, True),
            ("xn--bcher-kva.example", "bücher.example", 443, True),
            ("a..b", "ü..b", 443, False),
        ],
    )
    def test_entries_match_as_go_matches_them(self, no_proxy, host, port, expected):
        assert is_bypassed(host, port, no_proxy) is expected


class TestParsingAProxy:
    def test_the_parts_and_the_login_come_out_decoded(self):
        proxy = Proxy.parse("http://us%20er:hunter%3A2@Proxy.example")
        assert proxy == Proxy("http", "proxy.example", 80, LOGIN)
        assert "hunter" not in repr(proxy)
        assert LOGIN not in repr(proxy)

    def test_a_user_alone_has_an_empty_password(self):
        assert Proxy.parse("https://user@p:8443") == Proxy(
            "https", "p", 8443, "Basic " + b64encode(b"user:").decode()
        )

    @pytest.mark.parametrize(
        "url",
        [
            "http://user:hunter2@",
            "http://user:hunter2@p:port",
            "http://user:hunter2@[::1",
            "socks5://user:hunter2@p",
        ],
    )
    def test_what_is_no_http_proxy_is_refused_without_showing_its_password(self, url):
        with pytest.raises(InvalidSettings) as caught:
            Proxy.parse(url)
        assert "hunter2" not in str(caught.value)
        assert caught.value.__cause__ is None


class TestThroughAProxy:
    """Loopback is never proxied, so the registry has a name that only the proxy knows."""

    def test_https_is_tunnelled_with_the_login_for_the_proxy_only(self, authority):
        context = authority.context("registry.example")
        with RawServer(answering(b"ok"), context=context) as server:
            names = {"registry.example:443": ("127.0.0.1", server.port)}
            with RawServer(proxying(login=LOGIN, names=names)) as proxy:
                environ = {"HTTPS_PROXY": f"http://us%20er:hunter%3A2@{proxy.address}"}
                with Pool(environ=environ, ca_cert_paths=[authority.path]) as pool:
                    for _ in range(2):
                        assert pool.send(Request("GET", "https://registry.example/v2/")).read() == b"ok"
        assert [(r.method, r.target) for r in proxy.requests] == [("CONNECT", "registry.example:443")]
        assert [r.target for r in server.requests] == ["/v2/", "/v2/"]
        assert server.requests[0].header("Proxy-Authorization") is None
        assert server.requests[0].header("Host") == "registry.example"

    @pytest.mark.parametrize("headers", [(), [("Connection", "close")]])
    def test_a_proxy_may_itself_speak_tls(self, authority, headers):
        origin = answering(b"ok", headers=headers)
        with RawServer(origin, context=authority.context("registry.example")) as server:
            names = {"registry.example:8443": ("127.0.0.1", server.port)}
            talk = proxying(login=LOGIN, names=names)
            with RawServer(talk, context=authority.context("127.0.0.1")) as proxy:
                environ = {
                    "HTTPS_PROXY": f"https://us%20er:hunter%3A2@{proxy.address}",
                    "HTTP_PROXY": f"https://us%20er:hunter%3A2@{proxy.address}",
                }
                with Pool(environ=environ, ca_cert_paths=[authority.path]) as pool:
                    assert pool.send(Request("GET", "https://registry.example:8443/v2/")).read() == b"ok"
                    plain = pool.send(Request("GET", "http://registry.example/v2/"))
                    assert plain.read() == b"through the proxy"

    def test_http_is_handed_to_the_proxy_with_its_whole_url(self):
        with RawServer(proxying(login=LOGIN)) as proxy:
            environ = {"HTTP_PROXY": f"http://us%20er:hunter%3A2@{proxy.address}"}
            with Pool(environ=environ) as pool:
                for url in ("http://r.example/v2/?n=1", "http://[2001:db8::1]:5000/"):
                    assert pool.send(Request("GET", url)).read() == b"through the proxy"
        assert [r.target for r in proxy.requests] == [
            "http://r.example:80/v2/?n=1",
            "http://[2001:db8::1]:5000/",
        ]

    def test_an_http_proxy_without_login_is_sent_none(self):
        with RawServer(proxying()) as proxy, Pool(environ={"HTTP_PROXY": proxy.url}) as pool:
            pool.send(Request("GET", "http://r.example/")).close()
        assert proxy.requests[0].header("Proxy-Authorization") is None

    def test_a_proxy_that_wants_a_login_is_named_as_the_one_who_refused(self):
        lines = []
        with RawServer(proxying(login=LOGIN)) as proxy:
            environ = {"HTTPS_PROXY": f"http://us%20er:hunter2@{proxy.address}"}
            with (
                Pool(environ=environ, tracer=TextTracer(lines.append)) as pool,
                pytest.raises(ConnectionFailed) as caught,
            ):
                pool.send(Request("GET", "https://registry.example/v2/"))
        assert "proxyconnect tcp: " in caught.value.reason
        assert "407 Proxy Authentication Required" in caught.value.reason
        assert "HTTPS_PROXY" in caught.value.hints[0]
        assert "hunter2" not in "".join(lines) + str(caught.value)

    def test_a_proxy_that_is_not_there_is_named_as_such(self):
        environ = {"HTTPS_PROXY": "http://user:hunter2@127.0.0.1:1"}
        with Pool(environ=environ) as pool, pytest.raises(ConnectionFailed) as caught:
            pool.send(Request("GET", "https://registry.example/v2/"))
        assert caught.value.reason == "proxyconnect tcp: dial tcp 127.0.0.1:1: connect: connection refused"
        assert "HTTPS_PROXY" in caught.value.hints[0]
        assert "hunter2" not in f"{caught.value}{caught.value.hints}"

    def test_a_useless_proxy_is_reported_not_passed_over(self):
        with (
            Pool(environ={"HTTPS_PROXY": "socks5://p"}) as pool,
            pytest.raises(InvalidSettings, match="socks5"),
        ):
            pool.send(Request("GET", "https://registry.example/v2/"))

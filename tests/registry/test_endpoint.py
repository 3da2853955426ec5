"""http or https, decided by the first request."""

from __future__ import annotations

import threading

import pytest
from tests.registry.scripted import Said, drive

from imgpkg.errors import CertificateRejected, ConnectionFailed, ConnectionTimedOut, NotTLS, TransportError
from imgpkg.registry.endpoint import Endpoint
from imgpkg.transport.message import Origin, Request

REQUEST = Request("GET", "/v2/a/manifests/x?n=1")
OK = Said(200)
HTTPS, HTTP = "https://10.0.0.5/v2/a/manifests/x?n=1", "http://10.0.0.5/v2/a/manifests/x?n=1"


def error(kind, url=HTTPS, reason="why"):
    return kind("GET", url, reason)


def send(endpoint, *answers):
    requests, answer = drive(endpoint.send(REQUEST), *answers)
    assert answer.request is requests[-1]
    assert answer.response is answers[-1]
    return [request.url for request in requests]


def test_a_public_registry_is_asked_over_https_only():
    endpoint = Endpoint("registry.example")
    with pytest.raises(ConnectionFailed):
        send(endpoint, error(ConnectionFailed))
    assert send(endpoint, OK) == ["https://registry.example/v2/a/manifests/x?n=1"]


def test_https_comes_first_and_stays_when_it_is_answered():
    endpoint = Endpoint("10.0.0.5")
    assert send(endpoint, OK) == [HTTPS]
    assert send(endpoint, OK) == [HTTPS]
    assert endpoint.origin == Origin("https", "10.0.0.5", 443)


@pytest.mark.parametrize("kind", [ConnectionFailed, NotTLS, ConnectionTimedOut])
def test_http_follows_without_tls_and_stays(kind):
    endpoint = Endpoint("10.0.0.5")
    assert send(endpoint, error(kind), OK) == [HTTPS, HTTP]
    assert send(endpoint, OK) == [HTTP]
    assert endpoint.origin == Origin("http", "10.0.0.5", 80)


def test_the_guess_at_https_takes_little_time():
    endpoint = Endpoint("10.0.0.5")
    requests, _ = drive(endpoint.send(REQUEST), error(ConnectionTimedOut), OK)
    assert [request.connect_timeout for request in requests] == [2.0, None]


def test_http_does_not_follow_a_rejected_certificate():
    endpoint = Endpoint("10.0.0.5")
    with pytest.raises(CertificateRejected):
        send(endpoint, error(CertificateRejected))
    assert endpoint.origin.scheme == "https"


def test_http_follows_a_rejected_certificate_when_allowed():
    endpoint = Endpoint("registry.example", insecure=True)
    urls = send(endpoint, error(CertificateRejected), OK)
    assert [url.partition(":")[0] for url in urls] == ["https", "http"]


def test_http_does_not_follow_a_request_that_cannot_be_sent():
    with pytest.raises(TransportError):
        send(Endpoint("10.0.0.5"), error(TransportError))


def test_both_failures_are_reported_when_both_fail():
    endpoint = Endpoint("10.0.0.5")
    with pytest.raises(ConnectionFailed) as caught:
        send(endpoint, error(ConnectionFailed, reason="no TLS"), error(ConnectionFailed, HTTP, "refused"))
    assert caught.value.message == f'Get "{HTTPS}": no TLS; Get "{HTTP}": refused'
    assert send(endpoint, error(NotTLS), OK) == [HTTPS, HTTP]


def test_a_slow_https_gets_its_time_when_http_fails():
    endpoint = Endpoint("10.0.0.5")
    assert send(endpoint, error(ConnectionTimedOut), error(ConnectionFailed, HTTP), OK) == [
        HTTPS,
        HTTP,
        HTTPS,
    ]
    assert send(endpoint, OK) == [HTTPS]


def test_the_context_of_a_first_contact_is_not_that_of_later_failures():
    endpoint = Endpoint("registry.example")
    send(endpoint, OK)
    with pytest.raises(ConnectionTimedOut) as caught:
        send(endpoint, error(ConnectionTimedOut))
    assert caught.value.context == ()


def test_http_that_is_redirected_to_https_goes_on_there():
    endpoint = Endpoint("registry.local")
    drive(endpoint.send(REQUEST), error(NotTLS), OK)
    endpoint.follow_upgrade("https://other.local/v2/")
    assert endpoint.origin.scheme == "http"
    endpoint.follow_upgrade("https://registry.local/v2/")
    assert endpoint.origin.scheme == "https"


def test_https_is_never_left_for_a_redirect():
    endpoint = Endpoint("registry.local")
    drive(endpoint.send(REQUEST), OK)
    endpoint.follow_upgrade("http://registry.local/v2/")
    assert endpoint.origin.scheme == "https"


def test_an_absolute_url_keeps_its_path_and_query():
    endpoint = Endpoint("[::1]:5000")
    requests, _ = drive(endpoint.send(Request("GET", "https://[::1]:5000/v2/x?y=z%2F")), OK)
    assert requests[0].url == "https://[::1]:5000/v2/x?y=z%2F"


def test_the_first_exchange_goes_alone_and_the_others_follow_together():
    endpoint, entered, release = Endpoint("registry.example"), [], threading.Event()
    inside, both = threading.Event(), threading.Barrier(2)

    def first():
        with endpoint.first_contact():
            inside.set()
            release.wait(10)
            entered.append("first")

    def later():
        with endpoint.first_contact():
            entered.append("later")
            both.wait(10)

    threads = [threading.Thread(target=first)]
    threads[0].start()
    inside.wait(10)
    threads += [threading.Thread(target=later) for _ in range(2)]
    for thread in threads[1:]:
        thread.start()
    assert entered == []
    release.set()
    for thread in threads:
        thread.join(10)
    assert entered == ["first", "later", "later"]


def test_a_failure_introduces_too():
    endpoint = Endpoint("registry.example")
    with pytest.raises(RuntimeError), endpoint.first_contact():
        raise RuntimeError
    with endpoint.first_contact(), endpoint.first_contact():
        pass

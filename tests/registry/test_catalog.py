"""The list of all repositories, at registries that have it, refuse it, or lack it."""

from __future__ import annotations

import pytest
from tests.registry.scripted import LOGIN, Bench, Said, Source, TokenRegistry, Wire

from imgpkg.errors import Forbidden, InvalidReference, RegistryError, Unauthorized, Unsupported
from imgpkg.registry import listing

CATALOG = "https://r.example/v2/_catalog?n=1000"


def bench(*answers, **options):
    waiting = list(answers)
    return Bench(Wire(lambda asked: waiting.pop(0)), **options)


def page(names, link=None):
    return Said(200, {"repositories": names}, [("Link", link)] if link else ())


def catalog(made):
    found = list(made.client.catalog("r.example"))
    made.transport.assert_all_closed()
    return found


def test_comes_in_pages_in_the_order_of_the_registry():
    made = bench(page(["b", "a/b"], '</v2/_catalog?last=a%2Fb&n=1000>; rel="next"'), page(["c"]))
    assert catalog(made) == ["b", "a/b", "c"]
    assert made.transport.lines == [f"GET {CATALOG}", f"GET {CATALOG[:-6]}last=a%2Fb&n=1000"]


def test_may_be_empty():
    assert catalog(bench(page(None))) == []
    assert catalog(bench(page([]))) == []


def test_is_requested_page_by_page():
    made = bench(page(["a"], "</v2/two>"))
    assert next(made.client.catalog("r.example")) == "a"
    assert len(made.transport.asked) == 1


def test_without_a_number_where_a_thousand_are_too_many():
    made = bench(Said(400, {"errors": [{"code": "PAGINATION_NUMBER_INVALID"}]}), page(["a"]))
    assert catalog(made) == ["a"]
    assert made.transport.lines[1] == "GET https://r.example/v2/_catalog"


@pytest.mark.parametrize("status", [404, 405, 501, 400])
def test_a_registry_may_lack_it(status):
    said = {"errors": [{"code": "UNSUPPORTED", "message": "no"}]} if status == 400 else b""
    with pytest.raises(Unsupported, match=r"the registry r.example has no catalog: .* \(status") as caught:
        catalog(Bench(Wire(lambda asked: Said(status, said))))
    error = caught.value
    assert (error.status, error.method, error.url.partition("?")[0]) == (status, "GET", CATALOG[:-7])
    assert "can be read all the same" in error.hints[-1]


@pytest.mark.parametrize(("status", "kind"), [(401, Unauthorized), (403, Forbidden)])
def test_a_registry_may_refuse_it(status, kind):
    with pytest.raises(kind) as caught:
        catalog(Bench(Wire(lambda asked: Said(status)), source=Source(LOGIN)))
    assert type(caught.value) is kind
    assert "administrators alone" in caught.value.hints[-1]


def test_other_failures_are_raised_as_they_are():
    with pytest.raises(RegistryError) as caught:
        catalog(bench(Said(500)))
    assert type(caught.value) is RegistryError


def test_a_later_page_that_is_gone_does_not_mean_that_there_is_none():
    with pytest.raises(RegistryError) as caught:
        catalog(bench(page(["a"], "</v2/two>"), Said(404)))
    assert not isinstance(caught.value, Unsupported)


def test_asks_the_token_service_for_the_whole_registry():
    asked = []

    class Service(TokenRegistry):
        def wanted(self, _asked):
            return {("catalog", "*")}

        def challenge(self, wanted, *, error=""):
            header = f'Bearer realm="{self.realm}",service="s",scope="registry:catalog:*"'
            return Said(401, b"", [("WWW-Authenticate", header)])

        def token(self, request):
            asked.extend(request.query["scope"])
            return super().token(request)

    made = Bench(Wire(Service(content=lambda asked: page(["a"]))), source=Source(LOGIN))
    assert list(made.client.catalog("r.example")) == ["a"]
    assert asked == ["registry:catalog:*"]


class TestAHostileOne:
    def test_ends_when_pages_go_in_circles(self):
        made = Bench(Wire(lambda asked: page(["a"], "</v2/again>; rel=next")))
        with pytest.raises(RegistryError, match="goes in circles"):
            catalog(made)

    def test_ends_when_it_has_no_end(self, monkeypatch):
        monkeypatch.setattr(listing, "MOST_PAGES", 5)
        numbers = iter(range(100))
        made = Bench(Wire(lambda asked: page(["a"], f"</v2/_catalog?last={next(numbers)}>; rel=next")))
        with pytest.raises(RegistryError, match="the list has more than 5 pages"):
            catalog(made)
        assert len(made.transport.asked) == 5

    @pytest.mark.parametrize("link", ["https://evil.example/x", "https://r.example:444/x"])
    def test_is_not_sought_elsewhere(self, link):
        with pytest.raises(RegistryError, match="the next page is not on the registry"):
            catalog(bench(page(["a"], f"<{link}>; rel=next")))

    @pytest.mark.parametrize(
        ("body", "text"),
        [
            (b"<html>", "a web page came back in place of the list of repositories"),
            (b"names", "the list of repositories is not JSON"),
            (b'{"repositories":"x"}', "the answer is no list of repositories"),
            (b'{"repositories":["a\\u001b[2J"]}', "has a name with unprintable characters"),
        ],
    )
    def test_is_an_error(self, body, text):
        with pytest.raises(RegistryError, match=text):
            catalog(bench(Said(200, body)))


def test_a_registry_is_a_host():
    with pytest.raises(InvalidReference):
        next(bench().client.catalog("r.example/a"))

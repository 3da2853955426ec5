"""Tags and referrers: lists in pages."""

from __future__ import annotations

import itertools
import json
from concurrent.futures import ThreadPoolExecutor

import pytest
from tests.registry.scripted import Bench, Said, Wire

from imgpkg.errors import ChallengeError, InvalidManifest, NotFound, RegistryError
from imgpkg.oci import media
from imgpkg.oci.descriptor import Digest
from imgpkg.oci.manifest import Manifest
from imgpkg.oci.reference import Repository
from imgpkg.registry import listing
from imgpkg.registry.listing import next_link

A = Repository.parse("r.example/a/b")
TAGS = "https://r.example/v2/a/b/tags/list?n=1000"


def bench(*answers, **options):
    waiting = list(answers)
    return Bench(Wire(lambda asked: waiting.pop(0)), **options)


def page(tags, link=None):
    return Said(200, {"name": "a/b", "tags": tags}, [("Link", link)] if link else ())


def tags(made):
    found = list(made.client.tags(A))
    made.transport.assert_all_closed()
    return found


class TestTags:
    def test_come_in_the_registry_s_order(self):
        made = bench(page(["b", "a"]))
        assert tags(made) == ["b", "a"]
        assert made.transport.lines == [f"GET {TAGS}"]

    def test_may_be_none(self):
        assert tags(bench(page(None))) == []
        assert tags(bench(Said(200, {}))) == []

    def test_come_in_pages(self):
        second = '</v2/a/b/tags/list?last=b&n=1000>; rel="next"'
        made = bench(
            page(["a", "b"], second), page(["c"], "<https://r.example/v2/third>; rel=next"), page(["d"])
        )
        assert tags(made) == ["a", "b", "c", "d"]
        assert made.transport.lines[1:] == [
            "GET https://r.example/v2/a/b/tags/list?last=b&n=1000",
            "GET https://r.example/v2/third",
        ]

    def test_are_asked_for_page_by_page(self):
        made = bench(page(["a"], "</v2/two>"))
        assert next(made.client.tags(A)) == "a"
        assert len(made.transport.asked) == 1

    def test_end_when_pages_go_in_circles(self):
        made = Bench(Wire(lambda asked: page(["a"], "</v2/again>; rel=next")))
        with pytest.raises(RegistryError, match="goes in circles"):
            tags(made)
        assert len(made.transport.asked) == 2

    @pytest.mark.parametrize("link", ["https://evil.example/x", "https://r.example:444/x"])
    def test_are_not_sought_elsewhere(self, link):
        made = bench(page(["a"], f"<{link}>; rel=next"))
        with pytest.raises(RegistryError, match="the next page is not on the registry"):
            tags(made)
        assert len(made.transport.asked) == 1

    def test_are_not_sought_in_local_places(self):
        with pytest.raises(ChallengeError):
            tags(bench(page(["a"], "<http://169.254.169.254/>; rel=next")))

    @pytest.mark.parametrize(
        ("body", "text"),
        [
            (b"<html>", "a web page came back in place of the list of tags"),
            (b"tags", "the list of tags is not JSON"),
            (b"[]", "the answer is no list of tags"),
            (b'{"tags":"x"}', "the answer is no list of tags"),
            (b'{"tags":[1]}', "the answer is no list of tags"),
        ],
    )
    def test_are_a_list_or_an_error(self, body, text):
        with pytest.raises(RegistryError, match=text):
            tags(bench(Said(200, body)))

    @pytest.mark.parametrize("tag", ["a\nb", "a\x1b[2Jb", "\ud800", "a\u202eb"])
    def test_that_would_write_more_than_their_name_are_refused(self, tag):
        with pytest.raises(RegistryError, match="the list of tags has a name with unprintable characters"):
            tags(bench(page(["v1", tag])))

    def test_are_refused_when_they_are_too_many(self, monkeypatch):
        monkeypatch.setattr(listing, "MAX_PAGE", 100)
        with pytest.raises(RegistryError, match="the page is larger than"):
            tags(bench(Said(200, b" " * 101)))

    def test_of_nothing_are_an_error(self):
        with pytest.raises(NotFound, match="NAME_UNKNOWN"):
            tags(bench(Said(404, {"errors": [{"code": "NAME_UNKNOWN", "message": "who"}]})))

    def test_are_asked_for_again_after_a_temporary_failure(self):
        made = bench(
            page(["a"], "</v2/two>"),
            Said(502),
            Said(200, b'{"tags":["b"]}', cut=3),
            page(["b"]),
            retry_count=3,
        )
        assert tags(made) == ["a", "b"]


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([], ""),
        (["</x>"], "/x"),
        (['</x>; rel="next"'], "/x"),
        (["</x>;rel=next"], "/x"),
        (['</x>; REL = "prev Next"'], "/x"),
        (['</first>; rel="first", </x>; rel="next"'], "/x"),
        (['</first>; rel="first"', "</x>; rel=next"], "/x"),
        (['</x?a=b,c>; title="a, <b>"; rel="next"'], "/x?a=b,c"),
        (['</prev>; rel="prev"'], ""),
        (["</a>; rel=prev, </b>"], ""),
        (["nonsense"], ""),
        (["<>"], ""),
    ],
)
def test_links_are_read_as_rfc_8288_writes_them(lines, expected):
    assert next_link(lines) == expected


CONFIG = {"mediaType": "application/vnd.example.signature", "digest": str(Digest.of(b"{}")), "size": 2}
SUBJECT = Digest.of(b"subject")
TAG = f"/v2/a/b/manifests/sha256-{SUBJECT.hex}"
API = f"/v2/a/b/referrers/{SUBJECT}"
INDEX = {"Content-Type": media.OCI_INDEX}


def artifact(name="one", **more):
    document = {
        "schemaVersion": 2,
        "mediaType": media.OCI_MANIFEST,
        "config": CONFIG,
        "layers": [],
        "subject": {"mediaType": media.OCI_MANIFEST, "digest": str(SUBJECT), "size": 7},
        "annotations": {"name": name},
        **more,
    }
    return Manifest.parse(json.dumps(document).encode(), media.OCI_MANIFEST)


def entry(manifest, **more):
    return {
        "mediaType": manifest.media_type,
        "size": len(manifest.raw),
        "digest": str(manifest.digest),
        **more,
    }


def index(*entries, **more):
    return Said(
        200, {"schemaVersion": 2, "mediaType": media.OCI_INDEX, "manifests": list(entries), **more}, INDEX
    )


class TestReferrers:
    def find(self, made):
        found = made.client.referrers(A, SUBJECT)
        made.transport.assert_all_closed()
        return [descriptor.digest for descriptor in found]

    def test_come_from_the_api_in_pages(self):
        one, two = artifact("one"), artifact("two")
        first = index(entry(one))
        first.headers.pairs.append(("Link", f'<{API}?last=1>; rel="next"'))
        made = bench(first, index(entry(two)))
        assert self.find(made) == [one.digest, two.digest]
        assert [asked.path for asked in made.transport.asked] == [API, API]
        assert made.transport.asked[0].headers["Accept"] == media.OCI_INDEX

    @pytest.mark.parametrize("status", [400, 404, 405, 406, 501])
    def test_come_from_the_tag_where_there_is_no_api(self, status):
        one = artifact()
        made = bench(Said(status), index(entry(one)), index())
        assert self.find(made) == [one.digest]
        assert self.find(made) == []
        assert [asked.path for asked in made.transport.asked] == [API, TAG, TAG]

    def test_come_from_the_tag_when_the_api_answers_with_something_else(self):
        made = bench(Said(200, b"<html>welcome</html>", {"Content-Type": "text/html"}), Said(404))
        assert self.find(made) == []

    def test_of_one_type_are_asked_for_and_filtered_once_more(self):
        kind = "application/vnd.example+json;v=1"
        one, two = artifact("one", artifactType=kind), artifact("two")
        made = bench(index(entry(one, artifactType=kind), entry(two)))
        assert made.client.referrers(A, SUBJECT, artifact_type=kind)[0].digest == one.digest
        (asked,) = made.transport.asked
        assert asked.url.endswith("?artifactType=application/vnd.example%2Bjson%3Bv%3D1")
        assert asked.query == {"artifactType": [kind]}

    def test_of_one_type_are_found_under_the_tag(self):
        one, two = artifact("one"), artifact("two")
        made = bench(Said(404), index(entry(one, artifactType="a/b"), entry(two, artifactType="c/d")))
        found = made.client.referrers(A, SUBJECT, artifact_type="c/d")
        assert [descriptor.digest for descriptor in found] == [two.digest]
        made = bench(Said(404))
        assert made.client.referrers(A, SUBJECT, artifact_type="c/d", tag_scheme=False) == ()

    def test_are_refused_when_the_tag_names_an_image(self):
        made = bench(Said(404), Said(200, artifact().raw, {"Content-Type": media.OCI_MANIFEST}))
        with pytest.raises(InvalidManifest, match="should be an index of referrers"):
            self.find(made)


class TestWritingWithASubject:
    def push(self, made, manifest):
        made.client.push_manifest(A.digest(manifest.digest), manifest)
        made.transport.assert_all_closed()
        return [(asked.method, asked.path) for asked in made.transport.asked][1:]

    def written(self, made):
        asked = made.transport.asked[-1]
        assert (asked.method, asked.path, asked.headers["Content-Type"]) == ("PUT", TAG, media.OCI_INDEX)
        return json.loads(asked.body)

    def test_asks_nothing_when_the_registry_says_that_it_saw_it(self):
        assert self.push(bench(Said(201, headers={"OCI-Subject": str(SUBJECT)})), artifact()) == []

    def test_asks_whether_there_is_the_api(self):
        assert self.push(bench(Said(201), index()), artifact()) == [("GET", API)]

    def test_writes_an_index_under_the_subject_s_tag_where_there_is_none(self):
        one = artifact()
        made = bench(Said(201), Said(404), Said(404), Said(201))
        assert self.push(made, one) == [("GET", API), ("GET", TAG), ("PUT", TAG)]
        expected = entry(one, artifactType=CONFIG["mediaType"], annotations={"name": "one"})
        assert self.written(made) == {
            "schemaVersion": 2,
            "mediaType": media.OCI_INDEX,
            "manifests": [expected],
        }

    def test_adds_to_the_index_and_keeps_what_is_in_it(self):
        one = artifact("one", artifactType="application/x")
        others = [
            {"mediaType": "x/y", "digest": f"sha256:{digit * 64}", "size": 1, "unknown": True}
            for digit in "0f"
        ]
        made = bench(Said(201), Said(404), index(*reversed(others), annotations={"k": "v"}), Said(201))
        self.push(made, one)
        written = self.written(made)
        assert written["annotations"] == {"k": "v"}
        mine = entry(one, artifactType="application/x", annotations={"name": "one"})
        assert written["manifests"] == sorted([*others, mine], key=lambda item: item["digest"])

    def test_leaves_an_index_alone_that_has_it(self):
        one = artifact()
        made = bench(Said(201), Said(404), index(entry(one)))
        assert self.push(made, one) == [("GET", API), ("GET", TAG)]

    def test_gives_an_index_without_a_config_no_type_and_leaves_out_what_is_empty(self):
        subject = {"mediaType": media.OCI_MANIFEST, "digest": str(SUBJECT), "size": 7}
        document = {"schemaVersion": 2, "mediaType": media.OCI_INDEX, "manifests": [], "subject": subject}
        manifest = Manifest.parse(json.dumps(document).encode(), media.OCI_INDEX)
        made = bench(Said(201), Said(404), Said(404), Said(201))
        self.push(made, manifest)
        assert self.written(made)["manifests"] == [entry(manifest)]

    def test_loses_no_entry_when_many_write_at_once(self):
        stored, names = {}, itertools.count()

        def handle(asked):
            if asked.method == "PUT":
                stored[asked.path] = asked.body
                return Said(201)
            if asked.path in stored:
                return Said(200, stored[asked.path], INDEX)
            return Said(404)

        made = Bench(Wire(handle))
        manifests = [artifact(str(next(names))) for _ in range(8)]
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda one: made.client.push_manifest(A.digest(one.digest), one), manifests))
        found = {item["digest"] for item in json.loads(stored[TAG])["manifests"]}
        assert found == {str(one.digest) for one in manifests}

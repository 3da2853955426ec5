"""Plans that are read: line by line, with limits, whoever has written them."""

from __future__ import annotations

import base64
import hashlib
import json
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imgpkg import errors
from imgpkg.operations.plans.reader import read_plan

DIGEST = "sha256:" + "a" * 64
HEADER = {
    "kind": "plan",
    "format": "imgpkg-plan",
    "formatVersion": 1,
    "imgpkg": "1.0.0",
    "source": "registry.example.com/app:v1",
    "destination": "registry.inside.example/app",
}
BLOB = {
    "kind": "blob",
    "digest": DIGEST,
    "size": 3,
    "mediaType": "text/plain",
    "source": "registry.example.com/app",
    "destination": "registry.inside.example/app",
    "mountFrom": [],
}
MANIFEST = {
    "kind": "manifest",
    "source": f"registry.example.com/app@{DIGEST}",
    "digest": DIGEST,
    "size": 10,
    "mediaType": "text/plain",
    "destinations": [f"registry.inside.example/app@{DIGEST}"],
}
RECORD = {
    "kind": "record",
    "destination": "registry.inside.example/app",
    "bundle": DIGEST,
    "images": [{"image": f"registry.example.com/app@{DIGEST}", "isBundle": False}],
}
LOCKED = {"kind": "locked", "image": f"registry.example.com/app@{DIGEST}", "annotations": {"a": "b"}}
IMAGE = {
    "kind": "image",
    "image": f"registry.example.com/app@{DIGEST}",
    "source": f"registry.example.com/app@{DIGEST}",
    "destinations": ["registry.inside.example/app:sha256-a.imgpkg"],
    "tag": "v1",
}
END = {"kind": "end", "blobs": 1, "bytes": 3, "manifests": 1, "images": 1}
WHOLE = [HEADER, BLOB, MANIFEST, RECORD, LOCKED, IMAGE, END]


def write(path, lines):
    path.write_text("".join(line if isinstance(line, str) else f"{json.dumps(line)}\n" for line in lines))
    return path


@pytest.fixture
def plan(tmp_path):
    return lambda lines: read_plan(write(tmp_path / "plan.jsonl", lines))


class TestAPlan:
    def test_is_read_back_as_it_was_written(self, plan):
        for number, line in plan(WHOLE).lines():
            again = {"kind": line.kind, **line.fields()}
            assert {name: again[name] for name in WHOLE[number - 1]} == WHOLE[number - 1]

    def test_has_methods_for_the_lines_of_a_kind(self, plan):
        whole = plan(WHOLE)
        assert [str(blob.descriptor.digest) for blob in whole.blobs()] == [DIGEST]
        assert [one.size for one in whole.manifests()] == [10]
        assert [one.tag for one in whole.images()] == ["v1"]
        assert whole.end().blob_size == 3
        assert str(whole.header.destination) == "registry.inside.example/app"

    def test_may_have_fields_that_are_not_known(self, plan):
        assert plan([{**HEADER, "more": 1}, *WHOLE[1:]]).end().blobs == 1

    def test_may_have_digests_of_sha512_and_embedded_content(self, plan):
        digest = f"sha512:{hashlib.sha512(b'abc').hexdigest()}"
        blob = {**BLOB, "digest": digest, "data": "YWJj", "urls": ["https://a.example/b"]}
        source = f"registry.example.com/app@{digest}"
        (line,) = plan([HEADER, blob, {**MANIFEST, "source": source, "digest": digest}, *WHOLE[3:]]).blobs()
        assert (line.descriptor.data, line.descriptor.urls) == (b"abc", ("https://a.example/b",))

    @pytest.mark.parametrize("line", ["", "x\n", "[]\n", "{}\n", json.dumps(BLOB) + "\n"])
    def test_begins_with_its_header(self, plan, line):
        with pytest.raises(errors.InvalidDocument, match=r"plan\.jsonl: line 1: "):
            plan([line])

    def test_of_another_format_or_version_is_refused(self, plan):
        with pytest.raises(errors.InvalidDocument, match="no plan") as raised:
            plan([{**HEADER, "format": "other"}])
        assert "--plan-output" in raised.value.hints[0]
        with pytest.raises(errors.InvalidDocument, match="has version 2 of the format") as raised:
            plan([{**HEADER, "formatVersion": 2, "imgpkg": "9.0.0"}])
        assert "9.0.0" in raised.value.hints[0]

    def test_that_is_not_there_is_named(self, tmp_path):
        with pytest.raises(errors.LocalIOError, match=r"absent\.jsonl"):
            read_plan(tmp_path / "absent.jsonl")

    def test_in_a_pipe_is_refused_at_once(self, tmp_path):
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(errors.UsageError, match="read more than once") as raised:
            read_plan(tmp_path / "pipe")
        assert "to a file" in raised.value.hints[0]

    def test_in_a_folder_is_refused(self, tmp_path):
        with pytest.raises(errors.LocalIOError, match="is a directory"):
            read_plan(tmp_path)


HOSTILE = {
    "no JSON": "{\n",
    "no object": "[]\n",
    "an unknown kind": {**BLOB, "kind": "shell"},
    "a kind that is no text": {**BLOB, "kind": []},
    "a nest": "[" * 100_000 + "\n",
    "a huge number": '{"kind":"blob","size":' + "9" * 5000 + "}\n",
    "a negative size": {**BLOB, "size": -1},
    "half a size": {**BLOB, "size": 1.5},
    "a size that is true": {**BLOB, "size": True},
    "a size of more than files have": {**BLOB, "size": 1 << 63},
    "no digest": {**BLOB, "digest": None},
    "a short digest": {**BLOB, "digest": "sha256:abc"},
    "another algorithm": {**BLOB, "digest": "md5:" + "a" * 32},
    "a path upwards": {**BLOB, "source": "registry.example.com/../../v2/other"},
    "a query": {**BLOB, "source": "registry.example.com/app?x=1"},
    "a login": {**BLOB, "source": "user:secret@registry.example.com/app"},
    "a line end in a name": {**BLOB, "destination": "registry.example.com/app\r\nHost: x"},
    "a long name": {**BLOB, "destination": "registry.example.com/" + "a" * 5000},
    "a mount from elsewhere": {**BLOB, "mountFrom": ["registry.example.com/app"]},
    "mounts that are no list": {**BLOB, "mountFrom": "registry.inside.example/x"},
    "a mount that is no text": {**BLOB, "mountFrom": [1]},
    "content that is no base64": {**BLOB, "data": "%"},
    "content that is no ASCII": {**BLOB, "data": "\u0660"},
    "content of another digest": {**BLOB, "data": "YWJj"},
    "content of another size": {
        **BLOB,
        "digest": f"sha256:{hashlib.sha256(b'abcd').hexdigest()}",
        "data": base64.b64encode(b"abcd").decode(),
    },
    "another destination than that of the plan": {**BLOB, "destination": "evil.example.com/app"},
    "two digests": {**MANIFEST, "digest": "sha256:" + "b" * 64},
    "a source without a digest": {**MANIFEST, "source": "registry.example.com/app:v1"},
    "an image without places": {**IMAGE, "destinations": []},
    "an image that has a digest for a tag": {**IMAGE, "destinations": MANIFEST["destinations"]},
    "a tag that is none": {**IMAGE, "tag": "../v1"},
    "an origin without a digest": {**IMAGE, "origin": "registry.example.com/app"},
    "a cut that is none": {**IMAGE, "keptDigests": [], "wholeIndexes": ["x"]},
    "a flag that is a number": {**IMAGE, "isRootBundle": 1},
    "annotations that are no texts": {**LOCKED, "annotations": {"a": 1}},
    "images that are no objects": {**RECORD, "images": ["x"]},
    "a location without a digest": {
        **RECORD,
        "images": [{**RECORD["images"][0], "location": "registry.inside.example/app:v1"}],
    },
    "another header": HEADER,
}


class TestLines:
    @pytest.mark.parametrize("case", HOSTILE)
    def test_that_are_hostile_are_refused_with_their_number(self, case, plan):
        line = HOSTILE[case]
        kinds = [one["kind"] for one in WHOLE]
        kind = line["kind"] if isinstance(line, dict) else ""
        # In the place of a line of its kind, else of the first after the header.
        place = max(kinds.index(kind), 1) if kind in kinds else 1
        lines = [*WHOLE[:place], line, *WHOLE[place + 1 :]]
        with pytest.raises(errors.InvalidDocument, match=f"line {place + 1}: ") as raised:
            plan(lines).end()
        assert (raised.value.line, len(str(raised.value)) < 2000) == (place + 1, True)

    def test_come_in_the_order_of_a_copy(self, plan):
        with pytest.raises(errors.InvalidDocument, match="line 3: a line of kind blob after one of kind man"):
            plan([HEADER, MANIFEST, BLOB, *WHOLE[3:]]).end()

    @pytest.mark.parametrize(
        ("second", "message"),
        [
            ({}, "for registry.inside.example/app is listed twice"),
            ({"size": 4}, "not in the order of a plan"),
            ({"digest": "sha256:" + "0" * 64}, "not in the order of a plan"),
        ],
        ids=["the same", "a larger one", "a lower digest"],
    )
    def test_of_blobs_come_once_and_the_largest_first(self, second, message, plan):
        end = {**END, "blobs": 2, "bytes": 3 + second.get("size", 3)}
        with pytest.raises(errors.InvalidDocument, match=f"line 3: .*{message}"):
            plan([HEADER, BLOB, {**BLOB, **second}, *WHOLE[2:-1], end]).end()

    def test_of_one_blob_may_have_several_destinations_in_a_plan_that_says_so(self, plan):
        places = [f"{host}.example/app{n}" for host in ("inside", "other") for n in (1, 2)]
        blobs = [{**BLOB, "destination": place} for place in places]
        end = {**END, "blobs": 4, "bytes": 12}
        whole = plan([{**HEADER, "isPlaced": True}, *blobs, *WHOLE[2:-1], end])
        assert [str(blob.destination) for blob in whole.blobs()] == places
        mixed = plan([{**HEADER, "isPlaced": True}, *blobs[1:3], blobs[0], *WHOLE[2:-1], end])
        with pytest.raises(errors.InvalidDocument, match=r"line 4: .*order"):
            mixed.end()

    def test_that_are_no_json_are_told_with_one_number(self, plan):
        with pytest.raises(errors.InvalidDocument) as raised:
            plan([HEADER, "\n"]).end()
        assert str(raised.value).count("line") == 1

    def test_after_the_end_are_refused(self, plan):
        with pytest.raises(errors.InvalidDocument, match="line 8: "):
            plan([*WHOLE, END]).end()

    @pytest.mark.parametrize("count", range(1, 7))
    def test_that_are_missing_at_the_end_are_noticed(self, count, plan):
        with pytest.raises(errors.InvalidDocument, match="no line of kind end") as raised:
            list(plan(WHOLE[:count]).lines())
        assert "cut off" in raised.value.hints[0]

    def test_that_are_cut_off_are_noticed(self, plan):
        with pytest.raises(errors.InvalidDocument, match="line 7: it is not JSON") as raised:
            list(plan([*WHOLE[:6], json.dumps(END)[:20]]).lines())
        assert "cut off" in raised.value.hints[0]

    @pytest.mark.parametrize("place", [1, 2, 5])
    def test_that_are_missing_in_the_middle_are_noticed(self, place, plan):
        with pytest.raises(errors.InvalidDocument, match="line 6: the plan has"):
            plan([*WHOLE[:place], *WHOLE[place + 1 :]]).end()

    def test_of_more_than_64_mib_are_not_read(self, tmp_path):
        path = write(tmp_path / "plan.jsonl", [HEADER])
        with path.open("ab") as file:
            # A hole in the file: it has no bytes on the disk.
            file.truncate(file.tell() + (65 << 20))
        with pytest.raises(errors.InvalidDocument, match="line 2: more than 64 MiB"):
            read_plan(path).end()


VALUES = st.sampled_from([None, 1, "x", [], {}, True, DIGEST])


def changed(line):
    """Return lines like this one, some of whose fields have another value, or are missing."""
    fields = {name: st.just(value) | VALUES for name, value in line.items() if name != "kind"}
    return st.fixed_dictionaries({"kind": st.just(line["kind"])}, optional=fields)


@settings(max_examples=40)
@given(st.lists(st.sampled_from(WHOLE).flatmap(changed) | st.text(max_size=9), max_size=3))
def test_whatever_is_in_a_file_is_read_or_refused(tmp_path_factory, lines):
    path = tmp_path_factory.getbasetemp() / "any.jsonl"
    write(path, [HEADER, *(f"{json.dumps(line)}\n" for line in lines)])
    with pytest.raises(errors.InvalidDocument, match=r"line [0-9]+: "):
        list(read_plan(path).lines())

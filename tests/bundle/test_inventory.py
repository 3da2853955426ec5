"""Inventories are read as they are written, and nothing else is taken for one."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgpkg.bundle.inventory import Base, Inventory, bases_text, read_bases
from imgpkg.errors import InvalidDocument, LocalIOError
from imgpkg.oci.descriptor import Digest

A, B, C = (str(Digest.of(data)) for data in (b"a", b"b", b"c"))
HEAD = {"apiVersion": "imgpkg.carvel.dev/v1alpha1", "kind": "Inventory", "name": "x"}

# Lone surrogates stand for bytes of file names that are not UTF-8.
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
digests = st.binary(max_size=2).map(Digest.of).map(str)
sizes = st.dictionaries(digests, st.integers(0, 2**63 - 1), max_size=4)
bases = st.lists(st.builds(Base, texts, texts, texts, sizes), max_size=3).map(tuple)
inventories = st.builds(
    Inventory, texts, texts, st.dictionaries(texts, digests, max_size=3), sizes, sizes, bases
)


@given(inventories)
def test_an_inventory_is_read_as_it_was_written(inventory):
    assert Inventory.parse(inventory.to_bytes()) == inventory


@given(bases)
def test_bases_are_read_as_they_were_written(found):
    assert read_bases(bases_text(found)) == found


@given(st.permutations([A, B, C]))
def test_the_same_content_has_the_same_bytes(order):
    blobs = dict.fromkeys(order, 1)
    expected = Inventory("x", blobs=dict(sorted(blobs.items()))).to_bytes()
    assert Inventory("x", blobs=blobs).to_bytes() == expected


def test_the_file_has_a_line_for_each_digest_and_nothing_empty():
    made = Inventory("a.tar", images={"r.example/a/b:v1": A}, manifests={A: 5}, blobs={B: 7})
    assert made.to_bytes().decode() == (
        "{\n"
        ' "apiVersion": "imgpkg.carvel.dev/v1alpha1",\n'
        ' "kind": "Inventory",\n'
        ' "name": "a.tar",\n'
        f' "images": {{\n  "r.example/a/b:v1": "{A}"\n }},\n'
        f' "manifests": {{\n  "{A}": 5\n }},\n'
        f' "blobs": {{\n  "{B}": 7\n }}\n'
        "}\n"
    )


def test_what_a_file_was_made_without_is_not_its_own():
    older = Base("old.tar", "r.example/a/b:v1", "", {A: 1})
    made = Inventory("new.tar", images={"r.example/a/b:v2": B}, blobs={A: 1, B: 2}, bases=(older,))
    assert made.as_base() == Base("new.tar", "r.example/a/b:v2", "", {B: 2})
    assert made.as_base().shown == "new.tar (r.example/a/b:v2)"
    assert Base("r.example/a/b", "r.example/a/b").shown == "r.example/a/b"


@pytest.mark.parametrize(
    ("document", "text"),
    [
        (b"", "it is not JSON"),
        (b"\xff\xfe\x00", "it is not JSON"),
        (b"[" * 100_000, "it is not JSON"),
        (b'{"blobs": ' + b"9" * 5000 + b"}", "it is not JSON"),
        (b"[]", "the document is no JSON object"),
        (b"{}", "this is no inventory of version imgpkg.carvel.dev/v1alpha1"),
        ({"kind": "ImagesLock"}, "this is no inventory"),
        ({"apiVersion": "imgpkg.carvel.dev/v9"}, "this is no inventory"),
        ({"blobs": []}, None),
        ({"blobs": [1]}, "blobs is no JSON object"),
        ({"blobs": {"sha256:abc": 1}}, "invalid checksum digest length: sha256:abc"),
        ({"blobs": {"../../etc/passwd": 1}}, "unsupported digest algorithm"),
        ({"blobs": {A.upper(): 1}}, "unsupported digest algorithm"),
        ({"blobs": {A: "1"}}, f"blobs: {A} has no count of bytes"),
        ({"blobs": {A: -1}}, "no count of bytes"),
        ({"blobs": {A: True}}, "no count of bytes"),
        ({"manifests": {A: 1.5}}, "manifests: .* has no count of bytes"),
        ({"manifests": {A: 1 << 63}}, "no count of bytes"),
        ({"name": 5}, "name is no text"),
        ({"repository": ["a"]}, "repository is no text"),
        ({"images": {"a": 1}}, "unsupported digest algorithm"),
        ({"images": ["a"]}, "images is no JSON object"),
        ({"bases": {"a": 1}}, "the bases are no list"),
        ({"bases": ["a"]}, "a base is no JSON object"),
        ({"bases": [{"blobs": {"x": 1}}]}, "unsupported digest algorithm: x"),
        ({"more": "of a later version"}, None),
    ],
)
def test_what_is_none_is_refused(document, text):
    data = document if isinstance(document, bytes) else json.dumps({**HEAD, **document}).encode()
    if text is None:
        assert Inventory.parse(data).blobs == {}
        return
    with pytest.raises(InvalidDocument, match=text) as caught:
        Inventory.parse(data, "given.json")
    assert str(caught.value).startswith("Reading inventory given.json: ")


def test_a_huge_file_is_refused_before_it_is_read(tmp_path):
    with open(tmp_path / "huge.json", "wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(InvalidDocument, match="more than 64 MiB, which is too large"):
        Inventory.from_path(tmp_path / "huge.json")


def test_a_device_without_end_is_refused():
    with pytest.raises(InvalidDocument, match="more than 64 MiB"):
        Inventory.from_path("/dev/zero")


def test_a_file_is_replaced_at_once(tmp_path):
    path = tmp_path / "inventory.json"
    path.write_text("old")
    Inventory("a.tar").write(path)
    assert Inventory.from_path(path) == Inventory("a.tar")
    assert [each.name for each in tmp_path.iterdir()] == ["inventory.json"]


def test_a_file_that_cannot_be_read_or_written_is_named(tmp_path):
    with pytest.raises(LocalIOError, match=r"open .*/missing\.json: no such file or directory"):
        Inventory.from_path(tmp_path / "missing.json")
    with pytest.raises(LocalIOError, match=r"Writing inventory: .*nowhere"):
        Inventory("a").write(tmp_path / "nowhere" / "a.json")


def test_hostile_names_are_printed_on_one_line():
    with pytest.raises(InvalidDocument) as caught:
        Inventory.parse(json.dumps({**HEAD, "blobs": {"\x1b[2J\n": 1}}).encode())
    assert "\x1b" not in str(caught.value)
    assert "\n" not in str(caught.value)

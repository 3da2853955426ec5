"""A cut index: nothing but entries is taken away, and the whole one proves where it is from."""

from __future__ import annotations

import json
import pickle

import pytest
from tests.oci.test_platform import digests, entry, index

from imgpkg.errors import ImgpkgError, InvalidManifest, VerificationError
from imgpkg.oci import media
from imgpkg.oci.cut import Cut
from imgpkg.oci.descriptor import Digest
from imgpkg.oci.manifest import Manifest


def cut_of(wholes, names):
    return Cut.make(wholes, (Digest("sha256", found) for found in digests(*names)))


def listed(manifest):
    return [child.digest.hex for child in manifest.manifests]


THREE = index(entry("a", "linux/amd64"), entry("b", "linux/arm64"), entry("c", "linux/arm64/v9"))


class TestACut:
    def test_has_the_kept_entries_in_their_order(self):
        found = cut_of([THREE], ["c", "a"])
        assert listed(found.result) == digests("a", "c")
        assert list(map(str, found.platforms)) == ["linux/amd64", "linux/arm64/v9"]
        assert found.whole == THREE

    def test_of_one_entry_is_still_an_index(self):
        found = cut_of([THREE], ["b"])
        assert found.result.is_index
        assert listed(found.result) == digests("b")

    @pytest.mark.parametrize("media_type", [media.OCI_INDEX, media.DOCKER_LIST])
    def test_changes_nothing_else(self, media_type):
        document = {
            "schemaVersion": 2,
            "mediaType": media_type,
            "manifests": [entry("a", "linux/amd64", urls=["https://x.io/ä"]), entry("b", "linux/arm64")],
            "annotations": {"z": "1", "a": "ü"},
        }
        whole = Manifest.parse(json.dumps(document, indent=3).encode())
        result = cut_of([whole], ["a"]).result
        assert result.media_type == media_type
        assert json.loads(result.raw) == {**document, "manifests": document["manifests"][:1]}
        assert list(json.loads(result.raw)) == list(document)

    def test_has_the_same_bytes_everywhere_and_always(self):
        # Records of copies prove places by these bytes: they may never change.
        expected = "5721d19e138fe326b17a713993876d59f33f2b48202b36bf6413e776f44ffaa2"
        assert cut_of([THREE], ["a", "b"]).result.digest.hex == expected

    def test_is_read_from_its_texts(self):
        found = cut_of([THREE], ["a"])
        assert Cut.parse(*found.texts()) == found
        assert pickle.loads(pickle.dumps(found)) == found

    def test_reaches_nested_indexes(self):
        inner = index(entry("a", "linux/amd64"), entry("b", "linux/arm64"))
        name = inner.raw.decode()
        nested = entry(name, size=len(inner.raw), mediaType=media.OCI_INDEX)
        # The same one twice: as a whole it is cut once.
        outer = index(nested, nested, entry("c", "linux/arm64"))
        found = cut_of([outer, inner], [name, "a"])
        below, again = found.result.manifests
        assert below == again
        result = found.results[inner.digest]
        assert listed(result) == digests("a")
        assert (below.digest, below.size) == (result.digest, len(result.raw))
        assert list(map(str, found.platforms)) == ["linux/amd64"]
        assert Cut.parse(*found.texts()) == found

    def test_keeps_a_nested_index_that_it_does_not_know(self):
        outer = index(entry("inner", mediaType=media.OCI_INDEX), entry("c", "linux/arm64"))
        assert listed(cut_of([outer], ["inner"]).result) == digests("inner")


class TestWhatProvesNothing:
    @pytest.mark.parametrize(
        ("kept", "indexes", "message"),
        [
            ([], [], "no index"),
            ([], ["nonsense"], "unsupported digest algorithm"),
            ([], [f"{THREE.digest}@%%%"], "not base64"),
            ([], [f"{THREE.digest}@"], "does not match requested digest"),
            ([], [f"{Digest.of(b'{}')}@e30="], "malformed manifest"),
            (["md5:0"], Cut.make([THREE], []).texts()[1], "unsupported digest algorithm"),
        ],
    )
    def test_is_refused(self, kept, indexes, message):
        with pytest.raises(ImgpkgError, match=message):
            Cut.parse(kept, indexes)

    def test_may_not_have_other_bytes_than_its_digest_says(self):
        (text,) = Cut.make([THREE], []).texts()[1]
        with pytest.raises(VerificationError):
            Cut.parse([], [f"{text[:-4]}AAAA"])

    def test_may_not_be_an_image(self):
        image = Manifest.parse(json.dumps({"config": entry("c"), "layers": []}).encode(), media.OCI_MANIFEST)
        with pytest.raises(InvalidManifest, match="cannot be cut"):
            Cut.make([image], [])

    def test_may_not_be_nested_without_end(self):
        wholes, names = [index(entry("a", "linux/amd64"))], ["a"]
        for _ in range(40):
            name = wholes[-1].raw.decode()
            wholes.append(index(entry(name, mediaType=media.OCI_INDEX)))
            names.append(name)
        with pytest.raises(InvalidManifest, match="cannot be cut"):
            cut_of(wholes[::-1], names)

"""The tags that imgpkg and cosign write: every row of imgpkg-spec 5.6, and 5.3, 5.9."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgpkg.bundle.cosign import signature_tag
from imgpkg.bundle.tagging import internal_tag, locations_tag, repository_based_tag
from imgpkg.oci.descriptor import Digest
from imgpkg.oci.reference import Repository

H = "36ef490788229be59bbb38ef020bff208bced1795eedad428419a9688101059f"
DIGEST = Digest("sha256", H)
END = f"sha256-{H}.imgpkg"


class TestTags:
    @pytest.mark.parametrize(
        ("tag_of", "suffix"),
        [
            (internal_tag, ".imgpkg"),
            (locations_tag, ".image-locations.imgpkg"),
            (signature_tag, ".sig"),
        ],
    )
    def test_name_a_digest(self, tag_of, suffix):
        assert tag_of(DIGEST) == f"sha256-{H}{suffix}"
        assert Repository.parse("a.b/cd").tag(tag_of(DIGEST)).tag == tag_of(DIGEST)


class TestARepositoryBasedTag:
    @pytest.mark.parametrize(
        ("repository", "tag"),
        [
            ("localhost:5201/app/a", f"app-a-{END}"),
            (
                "localhost:5201/deep/aaaaaaaaaa/bbbbbbbbbbbb-cccccccccccc-dddddddddddd/ccccccccc",
                f"bbbbbbbbbbbb-cccccccccccc-dddddddddddd-ccccccccc-{END}",
            ),
            (f"localhost:5201/x__y.z/{'q' * 48}", f"{'q' * 48}-{END}"),
            (f"localhost:5201/xxxx/{'y' * 49}", f"{'y' * 49}-{END}"),
            ("index.docker.io/library/nginx", f"library-nginx-{END}"),
            ("gcr.io/__a/b.c_d", f"__a-b.c_d-{END}"),
            ("gcr.io/.-/x", f"x-{END}"),
            ("gcr.io//ab", f"ab-{END}"),
            ("gcr.io/ab/", f"ab--{END}"),
            (f"gcr.io/a/{'-' * 60}", END),
            ("gcr.io/...", END),
        ],
    )
    def test_keeps_the_end_of_the_path(self, repository, tag):
        assert repository_based_tag(f"{repository}@{DIGEST}", DIGEST) == tag

    def test_drops_what_no_tag_may_have(self):
        assert repository_based_tag("gcr.io/a b/c+d:v1", DIGEST) == f"ab-cdv1-{END}"

    @given(st.text("abcdefghijklmnopqrstuvwxyz0123456789_-./", min_size=2, max_size=255) | st.text())
    def test_is_always_a_tag(self, path):
        """imgpkg-spec 5.6: "A tag is at most 49 + 72 + 7 = 128 characters"."""
        tag = repository_based_tag(f"localhost:5201/{path}@{DIGEST}", DIGEST)
        assert Repository("a.b", "cd").tag(tag).tag == tag
        assert tag[0].isalnum() or tag[0] == "_"
        assert tag.endswith(END)

"""`tag list` and `tag resolve` as scripts read them."""

from __future__ import annotations

import json
import re

import pytest

TAGS = ["1.0", "V1", "_a", "a-b", "a.b", "latest", "v10", "v2"]
REFERENCE = re.compile(r"[^@]+@sha256:[0-9a-f]{64}")


@pytest.fixture
def tagged(run, folder, repository):
    """A repository with tags whose order of bytes is not that of words."""
    for tag in reversed(TAGS):
        assert run("push", "-i", f"{repository}:{tag}", "-f", folder).code == 0
    return repository


class TestResolve:
    def test_a_tag_becomes_a_digest_without_a_newline(self, run, image):
        done = run("tag", "resolve", "-i", f"{image}:latest")
        assert REFERENCE.fullmatch(done.out)
        assert done.out.startswith(f"{image}@")
        assert (done.code, done.err) == (0, "")

    def test_the_tag_is_latest_by_default(self, run, image):
        assert run("tag", "resolve", "-i", image).out == run("tag", "resolve", "-i", f"{image}:latest").out

    def test_a_digest_stays_what_it_is(self, run, image):
        reference = run("tag", "resolve", "-i", image).out
        assert run("tag", "resolve", "-i", reference).out == reference

    def test_a_digest_wins_over_the_tag_beside_it(self, run, image):
        reference = run("tag", "resolve", "-i", image).out
        assert run("tag", "resolve", "-i", reference.replace("@", ":nosuch@")).out == reference

    def test_a_digest_that_is_not_there_is_an_error(self, refused, image):
        assert "MANIFEST_UNKNOWN" in refused("tag", "resolve", "-i", f"{image}@sha256:{'0' * 64}")

    def test_people_see_the_end_on_a_line_of_its_own(self, run, image):
        reference = run("tag", "resolve", "-i", image).out
        assert run("tag", "resolve", "-i", image, "--tty").out == f"{reference}\nSucceeded\n"

    @pytest.mark.parametrize("reference", ["", "UPPER/x", "a/b:c d", "r.example.com/a@sha256:0"])
    def test_what_is_no_reference_is_refused(self, refused, reference):
        assert "could not parse reference" in refused("tag", "resolve", "-i", reference)


class TestList:
    def test_tags_are_sorted_by_their_bytes_and_end_in_a_tab(self, run, tagged):
        done = run("tag", "list", "-i", tagged)
        assert done.out == "".join(f"{tag}\t\n" for tag in TAGS)
        assert (done.code, done.err) == (0, "")

    def test_it_is_also_called_ls(self, run, tagged):
        assert run("tag", "ls", "-i", tagged).out == run("tag", "list", "-i", tagged).out

    @pytest.mark.parametrize("part", [":nosuch", f"@sha256:{'0' * 64}"])
    def test_tag_and_digest_are_ignored(self, run, tagged, part):
        assert run("tag", "list", "-i", f"{tagged}{part}").out == run("tag", "list", "-i", tagged).out

    def test_digests_stand_in_a_second_column(self, run, tagged):
        rows = run("tag", "list", "-i", tagged, "--digests").out.splitlines()
        digest = run("tag", "resolve", "-i", tagged).out.partition("@")[2]
        assert rows == [f"{tag.ljust(6)}\t{digest}\t" for tag in TAGS]

    def test_internal_tags_are_shown_on_demand(self, run, image):
        digest = run("tag", "resolve", "-i", image).out.partition("@")[2]
        internal = f"{digest.replace(':', '-')}.imgpkg"
        assert run("tag", "list", "-i", image).out == "latest\t\n"
        assert run("tag", "list", "-i", image, "--imgpkg-internal-tags").out == f"latest\t\n{internal}\t\n"
        both = run("tag", "list", "-i", image, "--imgpkg-internal-tags", "--digests").out
        assert both == f"{'latest'.ljust(len(internal))}\t{digest}\t\n{internal}\t{digest}\t\n"

    def test_people_get_a_table_with_a_count(self, run, tagged):
        said = run("tag", "list", "-i", tagged, "--tty").out
        rows = "".join(f"{tag}  \n" for tag in TAGS)
        assert said == f"Tags\n\nName  \n{rows}\n8 tags\n\nSucceeded\n"

    def test_programs_get_a_document(self, run, tagged):
        document = json.loads(run("tag", "list", "-i", tagged, "--json", "--digests").out)
        (table,) = document["Tables"]
        assert [row["name"] for row in table["Rows"]] == TAGS
        assert table["Header"] == {"digest": "Digest", "name": "Name"}
        assert (document["Blocks"], document["Lines"]) == (None, ["Succeeded"])

    def test_a_repository_that_is_not_there_is_an_error(self, refused, repository):
        address, _, name = repository.partition("/")
        assert refused("tag", "list", "-i", repository).startswith(
            f"GET http://{address}/v2/{name}/tags/list?n=1000: NAME_UNKNOWN: "
        )

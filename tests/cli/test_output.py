"""Which text goes where: to people, scripts and programs."""

from __future__ import annotations

import json
import os
import re

import pytest
from tests.cli.running import start

from imgpkg.cli.output import JSONOutput, Table, TextOutput, column_key
from imgpkg.errors import UsageError

pytestmark = pytest.mark.measured

RED, BOLD, PLAIN, ESCAPE = "\x1b[31m", "\x1b[1m", "\x1b[0m", "\x1b"
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


class TestPushToScriptsAndPeople:
    def test_a_script_sees_nothing(self, run, folder, repository):
        done = run("push", "-i", repository, "-f", folder)
        assert (done.code, done.out, done.err) == (0, "", "")

    def test_people_see_each_file_the_reference_and_the_end(self, run, folder, repository):
        done = run("push", "-i", repository, "-f", folder, "--tty")
        shown = DIGEST.sub("DIGEST", done.out)
        assert shown == f"dir: .\nfile: a.txt\nPushed '{repository}@DIGEST'\nSucceeded\n"
        assert done.err == ""

    def test_an_error_after_progress_has_an_empty_line_before_it_on_standard_output(self, run, folder):
        words = ["-i", "127.0.0.1:1/refused/app", "-f", folder, "--registry-retry-count=1"]
        done = run("push", *words, "--tty")
        assert (done.code, done.out) == (5, "dir: .\nfile: a.txt\n\n")
        assert done.err.startswith("imgpkg: Error: ")

    def test_an_error_without_progress_has_none(self, run):
        done = run("pull", "-o", "x", "--tty")
        assert (done.code, done.out) == (2, "")

    def test_names_that_are_no_text_are_printed_byte_by_byte(self, program, folder, repository):
        (folder / os.fsdecode(b"caf\xe9")).write_bytes(b"")
        with_bytes = b"file: caf\xe9\n"
        process = start("push", "-i", repository, "-f", folder, "--tty", environ={"LC_ALL": "C"})
        out, err = process.communicate(timeout=60)
        assert (process.returncode, err) == (0, b"")
        assert with_bytes in out


@pytest.mark.parametrize(
    ("words", "out"),
    [
        (["version"], "imgpkg version V\n"),
        (["version", "--tty"], "imgpkg version V\n\nSucceeded\n"),
        (["--version"], "imgpkg version V\n\nSucceeded\n"),
        (["--version", "--json"], "imgpkg version V\n\nSucceeded\n"),
    ],
)
def test_the_version_in_each_layer(run, words, out):
    done = run(*words)
    assert re.sub(r"version \S+", "version V", done.out) == out
    assert (done.code, done.err) == (0, "")


class TestWarnings:
    def test_they_go_to_standard_error_once(self, run, image, monkeypatch):
        monkeypatch.setenv("IMGPKG_REGISTRY_HOSTNAME_0", "127.0.0.1:1")
        monkeypatch.setenv("IMGPKG_REGISTRY_USERNAME_0", "half")
        done = run("tag", "list", "-i", image, "--digests")
        assert done.out.startswith("latest\tsha256:")
        assert done.err.startswith("imgpkg: warning: ")
        assert done.err.count("imgpkg: warning: ") == 1

    @pytest.mark.parametrize("flag", ["--json", "--tty", "--color"])
    def test_the_deprecated_variable_is_noted_there_whatever_the_output(self, run, image, monkeypatch, flag):
        monkeypatch.setenv("IMGPKG_ENABLE_IAAS_AUTH", "true")
        monkeypatch.setenv("IMGPKG_ACTIVE_KEYCHAINS", "")
        done = run("tag", "list", "-i", image, flag)
        assert "IMGPKG_ENABLE_IAAS_AUTH environment variable will be deprecated" in done.err
        assert "IMGPKG_ENABLE_IAAS_AUTH" not in done.out
        assert done.code == 0


class TestJSON:
    def test_progress_becomes_lines(self, run, folder, repository):
        done = run("push", "-i", repository, "-f", folder, "--json")
        reference = f"{repository}@{DIGEST.search(done.out).group()}"
        assert done.out == (
            '{\n    "Tables": null,\n    "Blocks": null,\n    "Lines": [\n'
            '        "dir: .\\n",\n        "file: a.txt\\n",\n'
            f"        \"Pushed '{reference}'\",\n"
            '        "Succeeded"\n    ]\n}'
        )
        assert (done.code, done.err) == (0, "")

    def test_blocks_are_listed(self, run, image):
        done = run("tag", "resolve", "-i", image, "--json")
        document = json.loads(done.out)
        assert list(document) == ["Tables", "Blocks", "Lines"]
        assert DIGEST.search(document["Blocks"][0])
        assert document["Lines"] == ["Succeeded"]

    def test_a_table_has_its_keys_and_visible_columns(self, run, image):
        done = run("tag", "list", "-i", image, "--json")
        assert json.loads(done.out) == {
            "Tables": [
                {"Content": "tags", "Header": {"name": "Name"}, "Rows": [{"name": "latest"}], "Notes": None}
            ],
            "Blocks": None,
            "Lines": ["Succeeded"],
        }
        assert not done.out.endswith("\n")

    def test_digests_come_before_names_because_keys_are_sorted(self, run, image):
        (table,) = json.loads(run("tag", "list", "-i", image, "--json", "--digests").out)["Tables"]
        assert list(table["Header"]) == ["digest", "name"]
        assert [list(row) for row in table["Rows"]] == [["digest", "name"]]

    def test_an_empty_table_has_an_empty_list_of_rows(self, capsys):
        output = JSONOutput(*streams(capsys), ())
        output.table(Table("tags", ("Name",), ()))
        output.finish()
        assert json.loads(capsys.readouterr().out)["Tables"][0]["Rows"] == []

    def test_letters_that_are_unsafe_in_html_are_escaped_and_others_are_not(self, capsys):
        output = JSONOutput(*streams(capsys), ())
        output.block("<a&b> é\u2028\u2029")
        output.finish()
        assert r'"\u003ca\u0026b\u003e é\u2028\u2029"' in capsys.readouterr().out

    def test_an_error_is_text_on_standard_error_and_a_document(self, run, image):
        done = run("tag", "resolve", "-i", f"{image}:nosuch", "--json")
        assert done.code == 3
        assert "MANIFEST_UNKNOWN" in done.err
        document = json.loads(done.out)
        assert document["error"] in done.err
        # Its tags can be listed, so that no credential is missing.
        assert document["refusal"] is None
        assert document["hints"][0].startswith("The repository has one tag and not nosuch: latest")

    def test_an_error_about_what_may_be_hidden_says_that_no_credential_was_sent(self, run, repository):
        document = json.loads(run("tag", "resolve", "-i", f"{repository}-none:nosuch", "--json").out)
        assert document["refusal"]["kind"] == "anonymous"
        assert document["hints"][0].startswith("There is no repository ")
        assert document["hints"][1].startswith("If the repository is private: no credential was sent to ")

    def test_an_error_after_progress_is_the_whole_document(self, run, folder):
        done = run(
            "push", "-i", "127.0.0.1:1/refused/app", "-f", folder, "--json", "--registry-retry-count=1"
        )
        assert done.code == 5
        assert "connection refused" in done.err
        document = json.loads(done.out)
        assert (list(document), document["refusal"]) == (["error", "refusal", "hints"], None)

    def test_flags_that_are_wrong_are_reported_as_text(self, run):
        done = run("--json", "push", "--bogus")
        assert (done.code, done.out) == (2, "")
        assert done.err.startswith("imgpkg: Error: unknown flag: --bogus\n")

    def test_no_output_is_no_document(self, capsys):
        output = JSONOutput(*streams(capsys), ())
        output.finish()
        assert capsys.readouterr().out == ""

    @pytest.mark.parametrize("words", [["describe", "-o", "json", "-b"], ["auth", "explain"]])
    def test_commands_with_a_document_of_their_own_give_it(self, run, folder, repository, words):
        (folder / ".imgpkg").mkdir()
        (folder / ".imgpkg" / "images.yml").write_text(
            "apiVersion: imgpkg.carvel.dev/v1alpha1\nkind: ImagesLock\n"
        )
        run("push", "-b", repository, "-f", folder)
        document = json.loads(run(*words, repository, "--json").out)
        assert "Tables" not in document
        assert repository in json.dumps(document)


def streams(capsys):
    import sys

    capsys.readouterr()
    return sys.stdout, sys.stderr


class TestColumns:
    @pytest.mark.parametrize(
        ("flags", "row"),
        [
            ([], "latest\t\n"),
            (["--column", "name"], "latest\t\n"),
            (["--column", "Name"], "latest\t\n"),
            (["--column", "digest"], "-\t\n"),
            (["--column", "digest,name"], "latest\t-\t\n"),
            (["--column", "digest", "--column", "name"], "latest\t-\t\n"),
            (["--column", ""], "latest\t\n"),
        ],
    )
    def test_exactly_the_named_ones_in_the_order_of_the_table(self, run, image, flags, row):
        done = run("tag", "list", "-i", image, *flags)
        assert (done.code, done.out, done.err) == (0, row, "")

    def test_an_empty_cell_is_an_empty_text_in_json(self, run, image):
        (table,) = json.loads(run("tag", "list", "-i", image, "--json", "--column=digest").out)["Tables"]
        assert table["Rows"] == [{"digest": ""}]

    @pytest.mark.parametrize("flag", ["--json", "--tty", "--yes"])
    def test_one_that_is_not_there_is_an_error(self, refused, image, flag):
        text = refused("tag", "list", "-i", image, "--column", "name,foo", flag)
        assert text == "Failed to find header: foo"

    def test_commands_without_a_table_ignore_them(self, run):
        assert run("version", "--column", "foo").code == 0

    @pytest.mark.parametrize(
        ("title", "key"), [("Name", "name"), ("Two Words", "two_words"), ("A--b", "a_b")]
    )
    def test_the_key_of_a_title(self, title, key):
        assert column_key(title) == key


class TestTables:
    TABLE = Table("tags", ("Name", "Digest"), (("a", "sha256:1"), ("longer", "")))

    def said(self, capsys, table, *, columns=(), **options):
        output = TextOutput(
            *streams(capsys), columns=columns, **{"terminal": False, "color": False, **options}
        )
        output.table(table)
        output.finish()
        return capsys.readouterr().out

    def test_scripts_get_rows_with_a_tab_after_each_cell(self, capsys):
        assert self.said(capsys, self.TABLE) == "a     \tsha256:1\t\nlonger\t-\t\n"

    def test_scripts_get_nothing_of_an_empty_table(self, capsys):
        assert self.said(capsys, Table("tags", ("Name",), ())) == ""

    def test_people_get_a_title_and_a_count(self, capsys):
        assert self.said(capsys, self.TABLE, terminal=True).split("\n") == [
            "Tags",
            "",
            "Name    Digest  ",
            "a       sha256:1  ",
            "longer  -  ",
            "",
            "2 tags",
            "",
        ]

    def test_people_see_an_empty_table(self, capsys):
        assert self.said(capsys, Table("tags", ("Name",), ()), terminal=True) == "Tags\n\nName  \n\n0 tags\n"

    def test_headers_are_bold_where_there_is_colour(self, capsys):
        said = self.said(capsys, self.TABLE, terminal=True, color=True)
        assert f"\n{BOLD}Name  {PLAIN}  {BOLD}Digest{PLAIN}  \n" in said

    def test_a_column_that_is_not_there_is_named(self):
        with pytest.raises(UsageError, match=r"^Failed to find header: What$"):
            self.TABLE.filtered(["name", "What"])


class TestPadding:
    """Text follows text directly; around everything else there is one more newline."""

    @pytest.mark.parametrize(
        ("said", "out"),
        [
            (["text", "text"], "text\ntext\n"),
            (["text", "block"], "text\nblock\n"),
            (["text", "line"], "text\n\nline\n"),
            (["line", "line"], "line\n\nline\n"),
            (["line", "text"], "line\n\ntext\n"),
            (["block", "line"], "block\n\nline\n"),
        ],
    )
    def test_between_two_of_them(self, capsys, said, out):
        output = TextOutput(*streams(capsys), terminal=True, color=False, columns=())
        for name in said:
            getattr(output, name)(name if name == "line" else f"{name}\n")
        output.finish()
        assert capsys.readouterr().out == out

    def test_what_scripts_do_not_see_leaves_no_room(self, capsys):
        output = TextOutput(*streams(capsys), terminal=False, color=False, columns=())
        output.text("dir: .\n")
        output.line("Succeeded")
        output.block("result\n")
        output.finish()
        assert capsys.readouterr().out == "result\n"


class TestOnATerminal:
    def test_a_success_is_reported_without_colour(self, terminal):
        done = terminal("version")
        assert re.fullmatch(r"imgpkg version \S+\n\nSucceeded\n", done.out)
        assert (done.code, done.err) == (0, "")

    def test_an_error_is_red_on_standard_error_alone(self, terminal):
        done = terminal("describe")
        assert done.err.startswith(f"{RED}imgpkg: Error: ")
        assert done.err.endswith(f"{PLAIN}\n")
        assert (done.code, done.out) == (2, "")

    def test_headers_are_bold(self, terminal, image):
        done = terminal("tag", "list", "-i", image)
        assert done.out == f"Tags\n\n{BOLD}Name{PLAIN}  \nlatest  \n\n1 tags\n\nSucceeded\n"
        assert done.err == ""

    @pytest.mark.parametrize(
        ("flags", "environ"),
        [
            (["--color=false"], {}),
            ([], {"NO_COLOR": "1"}),
            ([], {"TERM": "dumb"}),
            ([], {"FORCE_COLOR": "0"}),
            ([], {"FORCE_COLOR": "false"}),
        ],
    )
    def test_colour_can_be_declined(self, terminal, flags, environ):
        assert ESCAPE not in terminal("describe", *flags, environ=environ).err

    @pytest.mark.parametrize("value", ["1", "2", "3", "true"])
    def test_colour_can_be_forced_on_pipes(self, program, value):
        assert program("describe", environ={"FORCE_COLOR": value}).err.startswith(RED)

    def test_pipes_get_no_colour(self, program):
        assert ESCAPE not in program("describe").err

    def test_a_pipe_on_standard_output_decides_even_for_errors(self, terminal):
        done = terminal("describe", stdout=False)
        assert done.err.startswith("imgpkg: Error: ")

    def test_progress_is_drawn_on_standard_error_and_gone_at_the_end(self, terminal, folder, repository):
        (folder / "large").write_bytes(os.urandom(4 << 20))
        done = terminal("push", "-i", repository, "-f", folder)
        assert done.code == 0
        assert ESCAPE not in done.out
        assert done.out.startswith("dir: .\nfile: a.txt\nfile: large\n")
        assert done.out.endswith("Succeeded\n")
        assert re.search(r"imgpkg: sent 2 blobs, 4\.2 MB in \S+ s\n$", done.err)

    def test_a_script_that_reads_the_result_still_sees_progress(self, terminal, folder, repository):
        (folder / "large").write_bytes(os.urandom(4 << 20))
        done = terminal("push", "-i", repository, "-f", folder, stdout=False)
        assert (done.code, done.out) == (0, "")
        assert "blobs" in done.err

    @pytest.mark.parametrize("flag", ["--json", "--debug"])
    def test_nothing_is_drawn_between_lines_for_programs(self, terminal, folder, repository, flag):
        done = terminal("push", "-i", repository, "-f", folder, flag)
        assert done.code == 0
        assert ESCAPE not in done.out + done.err

    def test_nothing_is_drawn_on_a_pipe(self, terminal, folder, repository):
        done = terminal("push", "-i", repository, "-f", folder, stderr=False)
        assert (done.code, done.err) == (0, "")

"""Flags in every form of the original."""

from __future__ import annotations

import math
import os

import pytest

from imgpkg.cli.arguments import Parser
from imgpkg.cli.commands import COPY, PULL, PUSH
from imgpkg.errors import UsageError

NANOSECOND = 1e-9
UNBALANCED = 'extraneous or missing " in quoted-field'
BARE = 'bare " in non-quoted-field'


def parse(command, *words):
    return Parser(command.all_flags).parse(words)


@pytest.mark.parametrize(
    ("words", "bundle"),
    [
        (["--bundle", "a"], "a"),
        (["--bundle=a"], "a"),
        (["--bundle="], ""),
        (["--bundle", ""], ""),
        (["--bundle=a=b"], "a=b"),
        (["-b", "a"], "a"),
        (["-ba"], "a"),
        (["-b=a"], "a"),
        (["-b="], "="),
        (["-b==a"], "=a"),
        (["-b", "-a"], "-a"),
        (["--bundle", "--image"], "--image"),
        (["--bundle", "--"], "--"),
        (["-rba"], "a"),
        (["-ryb", "a"], "a"),
        (["-rb=a"], "a"),
        (["-b", "a", "--bundle", "b"], "b"),
        (["-b", "$(HOME)"], "$(HOME)"),
        (["-b", "@file"], "@file"),
        (["-b", "${HOME}"], "${HOME}"),
    ],
)
def test_a_text_is_given_in_every_form_and_taken_as_it_is(words, bundle):
    assert parse(PULL, *words).text("bundle") == bundle


@pytest.mark.parametrize(
    ("words", "recursive"),
    [
        ([], False),
        (["-r"], True),
        (["--recursive"], True),
        (["-yr"], True),
        (["-r=false"], False),
        (["-yr=0"], False),
        *(([f"--recursive={word}"], True) for word in ("1", "t", "T", "TRUE", "true", "True")),
        *(([f"--recursive={word}"], False) for word in ("0", "f", "F", "FALSE", "false", "False")),
        (["--recursive", "--recursive=false"], False),
    ],
)
def test_a_switch_is_given_in_every_form(words, recursive):
    assert parse(PULL, *words).is_on("recursive") is recursive


def test_a_switch_that_is_on_is_switched_off_only_with_an_equals_sign():
    assert not parse(PULL, "--registry-verify-certs=false").is_on("registry-verify-certs")
    parsed = parse(PULL, "--registry-verify-certs", "false")
    assert parsed.is_on("registry-verify-certs")
    assert parsed.words == ["false"]


@pytest.mark.parametrize("word", ["yes", "no", "maybe", "tRUE", "", "2", " true"])
def test_a_switch_takes_no_other_word(word):
    with pytest.raises(UsageError) as refusal:
        parse(PULL, f"--registry-verify-certs={word}")
    assert str(refusal.value) == (
        f'invalid argument "{word}" for "--registry-verify-certs" flag: '
        f'strconv.ParseBool: parsing "{word}": invalid syntax'
    )


@pytest.mark.parametrize(
    ("words", "left"),
    [
        (["a", "-b", "x", "c"], ["a", "c"]),
        (["-b", "x", "--", "-b", "--y"], ["-b", "--y"]),
        (["a", "--", "--", "b"], ["a", "--", "b"]),
        (["-"], ["-"]),
        (["-r", "true"], ["true"]),
    ],
)
def test_words_and_flags_mix_until_two_dashes(words, left):
    assert parse(PULL, *words).words == left


@pytest.mark.parametrize(
    ("words", "files"),
    [
        ([], ()),
        (["-f", "a,b"], ("a", "b")),
        (["-f", "a", "-f", "b"], ("a", "b")),
        (["-f", "a,b", "--file=c,d"], ("a", "b", "c", "d")),
        (["-f", '"a,b"'], ("a,b",)),
        (["-f", '"a,b",c'], ("a,b", "c")),
        (["-f", '"say ""a"""'], ('say "a"',)),
        (["-f", '""'], ("",)),
        (["-f", ""], ()),
        (["-f", "a", "-f", ""], ("a",)),
        (["-f", "a,"], ("a", "")),
        (["-f", ",a"], ("", "a")),
        (["-f", " a , b "], (" a ", " b ")),
    ],
)
def test_a_list_is_read_as_csv_and_grows_with_each_flag(words, files):
    assert parse(PUSH, *words).texts("file") == files


@pytest.mark.parametrize(
    ("value", "quoted", "why"),
    [
        ('"w4/z', r"\"w4/z", f"parse error on line 1, column 6: {UNBALANCED}"),
        ('"a"b', r"\"a\"b", f"parse error on line 1, column 3: {UNBALANCED}"),
        ('"é"b', r"\"é\"b", f"parse error on line 1, column 4: {UNBALANCED}"),
        (os.fsdecode(b'"\xff"b'), r"\"\xff\"b", f"parse error on line 1, column 3: {UNBALANCED}"),
        ('a"b', r"a\"b", f"parse error on line 1, column 2: {BARE}"),
        ('x,a"b', r"x,a\"b", f"parse error on line 1, column 4: {BARE}"),
    ],
)
def test_a_list_that_is_no_csv_is_refused(value, quoted, why):
    with pytest.raises(UsageError) as refusal:
        parse(PUSH, "-f", value)
    assert str(refusal.value) == f'invalid argument "{quoted}" for "-f, --file" flag: {why}'


@pytest.mark.parametrize(
    ("words", "exclusions"),
    [
        ([], (".git",)),
        (["--file-exclusion", "a"], ("a",)),
        (["--file-exclusion", "a", "--file-exclusion", "b"], ("a", "b")),
        (["--file-exclude-defaults", "x"], ("x",)),
        (["--file-exclude-defaults", "x", "--file-exclusion", "a"], ("a",)),
        (["--file-exclusion", "a", "--file-exclude-defaults", "x"], ("x",)),
        (["--file-exclusion", "a", "--file-exclude-defaults", "x", "--file-exclusion", "b"], ("x", "b")),
        (["--file-exclusion", ""], ()),
    ],
)
def test_each_of_the_two_exclusion_flags_replaces_the_one_list_when_first_used(words, exclusions):
    assert parse(PUSH, *words).texts("file-exclusion") == exclusions


@pytest.mark.parametrize(
    ("words", "labels"),
    [
        ([], {}),
        (["-l", "a=b"], {"a": "b"}),
        (["-l", "a="], {"a": ""}),
        (["-l", "=b"], {"": "b"}),
        (["-l", "a=b,c"], {"a": "b,c"}),
        (["-l", "a=b,c=d"], {"a": "b", "c": "d"}),
        (["-l", "a=x=y"], {"a": "x=y"}),
        (["-l", '"a=b,c",d=e'], {"a": "b,c", "d": "e"}),
        (["-l", '"a=b"'], {"a": "b"}),
        (["-l", "a=b", "--labels=c=d"], {"a": "b", "c": "d"}),
        (["-l", "a=b", "-l", "a=c"], {"a": "c"}),
        (["-l=a=b"], {"a": "b"}),
    ],
)
def test_labels_are_one_pair_or_csv_of_pairs(words, labels):
    assert parse(PUSH, *words).values["labels"] == labels


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("foo", "foo must be formatted as key=value"),
        ("", " must be formatted as key=value"),
        ("a=b,c=d,e", "e must be formatted as key=value"),
    ],
)
def test_a_label_without_equals_sign_is_refused(value, why):
    with pytest.raises(UsageError) as refusal:
        parse(PUSH, "-l", value)
    assert str(refusal.value) == f'invalid argument "{value}" for "-l, --labels" flag: {why}'


@pytest.mark.parametrize(
    ("value", "number"),
    [
        ("5", 5),
        ("+5", 5),
        ("-1", -1),
        ("0", 0),
        ("0x1F", 31),
        ("0b101", 5),
        ("0o17", 15),
        ("017", 15),
        ("1_000", 1000),
        ("0x_ff", 255),
        ("9223372036854775807", (1 << 63) - 1),
        ("-9223372036854775808", -(1 << 63)),
    ],
)
def test_an_integer_has_the_prefixes_of_go(value, number):
    assert parse(COPY, f"--concurrency={value}").number("concurrency") == number


@pytest.mark.parametrize(
    ("value", "why"),
    [
        *(
            (value, "invalid syntax")
            for value in ("abc", "", "5.0", "08", "1__0", "_1", " 5", "--5", "+-5", "٣")
        ),
        ("9223372036854775808", "value out of range"),
        ("-9223372036854775809", "value out of range"),
    ],
)
def test_what_is_no_integer_is_refused(value, why):
    with pytest.raises(UsageError) as refusal:
        parse(COPY, "--concurrency", value)
    assert str(refusal.value) == (
        f'invalid argument "{value}" for "--concurrency" flag: strconv.ParseInt: parsing "{value}": {why}'
    )


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0),
        ("300ms", 0.3),
        ("1.5h", 5400),
        ("2h45m", 9900),
        ("1m1s1ms", 61.001),
        (".5s", 0.5),
        ("1.s", 1),
        ("-1s", -1),
        ("+1s", 1),
        ("10us", 1e-5),
        ("10µs", 1e-5),
        ("7ns", 7 * NANOSECOND),
    ],
)
def test_a_duration_has_the_units_of_go(value, seconds):
    read = parse(COPY, f"--registry-response-header-timeout={value}")
    assert math.isclose(read.values["registry-response-header-timeout"], seconds, abs_tol=NANOSECOND / 10)


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("5", 'time: missing unit in duration "5"'),
        ("1h5", 'time: missing unit in duration "1h5"'),
        ("x", 'time: invalid duration "x"'),
        ("ä", r'time: invalid duration "\xc3\xa4"'),
        ("", 'time: invalid duration ""'),
        ("-", 'time: invalid duration "-"'),
        (".", 'time: invalid duration "."'),
        ("5d", 'time: unknown unit "d" in duration "5d"'),
        ("5 s", 'time: unknown unit " s" in duration "5 s"'),
        ("5S", 'time: unknown unit "S" in duration "5S"'),
        ("9999999h", 'time: invalid duration "9999999h"'),
    ],
)
def test_what_is_no_duration_is_refused(value, why):
    with pytest.raises(UsageError) as refusal:
        parse(COPY, "--registry-response-header-timeout", value)
    flag = "--registry-response-header-timeout"
    assert str(refusal.value) == f'invalid argument "{value}" for "{flag}" flag: {why}'


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--bogus"], "unknown flag: --bogus"),
        (["--bogus=secret"], "unknown flag: --bogus"),
        (["--bundl", "a"], "unknown flag: --bundl"),
        (["-z"], "unknown shorthand flag: 'z' in -z"),
        (["-rzb"], "unknown shorthand flag: 'z' in -zb"),
        (["-r="], "unknown shorthand flag: '=' in -="),
        (["--bundle"], "flag needs an argument: --bundle"),
        (["-b"], "flag needs an argument: 'b' in -b"),
        (["-rb"], "flag needs an argument: 'b' in -b"),
        (["---bundle"], "bad flag syntax: ---bundle"),
        (["--=a"], "bad flag syntax: --=a"),
    ],
)
def test_a_flag_that_cannot_be_read_is_named(reason, words, why):
    assert reason("pull", "-o", "out", *words) == why


@pytest.mark.parametrize(
    ("value", "quoted"),
    [
        ("a\nb", r"a\nb"),
        ("a\tb\r\\", r"a\tb\r\\"),
        ("\a\b\f\v", r"\a\b\f\v"),
        ("\x01\x7f", r"\x01\x7f"),
        ("\u200b\U000e0001", r"\u200b\U000e0001"),
        ("\udcff", r"\xff"),
        ("é→", "é→"),
    ],
)
def test_values_are_quoted_as_go_quotes(refused, value, quoted):
    assert refused("copy", f"--resume={value}").startswith(f'invalid argument "{quoted}" for "--resume" flag')


def test_the_first_mistake_is_reported():
    with pytest.raises(UsageError, match="unknown flag: --one"):
        parse(PULL, "--one", "--two", "--recursive=x")


def test_defaults_of_two_runs_share_nothing():
    first, second = parse(PUSH, "-l", "a=b"), parse(PUSH)
    assert first.values["labels"] is not second.values["labels"]
    assert second.values["labels"] == {}


def test_version_is_a_flag_of_the_root_alone(run, reason):
    assert run("--version").out.startswith("imgpkg version ")
    assert run("-v").out == run("--version").out
    assert reason("version", "--version") == "unknown flag: --version"


@pytest.mark.parametrize(
    "words",
    [
        ["tag", "list", "-i", "IMAGE", "--column", "name"],
        ["--column", "name", "tag", "list", "-i", "IMAGE"],
        ["tag", "--column=name", "list", "-i", "IMAGE"],
        ["-y", "tag", "--debug=false", "ls", "-iIMAGE"],
        ["-i", "IMAGE", "tag", "list"],
        ["--image", "IMAGE", "tag", "list", "--color=false"],
        ["tag", "-i", "IMAGE", "list"],
        ["--image=IMAGE", "tag", "list"],
    ],
)
def test_flags_stand_before_and_after_the_command(run, image, words):
    done = run(*(word.replace("IMAGE", image) for word in words))
    assert (done.code, done.out, done.err) == (0, "latest\t\n", "")


def test_the_word_after_a_switch_is_the_command(run):
    assert run("--tty", "version").out.startswith("imgpkg version ")
    assert run("-y", "version").code == 0
    assert run("--json=false", "version").code == 0


def test_words_after_two_dashes_are_no_command(reason):
    assert reason("--", "version") == "command 'imgpkg' does not accept extra arguments 'version'"


@pytest.mark.parametrize(
    ("flags", "environ", "credential"),
    [
        ([], {}, "no credential found"),
        ([], {"IMGPKG_USERNAME": "me", "IMGPKG_PASSWORD": "s3cret"}, "$IMGPKG_USERNAME, $IMGPKG_PASSWORD"),
        (
            ["--registry-username", "me"],
            {"IMGPKG_PASSWORD": "s3cret"},
            "--registry-username, $IMGPKG_PASSWORD",
        ),
        ([], {"IMGPKG_TOKEN": "s3cret"}, "$IMGPKG_TOKEN"),
        (["--registry-token", ""], {"IMGPKG_TOKEN": "s3cret"}, "no credential found"),
        (["--registry-token", "s3cret"], {}, "--registry-token"),
        (["--registry-anon"], {"IMGPKG_TOKEN": "s3cret"}, "asked for by flags: --registry-anon"),
        ([], {"IMGPKG_ANON": "true"}, "$IMGPKG_ANON"),
        (["--registry-anon=false"], {"IMGPKG_ANON": "true"}, "no credential found"),
        (["--registry-username=me", "--registry-password="], {"IMGPKG_PASSWORD": "s3cret"}, ""),
    ],
)
def test_variables_stand_in_for_flags_that_are_not_given(run, monkeypatch, flags, environ, credential):
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    done = run("auth", "explain", "registry.example.com/app", *flags)
    assert credential in done.out.partition("\n")[0]
    assert "s3cret" not in done.out + done.err
    assert done.code == (0 if credential else 2)


def test_a_deprecated_flag_is_noted_once_on_standard_error_even_with_json(run, folder, repository):
    words = ["push", "-i", repository, "-f", folder, "--json"]
    done = run(*words, "--file-exclude-defaults", "x", "--file-exclude-defaults", "y")
    note = "Flag --file-exclude-defaults has been deprecated, use '--file-exclusion' instead\n"
    assert (done.code, done.err) == (0, note)
    assert done.out.startswith('{\n    "Tables"')

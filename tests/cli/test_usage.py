"""What a mistake on the command line should have been."""

from __future__ import annotations

import pytest


@pytest.fixture
def hints(run):
    """Run words that are refused and list the hints."""

    def said(*words):
        done = run(*words)
        assert (done.code == 0, done.out) == (False, "")
        return [line.removeprefix("hint: ") for line in done.err.splitlines() if line.startswith("hint: ")]

    return said


@pytest.mark.parametrize(
    ("words", "begin"),
    [
        (["pul"], "There is no command 'pul' here: did you mean imgpkg pull?"),
        (["login"], "There is no command 'login' here: did you mean imgpkg auth login?"),
        (["tag", "ls1"], "There is no command 'ls1' here: did you mean imgpkg tag list?"),
        (["tag", "zzz"], "There is no command 'zzz': the commands are delete, list, resolve."),
        (["--json", "pul", "-i", "x"], "There is no command 'pul' here: did you mean imgpkg pull?"),
        (["auth"], "imgpkg auth --help lists what it takes."),
        (["pull", "--imag=x"], "Did you mean --image?"),
        (["pull", "--verify-kei", "x"], "Did you mean --verify-key"),
        (["pull", "--to-repo", "x"], "--to-repo is a flag of imgpkg copy, and not of imgpkg pull."),
        (["version", "--image", "x"], "--image is a flag of "),
        (["pull", "--zzzzzz"], "imgpkg pull --help lists what it takes."),
        (["push", "-t", "x"], "imgpkg push has no -t; its short flags are "),
        (["pull", "-o"], "-o, --output takes a value: folder to write the files to"),
        (["pull"], "Add -o, --output: folder to write the files to"),
        (
            ["pull", "--json=perhaps", "-o", "x"],
            "Write --json to turn it on, and --json=false to turn it off.",
        ),
        (["copy", "--concurrency", "x"], "Write a whole number, such as --concurrency 5."),
        (["push", "-l", "x"], "Write KEY=VALUE, such as --labels team=web."),
        (["pull", "-o", "x", "a.b/c"], "Write -i a.b/c for an image, or -b a.b/c for a bundle."),
        (["tag", "resolve", "a.b/c"], "Write -i a.b/c."),
        (["describe", "a.b/c"], "Write -b a.b/c."),
        (["pull", "-o", "x", "-r", "yes"], "A switch has its value behind an equals sign: -r=true."),
        (["pull", "-o", "x", "-r", "off"], "A switch has its value behind an equals sign: -r=false."),
        (["push", "-i", "x", "/usr"], "To push it, write -f /usr."),
        (["pull", "-o", "x", "---x"], "imgpkg pull --help lists what it takes."),
        (["version", "x"], "imgpkg version --help lists what it takes."),
        (["completion"], "imgpkg completion --help lists what it takes."),
    ],
)
def test_is_said_in_one_sentence(hints, words, begin):
    (hint,) = hints(*words)
    assert hint.startswith(begin)


def test_of_many_commands_with_a_flag_some_are_listed(hints):
    (hint,) = hints("version", "--registry-insecure")
    assert " more commands, and not of imgpkg version." in hint


def test_a_login_in_a_word_is_not_repeated(hints):
    assert hints("pull", "-o", "x", "me:s3cret@a.b/c") == [
        "Write -i a.b/c for an image, or -b a.b/c for a bundle."
    ]


def test_a_reference_in_place_of_a_command_is_no_mistyped_one(run):
    done = run("registry.example.com/team/app:v1")
    assert done.err == (
        "imgpkg: Error: command 'imgpkg' does not accept extra arguments 'registry.example.com/team/app:v1'\n"
    )

"""What a command loads until it ends: times differ from machine to machine, and numbers do not.

`python -m tests.cli.loading tag resolve …` names what is counted. Lower is better.
"""

from __future__ import annotations

import pytest
from tests.cli.loading import counted, environment

# Of ours, of others, and patterns that are compiled, with Python 3.11.
LOADED = {
    "version": (16, 33, 6),
    "push --help": (12, 33, 6),
    "completion bash": (14, 33, 6),
    "tag resolve": (68, 61, 17),
    "tag list": (69, 61, 17),
    "push of a file": (83, 77, 18),
    "pull -i": (78, 79, 21),
    "describe -b": (88, 73, 28),
    "pull -b": (88, 73, 30),
    "auth explain": (57, 66, 14),
    "copy -i": (97, 65, 20),
}
# The standard library of other releases imports a few more; 3.10 has typing_extensions, with what that needs.
_OTHER_RELEASES = 10


@pytest.fixture
def bundle(run, repository, image, tmp_path):
    """A bundle of one image, in the registry."""
    digest = run("tag", "resolve", "-i", image).out.split()[0]
    made = tmp_path / "bundle"
    (made / ".imgpkg").mkdir(parents=True)
    (made / ".imgpkg" / "images.yml").write_text(
        f"apiVersion: imgpkg.carvel.dev/v1alpha1\nkind: ImagesLock\nimages:\n- image: {digest}\n"
    )
    assert run("push", "-b", f"{repository}-bundle", "-f", made).code == 0
    return f"{repository}-bundle"


@pytest.fixture
def words(image, bundle, repository, folder, tmp_path):
    """The words of each command."""
    return {
        "version": ["version"],
        "push --help": ["push", "--help"],
        "completion bash": ["completion", "bash"],
        "tag resolve": ["tag", "resolve", "-i", image],
        "tag list": ["tag", "list", "-i", image],
        "push of a file": ["push", "-i", repository, "-f", str(folder)],
        "pull -i": ["pull", "-i", image, "-o", str(tmp_path / "out")],
        "describe -b": ["describe", "-b", bundle],
        "pull -b": ["pull", "-b", bundle, "-o", str(tmp_path / "out")],
        "auth explain": ["auth", "explain", image],
        "copy -i": ["copy", "-i", image, "--to-repo", f"{repository}-copy"],
    }


@pytest.mark.parametrize("name", LOADED)
def test_no_more_is_loaded_than_the_command_needs(words, tmp_path, name):
    code, modules, *_ = counted("plain", words[name], environment(tmp_path))
    ours = [module for module in modules if module.partition(".")[0] == "imgpkg"]
    others = sorted(set(modules) - set(ours))
    most_ours, most_others, _ = LOADED[name]
    assert code == 0
    assert len(ours) <= most_ours, ours
    assert len(others) <= most_others + _OTHER_RELEASES, others


@pytest.mark.parametrize("name", LOADED)
def test_no_class_is_generated_and_few_patterns_are_compiled(words, tmp_path, name):
    code, _, patterns, classes, collections = counted("details", words[name], environment(tmp_path))
    assert code == 0
    assert classes == []
    assert len(patterns) <= LOADED[name][2], patterns
    assert collections >= 0

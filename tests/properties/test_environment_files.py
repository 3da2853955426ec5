"""Names of `IMGPKG_REGISTRY_*` variables: each has one meaning, and old sets keep theirs."""

from __future__ import annotations

from hypothesis import example, given, reject
from hypothesis import strategies as st

from imgpkg.auth.environment import FILES, PREFIX, read_sets
from imgpkg.errors import CredentialError

GIVEN = tuple(kind.removesuffix("_FILE") for kind in FILES)
kinds = st.sampled_from(GIVEN)
words = st.sampled_from(["FILE", "FILES", "0", "a", "", "PASSWORD", "HOSTNAME", "TOKEN"])
suffixes = st.none() | st.lists(words, min_size=1, max_size=4).map("_".join)


def name(kind, suffix):
    return f"{PREFIX}{kind}" if suffix is None else f"{PREFIX}{kind}_{suffix}"


def read(environ):
    """Return {suffix: (values, paths)} of the sets."""
    return {
        one.suffix: (set(one.credential.secrets()) | ({one.credential.username} - {""}), dict(one.files))
        for one in read_sets(environ).sets
    }


@given(suffixes, st.sets(kinds, min_size=1))
@example("FILE", set(GIVEN))
@example("FILE_FILE", set(GIVEN))
def test_a_set_of_values_means_the_same_whatever_its_suffix(suffix, given_kinds):
    """Rule: a set with a hostname has all variables with its suffix."""
    environ = {name("HOSTNAME", suffix): "gcr.io"} | {name(kind, suffix): kind for kind in given_kinds}
    assert read(environ) == {suffix: (given_kinds, {})}


@given(suffixes, st.sets(kinds, min_size=1))
@example(None, set(GIVEN))
@example("FILE", set(GIVEN))
def test_a_set_of_files_means_the_same_whatever_its_suffix(suffix, given_kinds):
    """Rule: without such a hostname, KIND_FILE_x is the file for KIND of the set x."""
    environ = {name("HOSTNAME", suffix): "gcr.io"}
    environ |= {name(f"{kind}_FILE", suffix): f"/{kind}" for kind in given_kinds}
    [(found, (values, files))] = read(environ).items()
    assert (found, values) == (suffix, set())
    assert {field: file.path for field, file in files.items()} == {
        kind.lower(): f"/{kind}" for kind in given_kinds
    }


@given(st.lists(st.tuples(suffixes, kinds, st.booleans()), max_size=6), st.sets(suffixes, max_size=3))
def test_each_variable_belongs_to_one_set_and_none_is_unknown(variables, hosts):
    environ = {name("HOSTNAME", suffix): f"h{i}.io" for i, suffix in enumerate(sorted(hosts, key=str))}
    for number, (suffix, kind, is_file) in enumerate(variables):
        environ[name(f"{kind}_FILE" if is_file else kind, suffix)] = f"/value{number}"
    # A secret and its file in one set are an error, which has an own test.
    used = [value for value in environ.values() if value.startswith("/")]
    try:
        sets = read(environ)
    except CredentialError:
        reject()
    found = [
        value
        for values, files in sets.values()
        for value in (*values, *(file.path for file in files.values()))
    ]
    assert len(found) == len(set(found))
    assert set(found) <= set(used)
    assert set(sets) == hosts

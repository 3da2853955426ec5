"""The algebra of scopes: merging is a union, covering is an order."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from imgpkg.registry.auth.challenge import Scope, covers, merge, parse_scopes

SCOPES = st.lists(
    st.builds(
        Scope,
        st.sampled_from(["repository", "registry"]),
        st.sampled_from(["a", "a/b", "host:5000/x", "catalog"]),
        st.frozensets(st.sampled_from(["pull", "push", "delete", "*"]), min_size=1),
    ),
    max_size=6,
)


@given(SCOPES)
def test_printing_and_reading_gives_the_same_scopes(scopes):
    """`str()` is canonical: it parses to the same value again."""
    merged = merge(scopes)
    assert parse_scopes(" ".join(map(str, merged))) == merged


@given(SCOPES, SCOPES)
def test_a_merge_covers_both_parts_and_does_not_depend_on_order(left, right):
    """Merging joins the actions of each resource, once."""
    merged = merge([*left, *right])
    assert covers(merged, left)
    assert covers(merged, right)
    assert merged == merge([*right, *left]) == merge(merged)
    assert len({scope.resource for scope in merged}) == len(merged)


@given(SCOPES, SCOPES, SCOPES)
def test_covering_is_reflexive_and_transitive(first, second, third):
    """A token for more does for less."""
    first, second, third = merge(first), merge(second), merge(third)
    assert covers(first, first)
    if covers(first, second) and covers(second, third):
        assert covers(first, third)


@given(st.text(max_size=30))
@example("::")
@example("repository::,")
def test_any_text_is_a_scope(text):
    """What a server writes is kept, whatever it is."""
    for scope in parse_scopes(text):
        assert parse_scopes(str(scope)) == (scope,)

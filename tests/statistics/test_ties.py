"""Tie groups: by hand, and that two share one exactly where they do not differ."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from lossbench.statistics.ties import tie_groups


def test_tie_groups_by_hand() -> None:
    assert tie_groups([], set()) == ()
    assert tie_groups(["a"], set()) == (("a",),)
    assert tie_groups(["a", "b", "c"], set()) == (("a", "b", "c"),)
    assert tie_groups("abcd", {("a", "c"), ("a", "d"), ("d", "b")}) == (("a", "b"), ("b", "c"), ("c", "d"))
    # Without an order: a and d differ, b and c differ, every other pair ties
    assert tie_groups("abcd", {("a", "d"), ("b", "c")}) == (
        ("a", "b"),
        ("a", "c"),
        ("b", "d"),
        ("c", "d"),
    )


@given(st.sets(st.tuples(st.sampled_from("abcdefg"), st.sampled_from("abcdefg")).filter(lambda p: p[0] < p[1])))
@settings(max_examples=200, deadline=None)
def test_two_recipes_share_a_group_exactly_where_they_do_not_differ(different: set[tuple[str, str]]) -> None:
    names = "abcdefg"
    groups = [set(group) for group in tie_groups(names, different)]
    for i, first in enumerate(names):
        for second in names[i + 1 :]:
            shared = any({first, second} <= group for group in groups)
            assert shared == ((first, second) not in different)
    assert set().union(*groups) == set(names)
    assert not any(one < other for one in groups for other in groups)

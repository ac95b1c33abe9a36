"""Outcomes are bounded, and no count is lost."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from penstock.observe.counts import OTHER, Count, Outcomes

_SEEN = st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from(["ok", "late", "busy", "bad"])))


@given(_SEEN, st.integers(0, 20))
def test_what_is_new_beyond_the_bound_is_told_as_other(seen: list[tuple[str, str]], most: int) -> None:
    """At most so many series and one of the others each; ``ok`` is always exact, and so is the sum of each name."""
    outcomes = Outcomes(1, most, Count)
    for labels in seen:
        outcomes[labels].value += 1
    shown = {labels: count.value for labels, count in outcomes.shown.items()}
    names = {name for name, _ in seen}
    assert len(shown) <= most + 2 * len(names)
    assert sum(shown.values()) == len(seen)
    for name in names:
        mine = Counter(outcome for each, outcome in seen if each == name)
        assert shown.get((name, "ok"), 0) == mine["ok"]
        assert sum(count for (each, _), count in shown.items() if each == name) == mine.total()
    if len(set(seen)) <= most:
        assert not any(outcome == OTHER for _, outcome in shown)

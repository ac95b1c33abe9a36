"""Parts of rates: nothing is taken that was not lent, and all that was lent is taken, left or given back."""

from hypothesis import given
from hypothesis import strategies as st

from penstock.core.lent import LentPlaces, LentRate

STEPS = st.lists(st.tuples(st.sampled_from(["lend", "take", "wait", "back"]), st.integers(0, 50)), max_size=60)


@given(STEPS)
def test_what_was_lent_is_somewhere(steps: list[tuple[str, int]]) -> None:
    """Whatever comes in whatever order; and what is left is never more than what is worth something."""
    rate, now = LentRate(1.0), 0.0
    lent = taken = back = 0
    living: list[list[float]] = []
    for what, amount in steps:
        if what == "lend":
            rate.add(now + 1.0, amount)
            living.append([now + 1.0, amount])
            lent += amount
        elif what == "take" and amount <= rate.left(now):
            rate.take(now, amount)
            taken += amount
        elif what == "wait":
            now += amount / 20
        else:
            back += rate.back()
        assert lent == taken + rate.left(now) + rate.unused + back
        assert rate.left(now) <= sum(amount for until, amount in living if until > now)


@given(st.lists(st.tuples(st.floats(0, 0.5), st.integers(1, 9)), min_size=1, max_size=50))
def test_the_pace_is_what_was_taken_in_the_last_while(takes: list[tuple[float, int]]) -> None:
    """No more and no less; who takes a few in a while asks for nothing ahead."""
    rate, now = LentRate(1.0), 0.0
    at: list[tuple[float, int]] = []
    for gap_s, amount in takes:
        now += gap_s
        rate.add(now + 1.0, amount)
        rate.take(now, amount)
        at.append((now, amount))
        recent = [each for when, each in at if when > now - 1.0]
        assert rate.pace(now) == sum(recent)
        assert rate.ahead(now) == (sum(recent) if len(recent) >= 4 else 0)


@given(st.lists(st.tuples(st.sampled_from(["lend", "begin", "end", "look"]), st.integers(0, 5)), max_size=60))
def test_places_are_kept_while_they_are_needed(steps: list[tuple[str, int]]) -> None:
    """What is under way stays lent, whatever goes back; when the lease ends nothing is lent any more."""
    places = LentPlaces()
    for what, amount in steps:
        if what == "lend":
            places.add(5.0, amount)
        elif what == "begin" and places.left(0.0) > 0:
            places.take()
        elif what == "end" and places.active:
            places.active -= 1
        elif what == "look":
            assert places.back() >= 0
        assert places.lent >= places.active >= 0
    assert places.left(5.0) == -places.active

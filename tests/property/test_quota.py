"""Rates per minute: never above the limit in any minute, and a wait that is true."""

from hypothesis import given
from hypothesis import strategies as st

from penstock.core.quota import TICK_S, WINDOW_S, MinuteWindow

moves = st.lists(st.tuples(st.floats(0, 50), st.integers(1, 8)), max_size=200)


@given(st.integers(1, 20), moves)
def test_no_minute_ever_holds_more_than_the_limit(limit: int, taken: list[tuple[float, int]]) -> None:
    """Whatever the arrivals, what was admitted within any 60 seconds stays within the limit."""
    window, now = MinuteWindow(limit), 0.0
    admitted: list[tuple[float, int]] = []
    for gap, amount in taken:
        now += gap
        if window.take(now, amount) == 0:
            admitted.append((now, min(amount, limit)))
            assert sum(each for at, each in admitted if at > now - WINDOW_S) <= limit


@given(st.integers(1, 20), moves, st.lists(st.integers(-30, 30), max_size=20), st.integers(1, 20))
def test_the_wait_is_true_and_at_most_a_minute(
    limit: int, taken: list[tuple[float, int]], corrections: list[int], amount: int
) -> None:
    """A refused amount fits after the wait that was named, when nothing else comes between."""
    window, now = MinuteWindow(limit), 0.0
    for place, (gap, each) in enumerate(taken):
        now += gap
        window.take(now, each)
        window.correct(now, corrections[place] if place < len(corrections) else 0)
    wait_s = window.take(now, amount)
    assert 0 <= wait_s <= WINDOW_S + TICK_S + 1e-6
    if wait_s:
        assert window.take(now + wait_s + 1e-6, amount) == 0


@given(st.integers(1, 20), moves, st.floats(0, 80), moves)
def test_another_window_goes_on_where_one_left_off(
    limit: int, taken: list[tuple[float, int]], pause_s: float, more: list[tuple[float, int]]
) -> None:
    """Both say the same of whatever comes."""
    window, now = MinuteWindow(limit), 0.0
    for gap, amount in taken:
        now += gap
        window.take(now, amount)
    now += pause_s
    other = MinuteWindow(limit, window.taken)
    for gap, amount in more:
        now += gap
        assert other.take(now, amount) == window.take(now, amount)
        assert other.used(now) == window.used(now)


@given(st.integers(1, 1000), st.lists(st.tuples(st.floats(0, 20), st.integers(-300, 300)), max_size=60))
def test_what_is_used_is_what_is_left_of_what_was_taken(limit: int, steps: list[tuple[float, int]]) -> None:
    """The running total equals the sum over the entries, is never negative, and a minute's silence empties it."""
    window, now = MinuteWindow(limit), 0.0
    for gap, amount in steps:
        now += gap
        if amount > 0:
            window.take(now, amount)
        else:
            before = window.used(now)
            window.correct(now, amount)
            assert window.used(now) == max(0, before + amount)
        assert 0 <= window.used(now) <= limit
    assert window.used(now + WINDOW_S + TICK_S) == 0


def test_no_double_burst_across_a_minutes_edge() -> None:
    """A full burst at the end of one minute leaves no room until it is a minute old."""
    window = MinuteWindow(60)
    assert all(window.take(59.0, 1) == 0 for _ in range(60))
    assert 57 < window.take(61.0, 1) < 59
    assert window.take(119.2, 60) == 0


def test_what_was_not_used_is_given_back() -> None:
    """A correction frees what the estimate took too much, and never more than was taken."""
    window = MinuteWindow(100)
    window.take(0.0, 80)
    window.correct(1.0, -30)
    assert window.used(1.0) == 50
    window.correct(1.0, -500)
    assert window.used(1.0) == 0


def test_what_was_used_beyond_the_estimate_counts_from_now() -> None:
    """It may exceed the limit; then the next one waits until it has left."""
    window = MinuteWindow(100)
    window.take(0.0, 10)
    window.correct(30.0, 500)
    assert window.used(30.0) == 510
    assert 59 < window.take(30.5, 1) < 60.2
    assert window.take(91.0, 100) == 0

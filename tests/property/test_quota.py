"""Rates per minute: never above the limit in a clock minute, and a wait that is true."""

from hypothesis import given
from hypothesis import strategies as st

from penstock.core.quota import WINDOW_S, MinuteWindow

moves = st.lists(st.tuples(st.floats(0, 50), st.integers(1, 8)), max_size=200)


@given(st.integers(1, 20), moves)
def test_a_clock_minute_never_holds_more_than_the_limit(limit: int, taken: list[tuple[float, int]]) -> None:
    """Whatever the arrivals, what was admitted within one clock minute stays within the limit."""
    window, now = MinuteWindow(limit), 0.0
    admitted: dict[int, int] = {}
    for gap, amount in taken:
        now += gap
        if window.take(now, amount) == 0:
            minute = int(now // WINDOW_S)
            admitted[minute] = admitted.get(minute, 0) + min(amount, limit)
            assert admitted[minute] <= limit


@given(st.integers(1, 20), moves, st.integers(1, 20))
def test_the_wait_is_true(limit: int, taken: list[tuple[float, int]], amount: int) -> None:
    """A refused amount fits after the wait that was named, when nothing else comes between."""
    window, now = MinuteWindow(limit), 0.0
    for gap, each in taken:
        now += gap
        window.take(now, each)
    wait_s = window.take(now, amount)
    assert 0 <= wait_s <= 2 * WINDOW_S
    if wait_s:
        assert window.take(now + wait_s + 0.01, amount) == 0


def test_no_double_burst_across_the_edge() -> None:
    """A full burst at the end of one minute leaves no room at the start of the next."""
    window = MinuteWindow(60)
    assert all(window.take(59.0, 1) == 0 for _ in range(60))
    assert window.take(61.0, 1) == 0 or window.used(61.0) >= 59
    assert window.take(60.5, 30) > 0


def test_what_was_not_used_is_given_back() -> None:
    """A correction frees what the estimate took too much, and never more than was taken."""
    window = MinuteWindow(100)
    window.take(0.0, 80)
    window.correct(1.0, -30)
    assert window.used(1.0) == 50
    window.correct(1.0, -500)
    assert window.used(1.0) == 0

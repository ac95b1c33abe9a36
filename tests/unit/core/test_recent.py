"""Rates look back over the last seconds, whatever was noted when."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.fleet_report import rates
from penstock.core.recent import NOTE_S, SPAN_S, Recent, Sums


@given(st.lists(st.tuples(st.floats(0.01, 3), st.integers(0, 1000)), min_size=1, max_size=80))
def test_a_rate_looks_back_over_the_span_and_little_more(steps: list[tuple[float, int]]) -> None:
    """What is counted is exactly what came since the note looked back on; that one is the last that is old enough."""
    recent, now, total, history = Recent(), 0.0, 0, []
    for passed_s, more in steps:
        now, total = now + passed_s, total + more
        history.append((now, total))
        if recent.is_due(now):
            recent.note(now, Sums(requests=total))
    seconds, done = recent.until(now, Sums(requests=total))
    before = next(count for at, count in history if at == pytest.approx(now - seconds))
    assert done.requests == total - before
    assert seconds <= SPAN_S + NOTE_S + 3
    assert seconds >= min(SPAN_S, now - history[0][0]) - 1e-9


def test_notes_come_no_closer_than_a_second() -> None:
    """However often it is looked at: what is kept is bounded."""
    recent = Recent()
    taken = []
    for tick in range(40):
        if recent.is_due(tick / 4):
            recent.note(tick / 4, Sums())
            taken.append(tick / 4)
    assert taken == [float(second) for second in range(10)]


def test_nothing_noted_is_no_rate() -> None:
    """And no division by no time."""
    seconds, done = Recent().until(5.0, Sums(requests=3, calls={"a/b": 2}))
    assert (seconds, done.requests, done.calls) == (0.0, 0, {"a/b": 0})
    told = rates(done, seconds, "CNY")
    assert (told.requests_per_s, told.hit_rate, told.cost_per_hour) == (0.0, None, "0.000000000")


def test_rates_are_per_second_and_money_per_hour() -> None:
    """Money is exact: 2.5 CNY in 10 s are 900 an hour."""
    done = Sums(
        requests=20, errors=1, lookups=8, hits=2, shed=5, tokens=1000, cost_nano=2_500_000_000, saved_nano=1,
        calls={"a/b": 3, "c/d": 2}, failures={"a/b": 1},
    )  # fmt: skip
    told = rates(done, 10.0, "CNY")
    assert (told.requests_per_s, told.errors_per_s, told.shed_per_s, told.tokens_per_s) == (2.0, 0.1, 0.5, 100.0)
    assert (told.calls_per_s, told.hit_rate) == (0.5, 0.25)
    assert (told.cost_per_hour, told.saved_per_hour, told.currency) == ("900.000000000", "0.000000360", "CNY")

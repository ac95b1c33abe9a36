"""An account's share of calls at once: known, taught by 429s, won back."""

from math import inf

from hypothesis import given
from hypothesis import strategies as st

from penstock.core.concurrency import CUT, LONGEST_PAUSE_S, AccountShare


def filled(known: int | None, calls: int, now: float = 100.0) -> AccountShare:
    """A share with so many calls in flight."""
    share = AccountShare(known)
    for _ in range(calls):
        assert share.enter(now)
    return share


def test_a_known_limit_is_kept_before_the_provider_says_so() -> None:
    """The call above it is not made; one that ended makes room for one."""
    share = filled(500, 500)
    assert not share.enter(100.0)
    share.leave()
    assert share.enter(100.0)
    assert share.in_flight == 500


def test_nothing_known_is_no_limit() -> None:
    """Until a 429 teaches one: nine tenths of what was in flight."""
    share = filled(None, 1000)
    assert share.limit(100.0) == inf
    share.refused(99.5, 100.0)
    assert share.limit(100.0) == CUT * 1000
    assert not share.allows(100.0)


def test_one_round_trip_teaches_once() -> None:
    """A hundred refusals of calls that were sent before the first are one lesson; one sent later is another."""
    share = filled(2500, 2000)
    for _ in range(100):
        share.refused(99.5, 100.0)
    assert share.limit(100.0) == 1800
    share.refused(100.5, 101.0)
    assert share.limit(101.0) < 1800


def test_it_recovers_by_a_hundredth_per_second_up_to_the_known() -> None:
    """Ten seconds later what was met is allowed again, and never more than the provider grants."""
    share = filled(2500, 2000)
    share.refused(99.5, 100.0)
    assert 1815 <= share.limit(101.0) <= 1825
    assert 1990 <= share.limit(110.0) <= 2100
    assert share.limit(1000.0) == 2500


def test_a_rate_that_was_met_is_forgotten() -> None:
    """A 429 at three calls in flight was about something else: five minutes later three hundred may run."""
    share = filled(None, 3)
    share.refused(99.5, 100.0)
    assert share.limit(110.0) < 5
    assert share.limit(400.0) > 300


def test_one_call_by_itself_meets_no_limit_of_calls_at_once() -> None:
    """A rate that is used up at a quiet account does not make its next calls wait for each other."""
    for known in (None, 500):
        share = filled(known, 1)
        assert share.refused(99.5, 100.0)
        assert share.limit(100.0) == (known or inf)


def test_while_it_wants_to_be_left_alone_one_call_at_a_time_goes_there() -> None:
    """As long as the provider said, a minute at most; then as before."""
    share = filled(None, 1)
    share.refused(99.5, 100.0, retry_after_s=20.0)
    assert (share.limit(119.9), share.limit(120.0)) == (1, inf)
    share = filled(None, 1)
    share.refused(99.5, 100.0, retry_after_s=86_400.0)
    assert share.limit(100.0 + LONGEST_PAUSE_S) == inf


def test_a_small_limit_is_met_seldom() -> None:
    """Five at once is all: a sixth is tried no sooner than every five seconds, so hardly a call is wasted."""
    share, refusals = AccountShare(None), 0
    for step in range(10_000):
        now = 100.0 + step / 10
        while share.enter(now):
            if share.in_flight > 5:
                refusals += 1
                share.refused(now, now + 0.01)
                share.leave()
                break
        share.leave()
    assert refusals <= 1000 / 5


def test_the_providers_own_wait_is_kept() -> None:
    """Nothing is won back before the Retry-After is over, up to a minute."""
    share = filled(None, 100)
    share.refused(99.5, 100.0, retry_after_s=20.0)
    assert share.limit(120.0) == 90
    assert share.limit(125.0) > 90
    share = filled(None, 100)
    share.refused(99.5, 100.0, retry_after_s=86_400.0)
    assert share.limit(100.0 + LONGEST_PAUSE_S + 10) > 90


@given(
    st.none() | st.integers(1, 50),
    st.lists(st.tuples(st.floats(0, 5), st.sampled_from(["enter", "leave", "refused"])), max_size=200),
)
def test_laws(known: int | None, course: list[tuple[float, str]]) -> None:
    """Never below one nor above the known limit; never more entered than allowed; a quiet share only rises."""
    share, now = AccountShare(known), 100.0
    for gap, what in course:
        before = share.limit(now)
        now += gap
        assert share.limit(now) >= before
        if what == "enter":
            free = share.in_flight + 1 <= share.limit(now)
            assert share.enter(now) == free
        elif share.in_flight:
            if what == "refused":
                share.refused(now, now)
                assert share.limit(now) <= max(before, 1.0) or gap > 0
            share.leave()
        assert 1 <= share.limit(now) <= (known or inf)
    share.refused(now + 1, now + 1)
    assert share.enter(now + 100_000) or share.in_flight


@given(
    st.integers(1, 2000) | st.none(),
    st.lists(st.tuples(st.floats(0, 90), st.integers(1, 50), st.floats(0, 90) | st.none()), max_size=6),
    st.floats(0, 1000),
)
def test_another_process_goes_on_with_the_same_limit(
    known: int | None, refusals: list[tuple[float, int, float | None]], later_s: float
) -> None:
    """Whatever was refused before, at any time after."""
    share, now = AccountShare(known), 0.0
    for gap, calls, retry_after_s in refusals:
        now += gap
        while share.in_flight < calls and share.enter(now):
            pass
        share.refused(now, now, retry_after_s)
        share.leave()
    other = AccountShare(known)
    other.heed(share.lesson)
    assert other.limit(now + later_s) == share.limit(now + later_s)

"""The adaptive limits: what one window of samples does to them, and that they stay within their bounds."""

from hypothesis import given
from hypothesis import strategies as st

from penstock.core.concurrency import (
    ALWAYS_TRIED,
    FIRST_BYTES,
    FORGET_S,
    WHOLE_ANSWERS,
    AdaptiveLimit,
    Capacity,
)

WINDOW = 2 * FIRST_BYTES.enough


def tell(limit: AdaptiveLimit, now: float, *, wait_s: float, in_flight: int, per_s: float = 100.0) -> float:
    """Two windows of equal samples; the time after them."""
    for _ in range(WINDOW + 1):
        now += 1 / per_s
        limit.observe(wait_s, in_flight, now)
    return now


def test_it_starts_open() -> None:
    """Without evidence the most may pass."""
    limit = AdaptiveLimit(4, 512)
    assert limit.allows(511)
    assert not limit.allows(512)


def test_a_queue_is_taken_out_of_flight_in_one_step() -> None:
    """100 a second that wait 0.3 s longer than 0.1 x 1.25 + 0.02 s are about 26 calls: 100 in flight become 74."""
    limit = AdaptiveLimit(4, 512)
    now = tell(limit, 100.0, wait_s=0.1, in_flight=60)
    tell(limit, now, wait_s=0.4, in_flight=100)
    assert 72 <= limit.limit <= 76


def test_no_cut_is_deeper_than_a_third() -> None:
    """Whatever the wait: the next window tells more."""
    limit = AdaptiveLimit(4, 512)
    now = tell(limit, 100.0, wait_s=0.1, in_flight=60)
    tell(limit, now, wait_s=30.0, in_flight=100)
    assert limit.limit == 70


def test_a_few_calls_show_no_queue() -> None:
    """Five in flight that are ten times as late are no ground to hold back five hundred."""
    limit = AdaptiveLimit(4, 512)
    now = tell(limit, 100.0, wait_s=0.1, in_flight=5, per_s=1)
    tell(limit, now, wait_s=1.0, in_flight=5, per_s=1)
    assert limit.limit == ALWAYS_TRIED


def test_what_waited_was_not_borne() -> None:
    """A window that is well, as most of its calls were sent before the rush, says nothing of the rush."""
    limit = AdaptiveLimit(4, 512)
    for place in range(WINDOW + 1):
        rushed = place % 4 == 0
        limit.observe(1.0 if rushed else 0.1, 200 if rushed else 80, 100 + place / 100)
    assert limit.limit == 120


def test_what_was_never_borne_is_tried_step_by_step() -> None:
    """Eighty at once were well: 120 may be tried, and when they are well, 180; what was borne long ago counts less."""
    limit = AdaptiveLimit(4, 512)
    now = tell(limit, 100.0, wait_s=0.1, in_flight=80)
    assert limit.limit == 120
    now = tell(limit, now + 1, wait_s=0.1, in_flight=120)
    assert limit.limit == 180
    now = tell(limit, now + 1, wait_s=0.1, in_flight=10)
    tell(limit, now + FORGET_S, wait_s=0.1, in_flight=10)
    assert 88 <= limit.limit <= 90


def test_a_wait_that_no_queue_explains_shows_a_slower_server() -> None:
    """Sixty at once took 0.2 s each; half as many more can wait for 0.2 s, not for 2 s: nothing is held back."""
    limit = AdaptiveLimit(4, 512)
    now = tell(limit, 100.0, wait_s=0.1, in_flight=60)
    limit.look(now, 0.2)
    for _ in range(2):
        for in_flight in range(10, 90):
            now += 0.02
            limit.observe(2.0, in_flight, now)
            assert limit.limit >= 88
    assert limit.limit >= 130


def test_a_stall_is_no_slower_server() -> None:
    """All at once a second late, and then as before: the limit stays, and a queue is still seen as one."""
    limit, now = AdaptiveLimit(4, 512), 100.0
    limit.look(now, 0.2)
    for wait_s, in_flight, left in ((0.1, 60, 90), (1.2, 60, 90), (0.1, 60, 90), (0.3, 85, 69)):
        for _ in range(WINDOW):
            now += 0.01
            limit.observe(wait_s, in_flight, now)
        assert limit.limit == left


def test_a_queue_of_calls_that_are_alike_is_seen_sooner() -> None:
    """Whole answers of half a second, all of them: a third more is a queue; where they differ twofold it is none."""
    for most_s, is_queue in ((0.5, True), (2.0, False)):
        limit, now = AdaptiveLimit(4, 512, WHOLE_ANSWERS), 100.0
        for more, in_flight in ((1.0, 50), (1.4, 80)):
            for number in range(5 * WHOLE_ANSWERS.enough):
                now += 0.01
                limit.observe(more * (0.5 + (number % 16) / 16 * (most_s - 0.5)), in_flight, now)
        assert (limit.limit < 80) is is_queue


def test_a_raised_floor_is_tried() -> None:
    """A queue was taken for a slower server: with fewer in flight the wait falls with them, and so does the floor."""
    limit = AdaptiveLimit(4, 512)
    now = tell(limit, 100.0, wait_s=0.1, in_flight=60)
    limit.look(now, 0.01)
    at_once = limit.limit
    for _ in range(4000):
        now += 0.01
        limit.observe(0.01 * at_once, at_once, now)
        at_once = min(limit.limit, at_once + 1)
    assert at_once < 15


def test_a_window_is_closed_by_time_too() -> None:
    """All that may be sent were sent, and have begun: nothing more comes to close the window, and none is needed."""
    limit = AdaptiveLimit(4, 512)
    now = tell(limit, 100.0, wait_s=0.1, in_flight=10)
    for _ in range(FIRST_BYTES.enough):
        limit.observe(0.1, ALWAYS_TRIED, now)
    limit.look(now + 0.05, None)
    assert limit.limit == ALWAYS_TRIED
    limit.look(now + 0.25, None)
    assert limit.limit == FIRST_BYTES.reach * ALWAYS_TRIED


def test_a_kind_of_call_that_is_not_made_any_more_does_not_bind() -> None:
    """What streams taught holds for whole answers until these have taught enough themselves."""
    capacity, now = Capacity(4, 512), 100.0
    for wait_s, in_flight in ((0.1, 60), (0.8, 100)):
        for _ in range(WINDOW + 1):
            now += 0.01
            capacity.began(wait_s, in_flight, now)
    assert capacity.limit < 90
    for _ in range(100):
        now += 0.4
        capacity.answered(1.0, 60, now)
        capacity.look(now, 1.0)
    assert capacity.limit == 102  # the reach of 60
    assert capacity.allows(101)
    assert not capacity.allows(102)


def test_it_grows_while_it_is_used_and_nobody_waits() -> None:
    """By a tenth, then by more each time; not while half of it is free."""
    limit = AdaptiveLimit(4, 512)
    now = tell(limit, 100.0, wait_s=0.1, in_flight=60)
    now = tell(limit, now, wait_s=30.0, in_flight=100)
    now = tell(limit, now + 1, wait_s=0.1, in_flight=30)
    assert limit.limit == 70
    now = tell(limit, now + 1, wait_s=0.1, in_flight=70)
    assert 77 <= limit.limit <= 100
    for _ in range(10):
        now = tell(limit, now + 1, wait_s=0.1, in_flight=limit.limit)
    assert limit.limit == 512


def test_a_wait_that_does_not_fall_is_no_queue() -> None:
    """With a third fewer in flight it is as long as before: the limit goes back to what was in flight."""
    limit = AdaptiveLimit(4, 512)
    now = tell(limit, 100.0, wait_s=0.1, in_flight=60)
    now = tell(limit, now, wait_s=2.0, in_flight=100)
    assert limit.limit == 70
    tell(limit, now, wait_s=2.0, in_flight=70)
    assert limit.limit >= 100


@given(
    st.integers(1, 10),
    st.integers(0, 100),
    st.lists(st.tuples(st.floats(0, 3), st.floats(0, 1e4), st.integers(1, 600)), max_size=200),
)
def test_it_stays_within_its_bounds(least: int, more: int, course: list[tuple[float, float, int]]) -> None:
    """Whatever is reported, in whatever order."""
    limit, now = AdaptiveLimit(least, least + more), 100.0
    for gap, wait_s, in_flight in course:
        now += gap
        limit.observe(wait_s, in_flight, now)
        assert least <= limit.limit <= least + more

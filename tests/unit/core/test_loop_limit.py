"""The limit of the gateway's own loop: it falls while the loop is late, and never for a stall."""

from hypothesis import given
from hypothesis import strategies as st

from penstock.core.loop_limit import LATE_S, LOOKS, LoopLimit


def late(limit: LoopLimit, late_s: float, active: int, looks: int = 2 * LOOKS) -> None:
    """So many looks at a loop that is so late."""
    for _ in range(looks):
        limit.observe(late_s, active)


def test_a_loop_that_is_late_is_given_less_and_gets_it_back() -> None:
    """Late by twice of what is borne: half of what is under way; then more again, while it is used."""
    limit = LoopLimit(16, 512)
    late(limit, 2 * LATE_S, 100)
    assert limit.limit == 50
    late(limit, 0.0, 20)
    assert limit.limit == 50
    late(limit, 0.0, 50)
    assert 55 <= limit.limit < 100
    for _ in range(20):
        late(limit, 0.0, limit.limit)
    assert limit.limit == 512


def test_stalls_are_no_overload() -> None:
    """Two looks of ten that are late by a second, again and again; nor is one whole bad window."""
    limit = LoopLimit(16, 512)
    for _ in range(20):
        late(limit, 0.0, 500, LOOKS - 2)
        late(limit, 1.0, 500, 2)
    late(limit, 1.0, 500, LOOKS)
    late(limit, 0.0, 500, LOOKS)
    assert limit.limit == 512


@given(st.lists(st.tuples(st.floats(0, 10), st.integers(0, 600)), max_size=300))
def test_the_loop_s_limit_stays_within_its_bounds(course: list[tuple[float, int]]) -> None:
    """Whatever the loop does."""
    limit = LoopLimit(16, 512)
    for late_s, active in course:
        limit.observe(late_s, active)
        assert 16 <= limit.limit <= 512

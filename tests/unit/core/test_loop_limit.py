"""The limit of the gateway's own loop: it falls while the loop is late, and never for a stall."""

from hypothesis import given
from hypothesis import strategies as st

from penstock.core.loop_limit import FORGOTTEN_S, LATE_S, LOOKS, LoopLimit


class Loop:
    """Looks at it every ten milliseconds, and as late as it is."""

    def __init__(self) -> None:
        self.limit = LoopLimit(16, 512)
        self.now = 100.0

    def run(self, late_s: float, active: int, looks: int = 24) -> None:
        """So many looks that are so late."""
        for _ in range(looks):
            self.now += 0.01 + late_s
            self.limit.observe(late_s, active, self.now)


def test_a_loop_that_is_late_is_given_less_and_gets_it_back() -> None:
    """Late by twice of what is borne: half of what is under way; then a tenth more each time, while it is used."""
    loop = Loop()
    loop.run(2 * LATE_S, 100, looks=10)  # two windows
    assert loop.limit.limit == 50
    loop.run(0.0, 20)
    assert loop.limit.limit == 50
    loop.run(0.0, 50)
    assert 55 <= loop.limit.limit < 100
    for _ in range(14):
        loop.run(0.0, loop.limit.limit)
    assert loop.limit.limit == 512


def test_what_was_learned_is_forgotten_once_it_is_over() -> None:
    """Five seconds after the loop was late last, whether there was much to do since or little; not before."""
    loop = Loop()
    loop.run(20 * LATE_S, 100, looks=8)
    assert loop.limit.limit == 30
    ended = loop.now
    loop.run(0.0, 5, looks=400)
    assert loop.now - ended < FORGOTTEN_S
    assert loop.limit.limit < 40
    loop.run(0.0, 5, looks=120)
    assert loop.limit.limit == 512


def test_after_a_pause_a_few_looks_are_enough_to_forget() -> None:
    """Nobody looks while nothing is to be done."""
    loop = Loop()
    loop.run(20 * LATE_S, 100, looks=8)
    loop.now += 60.0
    loop.run(0.0, 30, looks=12)
    assert loop.limit.limit == 512


def test_the_later_it_is_the_longer_is_no_window() -> None:
    """Turns of a quarter of a second: after a second and a half it is known."""
    loop = Loop()
    loop.run(0.25, 512, looks=6)
    assert loop.limit.limit == 153


def test_stalls_are_no_overload() -> None:
    """One look in four that is late by a second, again and again; nor is one whole bad window."""
    loop = Loop()
    for _ in range(50):
        loop.run(0.0, 500, looks=3)
        loop.run(1.0, 500, looks=1)
    loop.run(0.0, 500)
    loop.run(1.0, 500, looks=LOOKS)
    loop.run(0.0, 500)
    assert loop.limit.limit == 512


@given(st.lists(st.tuples(st.floats(0, 10), st.integers(0, 600)), max_size=300))
def test_the_loop_s_limit_stays_within_its_bounds(course: list[tuple[float, int]]) -> None:
    """Whatever the loop does."""
    loop = Loop()
    for late_s, active in course:
        loop.run(late_s, active, looks=1)
        assert 16 <= loop.limit.limit <= 512

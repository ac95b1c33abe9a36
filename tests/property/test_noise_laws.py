"""Episodes are what the samples say, and what is proposed halves them and is the least that does."""

import math

from hypothesis import given
from hypothesis import strategies as st

from penstock.core.episodes import Episode, episodes, flaps
from penstock.core.noise import halving_for_s, halving_threshold, level

STEP = 60.0
SPANS = st.lists(st.tuples(st.integers(2, 40), st.integers(1, 30), st.integers(0, 30)), max_size=12)
"""Steps of silence, steps of being active, and after how many of these it fires."""
ACTIVE = st.lists(st.floats(1, 1e5, allow_nan=False), min_size=2, max_size=30)
LEVELS = st.lists(st.floats(-1e6, 1e6, allow_nan=False).map(lambda value: round(value, 6)), min_size=2, max_size=30)


@given(spans=SPANS)
def test_episodes_are_those_that_were(spans: list[tuple[int, int, int]]) -> None:
    """From samples at each step come the beginnings, the ends and the instants of firing that made them."""
    now, samples, firing, wanted = 1000, [], set(), []
    for silent, active, pending in spans:
        since = (now + silent) * STEP
        instants = [since + STEP * number for number in range(active)]
        samples += [(at, since - 7) for at in instants]
        firing |= set(instants[pending:])
        now += silent + active
        wanted.append(Episode(since - 7, now * STEP, instants[pending] if pending < active else None))
    found = episodes(samples, firing, STEP)
    assert found == wanted
    fired = [each for each in found if each.fired_at is not None]
    assert all(0 < each.fired_s <= each.active_s for each in fired)
    assert 0 <= flaps(fired) <= max(0, len(fired) - 1)


@given(gap=st.integers(1, 3), shift=st.floats(-50, 50))
def test_one_that_began_anew_between_two_steps_is_another(gap: int, shift: float) -> None:
    """A later beginning than the last sample ends it, and so does a gap; a beginning that only shifted does not."""
    first = [(600.0, 590.0), (660.0, 590.0)]
    at = 660.0 + gap * STEP
    anew = episodes([*first, (at, at - 1.0)], (), STEP)
    same = episodes([*first, (at, 590.0 + shift)], (), STEP)
    assert len(anew) == 2
    assert len(same) == (1 if gap == 1 else 2)


@given(active=ACTIVE)
def test_the_for_that_is_proposed_halves(active: list[float]) -> None:
    """At most half would have fired; with a minute less it would have been more."""
    proposed = halving_for_s(active)
    assert proposed is not None
    assert sum(each >= proposed for each in active) <= len(active) // 2
    assert sum(each >= proposed - 60 for each in active) > len(active) // 2


@given(levels=LEVELS, operator=st.sampled_from([">", ">=", "<", "<="]))
def test_the_threshold_that_is_proposed_halves(levels: list[float], operator: str) -> None:
    """At most half would have fired, and it is no farther than three digits make it."""
    proposed = halving_threshold(levels, operator)
    assert proposed is not None
    passes = {
        ">": lambda each: each > proposed, ">=": lambda each: each >= proposed,
        "<": lambda each: each < proposed, "<=": lambda each: each <= proposed,
    }  # fmt: skip
    assert sum(map(passes[operator], levels)) <= len(levels) // 2
    middle = sorted(levels, reverse=operator.startswith("<"))[math.ceil(len(levels) / 2) - 1]
    assert abs(proposed - middle) <= max(abs(middle) * 0.011, 0.002)


@given(values=st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=40), held=st.integers(1, 10))
def test_a_level_is_the_highest_that_is_held(values: list[float], held: int) -> None:
    """Just below it there are so many values in a row beyond the threshold; at it there are not."""
    found = level(values, ">", held)
    assert found is not None
    length = min(held, len(values))
    windows = [values[start : start + length] for start in range(len(values) - length + 1)]
    assert found == max(map(min, windows))
    assert -found == level([-value for value in values], "<", held)

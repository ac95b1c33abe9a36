"""What is known of latencies: never more than was seen, the recent counting more, and nothing once it is long ago."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.latency import ENOUGH, FORGOTTEN, LEAST_S, MOST_S, RENEWED_AT, STEP, Quantile, Smoothed

HALF_LIFE_S = 8.0
waits = st.floats(0, 50)
seen = st.lists(st.tuples(st.floats(LEAST_S, MOST_S), waits), min_size=1, max_size=60)


def at_times(pairs: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Values and gaps to values and instants."""
    now, dated = 1_000.0, []
    for value, gap in pairs:
        now += gap
        dated.append((value, now))
    return dated


def aged(dated: list[tuple[float, float]], now: float) -> list[tuple[float, float]]:
    """Each value and what it still weighs, the slow way."""
    return [(value, 0.5 ** ((now - at) / HALF_LIFE_S)) for value, at in dated]


@given(seen)
def test_the_smoothed_value_is_the_aged_mean(pairs: list[tuple[float, float]]) -> None:
    """Every observation weighs half after a half-life, however many came at once."""
    smoothed, dated = Smoothed(HALF_LIFE_S), at_times(pairs)
    for value, at in dated:
        smoothed.observe(value, at)
    now = dated[-1][1]
    weighed = aged(dated, now)
    mean = sum(value * weight for value, weight in weighed) / sum(weight for _, weight in weighed)
    assert smoothed.value(now) == pytest.approx(mean, rel=1e-6)


def test_nothing_ages_while_the_clock_is_behind() -> None:
    """After a step back all observations weigh the same until the clock is where it was."""
    smoothed = Smoothed(HALF_LIFE_S)
    for value, now in ((1.0, 100), (3.0, 50), (5.0, 90)):
        smoothed.observe(value, now)
    assert smoothed.value(90) == pytest.approx(3.0)


def test_a_smoothed_value_follows_a_change() -> None:
    """One half-life of equal traffic after a change it is half way, five later nearly there."""
    smoothed = Smoothed(HALF_LIFE_S)
    for tenth in range(10_000):
        smoothed.observe(0.1, tenth / 10)
    for tenth in range(80):
        smoothed.observe(2.1, 1_000 + tenth / 10)
    assert smoothed.value(1_008) == pytest.approx(1.1, rel=0.01)
    for tenth in range(400):
        smoothed.observe(2.1, 1_008 + tenth / 10)
    assert smoothed.value(1_048) == pytest.approx(2.1, rel=0.03)


def test_nothing_is_known_before_and_long_after() -> None:
    """None at first, and again when nothing was seen for so many half-lives; then the next one counts alone."""
    smoothed = Smoothed(HALF_LIFE_S)
    assert smoothed.value(0) is None
    smoothed.observe(1.0, 100)
    end = 100 + FORGOTTEN * HALF_LIFE_S
    assert smoothed.value(end - 0.001) == 1.0
    assert smoothed.value(end) is None
    smoothed.observe(3.0, end)
    assert smoothed.value(end) == pytest.approx(3.0, rel=0.02)


@given(st.lists(st.tuples(st.floats(0.1, 10), st.floats(-20, 20)), min_size=1, max_size=30))
def test_a_clock_that_steps_does_no_harm(steps: list[tuple[float, float]]) -> None:
    """However the instants jump, what is said stays within what was seen."""
    smoothed, quantile, now = Smoothed(HALF_LIFE_S), Quantile(HALF_LIFE_S), 100.0
    for value, step in steps:
        now += step
        smoothed.observe(value, now)
        quantile.observe(value, now)
    values = [value for value, _ in steps]
    mean, high = smoothed.value(now), quantile.value(0.95, now)
    assert mean is None or min(values) * (1 - 1e-9) <= mean <= max(values) * (1 + 1e-9)
    assert high is None or min(values) <= high <= max(values) * STEP


@given(seen, st.sampled_from([0.5, 0.9, 0.95, 0.99]))
def test_the_quantile_is_that_of_the_aged_observations(pairs: list[tuple[float, float]], share: float) -> None:
    """At least ``share`` of what is still remembered is not above it, and less than that is a step below it."""
    quantile, dated = Quantile(HALF_LIFE_S), at_times(pairs)
    for value, at in dated:
        quantile.observe(value, at)
    now = dated[-1][1]
    weighed = aged(dated, now)
    total = sum(weight for _, weight in weighed)
    said = quantile.value(share, now)
    if said is None:
        assert total < ENOUGH + 1e-6
        return
    assert total > ENOUGH - 1e-6
    assert sum(weight for value, weight in weighed if value <= said * (1 + 1e-9)) >= share * total - 1e-6
    assert sum(weight for value, weight in weighed if value <= said / STEP * (1 - 1e-9)) <= share * total + 1e-6


def test_a_quantile_needs_enough() -> None:
    """With fewer observations it says nothing, and they fade: what is old does not count as one."""
    quantile = Quantile(HALF_LIFE_S)
    for _ in range(ENOUGH - 1):
        quantile.observe(0.3, 50)
    assert quantile.value(0.95, 50) is None
    quantile.observe(0.3, 50)
    assert 0.3 <= (quantile.value(0.95, 50) or 0) <= 0.3 * STEP
    assert quantile.value(0.95, 51) is None


def test_a_quantile_follows_a_change() -> None:
    """Slow answers that have become fast are forgotten after a few half-lives, over days too."""
    quantile = Quantile(HALF_LIFE_S)
    for second in range(200):
        quantile.observe(20.0, second)
        quantile.observe(20.0, second)
    assert (quantile.value(0.95, 200) or 0) >= 20
    for tenth in range(1_000):
        quantile.observe(0.2, 200 + tenth / 10)
    assert (quantile.value(0.95, 300) or 99) <= 0.2 * STEP
    for day in range(1, 4):
        for _ in range(ENOUGH):
            quantile.observe(float(day), day * 86_400.0)
        assert day <= (quantile.value(0.95, day * 86_400.0) or 0) <= day * STEP


def test_what_is_beyond_the_scale_says_its_bounds() -> None:
    """Too quick and too slow to tell apart: the ends of the scale."""
    for extreme, least, most in ((0.0, LEAST_S, LEAST_S), (1e9, MOST_S, MOST_S * STEP**2)):
        quantile = Quantile(HALF_LIFE_S)
        for _ in range(ENOUGH):
            quantile.observe(extreme, 0)
        assert least <= (quantile.value(0.95, 0) or -1) <= most


def test_a_quantile_weighs_anew_without_a_jump() -> None:
    """The counts stay small over any time, and nothing changes where they are weighed anew."""
    quantile = Quantile(half_life_s=1.0)
    said = set()
    for number in range(2_000):
        quantile.observe(0.5, number / 20)
        if number > 400:
            said.add(quantile.value(0.5, number / 20))
        assert quantile._total < RENEWED_AT * 40  # noqa: SLF001 - an overflow that nothing else shows in time
    assert len(said) == 1
    assert None not in said

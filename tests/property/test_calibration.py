"""What is learned of a model: quantiles that are never too low, and that follow a change."""

from hypothesis import given
from hypothesis import strategies as st

from penstock.core.calibration import ENOUGH, HALVED_AT, STEP, Calibration, Histogram


@given(st.lists(st.integers(1, 100_000), min_size=ENOUGH, max_size=300), st.floats(0.01, 1))
def test_a_quantile_is_at_most_one_step_above_the_true_one(values: list[int], share: float) -> None:
    """At least the share of observations stays within it, and it is hardly more than the smallest such number."""
    histogram = Histogram()
    for value in values:
        histogram.observe(value)
    quantile = histogram.quantile(share)
    assert quantile is not None
    within = sum(value <= quantile * (1 + 1e-9) for value in values)
    assert within >= share * len(values) - 1e-6
    below = sum(value < quantile / STEP / (1 + 1e-9) for value in values)
    assert below < share * len(values) + 1e-6


def test_little_is_nothing() -> None:
    """Too few observations are no ground for a bound; zeros are none at all."""
    calibration = Calibration()
    for _ in range(ENOUGH - 1):
        calibration.observe(100, 30, 10)
    for _ in range(ENOUGH):
        calibration.observe(100, 0, 0)
    assert calibration.usual_output() is None
    assert calibration.likely_prompt(1000) is None
    calibration.observe(100, 30, 10)
    assert 10 <= (calibration.usual_output() or 0) <= 11
    assert 300 <= (calibration.likely_prompt(1000) or 0) <= 400


def test_it_follows_a_change() -> None:
    """Answers that became ten times as long are known as such before long."""
    calibration = Calibration()
    for _ in range(10 * HALVED_AT):
        calibration.observe(100, 30, 100)
    for _ in range(HALVED_AT):
        calibration.observe(100, 30, 1000)
    assert (calibration.usual_output(0.5) or 0) >= 1000


@given(st.integers(1, 10**6))
def test_a_prompt_is_never_thought_longer_than_its_bytes(size: int) -> None:
    """Which are the bound anyway."""
    calibration = Calibration()
    for _ in range(ENOUGH):
        calibration.observe(10, 1000, 1)
    assert calibration.likely_prompt(size) == size

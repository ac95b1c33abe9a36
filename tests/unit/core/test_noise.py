"""Which comparison of an expression decides, and what would have halved its noise."""

import pytest

from penstock.core.noise import Comparison, comparison, halving_for_s, halving_threshold, level


@pytest.mark.parametrize(
    ("expression", "found"),
    [
        ("left > 0.05", ("left", ">", 0.05)),
        ('rate(a{b=~"x>1",c!="2"}[5m]) / (d > 0) >= 1e-3', ('rate(a{b=~"x>1",c!="2"}[5m]) / (d > 0)', ">=", 0.001)),
        ("a:ratio > 0.05 and b * 300 >= 5", ("a:ratio", ">", 0.05)),
        ("max by (job, p) (age) > 60 * 86400", ("max by (job, p) (age)", ">", 60 * 86400)),
        ("min by (a) (up) == 0", None),
        ("left > right", None),
        ("a > 1 or b > 2", None),
        ("a >= 0.8 < 1", None),
        ("a and b > 1", None),
        ("a > bool 1", None),
        ("a > 1 + b", None),
        ("a < -1 unless c", ("a", "<", -1.0)),
        ('a{x="it\\"s > 1"} > 2', ('a{x="it\\"s > 1"}', ">", 2.0)),
        ("(a > 1)", None),
        ("", None),
    ],
)
def test_the_comparison_that_decides_is_found(expression: str, found: tuple[str, str, float] | None) -> None:
    """Where a single threshold decides; nowhere else."""
    assert comparison(expression) == (None if found is None else Comparison(*found))


def test_half_of_one_is_none() -> None:
    """Nothing is proposed for what fired once."""
    assert halving_for_s([300.0]) is None
    assert halving_threshold([0.5], ">") is None


def test_the_shorter_half_is_dropped() -> None:
    """By whole minutes, beyond the longest that goes."""
    assert halving_for_s([60.0, 119.0, 600.0, 3600.0]) == 120.0
    assert halving_for_s([60.0, 120.0, 600.0, 3600.0]) == 180.0
    assert halving_for_s([90.0, 90.0, 90.0]) == 120.0


def test_a_level_is_held_as_long_as_the_rule_wants() -> None:
    """A single peak does not fire what has to last."""
    values = [1.0, 9.0, 4.0, 5.0, 4.5, 1.0]
    assert level(values, ">", 1) == 9.0
    assert level(values, ">", 3) == 4.0
    assert level(values, "<", 2) == 4.5
    assert level([float("nan"), float("inf")], ">", 1) is None
    assert level([], ">", 1) is None


def test_the_milder_half_is_dropped() -> None:
    """To three digits; equal is still in where the rule says ``>=``."""
    assert halving_threshold([0.06123, 0.5, 0.07, 0.9], ">") == 0.07
    assert halving_threshold([0.06, 0.0712345, 0.5, 0.9], ">") == 0.0713
    assert halving_threshold([0.06, 0.07, 0.5, 0.9], ">=") == 0.0701
    assert halving_threshold([9.0, 5.0, 1.0, 0.5], "<") == 5.0
    assert halving_threshold([0.0, 0.0, 5.0], ">") == 0.0

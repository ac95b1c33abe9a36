"""Figures as people read them: short, and never more than the truth."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.money import NANO
from penstock.report import wording


@pytest.mark.parametrize(
    ("nano", "digits", "text"),
    [
        (1_234_567_891_234_567, 2, "1,234,567.89"),
        (-1_234_500_000_000, 2, "-1,234.50"),
        (-500_000_000, 2, "-0.50"),
        (0, 2, "0.00"),
        (1, 2, "<0.01"),
        (-1, 2, ">-0.01"),
        (1, 6, "<0.000001"),
        (999_999_999_999, 2, "1,000.00"),
    ],
)
def test_money(nano: int, digits: int, text: str) -> None:
    """Thousands apart; too little to show is not nothing."""
    assert wording.money(nano, digits) == text


def test_the_highest_amount_says_how_fine_all_are_shown() -> None:
    """Of thousands nobody needs the sixth decimal."""
    assert [wording.digits_for(amount * NANO) for amount in (0, 1, 99, 100)] == [6, 4, 4, 2]
    assert [wording.fine_money(amount) for amount in (388_691_000, 38_869_100)] == ["0.3887", "0.038869"]


@pytest.mark.parametrize(("nano", "text"), [(0, "0"), (20 * NANO, "20"), (500_000, "0.0005"), (2000 * NANO, "2,000")])
def test_amounts_on_an_axis_have_no_idle_zeros(nano: int, text: str) -> None:
    """They are round already."""
    assert wording.amount_on_axis(nano) == text


@pytest.mark.parametrize(
    ("part", "whole", "text"),
    [(1, 3, "33.3 %"), (999_999, 10**6, "99.9 %"), (5, 5, "100.0 %"), (-1, 4, "-25.0 %"), (-1, 10**6, "0.0 %")],
)
def test_percent(part: int, whole: int, text: str) -> None:
    """What is not all is never 100."""
    assert wording.percent(part, whole) == text


def test_of_nothing_there_is_no_percentage() -> None:
    """A dash."""
    assert wording.percent(0, 0) == wording.percent(3, 0) == wording.NOTHING


def test_times_and_counts() -> None:
    """In the unit that is read at a glance."""
    assert [wording.seconds(each) for each in (0.0004, 0.35, 1.254, 600)] == ["0 ms", "350 ms", "1.25 s", "600 s"]
    assert [wording.count(each) for each in (999, 1_500, 2_500_000, 3 * 10**9)] == [
        "999", "1,500", "2.5 million", "3.0 billion",
    ]  # fmt: skip


@given(st.text())
def test_a_name_steers_no_display(text: str) -> None:
    """No control characters, no changes of direction, nothing that cannot be written; an empty one is said to be so."""
    found = wording.named(text)
    assert found.isprintable()
    assert found.encode()
    assert len(found) == min(len(text) or len(wording.NOBODY), wording.LONGEST)


def test_a_long_name_is_cut() -> None:
    """Ten thousand letters take no more room than a hundred."""
    found = wording.named("x" * 10_000)
    assert found == "x" * (wording.LONGEST - 1) + "\N{HORIZONTAL ELLIPSIS}"


def test_every_step_has_a_name() -> None:
    """A lever to come keeps its own, requests without a call are said to have none."""
    assert [wording.step(each) for each in ("exact", "new-lever", "")] == ["Exact cache", "new-lever", "(none)"]

"""Columns, lines and the axis of times: what is drawn is on the drawing, to scale."""

from collections.abc import Sequence
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from penstock.report.charts import AXIS, COLUMNS, MOST_LABELS, TOP, WIDTH, draw_columns, position, ticks
from penstock.report.figures import Period

AMOUNT = st.integers(0, 10**18)
PERIODS = st.lists(st.builds(Period, st.just("2026-11-22"), st.just(1), AMOUNT, AMOUNT), max_size=92)


@given(AMOUNT)
def test_lines_stand_at_round_amounts(highest: int) -> None:
    """From zero to the first at or above the highest, evenly, six or fewer."""
    found = ticks(highest)
    (step,) = {right - left for left, right in pairwise(found)}
    assert found[0] == 0
    assert found[-2] < max(highest, 1) <= found[-1]
    assert len(found) <= 6
    assert str(step).rstrip("0") in {"1", "2", "5"}


@given(PERIODS)
def test_every_column_is_on_the_drawing(periods: Sequence[Period]) -> None:
    """Beside each other, right of the axis, no higher than the room, cost and difference on one scale."""
    drawing = draw_columns(periods)
    scale = COLUMNS / drawing.lines[-1].amount_nano
    for column in drawing.columns:
        assert column.x >= AXIS - 0.01
        assert column.x + column.width <= WIDTH + 0.01
        assert min(column.cost_y, column.over_y) >= TOP - 0.01
        assert abs(column.cost_height - column.period.cost_nano * scale) < 0.02
        difference = abs(column.period.cost_nano - column.period.baseline_nano)
        assert abs(column.over_height - difference * scale) < 0.03
    assert all(left.x + left.width <= right.x + 0.02 for left, right in pairwise(drawing.columns))
    assert sum(bool(column.label) for column in drawing.columns) <= MOST_LABELS


def test_labels_are_short() -> None:
    """The hour, the day of the month, the month."""
    names = ["2026-11-22T13:00+08:00", "2026-11-22", "2026-11"]
    found = [draw_columns([Period(name, 0, 0, 0)]).columns[0].label for name in names]
    assert found == ["13:00", "11-22", "2026-11"]


@given(st.floats(0, 10_000), st.floats(0, 10_000))
def test_longer_is_further_right(left: float, right: float) -> None:
    """On the axis of times, which ends at both ends."""
    assert 0 <= position(min(left, right)) <= position(max(left, right)) <= 100

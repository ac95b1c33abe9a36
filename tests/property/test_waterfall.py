"""The waterfall begins with the baseline, ends with the cost, and loses nothing between them."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from penstock.core.waterfall import BASELINE, COST, UNMATCHED, Step, waterfall
from penstock.report.charts import AMOUNTS, LABELS, WIDTH, draw_waterfall

AMOUNT = st.integers(-(10**20), 10**20)
LEVERS = st.dictionaries(st.sampled_from(["direct", "exact", "joined", "routing", "hedging", ""]), AMOUNT)


@given(AMOUNT, LEVERS, AMOUNT)
def test_the_steps_sum_to_the_cost(baseline: int, saved: dict[str, int], cost: int) -> None:
    """Exactly, to the nano-unit; each begins where the one before it ended, and is what its lever saved."""
    first, *between, last = waterfall(baseline, saved, cost)
    assert (first, last) == (Step(BASELINE, 0, baseline), Step(COST, 0, cost))
    assert baseline + sum(step.change_nano for step in between) == cost
    assert all(left.end_nano == right.start_nano for left, right in pairwise([first, *between]))
    levers = {step.name: -step.change_nano for step in between if step.name != UNMATCHED}
    assert levers == {name: amount for name, amount in saved.items() if amount}


@given(AMOUNT, LEVERS)
def test_nothing_is_unmatched_where_all_is_known(baseline: int, saved: dict[str, int]) -> None:
    """What is left of the baseline after all levers is the cost: no step of its own."""
    steps = waterfall(baseline, saved, baseline - sum(saved.values()))
    assert all(step.name != UNMATCHED and step.change_nano for step in steps[1:-1])


@given(AMOUNT, LEVERS, AMOUNT)
def test_every_bar_is_on_the_drawing(baseline: int, saved: dict[str, int], cost: int) -> None:
    """Between the labels and the amounts, whatever is below zero, and of a width that can be seen."""
    drawing = draw_waterfall(waterfall(baseline, saved, cost))
    for bar in drawing.bars:
        assert LABELS <= bar.x <= bar.x + bar.width <= WIDTH - AMOUNTS + 1.51
        assert bar.width >= 1.5
    assert drawing.height >= drawing.bars[-1].y > drawing.bars[0].y

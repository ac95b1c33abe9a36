"""The geometry of the charts: amounts in, places on a drawing out. Lengths are in units of its ``viewBox``. Pure."""

import math
from collections.abc import Sequence
from typing import Final, NamedTuple

from penstock.core.waterfall import Step
from penstock.report.figures import Period

WIDTH: Final = 720.0

LABELS: Final = 190.0
"""Beside the bars of a waterfall: what they are."""
AMOUNTS: Final = 130.0
"""And what they come to."""
ROW: Final = 34.0

AXIS: Final = 56.0
"""Beside the columns: the amounts of the lines."""
COLUMNS: Final = 190.0
"""The height of the highest column."""
TOP: Final = 8.0
MOST_LABELS: Final = 12

FASTEST_S: Final = 0.001
SLOWEST_S: Final = 600.0


class Bar(NamedTuple):
    """A row of a waterfall."""

    step: Step
    y: float
    x: float
    width: float
    end_x: float
    """Where the next one begins."""


class Waterfall(NamedTuple):
    """Rows, one below the other."""

    height: float
    zero_x: float
    bars: Sequence[Bar]


class Column(NamedTuple):
    """A period: what it cost, and on top of it what was saved, or within it what it cost more than it should."""

    period: Period
    x: float
    width: float
    cost_y: float
    cost_height: float
    over_y: float
    over_height: float
    """Of the difference to the baseline."""
    label: str
    """Empty where there is no room for it."""


class Line(NamedTuple):
    """Across all columns."""

    y: float
    amount_nano: int


class Columns(NamedTuple):
    """Columns beside each other."""

    base_y: float
    lines: Sequence[Line]
    columns: Sequence[Column]


def draw_waterfall(steps: Sequence[Step]) -> Waterfall:
    """Horizontal bars on one scale that holds all of them."""
    edges = [0, *(edge for step in steps for edge in (step.start_nano, step.end_nano))]
    low, high = min(edges), max(edges)
    scale = (WIDTH - LABELS - AMOUNTS) / ((high - low) or 1)

    def x_of(nano: int) -> float:
        return round(LABELS + (nano - low) * scale, 2)

    bars = []
    for place, step in enumerate(steps):
        left, right = sorted((x_of(step.start_nano), x_of(step.end_nano)))
        bars.append(Bar(step, place * ROW, left, round(max(right - left, 1.5), 2), x_of(step.end_nano)))
    return Waterfall(len(steps) * ROW, x_of(0), bars)


def draw_columns(periods: Sequence[Period]) -> Columns:
    """Vertical columns on one scale from zero, with lines at round amounts."""
    highest = max((max(each.cost_nano, each.baseline_nano, 0) for each in periods), default=0)
    lines = ticks(highest)
    scale = COLUMNS / (lines[-1] or 1)
    base = TOP + COLUMNS
    pitch = (WIDTH - AXIS) / max(len(periods), 1)
    width = min(pitch * 0.72, 46.0)
    every = math.ceil(len(periods) / MOST_LABELS)

    def y_of(nano: int) -> float:
        return round(base - max(nano, 0) * scale, 2)

    columns = []
    for place, each in enumerate(periods):
        cost_y, baseline_y = y_of(each.cost_nano), y_of(each.baseline_nano)
        columns.append(
            Column(
                each,
                round(AXIS + place * pitch + (pitch - width) / 2, 2),
                round(width, 2),
                cost_y,
                round(base - cost_y, 2),
                min(cost_y, baseline_y),
                round(abs(cost_y - baseline_y), 2),
                _label(each.name) if place % every == 0 else "",
            )
        )
    return Columns(base, [Line(y_of(amount), amount) for amount in lines], columns)


def ticks(highest_nano: int, wanted: int = 5) -> list[int]:
    """Round amounts from zero, the last of them the first that is not below ``highest_nano``; six or less."""
    step = _round_up(-(-max(highest_nano, 1) // wanted))
    return [step * place for place in range(max(-(-highest_nano // step), 1) + 1)]


def position(seconds: float) -> float:
    """Where on a logarithmic axis from ``FASTEST_S`` to ``SLOWEST_S``: 0 to 100."""
    within = min(max(seconds, FASTEST_S), SLOWEST_S)
    return round(100 * math.log(within / FASTEST_S) / math.log(SLOWEST_S / FASTEST_S), 2)


def _round_up(least: int) -> int:
    """The first of 1, 2, 5, 10, 20, 50 and so on that is not below it."""
    power: int = 10 ** (len(str(least)) - 1)
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= least)


def _label(name: str) -> str:
    """What of the name fits below a column: ``13:00``, ``11-22`` or ``2026-11``."""
    day = len("2026-11-22")
    if len(name) > day:
        return name[day + 1 : day + 6]
    return name[5:] if len(name) == day else name

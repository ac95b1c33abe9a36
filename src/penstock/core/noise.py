"""Which ``for`` and which threshold would have halved how often a rule fired, judged by what it fired for.

Both are the least change that leaves half of the episodes at most: a longer ``for`` drops the shortest, a farther
threshold the mildest. What they would have silenced may have mattered: this says what, not whether.
"""

import math
import re
from collections import deque
from collections.abc import Iterator, Sequence
from decimal import ROUND_CEILING, Decimal
from typing import Final, NamedTuple

MINUTE_S: Final = 60.0
_DIGITS: Final = 3
"""Significant ones of a threshold that is proposed."""

_COMPARISON: Final = re.compile(r"(>=|<=|>|<)(?!=)")
_OPERATORS: Final = re.compile(r"(?i)\b(?:and|or|unless|bool)\b|[=!]=")
_NUMBER: Final = re.compile(r"\s*(-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)((?:\s*\*\s*\d+(?:\.\d+)?)*)\s*")
_NARROWER: Final = re.compile(r"(?i)(?:and|unless)\b")
_OPENING: Final = "([{"
_CLOSING: Final = ")]}"
_QUOTES: Final = "\"'`"


class Comparison(NamedTuple):
    """``left operator threshold``: the part of an expression that decides."""

    left: str
    operator: str
    threshold: float


def comparison(expression: str) -> Comparison | None:
    """The first comparison of an expression, where it is one with a number; None where a threshold does not decide.

    ``left > 0.05 and anything`` is one; ``left > right``, ``a > 1 or b > 2`` and ``2 < left < 5`` are none.
    """
    bare = _blanked(expression)
    found = _COMPARISON.search(bare)
    if found is None or _OPERATORS.search(bare[: found.start()]):
        return None
    number = _NUMBER.match(bare, found.end())
    if number is None or re.search(r"(?i)\bor\b", bare):
        return None
    if number.end() < len(bare) and not _NARROWER.match(bare, number.end()):
        return None
    factors = [float(each) for each in number[2].split("*")[1:]]
    return Comparison(expression[: found.start()].strip(), found[1], float(number[1]) * math.prod(factors))


def halving_for_s(active_s: Sequence[float]) -> float | None:
    """The least ``for``, in whole minutes, after which at most half of these would have fired; None for fewer than two.

    ``active_s``: how long the expression was true, of each that fired. One fires when it was true for ``for``.
    """
    if len(active_s) < 2:  # noqa: PLR2004 - half of one is none
        return None
    longest_dropped = sorted(active_s)[math.ceil(len(active_s) / 2) - 1]
    return (math.floor(longest_dropped / MINUTE_S) + 1) * MINUTE_S


def level(values: Sequence[float], operator: str, held: int) -> float | None:
    """The threshold at which an episode with these values would have just ceased to fire; None = it has none.

    ``held``: over how many values in a row it has to be beyond the threshold, which is the rule's ``for``.
    """
    sign = _sign(operator)
    known = [sign * value for value in values if math.isfinite(value)]
    if not known:
        return None
    return sign * max(_lowest(known, max(1, min(held, len(known)))))


def halving_threshold(levels: Sequence[float], operator: str) -> float | None:
    """The nearest threshold, to three digits, at which at most half of these episodes fire; None for fewer than two."""
    if len(levels) < 2:  # noqa: PLR2004 - half of one is none
        return None
    sign = _sign(operator)
    highest_dropped = sorted(sign * each for each in levels)[math.ceil(len(levels) / 2) - 1]
    return sign * _beyond(highest_dropped, beside=operator in {">=", "<="}) + 0.0


def _sign(operator: str) -> int:
    """Below is above, turned around."""
    return 1 if operator.startswith(">") else -1


def _lowest(values: Sequence[float], held: int) -> Iterator[float]:
    """The lowest of each ``held`` values in a row."""
    window: deque[tuple[int, float]] = deque()
    for place, value in enumerate(values):
        while window and window[-1][1] >= value:
            window.pop()
        window.append((place, value))
        if window[0][0] <= place - held:
            window.popleft()
        if place + 1 >= held:
            yield window[0][1]


def _beyond(value: float, *, beside: bool) -> float:
    """``value`` rounded up. ``beside``: to something greater, for equal is still in."""
    exact = Decimal(repr(value))
    unit = Decimal((0, (1,), exact.adjusted() - _DIGITS + 1 if exact else -_DIGITS))
    rounded = exact.quantize(unit, ROUND_CEILING)
    return float(rounded + unit if beside and rounded == exact else rounded)


def _blanked(expression: str) -> str:
    """The same, as long, with blanks for whatever stands in brackets or quotes."""
    depth, quote, shown = 0, "", []
    before = ""
    for char in expression:
        if quote:
            quote = "" if char == quote and before != "\\" else quote
        elif char in _QUOTES:
            quote = char
        elif char in _OPENING:
            depth += 1
        elif char in _CLOSING:
            depth -= 1
        shown.append(" " if quote or depth or char in _CLOSING or char in _QUOTES else char)
        before = char
    return "".join(shown)

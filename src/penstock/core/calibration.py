"""What a model has been seen to use: how long its answers are, and how many tokens a byte of prompt makes.

A histogram on a logarithmic scale, whose counts are halved now and then so that it follows a change. A quantile is the
upper edge of its bucket: at most ``STEP`` too high, never too low.
"""

from collections import Counter
from math import ceil, log
from typing import Final

STEP: Final = 1.1
"""The ratio of one bucket's edge to the one below."""
ENOUGH: Final = 30
"""With fewer observations there is no quantile."""
HALVED_AT: Final = 2_000


class Histogram:
    """Observed positive numbers."""

    __slots__ = ("_buckets", "_total")

    def __init__(self) -> None:
        self._buckets: Counter[int] = Counter()
        self._total = 0

    def observe(self, value: float) -> None:
        """Count one; what is not positive says nothing."""
        if value <= 0:
            return
        self._buckets[ceil(log(value, STEP) - 1e-9)] += 1
        self._total += 1
        if self._total >= HALVED_AT:
            self._buckets = Counter({bucket: count // 2 for bucket, count in self._buckets.items() if count > 1})
            self._total = self._buckets.total()

    def quantile(self, share: float) -> float | None:
        """What ``share`` (0 to 1) of the observations do not exceed; None before there are ``ENOUGH``."""
        if self._total < ENOUGH:
            return None
        left = share * self._total
        highest = 0
        for highest in sorted(self._buckets):
            left -= self._buckets[highest]
            if left <= 0:
                break
        return float(STEP**highest)


class Calibration:
    """What is known of one model."""

    __slots__ = ("_outputs", "_per_byte")

    def __init__(self) -> None:
        self._outputs = Histogram()
        self._per_byte = Histogram()

    def observe(self, prompt_bytes: int, prompt_tokens: int, output_tokens: int) -> None:
        """One finished call, as its provider reported it."""
        self._outputs.observe(output_tokens)
        if prompt_bytes:
            self._per_byte.observe(prompt_tokens / prompt_bytes)

    def usual_output(self, share: float = 0.95) -> int | None:
        """Tokens that ``share`` of its answers stay within; None = not enough seen."""
        length = self._outputs.quantile(share)
        return None if length is None else ceil(length)

    def likely_prompt(self, prompt_bytes: int, share: float = 0.999) -> int | None:
        """Tokens that a prompt of that many bytes very likely stays within; None = not enough seen."""
        per_byte = self._per_byte.quantile(share)
        return None if per_byte is None else min(prompt_bytes, ceil(prompt_bytes * per_byte * STEP))
